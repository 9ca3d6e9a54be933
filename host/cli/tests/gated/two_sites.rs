//! Writes at two sites that share one ref-db: what is accepted at one replicates to the other, whatever it is.

use crate::common::PROJECT;
use crate::lab::{Gated, Kind, kinds};

#[test]
fn forced_updates_deletions_and_new_beginnings_replicate() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let replicate = |from: &str, to: &str| {
            g.lab.run(from, &["push", PROJECT, to]).ok();
        };
        let c1 = g.commit(&[&g.c0], "c1");
        g.accepted("a", &format!("{c1}:refs/heads/x"));
        replicate("a", "b");
        let rewritten = g.commit(&[], "rewritten");
        g.accepted("b", &format!("+{rewritten}:refs/heads/x"));
        replicate("b", "a");
        assert_eq!(g.value("a", "refs/heads/x"), rewritten);
        g.accepted("a", ":refs/heads/x");
        assert_eq!(g.global("refs/heads/x"), "deleted");
        replicate("a", "b");
        assert_eq!(g.value("b", "refs/heads/x"), "");
        g.accepted("b", &format!("{c1}:refs/heads/x"));
        g.is_at("b", "refs/heads/x", &c1);
        replicate("b", "a");
        assert_eq!(g.value("a", "refs/heads/x"), c1);
        g.is_clean("a");
        g.is_clean("b");
    }
}

#[test]
fn a_stale_site_may_not_create_what_the_other_has_nor_keep_what_it_deleted() {
    let g = Gated::new(Kind::Files);
    let (c1, c2) = (g.commit(&[&g.c0], "c1"), g.commit(&[&g.c0], "c2"));
    g.accepted("a", &format!("{c1}:refs/heads/x"));
    let ran = g.push("b", &[&format!("{c2}:refs/heads/x")]);
    assert_eq!(ran.code, 1);
    ran.says(&["not up to date", &c1, "here it is absent"]);
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    g.accepted("a", ":refs/heads/x");
    // B has the object and the record of the deletion, so it catches up and the client is told that it is gone.
    let ran = g.push("b", &[&format!("+{c2}:refs/heads/x")]);
    assert_eq!(ran.code, 1);
    ran.says(&["it is absent here now"]);
    assert_eq!(g.value("b", "refs/heads/x"), "");
    g.accepted("b", &format!("{c2}:refs/heads/x"));
    g.is_at("b", "refs/heads/x", &c2);
}

#[test]
fn an_atomic_push_is_all_or_nothing_at_both_places() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let c1 = g.commit(&[&g.c0], "c1");
        g.accepted("b", &format!("{c1}:refs/heads/main"));
        let c2 = g.commit(&[&g.c0], "c2");
        let specs =
            [format!("{c2}:refs/heads/main"), format!("{c2}:refs/heads/x"), format!("{c2}:refs/tags/x")];
        let mut args: Vec<&str> = specs.iter().map(String::as_str).collect();
        args.push("--atomic");
        let ran = g.push("a", &args);
        assert_eq!(ran.code, 1);
        ran.says(&["not up to date", "atomic push failed: `refs/heads/main` was refused"]);
        for name in ["refs/heads/x", "refs/tags/x"] {
            assert_eq!((g.value("a", name), g.global(name)), (String::new(), "untracked".into()));
        }
        g.is_clean("a");
        let ran = g.push("a", &["--atomic", &specs[1], &specs[2]]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        g.is_at("a", "refs/heads/x", &c2);
        g.is_at("a", "refs/tags/x", &c2);
    }
}

#[test]
fn a_change_stands_or_falls_together() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let (meta, set) = ("refs/changes/12/4512/meta", "refs/changes/12/4512/1");
        let (m1, p1) = (g.commit(&[], "m1"), g.commit(&[&g.c0], "p1"));
        let (m2, p2) = (g.commit(&[], "m2"), g.commit(&[&g.c0], "p2"));
        let ran = g.push("a", &[&format!("{m1}:{meta}"), &format!("{p1}:{set}")]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_eq!(g.global(set), "untracked", "patch sets are not recorded");
        // The other site does not know the change: its upload loses by its `/meta`, and takes the patch set with it.
        let ran =
            g.push("b", &[&format!("{m2}:{meta}"), &format!("{p2}:{set}"), &format!("{p2}:refs/heads/x")]);
        assert_eq!(ran.code, 1);
        ran.says(&["not up to date", "of the same change was refused"]);
        assert_eq!((g.value("b", meta), g.value("b", set)), (String::new(), String::new()));
        g.is_at("b", "refs/heads/x", &p2);
        g.lab.run("a", &["push", PROJECT, "b"]).ok();
        assert_eq!((g.value("b", meta), g.value("b", set)), (m1.clone(), p1.clone()));
        // The other way round: a patch set that exists keeps its `/meta` back.
        let m3 = g.commit(&[&m1], "m3");
        let ran = g.push("b", &[&format!("{m3}:{meta}"), &format!("+{p2}:{set}")]);
        assert_eq!(ran.code, 1);
        ran.says(&["patch sets are created, never changed", "of the same change was refused"]);
        g.is_at("b", meta, &m1);
        let ran = g.push("b", &[&format!("{m3}:{meta}"), &format!("{p2}:refs/changes/12/4512/2")]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        g.is_clean("b");
    }
}

#[test]
fn what_the_rules_leave_alone_goes_without_the_ref_db() {
    let g = Gated::new(Kind::Files);
    let (c1, other) = (g.commit(&[&g.c0], "c1"), g.commit(&[], "other"));
    g.lab.configure("a", "[ref-database \"enforcementRules\"]\n    IGNORED = :refs/heads/scratch");
    for spec in [
        format!("{c1}:refs/heads/scratch"),
        format!("+{other}:refs/heads/scratch"),
        ":refs/heads/scratch".into(),
    ] {
        g.accepted("a", &spec);
        assert_eq!(g.global("refs/heads/scratch"), "untracked");
    }
    // A project that does not match is nobody's business, either.
    g.lab.configure("a", "[projects]\n    pattern = other/*");
    g.accepted("a", &format!("+{other}:refs/heads/main"));
    assert_eq!((g.value("a", "refs/heads/main"), g.global("refs/heads/main")), (other, g.c0.clone()));
}

#[test]
fn without_a_gate_pushes_go_as_in_plain_git() {
    let g = Gated::new(Kind::Files);
    let other = g.commit(&[], "other");
    g.lab.configure("a", "[ref-database]\n    enabled = false");
    std::fs::rename(g.lab.path("refdb.sqlite"), g.lab.path("away")).unwrap();
    g.accepted("a", &format!("+{other}:refs/heads/main"));
    assert_eq!(g.value("a", "refs/heads/main"), other);
    assert_eq!(g.push("a", &[&format!("{other}:refs/refgate/x")]).code, 1, "names are still names");
    std::fs::rename(g.lab.path("away"), g.lab.path("refdb.sqlite")).unwrap();
    assert_eq!(g.global("refs/heads/main"), g.c0);
}
