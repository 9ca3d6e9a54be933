//! What others write past the hook: noted by the audit, refused by the backstop, and neither in anybody's way.

use serde_json::{Value, json};

use crate::common::{PROJECT, Ran, clean};
use crate::lab::{Gated, Kind, kinds};

fn drift(g: &Gated) -> Vec<(String, Value)> {
    let all = g.status("a")["drift"].as_array().unwrap().clone();
    all.into_iter().map(|d| (d["ref"].as_str().unwrap().to_owned(), d["new"].clone())).collect()
}

/// git in the repository of A, by somebody who may fail.
fn by_hand(g: &Gated, args: &[&str]) -> Ran {
    let mut command = clean("git", g.lab.dir.path());
    Ran::of(command.arg("-C").arg(g.lab.repo("a")).args(args))
}

#[test]
fn the_audit_notes_others_writes_and_only_those() {
    for kind in kinds() {
        let g = Gated::new(kind);
        g.lab.run("a", &["hook", "install", PROJECT, "--audit"]).ok();
        let c1 = g.commit(&[&g.c0], "c1");
        g.accepted("a", &format!("{c1}:refs/heads/main"));
        g.accepted("a", &format!("{c1}:refs/heads/x"));
        g.lab.run("a", &["push", PROJECT, "b"]).ok();
        g.git("a", &["pack-refs", "--all"]);
        g.git("a", &["symbolic-ref", "HEAD", "refs/heads/x"]);
        g.git("a", &["update-ref", "refs/remotes/o/x", &c1]);
        assert_eq!(drift(&g), [], "{kind:?}: refgate, housekeeping, and what never replicates");

        let ran = by_hand(&g, &["update-ref", "refs/heads/main", &g.c0]);
        assert_eq!(ran.code, 0);
        ran.says(&["refs/heads/main was written past the ref-db", "hook status"]);
        g.git("a", &["update-ref", "-d", "refs/heads/x"]);
        g.git("a", &["branch", "made", &c1]);
        let expected = [
            ("refs/heads/made".to_owned(), json!(c1)),
            ("refs/heads/main".to_owned(), json!(g.c0)),
            ("refs/heads/x".to_owned(), Value::Null),
        ];
        assert_eq!(drift(&g), expected, "{kind:?}");
        let ran = g.lab.run("a", &["hook", "status", PROJECT]);
        ran.exits(3);
        assert!(ran.out.contains("written past the hook: refs/heads/main"), "{}", ran.out);
        // Packing lists the same refs again; that is no news.
        let noted = std::fs::read_to_string(g.lab.repo("a").join("refgate/drift.jsonl")).unwrap();
        g.git("a", &["pack-refs", "--all"]);
        assert_eq!(std::fs::read_to_string(g.lab.repo("a").join("refgate/drift.jsonl")).unwrap(), noted);
        // What was made good is not shown any more.
        g.git("a", &["update-ref", "refs/heads/main", &c1]);
        g.lab.run("a", &["refdb", "seed", PROJECT]);
        assert_eq!(drift(&g).iter().map(|d| d.0.as_str()).collect::<Vec<_>>(), ["refs/heads/x"], "{kind:?}");
    }
}

#[test]
fn the_audit_is_never_in_the_way() {
    let g = Gated::new(Kind::Files);
    g.lab.run("a", &["hook", "install", PROJECT, "--audit"]).ok();
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/x"));
    std::fs::rename(g.lab.path("refdb.sqlite"), g.lab.path("away")).unwrap();
    assert_eq!(by_hand(&g, &["update-ref", "refs/heads/main", &c1]).code, 0);
    assert_eq!(g.value("a", "refs/heads/main"), c1);
}

#[test]
fn the_backstop_refuses_what_the_ref_db_does_not_hold() {
    let g = Gated::new(Kind::Files);
    g.lab.run("a", &["hook", "install", PROJECT, "--audit", "--backstop"]).ok();
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/x"));
    let other = g.commit(&[&g.c0], "other");
    g.accepted("b", &format!("{other}:refs/heads/main"));
    for args in [["update-ref", "refs/heads/main", &c1], ["branch", "made", &c1]] {
        let ran = by_hand(&g, &args);
        assert_ne!(ran.code, 0, "{args:?}");
        ran.says(&["is not written past the ref-db", "push the change"]);
    }
    assert_eq!(g.value("a", "refs/heads/main"), g.c0);
    // The global value may be set by whoever has it, and the local one once more; deletions and packing pass.
    g.git("a", &["fetch", "-q", g.lab.repo("b").to_str().unwrap(), "+refs/heads/main:refs/heads/main"]);
    assert_eq!(g.value("a", "refs/heads/main"), other);
    for args in [
        vec!["update-ref", "refs/heads/x", &c1],
        vec!["pack-refs", "--all"],
        vec!["update-ref", "-d", "refs/heads/x"],
    ] {
        let ran = by_hand(&g, &args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
    }
    assert_eq!(drift(&g), [("refs/heads/x".to_owned(), Value::Null)], "the audit sees the deletion");
    // Pushes and replication go on.
    let next = g.commit(&[&other], "next");
    g.accepted("a", &format!("{next}:refs/heads/main"));
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    assert_eq!(g.value("a", "refs/heads/x"), c1, "catch-up brings back what was deleted past the ref-db");
    assert_eq!(g.value("b", "refs/heads/main"), next);
    // Without the ref-db nobody knows what is right.
    std::fs::rename(g.lab.path("refdb.sqlite"), g.lab.path("away")).unwrap();
    let ran = by_hand(&g, &["update-ref", "refs/heads/main", &other]);
    assert_ne!(ran.code, 0);
    ran.says(&["`refgate hook status` at this site says why"]);
    assert!(g.status("a").to_string().contains("refdb.sqlite"), "{}", g.status("a"));
    assert_eq!(g.value("a", "refs/heads/main"), next);
}

#[test]
fn there_is_no_backstop_on_reftable_and_states_from_the_future_pass() {
    if kinds().contains(&Kind::Reftable) {
        let g = Gated::new(Kind::Reftable);
        let ran = g.lab.run("a", &["hook", "install", PROJECT, "--backstop"]);
        ran.fails(2, &["reftable", "--audit"]);
    }
    let g = Gated::new(Kind::Files);
    for state in ["preparing", "aborted", "whatever"] {
        let mut hook = g.lab.command("a");
        hook.current_dir(g.lab.repo("a")).arg("--config").arg(g.lab.path("a/refgate.config"));
        assert_eq!(Ran::of(hook.args(["hook", "reference-transaction", PROJECT, state])).code, 0, "{state}");
    }
}
