//! `hook install`, `uninstall` and `status`.

use std::fs;

use serde_json::json;

use crate::common::{PROJECT, Ran, git, mode};
use crate::lab::{Gated, Kind, kinds};

#[test]
fn installing_twice_changes_nothing_and_says_so() {
    for kind in kinds() {
        let g = Gated::new(kind);
        g.git("a", &["config", "core.fsync", "committed"]);
        let again = g.lab.run("a", &["--json", "hook", "install", PROJECT]).json(0);
        let steps = again["steps"].as_array().unwrap();
        assert!(steps.len() >= 6 && steps.iter().all(|step| step["changed"] == false), "{again}");
        assert_eq!((&again["tested"], &again["writes"]), (&json!(true), &json!("gated")));
        assert_eq!(g.git("a", &["config", "--get-all", "receive.procReceiveRefs"]), "refs");
        assert_eq!(g.git("a", &["config", "--get-all", "transfer.hideRefs"]), "refs/refgate/keep");
        let status = g.status("a");
        assert_eq!((&status["proc_receive"], &status["good"]), (&json!("current"), &json!(true)), "{status}");
        assert_eq!(g.lab.run("a", &["hook", "status", PROJECT]).code, 0);
    }
}

#[test]
fn the_setting_that_matches_nothing_is_replaced() {
    let g = Gated::new(Kind::Files);
    g.git("a", &["config", "--replace-all", "receive.procReceiveRefs", "refs/*"]);
    let status = g.status("a");
    assert_eq!(status["good"], false);
    assert!(
        status["warnings"][0].as_str().unwrap().contains("does not run the hook for all refs"),
        "{status}"
    );
    let again = g.lab.run("a", &["hook", "install", PROJECT]);
    assert!(again.ok().contains("receive.procReceiveRefs = refs: done"), "{}", again.out);
    assert_eq!(g.git("a", &["config", "--get-all", "receive.procReceiveRefs"]), "refs");
}

#[test]
fn a_foreign_hook_is_not_overwritten() {
    let g = Gated::new(Kind::Files);
    for name in ["proc-receive", "reference-transaction"] {
        g.hook("a", name, "exit 0");
        let ran = g.lab.run("a", &["hook", "install", PROJECT, "--audit"]);
        ran.fails(2, &["another hook is in the way", name]);
        let path = g.lab.repo("a").join("hooks").join(name);
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 0\n");
        if name == "proc-receive" {
            assert_eq!(g.status("a")["proc_receive"], "foreign");
        }
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn the_hook_goes_where_git_looks_for_it() {
    let g = Gated::new(Kind::Files);
    for (dir, value) in [(g.lab.repo("a").join("mine"), "mine".to_owned()), {
        let dir = g.lab.path("shared hooks");
        (dir.clone(), dir.into_os_string().into_string().unwrap())
    }] {
        g.git("a", &["config", "core.hooksPath", &value]);
        assert_eq!(g.status("a")["proc_receive"], "missing");
        let ran = g.lab.run("a", &["hook", "install", PROJECT]);
        ran.ok();
        assert!(dir.join("proc-receive").is_file(), "{}", ran.out);
        let c = g.commit(&[&g.value("a", "refs/heads/main")], &value);
        g.accepted("a", &format!("{c}:refs/heads/main"));
        g.is_at("a", "refs/heads/main", &c);
    }
    // Two repositories with one directory of hooks: the second install must not take the hook from the first.
    let shared = g.lab.path("shared hooks").into_os_string().into_string().unwrap();
    let other = g.lab.path("a/git/other.git");
    git(g.lab.dir.path(), &["init", "-q", "--bare", other.to_str().unwrap()]);
    git(&other, &["config", "core.hooksPath", &shared]);
    let ran = g.lab.run("a", &["hook", "install", "other"]);
    ran.fails(2, &["hook of another project", "core.hooksPath"]);
}

#[test]
fn an_old_hook_is_renewed_and_flags_are_kept_apart() {
    let g = Gated::new(Kind::Files);
    let hook = g.lab.repo("a").join("hooks/proc-receive");
    let current = fs::read_to_string(&hook).unwrap();
    fs::write(&hook, current.replace("refgate.config", "moved.config")).unwrap();
    assert_eq!(g.status("a")["proc_receive"], "outdated");
    g.lab.run("a", &["hook", "install", PROJECT, "--audit"]).ok();
    assert_eq!(fs::read_to_string(&hook).unwrap(), current);
    let status = g.status("a");
    assert_eq!((&status["audit"], &status["backstop"]), (&json!(true), &json!(false)));
    g.lab.run("a", &["hook", "install", PROJECT]).ok();
    assert_eq!(g.status("a")["reference_transaction"], "missing");
}

#[test]
fn uninstalling_leaves_a_plain_repository() {
    let g = Gated::new(Kind::Files);
    g.lab.run("a", &["hook", "install", PROJECT, "--audit"]).ok();
    let ran = g.lab.run("a", &["hook", "uninstall", PROJECT]);
    ran.ok();
    ran.says(&["`site.writes` is still `gated`"]);
    let hooks = g.lab.repo("a").join("hooks");
    assert!(!hooks.join("proc-receive").exists() && !hooks.join("reference-transaction").exists());
    let settings = g.git("a", &["config", "--list", "--local"]);
    assert!(!settings.contains("procreceiverefs") && !settings.contains("hiderefs"), "{settings}");
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    assert_eq!(g.global("refs/heads/main"), g.c0, "nobody asks the ref-db any more");
    assert_eq!(g.lab.run("a", &["hook", "uninstall", PROJECT]).code, 0);
    assert_eq!(g.lab.run("a", &["hook", "status", PROJECT]).code, 3);
}

#[test]
fn a_site_that_is_not_gated_yet_is_told_what_comes_next() {
    let g = Gated::new(Kind::Files);
    g.lab.configure("a", "[site]\n    writes = ungated");
    let ran = g.lab.run("a", &["hook", "install", PROJECT]);
    ran.ok();
    ran.says(&["not gated yet", "site.writes = gated", "remote.NAME.writes = gated"]);
    // The hook works all the same: it comes before the setting.
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    g.is_at("a", "refs/heads/main", &c1);
}

#[test]
fn a_hook_that_git_does_not_run_fails_the_test_push() {
    let g = Gated::new(Kind::Files);
    // Somebody's settings for all repositories hide every ref of refgate, so the test cannot reach the hook.
    g.git("a", &["config", "--add", "receive.hideRefs", "refs/refgate"]);
    let ran = g.lab.run("a", &["hook", "install", PROJECT]);
    ran.exits(1);
    ran.says(&["test push", "hidden ref"]);
    g.git("a", &["config", "--unset", "receive.hideRefs"]);
    g.lab.run("a", &["hook", "install", "nowhere"]).fails(2, &["unknown project"]);
    let config = g.lab.path("a/refgate.config");
    mode(&config, 0o666);
    let c1 = g.commit(&[&g.c0], "c1");
    let ran: Ran = g.push("a", &[&format!("{c1}:refs/heads/main")]);
    assert_eq!(ran.code, 1, "a configuration that anybody may write is none");
    assert_eq!(g.value("a", "refs/heads/main"), g.c0);
}
