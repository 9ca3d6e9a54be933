//! The steps that do something.

use refgate_core::{BoxFuture, Oid};

use super::{Line, Play};
use crate::full_name;

impl Play {
    /// Does one step. Boxed, because `during-wait` holds another step.
    pub(super) fn step(&self, line: Line) -> BoxFuture<'static, ()> {
        let play = self.clone();
        Box::pin(async move {
            let words: Vec<&str> = line.text.split_whitespace().collect();
            if !play.writes(&words) && !play.plain(&words) && !play.gated(&line, &words).await {
                play.expects(&line.at, &words).await;
            }
        })
    }

    /// Sites, and clients that write past the ref-db.
    fn writes(&self, words: &[&str]) -> bool {
        let lab = &self.lab;
        match words {
            ["site", site, kind] => lab.site(site, kind),
            ["config", site, section, key, "=", value @ ..] => {
                lab.configure(site, &format!("{section}\n{key} = {}", value.join(" ")));
            }
            ["config", site, section, named, key, "=", value @ ..] => {
                lab.configure(site, &format!("{section} {named}\n{key} = {}", value.join(" ")));
            }
            // The same commit at every site, as after a replication.
            ["everywhere", name, commit] => {
                lab.names()
                    .iter()
                    .for_each(|site| lab.repo(site).set(name, self.make(site, name, commit, &[])));
                self.accept(commit);
            }
            ["commit", site, name, commit, on @ ..] => {
                lab.repo(site).set(name, self.make(site, name, commit, on));
                self.accept(commit);
            }
            ["delete", site, name] => lab.repo(site).delete(name),
            ["give-up", commit] => self.state().accepted.retain(|accepted| accepted != commit),
            _ => return false,
        }
        true
    }

    /// Replication with nothing but git.
    fn plain(&self, words: &[&str]) -> bool {
        let url = |site: &str| self.lab.url(site);
        match words {
            ["plain-push", from, to, specs @ ..] => {
                let specs: Vec<String> = specs.iter().map(|spec| self.pinned(spec)).collect();
                let mut args = vec!["push".to_owned(), "--quiet".into(), url(to)];
                args.extend(specs);
                self.lab.repo(from).git(&args);
            }
            ["plain-mirror", from, to] => {
                self.lab.repo(from).git(&["push", "--quiet", "--mirror", &url(to)]);
            }
            ["plain-fetch", at, from, specs @ ..] => {
                let url = url(from);
                let mut args = vec!["fetch", "--quiet", "--no-tags", &url];
                args.extend(specs);
                self.lab.repo(at).git(&args);
            }
            _ => return false,
        }
        true
    }

    /// Gated writes, and replication through the gate.
    async fn gated(&self, line: &Line, words: &[&str]) -> bool {
        let (lab, at) = (&self.lab, &line.at);
        match words {
            ["write", site, name, commit, "refused"] => {
                let oid = self.make(site, name, commit, &[]);
                assert!(!lab.write(site, name, Some(oid)).await, "{at}: the write was not refused");
            }
            ["write", site, name, commit, on @ ..] => {
                let oid = self.make(site, name, commit, on);
                assert!(lab.write(site, name, Some(oid)).await, "{at}: the write was refused");
                self.accept(commit);
            }
            ["remove", site, name] => {
                assert!(lab.write(site, name, None).await, "{at}: the deletion was refused");
            }
            ["seed", site] => lab.seed(site).await,
            // G alone: as if a site that is not here had written.
            ["record", site, name, commit] => {
                let old = lab.entry(site, name).await.value;
                let new = refgate_core::GlobalRef::At(self.oid(commit));
                assert!(lab.record(site, name, old, new).await, "{at}: not recorded");
            }
            ["push", from, to, "gives", expected @ ..] => {
                self.check(at, &lab.push(from, to).await, expected);
            }
            ["fetch", to, from, "gives", expected @ ..] => {
                self.check(at, &lab.fetch(to, from).await, expected);
            }
            ["during-wait", ..] => {
                let text = line.text.trim_start_matches("during-wait").trim().to_owned();
                let (play, line) = (self.clone(), Line { at: at.clone(), text });
                lab.clock().during_sleep(move || play.step(line));
            }
            _ => return false,
        }
        true
    }

    /// Makes the commit, on top of the ref unless `on` says otherwise.
    fn make(&self, site: &str, name: &str, commit: &str, on: &[&str]) -> Oid {
        let repo = self.lab.repo(site);
        let parents: Vec<Oid> = match on {
            [] => repo.get(name).into_iter().collect(),
            ["on", "nothing"] => Vec::new(),
            ["on", parent] => vec![self.oid(parent)],
            other => panic!("`{}` is not a parent", other.join(" ")),
        };
        let oid = repo.commit(&parents, commit);
        let old = self.state().commits.insert(commit.to_owned(), oid);
        assert!(old.is_none_or(|old| old == oid), "`{commit}` is two commits");
        oid
    }

    fn accept(&self, commit: &str) {
        self.state().accepted.push(commit.to_owned());
    }

    /// `+a1:main` with the oid of `a1`: what a replicator sends that has read its value before.
    fn pinned(&self, spec: &str) -> String {
        let (plus, rest) = spec.strip_prefix('+').map_or(("", spec), |rest| ("+", rest));
        match rest.split_once(':') {
            Some((commit, name)) if self.state().commits.contains_key(commit) => {
                format!("{plus}{}:{}", self.oid(commit), full_name(name))
            }
            _ => spec.to_owned(),
        }
    }
}
