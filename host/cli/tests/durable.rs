//! What a pusher is told is accepted is on disk, in the order that the steps of a gated write need: seen in the system
//! calls of a real push through the hook, not assumed.
//!
//! Needs `strace`; where it is missing, or may not watch, the tests show as ignored, unless `REFGATE_REQUIRE` names it.

#[path = "cli/common.rs"]
#[allow(dead_code)]
mod common;
#[path = "gated/lab.rs"]
#[allow(dead_code)]
mod lab;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use common::{PROJECT, Ran, clean};
use lab::{Gated, Kind, kinds};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let required = std::env::var("REFGATE_REQUIRE").unwrap_or_default();
    let required = required.split_whitespace().any(|name| name == "strace");
    let can_watch = || {
        let mut strace = Command::new("strace");
        strace.args(["-e", "trace=none", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
        strace.status().is_ok_and(|status| status.success())
    };
    let ignored = !required && !can_watch();
    let mut trials = Vec::new();
    for kind in kinds() {
        for refs in [1, 200] {
            let name = format!("{}::a_push_of_{refs}", format!("{kind:?}").to_lowercase());
            let run = move || {
                a_push_is_on_disk(kind, refs);
                Ok::<(), Failed>(())
            };
            trials.push(Trial::test(name, run).with_ignored_flag(ignored));
        }
    }
    let told_not_to = || {
        a_repository_that_says_none_is_not_overruled();
        Ok::<(), Failed>(())
    };
    trials.push(Trial::test("files::none_is_none", told_not_to).with_ignored_flag(ignored));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// One system call of a push: its name, and the path of the handle that it is about, or all its arguments.
struct Call {
    name: String,
    path: String,
    text: String,
}

/// Pushes and returns the system calls of git and of everything that it starts, in their order.
fn watched(g: &Gated, specs: &[String]) -> Vec<Call> {
    let log = g.lab.path("calls");
    let mut strace = clean("strace", g.lab.dir.path());
    strace.args(["-f", "-y", "-qq", "-s", "64", "-o"]).arg(&log);
    strace.args(["-e", "trace=fsync,fdatasync,syncfs,rename,renameat,renameat2,write"]);
    let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
    let push = g.pushing("a", &specs);
    strace.arg(push.get_program()).args(push.get_args());
    Ran::of(&mut strace).ok();
    let text = fs::read(&log).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().filter_map(call).collect()
}

/// `1234 fsync(5</path/to/file>) = 0`; of a call that is cut in two by another process, the first half counts.
fn call(line: &str) -> Option<Call> {
    let (_, call) = line.split_once(' ')?;
    let (name, rest) = call.trim_start().split_once('(')?;
    let path = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path);
    Some(Call { name: name.into(), path: path.into(), text: rest.into() })
}

fn is_sync(call: &Call) -> bool {
    matches!(call.name.as_str(), "fsync" | "fdatasync" | "syncfs")
}

/// The place of the first call that `is` so; panics when there is none.
fn first(calls: &[Call], what: &str, is: impl Fn(&Call) -> bool) -> usize {
    calls.iter().position(is).unwrap_or_else(|| panic!("no {what}"))
}

fn last(calls: &[Call], what: &str, is: impl Fn(&Call) -> bool) -> usize {
    calls.iter().rposition(is).unwrap_or_else(|| panic!("no {what}"))
}

fn a_push_is_on_disk(kind: Kind, refs: usize) {
    let g = Gated::new(kind);
    g.git("a", &["config", "--unset", "core.fsync"]);
    g.lab.run("a", &["hook", "install", PROJECT]).ok();
    assert_eq!(g.git("a", &["config", "core.fsync"]), "committed");
    assert_eq!(g.status("a")["warnings"], serde_json::json!([]));
    let specs: Vec<String> =
        (0..refs).map(|i| format!("{}:refs/heads/some/{i}", g.commit(&[&g.c0], &format!("c{i}")))).collect();
    let calls = watched(&g, &specs);

    let repo = g.lab.repo("a").canonicalize().unwrap().display().to_string();
    let below = |call: &Call, dir: &str| call.path.starts_with(&format!("{repo}/{dir}"));
    let at = |call: &Call, dir: &str| call.path == format!("{repo}/{dir}");
    let synced = |dir: &'static str| move |call: &Call| is_sync(call) && below(call, dir);

    // Every object, as itself or in a pack with its index, and the names of all.
    let record = first(&calls, "record", synced("refgate/journal/."));
    let objects: BTreeSet<&str> = calls[..record]
        .iter()
        .filter(|call| is_sync(call) && call.path.contains("/objects/tmp_objdir-incoming-"))
        .map(|call| call.path.as_str())
        .collect();
    match refs {
        1 => assert!(!objects.is_empty(), "the object is not waited for"),
        _ => {
            let of = |what: &str| objects.iter().any(|path| path.contains(what));
            assert!(of("tmp_pack") && of("tmp_idx"), "the pack, or its index: {objects:?}");
        }
    }
    let dirs = match refs {
        1 => objects.len(),
        _ => 1,
    };
    let names: BTreeSet<&str> = calls[..record]
        .iter()
        .filter(|call| is_sync(call) && below(call, "objects") && !call.path.contains("tmp_objdir"))
        .map(|call| call.path.as_str())
        .collect();
    assert!(names.len() >= dirs, "{names:?} for {objects:?}");

    // The record and its name; the directory was made by this push, so its name counts as well.
    let journal = last(&calls, "directory of records", |call| is_sync(call) && at(call, "refgate/journal"));
    assert!(calls[..journal].iter().any(|call| is_sync(call) && at(call, "refgate")), "the new directory");

    // The refs that keep the objects, then the ref-db, then the refs, then the answer.
    let (keep, keep_dir, local, local_dir): (&str, &str, &str, &str) = match kind {
        Kind::Reftable => ("reftable/", "reftable", "reftable/", "reftable"),
        _ => ("refs/refgate/keep/", "refs/refgate/keep", "refs/heads/some/", "refs/heads/some"),
    };
    let refdb = |call: &Call| is_sync(call) && call.path.contains("/refdb.sqlite");
    let refdb_moved = journal + first(&calls[journal..], "ref-db", refdb);
    let kept = &calls[journal..refdb_moved];
    let count = |calls: &[Call], dir: &str| {
        let locks = calls.iter().filter(|call| is_sync(call) && below(call, dir) && !at(call, dir));
        locks.map(|call| call.path.clone()).collect::<BTreeSet<_>>().len()
    };
    let each = if kind == Kind::Reftable { 1 } else { refs };
    assert!(count(kept, keep) >= each, "{} refs that keep {refs} objects are on disk", count(kept, keep));
    assert!(kept.iter().any(|call| is_sync(call) && at(call, keep_dir)), "and their names");
    let answers = |call: &Call| call.name == "write" && call.text.contains("ok refs/heads/some/");
    let answer = first(&calls, "answer", answers);
    let moved = &calls[refdb_moved..answer];
    assert!(count(moved, local) >= each, "{} of {refs} refs are on disk", count(moved, local));
    assert!(moved.iter().any(|call| is_sync(call) && at(call, local_dir)), "and their names");
    // Nothing is renamed into place after its directory was waited for.
    let renamed = |call: &Call| call.name.starts_with("rename") && call.text.contains(local);
    if kind != Kind::Reftable {
        let done = last(moved, "rename", renamed);
        assert!(moved[done..].iter().any(|call| is_sync(call) && at(call, local_dir)));
    }
    // A push must not cost more than each object, each ref twice, and a few.
    let all = calls.iter().filter(|call| is_sync(call)).count();
    assert!(all <= 2 * refs + 40, "{all} for {refs} refs");
}

fn a_repository_that_says_none_is_not_overruled() {
    let g = Gated::new(Kind::Files);
    let ran = g.lab.run("a", &["hook", "install", PROJECT]);
    ran.ok();
    ran.says(&["core.fsync = none", "power cut", "git config core.fsync committed"]);
    assert_eq!(g.lab.run("a", &["hook", "status", PROJECT]).code, 3);
    let c1 = g.commit(&[&g.c0], "c1");
    let calls = watched(&g, &[format!("{c1}:refs/heads/main")]);
    let repo = g.lab.repo("a").canonicalize().unwrap();
    let by_git = calls.iter().filter(|call| is_sync(call) && call.path.starts_with(repo.to_str().unwrap()));
    let ours = |path: &&str| path.contains("/refgate") || repo.as_os_str() == *path;
    let paths: Vec<&str> = by_git.map(|call| call.path.as_str()).filter(|path| !ours(path)).collect();
    assert_eq!(paths, Vec::<&str>::new(), "only refgate's own records are waited for");
}
