//! Pushes with the mark of replication: they set what the ref-db holds, and nothing else.

use crate::common::{PROJECT, Ran, mode};
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
        // A ref that the ref-db does not know is created as a client creates one, and then it is like any other.
        assert_eq!(marked(&g, &[&format!("{c1}:refs/heads/new")]).code, 0);
        g.is_at("a", "refs/heads/new", &c1);
        marked(&g, &[&format!("+{other}:refs/heads/new")]).says(&["not up to date: the ref-db has"]);
        marked(&g, &[":refs/heads/new"]).says(&["not up to date: the ref-db has"]);
        assert_eq!(g.value("a", "refs/heads/new"), c1);
        g.git("a", &["update-ref", "refs/heads/unseeded", &g.c0]);
        for spec in [format!("{c1}:refs/heads/unseeded"), format!("+{other}:refs/heads/unseeded")] {
            marked(&g, &[&spec]).says(&["all sites together do not know it yet"]);
        }
        marked(&g, &[":refs/heads/unseeded"]).says(&["no deletion"]);
        assert_eq!(g.value("a", "refs/heads/unseeded"), g.c0);
        assert_eq!(g.global("refs/heads/unseeded"), "untracked");
        g.git("a", &["update-ref", "-d", "refs/heads/unseeded"]);
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
fn replicated_is_said_only_of_a_ref_that_moved_at_the_destination() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let c1 = g.commit(&[&g.c0], "c1");
        // From here on the ref-db holds it, whatever becomes of the ref at the other site.
        g.accepted("a", &format!("{c1}:refs/heads/main"));
        let is_rejected = || {
            let report = g.lab.run("a", &["--json", "push", PROJECT, "b"]).json(1);
            let result = report["refs"][0]["result"].as_str().unwrap().to_owned();
            assert!(result.starts_with("rejected: "), "{report}");
            assert_eq!(g.value("b", "refs/heads/main"), g.c0);
            assert_eq!(marked_at(&g, "b", &c1).code, 1, "whoever sends it");
        };
        let hook = "if grep -q ' refs/heads/main$'; then exit 1; fi";
        g.hook("b", "reference-transaction", hook);
        is_rejected();
        std::fs::remove_file(g.lab.repo("b").join("hooks/reference-transaction")).unwrap();
        if matches!(kind, Kind::Files) {
            let lock = g.lab.repo("b").join("refs/heads/main.lock");
            std::fs::write(&lock, "").unwrap();
            is_rejected();
            std::fs::remove_file(lock).unwrap();
        }
        let report = g.lab.run("a", &["--json", "push", PROJECT, "b"]).json(0);
        assert_eq!(report["refs"][0]["result"], "replicated", "{report}");
        g.is_at("b", "refs/heads/main", &c1);
    }
}

fn marked_at(g: &Gated, site: &str, commit: &str) -> Ran {
    g.push(site, &[&format!("{commit}:refs/heads/main"), MARK])
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

#[test]
fn of_two_sites_that_take_a_new_ref_under_the_mark_one_wins() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let (x, y) = (g.commit(&[&g.c0], "x"), g.commit(&[], "y"));
        assert_eq!(marked(&g, &[&format!("{x}:refs/heads/rel")]).code, 0);
        let ran = g.push("b", &[&format!("{y}:refs/heads/rel")]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        let ran = g.push("b", &[MARK, &format!("{y}:refs/heads/rel")]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert_eq!(g.value("b", "refs/heads/rel"), "");
        // The name is nobody's hostage: what was recorded arrives, and goes on by an ordinary push.
        g.lab.run("a", &["push", PROJECT, "b"]).ok();
        g.is_at("b", "refs/heads/rel", &x);
        g.accepted("b", &format!("{}:refs/heads/rel", g.commit(&[&x], "x2")));
        g.is_clean("b");
    }
}

#[test]
fn a_name_that_another_one_excludes_is_refused_under_the_mark_too() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("b", &format!("{c1}:refs/heads/rel"));
    marked(&g, &[&format!("{c1}:refs/heads/rel/1")]).says(&["is in its way: the ref-db has it"]);
    assert_eq!(g.value("a", "refs/heads/rel/1"), "");
    assert_eq!(g.global("refs/heads/rel/1"), "untracked");
}

#[test]
fn a_change_goes_whole_under_the_mark_too() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let (c1, other) = (g.commit(&[&g.c0], "c1"), g.commit(&[], "other"));
        let of = |part: &str| format!("refs/changes/12/4512/{part}");
        assert_eq!(marked(&g, &[&format!("{c1}:{}", of("1"))]).code, 0);
        let ran = marked(&g, &[&format!("+{other}:{}", of("1")), &format!("{other}:{}", of("meta"))]);
        ran.says(&["patch sets are created", "of the same change was refused"]);
        assert_eq!(g.value("a", &of("meta")), "");
        assert_eq!(g.global(&of("meta")), "untracked");
    }
}

/// The same secret at both sites, or each its own.
fn secret(g: &Gated, site: &str, text: &str) {
    let path = g.lab.path(&format!("{site}.secret"));
    std::fs::write(&path, text).unwrap();
    mode(&path, 0o600);
    g.lab.configure(site, &format!("[site]\n    secretFile = {}", path.display()));
}

#[test]
fn a_site_with_a_secret_takes_no_mark_without_it() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    secret(&g, "a", "the secret of the sites\n");
    for forged in [&[][..], &["--push-option=refgate.seal=00:00"], &["--push-option=refgate.seal="]] {
        let spec = format!("{c1}:refs/heads/new");
        let args = [&[MARK, spec.as_str()], forged].concat();
        let ran = g.push("a", &args);
        assert_eq!(ran.code, 1);
        ran.says(&["the mark of replication is not"]);
        assert_eq!(g.value("a", "refs/heads/new"), "");
    }
    let refused = g.status("a")["refused"].to_string();
    assert!(refused.contains("forged it") && refused.contains("refgate.replication=b"), "{refused}");
    // Clients need no secret, and send none.
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    // A site that has another secret, or none, is refused; with the same one, it replicates.
    for theirs in
        [None, Some("some other secret\n"), Some("the next secret of all\nthe secret of the sites\n")]
    {
        g.accepted("b", &format!("{}:refs/heads/b{}", g.c0, theirs.map_or(0, str::len)));
        if let Some(text) = theirs {
            secret(&g, "b", text);
        }
        let report = g.lab.run("b", &["--json", "push", PROJECT, "a"]).json(1);
        assert!(report.to_string().contains("the mark of replication is not"), "{report}");
    }
    secret(&g, "a", "the secret of the sites\nthe next secret of all\n");
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    g.is_at("b", "refs/heads/main", &c1);
    g.lab.run("b", &["push", PROJECT, "a"]).ok();
    assert_eq!(g.values("a"), g.values("b"));
    assert_eq!(g.values("a").len(), 4);
}

#[test]
fn what_git_refuses_of_a_sealed_push_does_not_stop_the_rest() {
    let g = Gated::new(Kind::Files);
    for site in ["a", "b"] {
        secret(&g, site, "the secret of the sites\n");
    }
    g.git("b", &["config", "receive.hideRefs", "refs/heads/hidden"]);
    for name in ["hidden/x", "one", "two"] {
        g.accepted("a", &format!("{}:refs/heads/{name}", g.c0));
    }
    let report = g.lab.run("a", &["--json", "push", PROJECT, "b"]).json(1);
    let result = |i: usize| report["refs"][i]["result"].as_str().unwrap();
    assert!(result(0).contains("hidden"), "{report}");
    assert_eq!([result(1), result(2)], ["replicated"; 2], "{report}");
}

#[test]
fn a_secret_that_others_may_read_stops_replication_and_no_client() {
    let g = Gated::new(Kind::Files);
    secret(&g, "a", "the secret of the sites\n");
    mode(&g.lab.path("a.secret"), 0o644);
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    let ran = g.lab.run("a", &["push", PROJECT, "b"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    ran.says(&["site.secretFile", "others may read it", "chmod 640"]);
    marked(&g, &[&format!("{c1}:refs/heads/new")]).says(&["site.secretFile"]);
    assert_eq!(g.value("a", "refs/heads/new"), "");
}
