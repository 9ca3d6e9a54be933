//! Pushes with the mark of replication: they set what the ref-db holds, and nothing else.

use crate::common::{PROJECT, Ran};
use crate::lab::{Gated, Kind, kinds};

const MARK: &str = "--push-option=refgate.replication=b";

fn marked(g: &Gated, specs: &[&str]) -> Ran {
    let mut args = specs.to_vec();
    args.push(MARK);
    g.push("a", &args)
}

#[test]
fn replication_into_a_gated_site_moves_no_entry() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let c1 = g.commit(&[&g.c0], "c1");
        g.accepted("a", &format!("{c1}:refs/heads/main"));
        let report = g.lab.run("a", &["--json", "push", PROJECT, "b"]).json(0);
        assert_eq!(report["refs"][0]["result"], "replicated", "{report}");
        g.is_at("b", "refs/heads/main", &c1);
        g.is_clean("b");
    }
}

#[test]
fn a_forged_mark_sets_only_what_the_ref_db_holds_over_what_is_accounted_for() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let c1 = g.commit(&[&g.c0], "c1");
        let other = g.commit(&[], "other");
        for spec in [
            format!("{c1}:refs/heads/main"),
            format!("+{other}:refs/heads/main"),
            format!("+{}:refs/heads/main", g.commit(&[&other], "another")),
        ] {
            let ran = marked(&g, &[&spec]);
            assert_eq!(ran.code, 1, "{spec}");
            ran.says(&["not up to date: the ref-db has", &g.c0[..12]]);
        }
        // An unrecorded ref is created or moved forward, as replication does, never rewritten or deleted.
        assert_eq!(marked(&g, &[&format!("{c1}:refs/heads/new")]).code, 0);
        assert_eq!(g.global("refs/heads/new"), "untracked");
        marked(&g, &[&format!("+{other}:refs/heads/new")]).says(&["not accounted for"]);
        marked(&g, &[":refs/heads/new"]).says(&["no deletion"]);
        assert_eq!(g.value("a", "refs/heads/new"), c1);
        // What the ref-db holds may be set, and not over what somebody wrote past it.
        g.git("a", &["config", "receive.denyDeleteCurrent", "ignore"]);
        g.accepted("b", &format!("{c1}:refs/heads/main"));
        g.git("a", &["fetch", "-q", g.lab.path("client").to_str().unwrap(), &other]);
        g.git("a", &["update-ref", "refs/heads/main", &other]);
        marked(&g, &[&format!("+{c1}:refs/heads/main")]).says(&["not accounted for"]);
        assert_eq!(g.value("a", "refs/heads/main"), other);
        g.git("a", &["update-ref", "refs/heads/main", &g.c0]);
        assert_eq!(marked(&g, &[&format!("{c1}:refs/heads/main")]).code, 0);
        g.is_at("a", "refs/heads/main", &c1);
        g.is_clean("a");
    }
}

#[test]
fn patch_sets_and_ignored_refs_go_as_the_tables_say() {
    let g = Gated::new(Kind::Files);
    let (c1, other) = (g.commit(&[&g.c0], "c1"), g.commit(&[], "other"));
    let set = "refs/changes/12/4512/1";
    assert_eq!(marked(&g, &[&format!("{c1}:{set}")]).code, 0);
    marked(&g, &[&format!("+{other}:{set}")]).says(&["patch sets are created"]);
    g.lab.configure("a", "[ref-database \"enforcementRules\"]\n    IGNORED = :refs/heads/scratch");
    assert_eq!(marked(&g, &[&format!("{c1}:refs/heads/scratch")]).code, 0);
    assert_eq!(marked(&g, &[&format!("+{other}:refs/heads/scratch")]).code, 0);
    marked(&g, &[":refs/heads/scratch"]).says(&["no deletion"]);
    assert_eq!(g.value("a", "refs/heads/scratch"), other);
}

#[test]
fn a_refused_ref_is_rejected_at_the_sender_with_the_reason() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    g.hook("b", "update", "exit 1");
    let report = g.lab.run("a", &["--json", "push", PROJECT, "b"]).json(1);
    assert_eq!(report["refs"][0]["result"], "rejected: hook declined", "{report}");
    std::fs::remove_file(g.lab.repo("b").join("hooks/update")).unwrap();
    // The ref-db of the receiver is down: it cannot check, so it does not take.
    g.lab.configure("b", "[ref-database]\n    url = sqlite:nowhere.sqlite");
    let report = g.lab.run("a", &["--json", "push", PROJECT, "b"]).json(1);
    let result = report["refs"][0]["result"].as_str().unwrap();
    assert!(result.starts_with("rejected: ") && result.contains("nowhere.sqlite"), "{report}");
    assert_eq!(g.value("b", "refs/heads/main"), g.c0);
}

#[test]
fn fetching_and_other_push_options_are_not_the_mark() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    let ran = g.push("a", &["--push-option=ci.skip", &format!("{c1}:refs/heads/main")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    g.is_at("a", "refs/heads/main", &c1);
    g.lab.run("b", &["fetch", PROJECT, "a"]).ok();
    g.is_at("b", "refs/heads/main", &c1);
}
