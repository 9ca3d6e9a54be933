//! Two sites with one ref-db, a repository with the hook at each, and a client that pushes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Lab, PROJECT, Ran, clean, git};

/// How refs are kept and objects are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Files,
    Reftable,
    Sha256,
}

impl Kind {
    /// What `git init` is told.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Kind::Files => &[],
            Kind::Reftable => &["--ref-format=reftable"],
            Kind::Sha256 => &["--object-format=sha256"],
        }
    }
}

/// All kinds that this git knows.
pub fn kinds() -> Vec<Kind> {
    let dir = tempfile::tempdir().unwrap();
    let mut init = clean("git", dir.path());
    init.args(["init", "-q", "--bare", "--ref-format=reftable"]).arg(dir.path());
    match init.output().unwrap().status.success() {
        true => vec![Kind::Files, Kind::Reftable, Kind::Sha256],
        // A git older than 2.45 has no reftable to test.
        false => vec![Kind::Files, Kind::Sha256],
    }
}

pub struct Gated {
    pub lab: Lab,
    client: PathBuf,
    /// `main` at both sites and in the ref-db.
    pub c0: String,
}

impl Gated {
    pub fn new(kind: Kind) -> Gated {
        let lab = Lab::new();
        let init = |path: &Path| {
            let mut init = clean("git", lab.dir.path());
            init.args(["init", "-q", "--bare", "-b", "main"]).args(kind.args());
            assert_eq!(Ran::of(init.arg(path)).code, 0);
        };
        let client = lab.path("client");
        init(&client);
        for site in ["a", "b"] {
            init(&lab.repo(site));
            // No housekeeping beside the tests, and no waiting for the disk.
            for (key, value) in [("receive.autogc", "false"), ("gc.auto", "0"), ("core.fsync", "none")] {
                git(&lab.repo(site), &["config", key, value]);
            }
        }
        let mut gated = Gated { lab, client, c0: String::new() };
        gated.c0 = gated.commit(&[], "c0");
        for site in ["a", "b"] {
            git(&gated.client, &["push", "-q", gated.url(site), &format!("{}:refs/heads/main", gated.c0)]);
        }
        gated.lab.run("a", &["refdb", "seed", PROJECT]).ok();
        for site in ["a", "b"] {
            gated.lab.run(site, &["hook", "install", PROJECT]).ok();
        }
        gated
    }

    fn url(&self, site: &str) -> &'static str {
        // Leaked once per test process: paths of a command line live as long as it does.
        Box::leak(self.lab.repo(site).into_os_string().into_string().unwrap().into_boxed_str())
    }

    /// A commit of the client.
    pub fn commit(&self, parents: &[&str], message: &str) -> String {
        let tree = git(&self.client, &["mktree"]);
        let mut args = vec!["commit-tree", &tree, "-m", message];
        parents.iter().for_each(|parent| args.extend(["-p", parent]));
        git(&self.client, &args)
    }

    /// The command of a push to `site`; arguments are options and refspecs.
    pub fn pushing(&self, site: &str, args: &[&str]) -> Command {
        let mut command = clean("git", self.lab.dir.path());
        command.arg("-C").arg(&self.client).arg("push");
        let (options, specs): (Vec<&str>, Vec<&str>) = args.iter().partition(|a| a.starts_with('-'));
        command.args(options).arg(self.url(site)).args(specs);
        command
    }

    /// So many refs of the client below `refs/NAME/`, all at the same commit.
    pub fn client_refs(&self, name: &str, count: usize) {
        let path = self.client.join("packed-refs");
        let before = fs::read_to_string(&path)
            .unwrap_or_else(|_| "# pack-refs with: peeled fully-peeled sorted \n".into());
        let refs: String = (0..count).map(|i| format!("{} refs/{name}/{i:06}\n", self.c0)).collect();
        fs::write(&path, before + &refs).unwrap();
    }

    pub fn push(&self, site: &str, args: &[&str]) -> Ran {
        Ran::of(&mut self.pushing(site, args))
    }

    /// Moves a ref by a push that must be accepted.
    pub fn accepted(&self, site: &str, spec: &str) {
        let ran = self.push(site, &[spec]);
        assert_eq!(ran.code, 0, "{spec}: {}", ran.err);
    }

    pub fn value(&self, site: &str, name: &str) -> String {
        self.lab.value(site, name)
    }

    pub fn git(&self, site: &str, args: &[&str]) -> String {
        git(&self.lab.repo(site), args)
    }

    /// The entry of a ref: an oid, `deleted` or `untracked`.
    pub fn global(&self, name: &str) -> String {
        let entry = &self.lab.run("a", &["--json", "refdb", "get", PROJECT, name]).json(0)["refs"][0];
        entry["value"].as_str().unwrap_or_else(|| panic!("{entry}")).to_owned()
    }

    /// All refs of a site.
    pub fn values(&self, site: &str) -> BTreeMap<String, String> {
        let listed = self.lab.refs(site);
        let pair = |line: &str| line.split_once(' ').map(|(oid, name)| (name.to_owned(), oid.to_owned()));
        listed.lines().filter_map(pair).collect()
    }

    /// All entries of the ref-db.
    pub fn globals(&self) -> BTreeMap<String, String> {
        let all = self.lab.run("a", &["--json", "refdb", "ls", PROJECT]).json(0);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all["refs"].as_array().unwrap().iter().map(|one| (text(&one["ref"]), text(&one["value"]))).collect()
    }

    pub fn status(&self, site: &str) -> Value {
        let ran = self.lab.run(site, &["--json", "hook", "status", PROJECT]);
        serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {}", ran.err))
    }

    /// Panics when a write left anything behind at `site`: a record, a ref that keeps objects, a lock.
    pub fn is_clean(&self, site: &str) {
        assert_eq!(self.rest_of_writes(site), Vec::<String>::new());
        assert_eq!(self.journal(site), Vec::<String>::new());
        let locks = leftover_locks(&self.lab.repo(site));
        assert!(locks.is_empty(), "{locks:?}");
    }

    /// The names of the files among the records of `site`.
    fn journal(&self, site: &str) -> Vec<String> {
        let files = fs::read_dir(self.lab.repo(site).join("refgate/journal"));
        let name = |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name().into_string().unwrap();
        files.into_iter().flatten().map(name).collect()
    }

    /// What writes left behind at `site`, but for locks: records, refs that keep objects, damage.
    pub fn rest_of_writes(&self, site: &str) -> Vec<String> {
        let repo = self.lab.repo(site);
        let mut rest = Vec::new();
        let unfinished = &self.status(site)["unfinished"];
        if *unfinished != serde_json::json!([]) {
            rest.push(format!("unfinished: {unfinished}"));
        }
        let keeping = self.git(site, &["for-each-ref", "refs/refgate/keep"]);
        if !keeping.is_empty() {
            rest.push(format!("refs: {keeping}"));
        }
        // A file that was about to become a record is none: who dies before it is renamed leaves it, and nobody reads it.
        let records = self.journal(site).into_iter().filter(|name| name.ends_with(".json"));
        rest.extend(records.map(|name| format!("record: {name}")));
        let mut fsck = clean("git", &repo);
        fsck.arg("-C").arg(&repo).args(["fsck", "--strict", "--connectivity-only", "--no-dangling"]);
        let fsck = Ran::of(&mut fsck);
        if fsck.code != 0 || !(fsck.out + &fsck.err).is_empty() {
            rest.push(format!("a damaged repository, by fsck: {}", self.git(site, &["fsck", "--strict"])));
        }
        rest
    }

    /// Panics unless the ref is at `value` at `site` and in the ref-db.
    pub fn is_at(&self, site: &str, name: &str, value: &str) {
        assert_eq!(
            (self.value(site, name).as_str(), self.global(name).as_str()),
            (value, value),
            "{site} {name}"
        );
    }

    pub fn hook(&self, site: &str, name: &str, script: &str) {
        let path = self.lab.repo(site).join("hooks").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        crate::common::mode(&path, 0o755);
    }
}

/// Lock files that git would trip over. Ours are never removed, so they are no sign of anything.
pub fn leftover_locks(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("refgate") {
            found.extend(leftover_locks(&path));
        } else if path.extension().is_some_and(|e| e == "lock") {
            found.push(path);
        }
    }
    found
}

/// Waits until something is so, in real time: another process makes it so.
#[allow(clippy::disallowed_methods)]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come about in 30 s");
}
