//! What a git that was killed leaves behind, or one that runs for long holds: pushes and replication go on, and heal names it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::common::{PROJECT, Ran, clean};
use crate::lab::{Gated, Kind, kinds};

/// A git that has prepared a transaction and so holds its locks.
struct Holding(Child);

impl Holding {
    fn new(g: &Gated, site: &str, edit: &str) -> Holding {
        let mut git = clean("git", g.lab.dir.path());
        git.arg("--git-dir").arg(g.lab.repo(site)).args(["update-ref", "--no-deref", "--stdin"]);
        let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        write!(child.stdin.as_mut().unwrap(), "start\n{edit}\nprepare\n").unwrap();
        let said = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(said.map_while(Result::ok).any(|line| line == "prepare: ok"), "{edit}");
        Holding(child)
    }

    /// As the kernel does when memory is short: nothing is tidied up.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// As if it had lain there for so long.
fn age(lock: &Path) {
    #[expect(clippy::disallowed_methods, reason = "a file's age is told by the real clock")]
    let then = SystemTime::now() - Duration::from_secs(700);
    File::open(lock).unwrap().set_modified(then).unwrap();
}

fn heal(g: &Gated, args: &[&str], code: i32) -> Value {
    g.lab.run("a", &[&["--json", "refdb", "heal", PROJECT][..], args].concat()).json(code)
}

/// The result of a lock that heal names, and what it says.
fn lock<'v>(healed: &'v Value, name: &str) -> (&'v str, &'v str) {
    let found = healed["left_over"].as_array().unwrap().iter().find(|one| one["name"] == name);
    let found = found.unwrap_or_else(|| panic!("{name} is not named: {healed}"));
    (found["result"].as_str().unwrap(), found["what"].as_str().unwrap())
}

/// Everything that comes by goes on, and says what cannot be cleared away.
fn goes_on(g: &Gated, round: &str) {
    let commit = g.commit(&[&g.c0], round);
    for n in 0..2 {
        g.accepted("a", &format!("{commit}:refs/heads/{round}{n}"));
    }
    let told = "is finished and cannot be cleared away";
    for command in [&["push", PROJECT, "b"][..], &["fetch", PROJECT, "b"]] {
        let ran = g.lab.run("a", command);
        ran.ok();
        ran.says(&[told, "refgate refdb heal"]);
    }
    assert_eq!(g.value("b", &format!("refs/heads/{round}1")), commit);
    g.lab.run("a", &["refdb", "forget", PROJECT, "--yes"]).ok();
    g.lab.run("a", &["refdb", "check", PROJECT]).ok();
    let status = g.lab.run("a", &["hook", "status", PROJECT]);
    assert!(status.exits(3).contains(told) || status.err.contains(told), "{}{}", status.out, status.err);
}

/// `main` is behind the ref-db, and its object is here.
fn behind(g: &Gated, message: &str) -> String {
    let main = g.value("a", "refs/heads/main");
    let next = g.commit(&[&main], message);
    g.git("a", &["fetch", "-q", g.lab.path("client").to_str().unwrap(), &next]);
    g.lab.run("a", &["refdb", "cas", PROJECT, "refs/heads/main", &main, &next]).ok();
    next
}

#[test]
fn a_packed_refs_lock_stops_no_push_and_no_replication_whether_its_git_lives_or_not() {
    for kind in kinds().into_iter().filter(|kind| *kind != Kind::Reftable) {
        let g = Gated::new(kind);
        g.accepted("a", &format!("{}:refs/heads/x", g.c0));
        let git = Holding::new(&g, "a", &format!("delete refs/heads/x {}", g.c0));
        goes_on(&g, "alive");
        git.kill();
        goes_on(&g, "dead");
        // What can be repaired is, and what cannot is named.
        let main = behind(&g, "next");
        let healed = heal(&g, &[], 3);
        let (result, what) = lock(&healed, "packed-refs.lock");
        assert!(result == "left" && what.contains("no process has it open"), "{what}");
        let healed = heal(&g, &["--yes"], 3);
        assert_eq!(lock(&healed, "packed-refs.lock").0, "left");
        assert!(healed["records"].as_array().unwrap().iter().all(|one| one["result"] == "left"), "{healed}");
        assert_eq!(healed["records"].as_array().unwrap().len(), 4, "{healed}");
        g.is_at("a", "refs/heads/main", &main);
        // The lock of the branch goes as well.
        age(&g.lab.repo("a").join("packed-refs.lock"));
        age(&g.lab.repo("a").join("refs/heads/x.lock"));
        let healed = heal(&g, &["--yes"], 0);
        assert_eq!(lock(&healed, "packed-refs.lock").0, "done");
        g.is_clean("a");
    }
}

#[test]
fn the_lock_of_a_ref_that_keeps_objects_stops_its_own_record_only() {
    for kind in kinds().into_iter().filter(|kind| *kind != Kind::Reftable) {
        let g = Gated::new(kind);
        let c1 = g.commit(&[&g.c0], "c1");
        let killed =
            Ran::of(g.pushing("a", &[&format!("{c1}:refs/heads/x")]).env("REFGATE_KILL_AT", "answered"));
        assert_eq!(killed.code, 0, "{}", killed.err);
        let keep = g.git("a", &["for-each-ref", "--format=%(refname)", "refs/refgate/keep"]);
        Holding::new(&g, "a", &format!("verify {keep} {c1}")).kill();
        goes_on(&g, "dead");
        let name = format!("{keep}.lock");
        let healed = heal(&g, &["--yes"], 3);
        assert_eq!(lock(&healed, &name).0, "left");
        assert_eq!(healed["records"].as_array().unwrap().len(), 1, "the others are gone: {healed}");
        age(&g.lab.repo("a").join(&name));
        heal(&g, &["--yes"], 0);
        g.is_clean("a");
    }
}

#[test]
fn what_a_killed_git_leaves_of_a_reftable_is_named_at_once() {
    if !kinds().contains(&Kind::Reftable) {
        return;
    }
    let g = Gated::new(Kind::Reftable);
    let c1 = g.commit(&[&g.c0], "c1");
    Holding::new(&g, "a", &format!("create refs/heads/x {}", g.c0)).kill();
    let tables = g.lab.repo("a").join("reftable");
    // As a compaction does that is killed.
    let table = fs::read_to_string(tables.join("tables.list")).unwrap().lines().next().unwrap().to_owned();
    let (list, one) = ("reftable/tables.list.lock".to_owned(), format!("reftable/{table}.lock"));
    File::create(g.lab.repo("a").join(&one)).unwrap();
    assert_eq!(g.push("a", &[&format!("{c1}:refs/heads/main")]).code, 1, "git cannot, either");
    for args in [&[][..], &["--yes"]] {
        let healed = heal(&g, args, 3);
        assert_eq!((lock(&healed, &list).0, lock(&healed, &one).0), ("left", "left"));
    }
    for name in [&list, &one] {
        age(&g.lab.repo("a").join(name));
    }
    let healed = heal(&g, &["--yes"], 0);
    assert_eq!((lock(&healed, &list).0, lock(&healed, &one).0), ("done", "done"));
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    g.is_clean("a");
}

/// Such a file stops each deletion of a packed ref, and git says nothing of who left it.
#[test]
fn other_files_of_killed_gits_are_named_and_removed() {
    let g = Gated::new(Kind::Files);
    g.accepted("a", &format!("{}:refs/heads/x", g.c0));
    g.git("a", &["pack-refs", "--all"]);
    let names = ["config.lock", "packed-refs.new", "shallow.lock"];
    for name in names {
        File::create(g.lab.repo("a").join(name)).unwrap();
    }
    assert_eq!(g.push("a", &[":refs/heads/x"]).code, 1);
    let healed = heal(&g, &["--yes"], 3);
    names.iter().for_each(|name| assert_eq!(lock(&healed, name).0, "left", "{name}"));
    names.iter().for_each(|name| age(&g.lab.repo("a").join(name)));
    let healed = heal(&g, &["--yes"], 0);
    assert_eq!(healed["left_over"].as_array().unwrap().len(), names.len(), "{healed}");
    g.accepted("a", ":refs/heads/x");
}

#[test]
fn a_damaged_record_does_not_keep_status_from_saying_the_rest() {
    let g = Gated::new(Kind::Files);
    let journal = g.lab.repo("a").join("refgate/journal");
    fs::create_dir_all(&journal).unwrap();
    fs::write(journal.join("9.json"), "{").unwrap();
    let status = g.status("a");
    let warnings = status["warnings"].as_array().unwrap();
    let damaged = warnings.iter().filter(|w| w.as_str().unwrap().contains("9.json")).count();
    assert_eq!((damaged, &status["good"]), (1, &json!(false)), "{status}");
    g.accepted("a", &format!("{}:refs/heads/x", g.c0));
}
