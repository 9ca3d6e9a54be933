//! `kill -9` at every step of a gated write: afterwards the next push, fetch or status finds a whole world, or makes it one.

use crate::common::{PROJECT, Ran};
use crate::lab::{Gated, Kind, kinds, until};

/// From here on git has its answer and believes it, whatever becomes of the hook.
const ANSWERED: [&str; 4] = ["answered", "released", "ended", "never"];

/// The steps, and whether the ref-db has moved when the process dies there.
const STEPS: [(&str, bool); 11] = [
    ("begun", false),
    ("locked", false),
    ("checked", false),
    ("record", false),
    ("journal", false),
    ("put", true),
    ("local", true),
    ("answered", true),
    ("released", true),
    ("ended", true),
    ("never", true),
];

/// The change that each of these pushes makes: a `/meta` with its first patch set, a branch forward, one rewritten, one
/// deleted, one created.
struct Change {
    specs: Vec<String>,
    after: Vec<(&'static str, String)>,
    before: Vec<(&'static str, String)>,
}

const META: &str = "refs/changes/12/4512/meta";
const PATCH_SET: &str = "refs/changes/12/4512/1";

fn prepare(g: &Gated) -> Change {
    let c1 = g.commit(&[&g.c0], "c1");
    let rewritten = g.commit(&[], "rewritten");
    for name in ["forced", "gone"] {
        g.accepted("a", &format!("{c1}:refs/heads/{name}"));
    }
    let specs = [
        format!("{c1}:refs/heads/main"),
        format!("+{rewritten}:refs/heads/forced"),
        ":refs/heads/gone".to_owned(),
        format!("{c1}:refs/heads/fresh"),
        format!("{c1}:{META}"),
        format!("{rewritten}:{PATCH_SET}"),
    ];
    let none = String::new;
    Change {
        specs: specs.to_vec(),
        before: vec![
            ("refs/heads/main", g.c0.clone()),
            ("refs/heads/forced", c1.clone()),
            ("refs/heads/gone", c1.clone()),
            ("refs/heads/fresh", none()),
            (META, none()),
            (PATCH_SET, none()),
        ],
        after: vec![
            ("refs/heads/main", c1.clone()),
            ("refs/heads/forced", rewritten.clone()),
            ("refs/heads/gone", none()),
            ("refs/heads/fresh", c1.clone()),
            (META, c1),
            (PATCH_SET, rewritten),
        ],
    }
}

fn are(g: &Gated, site: &str, refs: &[(&'static str, String)], when: &str) {
    let (local, global) = (g.values(site), g.globals());
    for (name, value) in refs {
        let (here, there) = (local.get(*name), global.get(*name));
        assert_eq!(here.map_or("", String::as_str), value, "{when}: {name} at {site}");
        if *name != PATCH_SET {
            let there = there.map_or("", |v| v.trim_start_matches("deleted"));
            assert_eq!(there, value, "{when}: {name} in the ref-db");
        }
    }
}

fn killed(g: &Gated, step: &str, atomic: bool, change: &Change) -> Ran {
    let mut specs: Vec<&str> = change.specs.iter().map(String::as_str).collect();
    if atomic {
        specs.push("--atomic");
    }
    Ran::of(g.pushing("a", &specs).env("REFGATE_KILL_AT", step))
}

fn survives(kind: Kind, atomic: bool) {
    let steps = STEPS.iter().filter(|(step, _)| !atomic || ["journal", "put", "local"].contains(step));
    for &(step, moved) in steps {
        let when = format!("{kind:?}, {step}, atomic {atomic}");
        let g = Gated::new(kind);
        let change = prepare(&g);
        let ran = killed(&g, step, atomic, &change);
        assert_eq!(ran.code == 0, ANSWERED.contains(&step), "{when}: {}", ran.err);
        // Any push to this repository finishes or drops it, whatever it pushes.
        g.accepted("a", &format!("{}:refs/heads/other", g.c0));
        are(&g, "a", if moved { &change.after } else { &change.before }, &when);
        g.is_clean("a");
        // Whoever lost the answer may push the same again.
        let again = killed(&g, "never", atomic, &change);
        if !moved {
            assert_eq!(again.code, 0, "{when}: {}", again.err);
        }
        are(&g, "a", &change.after, &when);
        // And it spreads like every other write.
        g.lab.run("a", &["push", PROJECT, "b"]).ok();
        are(&g, "b", &change.after, &when);
        g.is_clean("a");
        g.is_clean("b");
    }
}

#[test]
fn a_kill_at_every_step_is_repaired_by_the_next_push() {
    survives(Kind::Files, false);
}

#[test]
fn a_kill_at_every_step_is_repaired_by_the_next_push_on_other_storages() {
    kinds().into_iter().filter(|kind| *kind != Kind::Files).for_each(|kind| survives(kind, false));
}

#[test]
fn a_kill_in_an_atomic_push_is_repaired_by_the_next_push() {
    kinds().into_iter().for_each(|kind| survives(kind, true));
}

#[test]
fn status_tells_what_is_unfinished() {
    let g = Gated::new(Kind::Files);
    let change = prepare(&g);
    killed(&g, "put", false, &change);
    let status = g.status("a");
    let one = &status["unfinished"][0];
    assert_eq!(one["running"], false, "{status}");
    assert_eq!(one["refs"].as_array().unwrap().len(), 6);
    assert_eq!(one["refs"][5], META, "patch sets first");
    assert_eq!(status["good"], false);
    assert_eq!(g.value("a", "refs/heads/main"), g.c0, "looking changes nothing");
    let ran = g.lab.run("a", &["hook", "status", PROJECT]);
    assert!(ran.exits(3).contains("unfinished: "), "{}", ran.out);
    ran.says(&["the next push"]);
}

#[test]
fn without_a_process_the_objects_are_kept_until_the_write_is_finished() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let change = prepare(&g);
        killed(&g, "put", false, &change);
        g.git("a", &["-c", "gc.pruneExpire=now", "prune", "--expire=now"]);
        g.git("a", &["pack-refs", "--all"]);
        g.accepted("a", &format!("{}:refs/heads/other", g.c0));
        are(&g, "a", &change.after, &format!("{kind:?}"));
        g.is_clean("a");
    }
}

#[test]
fn a_write_goes_on_without_receive_pack_and_without_the_client() {
    for kind in kinds() {
        for step in ["checked", "journal", "put", "local"] {
            let g = Gated::new(kind);
            let c1 = g.commit(&[&g.c0], "c1");
            let held = g.lab.path("held");
            let mut push = g.pushing("a", &[&format!("{c1}:refs/heads/main")]);
            push.env("REFGATE_HOLD_AT", format!("{step}:{}", held.display()));
            let mut client = push.stderr(std::process::Stdio::null()).spawn().unwrap();
            until("the hook arrives", || held.exists());
            // The parent of the hook, and with it everybody who waits for an answer.
            for pid in receive_packs(&g) {
                assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            }
            assert!(!client.wait().unwrap().success());
            assert!(g.status("a")["unfinished"].as_array().unwrap().iter().all(|one| one["running"] == true));
            std::fs::remove_file(&held).unwrap();
            until("the hook ends its write", || g.value("a", "refs/heads/main") == c1);
            until("the record goes", || g.status("a")["unfinished"].as_array().unwrap().is_empty());
            g.is_at("a", "refs/heads/main", &c1);
            g.accepted("a", &format!("{c1}:refs/heads/other"));
            g.is_clean("a");
        }
    }
}

/// The receive-packs of this laboratory, by their arguments.
fn receive_packs(g: &Gated) -> Vec<String> {
    let repo = g.lab.repo("a").into_os_string().into_string().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let Some(pid) = path.file_name().and_then(|n| n.to_str()).filter(|n| n.parse::<u32>().is_ok()) else {
            continue;
        };
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let args: Vec<&[u8]> = line.split(|b| *b == 0).collect();
        let is_git = args.first().is_some_and(|a| a.ends_with(b"git") || a.ends_with(b"git-receive-pack"));
        let named = args.contains(&repo.as_bytes());
        if is_git && named && args.iter().any(|a| a.ends_with(b"receive-pack")) {
            found.push(pid.to_owned());
        }
    }
    assert!(!found.is_empty(), "no receive-pack is running");
    found
}
