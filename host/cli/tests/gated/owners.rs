//! Other users: what root does in a repository that belongs to somebody, and a group that shares one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{PROJECT, REFGATE, Ran, mode};
use crate::lab::{Gated, Kind, kinds};

/// The owner of the repositories, and a colleague of the same group.
const OWNER: u32 = 2001;
const COLLEAGUE: u32 = 2002;

/// Two sites of `OWNER`, with the program where everybody may run it, and with root trusting the repositories.
struct Owned {
    g: Gated,
}

impl Owned {
    fn new(kind: Kind, shared: Option<&str>) -> Owned {
        let g = Gated::new(kind);
        mode(g.lab.dir.path(), 0o755);
        fs::copy(REFGATE, g.lab.path("refgate")).unwrap();
        for site in ["a", "b"] {
            if let Some(shared) = shared {
                g.git(site, &["config", "core.sharedRepository", shared]);
            }
            let mut install = Command::new(g.lab.path("refgate"));
            install.current_dir(g.lab.path(site)).args(["hook", "install", PROJECT]);
            Ran::of(&mut install).ok();
        }
        // Each command of the tests has a home of its own.
        for home in [g.lab.path(""), g.lab.path("client"), g.lab.repo("a"), g.lab.repo("b")] {
            fs::write(home.join(".gitconfig"), "[safe]\n\tdirectory = *\n").unwrap();
        }
        sh(&g.lab.path(""), &format!("chown -R {OWNER}:{OWNER} a/git b/git client refdb.sqlite*"));
        if shared.is_some() {
            sh(
                &g.lab.path(""),
                "chmod -R g+rwX a/git b/git refdb.sqlite*; find a/git b/git -type d -exec chmod g+s {} +",
            );
        }
        // SQLite makes files beside the ref-db, whoever uses it.
        fs::create_dir(g.lab.path("db")).unwrap();
        sh(
            &g.lab.path(""),
            &format!("mv refdb.sqlite* db; chown -R {OWNER}:{OWNER} db; chmod -R g+rwX db; chmod g+s db"),
        );
        for site in ["a", "b"] {
            g.lab.configure(site, "[ref-database]\n    url = sqlite:../db/refdb.sqlite");
        }
        Owned { g }
    }

    /// A push by a user; returns what git said.
    fn push(&self, uid: u32, commit: &str, name: &str) -> Ran {
        let mut push = self.g.pushing("a", &[&format!("{commit}:{name}")]);
        Ran::of(push.uid(uid).gid(OWNER))
    }

    fn commit(&self, parent: &str, message: &str) -> String {
        let made = self.g.commit(&[parent], message);
        sh(&self.g.lab.path(""), &format!("chown -R {OWNER}:{OWNER} client"));
        made
    }

    /// The program, as root or as somebody.
    fn run(&self, uid: Option<u32>, site: &str, args: &[&str]) -> Ran {
        let mut command =
            crate::common::clean(self.g.lab.path("refgate").to_str().unwrap(), self.g.lab.dir.path());
        command.current_dir(self.g.lab.path(site)).args(args);
        if let Some(uid) = uid {
            command.uid(uid).gid(OWNER);
        }
        Ran::of(&mut command)
    }
}

fn sh(dir: &Path, script: &str) {
    let ran = Ran::of(Command::new("sh").current_dir(dir).args(["-c", script]));
    assert_eq!(ran.code, 0, "{script}: {}", ran.err);
}

/// As after a move of the repository: whoever comes next makes refgate's files.
fn forget_locks(o: &Owned, site: &str) {
    let dir = o.g.lab.repo(site).join("refgate");
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap();
    }
}

/// Somebody with an account and no right but to read.
const STRANGER: u32 = 3002;

/// The ways in which an open file is locked, as a command of perl that then says so and waits to be killed.
const LOCKS: &str = r#"use Fcntl qw(:flock F_SETLK F_RDLCK SEEK_SET);
open(my $f, q(<), $ARGV[0]) or exit 13;
my $all = pack("s s x4 q q l x4", F_RDLCK, SEEK_SET, 0, 0, 0);
flock($f, LOCK_EX | LOCK_NB) or exit 14;
fcntl($f, F_SETLK, $all) or exit 15;
$| = 1; print "locked\n"; <STDIN>;"#;

/// Whether `uid` gets the file locked in every way; it stays locked until what is given back is dropped.
fn locked_by(uid: u32, file: &Path) -> Result<Holding, i32> {
    let mut perl = Command::new("perl");
    perl.args(["-e", LOCKS]).arg(file).current_dir("/").uid(uid).gid(uid);
    let mut child = perl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    match line.as_str() {
        "locked\n" => Ok(Holding(child)),
        _ => Err(child.wait().unwrap().code().unwrap()),
    }
}

/// A process that holds a lock for as long as this lives.
#[derive(Debug)]
struct Holding(Child);

impl Drop for Holding {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// A directory and all that is below it.
fn all_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match fs::symlink_metadata(&path).unwrap().is_dir() {
            true => found.extend(all_below(&path)),
            false => found.push(path),
        }
    }
    found
}

/// All lock files that refgate has made below a directory.
fn locks_below(dir: &Path) -> Vec<PathBuf> {
    let is_lock = |path: &PathBuf| path.extension().is_some_and(|e| e == "lock");
    all_below(dir).into_iter().filter(is_lock).collect()
}

/// What the owner of a repository can put there before root comes by.
#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_no_link_of_the_owner_leads_root_out_of_the_repository() {
    let o = Owned::new(Kind::Files, None);
    let c1 = o.commit(&o.g.c0, "1");
    assert_eq!(o.push(OWNER, &c1, "refs/heads/main").code, 0);
    let outside = o.g.lab.path("outside");
    // The whole directory.
    fs::create_dir(&outside).unwrap();
    mode(&outside, 0o755);
    sh(
        &o.g.lab.repo("a"),
        &format!("mv refgate kept; ln -s {} refgate; chown -h {OWNER}:{OWNER} refgate", outside.display()),
    );
    let ran = o.run(None, "a", &["push", PROJECT, "b"]);
    assert_ne!(ran.code, 0);
    ran.says(&["refgate` is a link that the owner of the repository made"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    sh(&o.g.lab.repo("a"), "rm refgate; mv kept refgate");
    o.run(None, "a", &["push", PROJECT, "b"]).ok();
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_who_may_only_read_can_hold_no_lock_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let o = Owned::new(Kind::Files, None);
        for site in ["a", "b"] {
            forget_locks(&o, site);
            sh(
                &o.g.lab.path(site),
                "rm -rf git/.refgate; chmod 755 git; find git -type d -exec chmod 755 {} +",
            );
        }
        // As another release made the most important one.
        sh(
            &o.g.lab.repo("b"),
            &format!(
                "mkdir refgate; touch refgate/refs.lock; chmod 644 refgate/refs.lock; chown -R {OWNER}:{OWNER} refgate"
            ),
        );
        let c1 = o.commit(&o.g.c0, "1");
        // Whatever opens it first, before its owner has narrowed it.
        drop(locked_by(STRANGER, &o.g.lab.repo("b").join("refgate/refs.lock")).expect("it is open to all"));
        let run = |dir: &Path, command: String| {
            let mut shell = crate::common::clean("sh", o.g.lab.dir.path());
            shell.current_dir(dir).args(["-c", &format!("umask {umask}; {command}")]).uid(OWNER).gid(OWNER);
            Ran::of(&mut shell)
        };
        for site in ["a", "b"] {
            let client = o.g.lab.path("client");
            let push = format!("git push -q {} {c1}:refs/heads/{site}", o.g.lab.repo(site).display());
            assert_eq!(run(&client, push).code, 0);
            let other = if site == "a" { "b" } else { "a" };
            let program = o.g.lab.path("refgate");
            let ran = run(&o.g.lab.path(site), format!("{} push {PROJECT} {other}", program.display()));
            assert_eq!(ran.code, 0, "{}", ran.err);
        }
        let mut locks: Vec<PathBuf> =
            ["a", "b"].iter().flat_map(|s| locks_below(&o.g.lab.path(s).join("git"))).collect();
        locks.sort();
        let named = |name: &str| locks.iter().filter(|path| path.ends_with(name)).count();
        assert_eq!(
            (named("refs.lock"), named("session-a.lock"), named("refdb.lock")),
            (2, 1, 2),
            "{locks:?}"
        );
        // What else lies there can be written by no more than the repository itself.
        for site in ["a", "b"] {
            let git = o.g.lab.path(site).join("git");
            for path in all_below(&o.g.lab.repo(site).join("refgate"))
                .into_iter()
                .chain(all_below(&git.join(".refgate")))
            {
                let mode = fs::symlink_metadata(&path).unwrap().mode();
                assert_eq!(mode & 0o022, 0, "umask {umask}: {} has mode {mode:o}", path.display());
            }
        }
        // Nobody gets one open, so nobody can lock it in any way.
        for lock in &locks {
            assert_eq!(locked_by(STRANGER, lock).err(), Some(13), "umask {umask}: {}", lock.display());
        }
    }
}

/// What below `dir` belongs to root.
fn of_root(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.uid() == 0 || meta.gid() == 0 {
            found.push(path.display().to_string());
        }
        if meta.is_dir() {
            found.extend(of_root(&path));
        }
    }
    found
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_run_by_root_leaves_nothing_that_stops_the_owner() {
    for kind in kinds() {
        let o = Owned::new(kind, None);
        let c1 = o.commit(&o.g.c0, "1");
        for site in ["a", "b"] {
            forget_locks(&o, site);
        }
        assert_eq!(o.push(OWNER, &c1, "refs/heads/1").code, 0, "{kind:?}");
        forget_locks(&o, "a");
        // Root sends, catches up, fetches, looks after and forgets.
        o.run(None, "a", &["push", PROJECT, "b"]).ok();
        o.run(None, "b", &["fetch", PROJECT, "a"]).ok();
        let c2 = o.commit(&c1, "2");
        assert_eq!(o.push(OWNER, &c2, "refs/heads/new/2").code, 0, "{kind:?}");
        o.run(None, "b", &["fetch", PROJECT, "a"]).ok();
        assert_eq!(o.g.value("b", "refs/heads/new/2"), c2);
        o.run(None, "b", &["refdb", "heal", PROJECT, "--yes"]).ok();
        o.run(None, "b", &["refdb", "forget", PROJECT]);
        o.run(None, "b", &["hook", "install", PROJECT, "--audit"]).ok();
        for site in ["a", "b"] {
            assert_eq!(of_root(&o.g.lab.repo(site)), Vec::<String>::new(), "{kind:?}");
        }
        assert_eq!(of_root(&o.g.lab.path("db")), Vec::<String>::new());
        let c3 = o.commit(&c2, "3");
        let ran = o.push(OWNER, &c3, "refs/heads/new/2");
        assert_eq!(ran.code, 0, "{kind:?}: {}", ran.err);
        o.run(Some(OWNER), "a", &["push", PROJECT, "b"]).ok();
        assert_eq!(o.g.value("b", "refs/heads/new/2"), c3, "{kind:?}");
    }
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_group_goes_on_in_a_shared_repository_whoever_came_first() {
    for kind in kinds() {
        let o = Owned::new(kind, Some("group"));
        for site in ["a", "b"] {
            forget_locks(&o, site);
        }
        let mut last = o.g.c0.clone();
        for (i, uid) in [OWNER, COLLEAGUE, OWNER, COLLEAGUE].into_iter().enumerate() {
            last = o.commit(&last, &i.to_string());
            let ran = o.push(uid, &last, "refs/heads/dir/x");
            assert_eq!(ran.code, 0, "{kind:?} {uid}: {}", ran.err);
            let other = if uid == OWNER { COLLEAGUE } else { OWNER };
            o.run(Some(other), "a", &["push", PROJECT, "b"]).ok();
            assert_eq!(o.g.value("b", "refs/heads/dir/x"), last, "{kind:?}");
            let status = o.run(None, "a", &["--json", "hook", "status", PROJECT]);
            let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
            assert_eq!(status["files"]["count"], 0, "{kind:?}: {status}");
        }
    }
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_finished_record_that_may_not_be_removed_stops_nobody() {
    let o = Owned::new(Kind::Files, Some("group"));
    let c1 = o.commit(&o.g.c0, "1");
    for site in ["a", "b"] {
        forget_locks(&o, site);
    }
    assert_eq!(o.push(OWNER, &o.g.c0, "refs/heads/first").code, 0);
    // Everybody of the group makes records, and nobody removes those of the others.
    let journal = o.g.lab.repo("a").join("refgate/journal");
    sh(&o.g.lab.path(""), &format!("chown root:{OWNER} {} && chmod 3775 {0}", journal.display()));
    let mut push = o.g.pushing("a", &[&format!("{c1}:refs/heads/killed")]);
    push.env("REFGATE_KILL_AT", "answered").uid(COLLEAGUE).gid(OWNER);
    assert_eq!(Ran::of(&mut push).code, 0);
    assert_eq!(fs::read_dir(&journal).unwrap().count(), 1);
    for name in ["refs/heads/x", "refs/heads/y"] {
        let ran = o.push(OWNER, &c1, name);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(!ran.err.contains("journal"), "no matter of a pusher: {}", ran.err);
    }
    let ran = o.run(Some(OWNER), "a", &["push", PROJECT, "b"]);
    ran.ok();
    ran.says(&["is finished and cannot be cleared away", "journal", "Operation not permitted"]);
    assert_eq!(o.g.value("b", "refs/heads/y"), c1);
    let healed = o.run(Some(OWNER), "a", &["--json", "refdb", "heal", PROJECT, "--yes"]).json(3);
    assert_eq!(healed["records"][0]["result"], "left", "{healed}");
    o.run(Some(COLLEAGUE), "a", &["refdb", "heal", PROJECT, "--yes"]).ok();
    assert_eq!(fs::read_dir(&journal).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_status_names_the_files_that_stop_the_owner_and_what_mends_it() {
    let o = Owned::new(Kind::Files, None);
    for site in ["a", "b"] {
        o.g.git(site, &["config", "core.fsync", "committed"]);
    }
    sh(&o.g.lab.path(""), &format!("chown -R {OWNER}:{OWNER} a/git b/git"));
    let c0 = o.g.c0.clone();
    assert_eq!(o.push(OWNER, &c0, "refs/heads/other").code, 0);
    o.run(None, "a", &["hook", "status", PROJECT]).ok();
    let lock = o.g.lab.repo("a").join("refgate/refs.lock");
    sh(&o.g.lab.path(""), &format!("chown root:root {} && chmod 644 {0}", lock.display()));
    let c1 = o.commit(&o.g.c0, "1");
    let refused = o.push(OWNER, &c1, "refs/heads/main");
    assert_eq!(refused.code, 1, "{}", refused.err);
    let ran = o.run(None, "a", &["hook", "status", PROJECT]);
    ran.exits(3);
    ran.says(&[
        "refgate/refs.lock` belongs to root:root with mode 0644: it cannot be written by `2001`",
        "hint: as root: `chown -R 2001:2001 ",
    ]);
    let status = o.run(Some(OWNER), "a", &["--json", "hook", "status", PROJECT]).json(3);
    assert_eq!((&status["good"], &status["files"]["count"]), (&false.into(), &1.into()), "{status}");
    assert_eq!(status["files"]["first"][0]["mode"], "0644");
    sh(&o.g.lab.path(""), status["files"]["cure"].as_str().unwrap());
    o.run(Some(OWNER), "a", &["hook", "status", PROJECT]).ok();
    assert_eq!(o.push(OWNER, &c1, "refs/heads/main").code, 0);
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_hook_that_the_user_may_not_read_counts_as_none_and_stops_nothing() {
    let o = Owned::new(Kind::Files, None);
    let c1 = o.commit(&o.g.c0, "1");
    o.g.git("b", &["fetch", "-q", o.g.lab.path("client").to_str().unwrap(), &c1]);
    sh(&o.g.lab.path(""), &format!("chown -R {OWNER}:{OWNER} b/git"));
    assert_eq!(Ran::of(o.g.pushing("b", &[&format!("{c1}:refs/heads/main")]).uid(OWNER).gid(OWNER)).code, 0);
    let hook = o.g.lab.repo("a").join("hooks/proc-receive");
    sh(&o.g.lab.path(""), &format!("chown root:root {} && chmod 700 {0}", hook.display()));
    let ran = o.run(Some(OWNER), "a", &["fetch", PROJECT, "b"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.says(&["counts as ungated", "its hook cannot be looked at", "proc-receive"]);
    assert_eq!(o.g.value("a", "refs/heads/main"), c1);
    o.run(Some(OWNER), "a", &["config", "check"]).says(&["its hook cannot be looked at"]);
}
