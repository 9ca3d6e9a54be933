//! `writes = gated` is looked at, not believed: a repository without its hook counts as ungated, here and at a remote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::common::{PROJECT, Ran, clean, git};
use crate::lab::{Gated, Kind};

fn hook(g: &Gated, site: &str) -> PathBuf {
    g.lab.repo(site).join("hooks/proc-receive")
}

/// What takes the hook away, and what is said then.
type Loss = (&'static str, fn(&Gated, &str));

const LOSSES: [Loss; 6] = [
    ("it has no hook", |g, site| fs::remove_file(hook(g, site)).unwrap()),
    ("is not refgate's", |g, site| fs::write(hook(g, site), "#!/bin/sh\nexit 1\n").unwrap()),
    ("is not executable", |g, site| {
        fs::set_permissions(hook(g, site), fs::Permissions::from_mode(0o644)).unwrap();
    }),
    ("is another project's", |g, site| replace(g, site, &format!("'{PROJECT}'"), "'team/other'")),
    ("that is no program", |g, site| replace(g, site, "exec '", "exec '/nowhere")),
    ("git does not run the hook for all refs", |g, site| {
        g.git(site, &["config", "--unset-all", "receive.procReceiveRefs"]);
    }),
];

fn shows(ran: &Ran, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(ran.out.contains(part), "`{part}` is not in: {}", ran.out));
}

fn replace(g: &Gated, site: &str, from: &str, to: &str) {
    let text = fs::read_to_string(hook(g, site)).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(hook(g, site), text.replace(from, to)).unwrap();
}

/// A branch `f` at `first`, then `second`, then back at `first`, at both sites: `second` is superseded. Gives `second`.
fn reset(g: &Gated) -> String {
    let second = g.commit(&[&g.c0], "second");
    g.accepted("a", &format!("{}:refs/heads/f", g.c0));
    g.accepted("a", &format!("{second}:refs/heads/f"));
    g.accepted("a", &format!("+{}:refs/heads/f", g.c0));
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    second
}

#[test]
fn a_push_into_a_repository_that_lost_its_hook_is_not_taken_back() {
    for (why, lose) in LOSSES {
        let g = Gated::new(Kind::Files);
        let second = reset(&g);
        lose(&g, "b");
        // Somebody writes what was superseded, and nobody asks the ref-db.
        g.git("b", &["fetch", "-q", g.lab.path("client").to_str().unwrap(), &second]);
        g.git("b", &["update-ref", "refs/heads/f", &second]);

        let ran = g.lab.run("b", &["fetch", PROJECT, "a"]);
        assert_eq!(ran.code, 3, "{why}: {}", ran.err);
        ran.says(&["counts as ungated", PROJECT, why, "refgate hook install"]);
        assert_eq!(g.value("b", "refs/heads/f"), second, "{why}");
        let ran = g.lab.run("b", &["push", PROJECT, "a"]);
        ran.says(&["counts as ungated", why]);
        let ran = g.lab.run("b", &["refdb", "heal", PROJECT, "--yes"]);
        assert_eq!(ran.code, 3, "{why}: {}", ran.err);
        ran.says(&["counts as ungated", why]);
        g.lab.run("b", &["refdb", "check", PROJECT]).says(&["counts as ungated", why]);
        let ran = g.lab.run("b", &["config", "check"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.says(&["counts as ungated", PROJECT, why]);
        let status = g.status("b");
        assert!(status["doubt"].as_str().unwrap().contains(why) && status["good"] == false, "{status}");
        assert_eq!(g.value("b", "refs/heads/f"), second, "{why}");

        // The other site is told the same, and asks.
        let ran = g.lab.run("a", &["push", PROJECT, "b"]);
        assert_eq!(ran.code, 3, "{why}: {}", ran.err);
        ran.says(&["remote.b.writes = gated", "counts as ungated", "did not answer a test push"]);
        assert_eq!(g.value("b", "refs/heads/f"), second, "{why}");
    }
}

#[test]
fn a_hook_that_is_back_is_believed_again() {
    let g = Gated::new(Kind::Files);
    let second = reset(&g);
    fs::remove_file(hook(&g, "b")).unwrap();
    git(&g.lab.repo("b"), &["fetch", "-q", g.lab.path("client").to_str().unwrap(), &second]);
    g.git("b", &["update-ref", "refs/heads/f", &second]);
    assert_eq!(g.lab.run("b", &["fetch", PROJECT, "a"]).code, 3);
    g.lab.run("b", &["hook", "install", PROJECT]).ok();
    // An operator has looked, and lets the superseded value go.
    let report = g.lab.run("b", &["--json", "fetch", PROJECT, "a"]).json(0);
    assert_eq!(report["catch_up"][0]["result"], "replicated", "{report}");
    assert_eq!(g.value("b", "refs/heads/f"), g.c0);
}

#[test]
fn a_remote_is_asked_only_when_a_decision_rests_on_its_hook() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    fs::remove_file(hook(&g, "b")).unwrap();
    g.git("b", &["config", "--unset-all", "receive.procReceiveRefs"]);
    let ran = g.lab.run("a", &["push", PROJECT, "b"]);
    assert_eq!((ran.code, g.value("b", "refs/heads/main")), (0, c1.clone()), "{}", ran.err);
    assert!(!ran.err.contains("ungated"), "a fast-forward goes whatever the hook: {}", ran.err);
    // A deletion rests on it, in a dry run, too.
    g.accepted("a", &format!("{c1}:refs/heads/g"));
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    g.accepted("a", ":refs/heads/g");
    for args in [&["push", PROJECT, "b", "--dry-run"][..], &["push", PROJECT, "b"]] {
        let ran = g.lab.run("a", args);
        assert_eq!(ran.code, 3, "{}", ran.err);
        ran.says(&["counts as ungated"]);
        assert_eq!(g.value("b", "refs/heads/g"), c1);
    }
    g.lab.run("b", &["hook", "install", PROJECT]).ok();
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    assert!(!g.values("b").contains_key("refs/heads/g"));
}

/// A site that comes back from a backup: what was written after it is pushed again, or given up where most is left.
#[test]
fn a_restored_site_gives_up_nothing_that_another_site_has() {
    let g = Gated::new(Kind::Files);
    let (repo, backup) = (g.lab.repo("b"), g.lab.path("backup"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let mut cp = clean("cp", g.lab.dir.path());
        assert_eq!(Ran::of(cp.arg("-a").arg(from).arg(to)).code, 0);
    };
    copy(&repo, &backup);
    let replicated = g.commit(&[&g.c0], "replicated");
    g.accepted("a", &format!("{replicated}:refs/heads/main"));
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    let only = g.commit(&[&replicated], "only at b");
    g.accepted("b", &format!("{only}:refs/heads/main"));
    let restore = || {
        fs::remove_dir_all(&repo).unwrap();
        copy(&backup, &repo);
    };
    restore();

    let ran = g.lab.run("b", &["refdb", "heal", PROJECT]);
    shows(&ran, &["nowhere", "push it again from a clone", &only]);
    let ran = g.lab.run("b", &["refdb", "heal", PROJECT, "--accept-loss", &only, "--yes"]);
    assert_eq!(ran.code, 3);
    shows(&ran, &["`a` has", &replicated, "newer than what is here"]);
    assert_eq!(g.global("refs/heads/main"), only, "not moved");

    // Who has it pushes it again, and nothing is lost.
    g.accepted("b", &format!("{only}:refs/heads/main"));
    assert_eq!((g.value("b", "refs/heads/main"), g.global("refs/heads/main")), (only.clone(), only.clone()));

    restore();
    // Nobody has it any more: it is given up at the site with the newest value.
    g.lab.run("a", &["refdb", "heal", PROJECT, "--accept-loss", &only, "--yes"]).ok();
    assert_eq!(g.global("refs/heads/main"), replicated);
    g.lab.run("b", &["fetch", PROJECT, "a"]).ok();
    assert_eq!(g.value("b", "refs/heads/main"), replicated);
    g.lab.run("b", &["refdb", "check", PROJECT]).ok();
}

/// What a plugin that never loaded would say is unknown, so a hook takes over nothing of what other sites wrote; its own
/// clients are not stopped.
#[test]
fn a_policy_that_nobody_knows_holds_back_what_others_wrote() {
    for known in [true, false] {
        let g = Gated::new(Kind::Files);
        if !known {
            g.lab.write("b/plugins/policy.wasm", "no component");
        }
        let c1 = g.commit(&[&g.c0], "c1");
        g.accepted("a", &format!("{c1}:refs/heads/main"));
        // Its objects come with this push, which is refused either way: `main` is another one by now.
        let c2 = g.commit(&[&c1], "c2");
        let ran = g.push("b", &[&format!("{c2}:refs/heads/main")]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        let want = if known { &c1 } else { &g.c0 };
        assert_eq!(&g.value("b", "refs/heads/main"), want, "{}", ran.err);
        if !known {
            ran.says(&["holds that back here", "filter-failed"]);
        }
        g.accepted("b", &format!("{c2}:refs/heads/other"));
    }
}
