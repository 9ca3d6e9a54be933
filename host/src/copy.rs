//! Copies a whole ref-db into another one, and proves that both hold the same: values, deletions, lists of superseded
//! values, texts, and the sites that used it.

use std::collections::{BTreeMap, BTreeSet};

use refgate_core::refdb::{all_projects, scan_all};
use refgate_core::{
    Atomicity, Deadline, Edit, Entry, Expected, GlobalRef, Lookup, Project, RefDb, RefDbError, RefName,
    TextOutcome,
};

use crate::Error;
use crate::known::mark_of;

/// Edits that are sent at once.
const PART: usize = 10_000;
/// So many entries that are in the way are told.
const TOLD: usize = 5;

/// What came of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Projects with entries.
    pub projects: usize,
    /// Entries that both hold now.
    pub equal: usize,
    /// Those among them that this run wrote; the others were there.
    pub written: usize,
    /// Sites that both know now.
    pub sites: usize,
    /// The message of the source, if it is closed.
    pub closed: Option<String>,
    /// What differs after all.
    pub differences: Vec<Difference>,
}

/// An entry that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its project.
    pub project: Project,
    /// Its name.
    pub name: RefName,
    /// What is in the source, for people.
    pub from: String,
    /// What is in the copy.
    pub to: String,
}

/// Where the operator sees how far it is.
pub trait Progress: Sync {
    /// A new stage that goes through so many projects.
    fn stage(&self, what: &str, projects: usize);
    /// One of them is done.
    fn step(&self);
}

type Rows = BTreeMap<RefName, Lookup>;

/// From one store to the other.
struct Copy<'a> {
    from: &'a RefDb,
    to: &'a RefDb,
    deadline: &'a (dyn Fn() -> Deadline + Sync),
    progress: &'a dyn Progress,
}

/// Copies everything that `from` holds into `to`, which must be empty or hold a part of the same, and compares.
///
/// # Errors
/// A target that holds anything else: then nothing was written. A store that does not answer: run it again.
pub async fn copy(
    from: &RefDb,
    to: &RefDb,
    deadline: &(dyn Fn() -> Deadline + Sync),
    progress: &dyn Progress,
) -> Result<Copied, Error> {
    if mark_of(from).zip(mark_of(to)).is_some_and(|(from, to)| from.identity == to.identity) {
        return Err(Error::usage("both URLs name the same ref-db").hint("name another place to copy it to"));
    }
    let copy = Copy { from, to, deadline, progress };
    copy.refuse_what_is_there().await?;
    let mut done = Copied { closed: from.closed(deadline()).await?, ..Copied::default() };
    let projects = all_projects(from, deadline).await?;
    progress.stage("copying", projects.len());
    for project in &projects {
        done.written += copy.project(project).await?;
        progress.step();
    }
    let sites = from.sites(deadline()).await?;
    for site in &sites {
        to.note_site(site, deadline()).await?;
    }
    let known: BTreeSet<String> = to.sites(deadline()).await?.into_iter().collect();
    if let Some(lost) = sites.iter().find(|site| !known.contains(*site)) {
        return Err(Error::failed(format!("the copy does not list the site `{lost}`")).hint("run it again"));
    }
    done.sites = sites.len();
    copy.compare(&mut done).await?;
    Ok(done)
}

impl Copy<'_> {
    async fn rows(&self, db: &RefDb, project: &Project) -> Result<Rows, RefDbError> {
        Ok(scan_all(db, project, b"", self.deadline).await?.into_iter().collect())
    }

    /// What is not in the source must not be lost in a copy, nor overwritten by it.
    async fn refuse_what_is_there(&self) -> Result<(), Error> {
        let projects = all_projects(self.to, self.deadline).await?;
        self.progress.stage("looking at the target", projects.len());
        let (mut count, mut told) = (0, Vec::new());
        for project in &projects {
            let there = self.rows(self.to, project).await?;
            if !there.is_empty() {
                let ours = self.rows(self.from, project).await?;
                let strange = there.iter().filter(|(name, found)| ours.get(*name) != Some(*found));
                for (name, _) in strange {
                    count += 1;
                    if told.len() < TOLD {
                        told.push(format!("`{name}` of `{project}`"));
                    }
                }
            }
            self.progress.step();
        }
        match count {
            0 => Ok(()),
            _ => Err(Error::failed(format!(
                "the target holds what the source does not, nothing was written: {count} entries, first {}",
                told.join(", ")
            ))
            .hint("copy into an empty place; a copy that was cut short can be continued while the source stays as it was")),
        }
    }

    /// Writes what the target lacks of one project; gives how many entries that were.
    async fn project(&self, project: &Project) -> Result<usize, Error> {
        let there = self.rows(self.to, project).await?;
        let (mut edits, mut written) = (Vec::new(), 0);
        for (name, found) in self.rows(self.from, project).await? {
            if there.contains_key(&name) {
                continue;
            }
            match found {
                Lookup::Entry(entry) => match chain(&name, &entry) {
                    Some(chain) => edits.extend(chain),
                    // A list that no sequence of writes makes.
                    None => {
                        let nothing = Entry::default();
                        self.to.swap_entry(project, &name, &nothing, &entry, (self.deadline)()).await?;
                    }
                },
                Lookup::Text(text) => {
                    let put =
                        self.to.compare_and_put_text(project, &name, None, &text, (self.deadline)()).await?;
                    // Whoever wrote meanwhile is found by the comparison.
                    let (TextOutcome::Applied | TextOutcome::Mismatch { .. }) = put;
                }
                // Told by the comparison.
                Lookup::Locked | Lookup::Unreadable(_) => continue,
            }
            written += 1;
            if edits.len() >= PART {
                self.put(project, &mut edits).await?;
            }
        }
        self.put(project, &mut edits).await?;
        Ok(written)
    }

    async fn put(&self, project: &Project, edits: &mut Vec<Edit>) -> Result<(), Error> {
        if !edits.is_empty() {
            // What was not applied is found by the comparison.
            self.to.compare_and_put(project, edits, Atomicity::Each, (self.deadline)()).await?;
            edits.clear();
        }
        Ok(())
    }

    /// Reads both anew, whatever the writes said.
    async fn compare(&self, done: &mut Copied) -> Result<(), Error> {
        let mut projects: BTreeSet<Project> =
            all_projects(self.from, self.deadline).await?.into_iter().collect();
        projects.extend(all_projects(self.to, self.deadline).await?);
        self.progress.stage("comparing", projects.len());
        for project in projects {
            let (from, to) = (self.rows(self.from, &project).await?, self.rows(self.to, &project).await?);
            done.projects += usize::from(!from.is_empty());
            let names: BTreeSet<&RefName> = from.keys().chain(to.keys()).collect();
            for name in names {
                let (here, there) = (from.get(name), to.get(name));
                // What cannot be read is not known to be the same.
                let readable = matches!(here, Some(Lookup::Entry(_) | Lookup::Text(_)));
                if here == there && readable {
                    done.equal += 1;
                    continue;
                }
                let difference = Difference {
                    project: project.clone(),
                    name: name.clone(),
                    from: told(here),
                    to: told(there),
                };
                done.differences.push(difference);
            }
            self.progress.step();
        }
        Ok(())
    }
}

/// The writes after which exactly `entry` is there, list of superseded values included: one call takes thousands of them,
/// where whole entries are exchanged one by one. `None` when there are no such writes.
fn chain(name: &RefName, entry: &Entry) -> Option<Vec<Edit>> {
    let values = entry.superseded.iter().map(|oid| GlobalRef::At(*oid)).chain([entry.value]);
    let (mut edits, mut there) = (Vec::new(), Entry::default());
    for value in values {
        edits.push(Edit::new(name.clone(), Expected::Exactly(there.value), value));
        there = there.replaced_by(value, false)?;
    }
    (there == *entry).then_some(edits)
}

fn told(found: Option<&Lookup>) -> String {
    match found {
        None => "nothing".into(),
        Some(Lookup::Entry(entry)) => {
            let value = match entry.value {
                GlobalRef::Untracked => "nothing".to_owned(),
                GlobalRef::Deleted => "deleted".to_owned(),
                GlobalRef::At(oid) => oid.to_string(),
            };
            match entry.superseded.len() {
                0 => value,
                n => format!("{value} ({n} superseded)"),
            }
        }
        Some(Lookup::Text(text)) => format!("text:{text}"),
        Some(Lookup::Locked) => "locked".into(),
        Some(Lookup::Unreadable(why)) => format!("unreadable: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use refgate_core::Oid;

    use super::*;

    fn oid(n: u8) -> Oid {
        Oid::from_bytes(&[n; 20]).expect("a legal length")
    }

    #[test]
    fn a_chain_of_writes_makes_the_whole_entry() {
        let name = RefName::new("refs/heads/x").expect("legal");
        let entry = |value, list: &[u8]| Entry { value, superseded: list.iter().map(|n| oid(*n)).collect() };
        for good in [
            entry(GlobalRef::At(oid(1)), &[]),
            entry(GlobalRef::At(oid(1)), &[2, 3]),
            entry(GlobalRef::Deleted, &[2]),
        ] {
            let chain = chain(&name, &good).expect("there is one");
            assert_eq!(chain.len(), good.superseded.len() + 1);
            let made = chain.iter().fold(Entry::default(), |there, edit| {
                assert!(edit.expected.holds(there.value));
                there.replaced_by(edit.new, edit.fast_forward).expect("there is room")
            });
            assert_eq!(made, good);
        }
        assert_eq!(
            chain(&name, &entry(GlobalRef::At(oid(1)), &[2, 2])),
            None,
            "a list that nobody would write"
        );
    }
}
