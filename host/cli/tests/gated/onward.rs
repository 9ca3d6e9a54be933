//! `hook install --replicate`: what is pushed is sent on in the background. And replication in the foreground of two hooks.

use std::fs;
use std::process::Stdio;

use serde_json::json;

use crate::common::{PROJECT, REFGATE, Ran};
use crate::lab::{Gated, Kind, until};

/// Both sites send on to each other.
fn both() -> Gated {
    let g = Gated::new(Kind::Files);
    for (site, other) in [("a", "b"), ("b", "a")] {
        // What the lab saves time with is something to look at.
        g.git(site, &["config", "core.fsync", "committed"]);
        g.lab.run(site, &["hook", "install", PROJECT, "--replicate", other]).ok();
    }
    g
}

fn arrives(g: &Gated, site: &str, name: &str, value: &str) {
    until(&format!("{name} at {site}"), || g.value(site, name) == value);
}

fn settles(g: &Gated, site: &str) {
    until("nothing is left to be sent", || {
        let one = &g.status(site)["replicates"][0];
        one["pending"].is_null() && one["running"] == false
    });
}

#[test]
fn a_push_arrives_at_the_other_site_and_is_not_sent_back() {
    let g = both();
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    arrives(&g, "b", "refs/heads/main", &c1);
    settles(&g, "a");
    let log = fs::read_to_string(g.lab.repo("a").join("refgate/onward-b.log")).unwrap();
    assert!(log.contains(" UTC push team/app to b: 1 replicated, 0 held back, 0 rejected\n"), "{log}");
    assert!(!g.lab.repo("b").join("refgate/onward-a.log").exists(), "b was to send nothing");
    // The other way round, with several refs and a deletion.
    let c2 = g.commit(&[&c1], "c2");
    let ran = g.push("b", &[&format!("{c2}:refs/heads/main"), &format!("{c2}:refs/heads/topic")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.err.contains("replicated"), "a pusher is told of the push alone: {}", ran.err);
    arrives(&g, "a", "refs/heads/topic", &c2);
    arrives(&g, "a", "refs/heads/main", &c2);
    settles(&g, "b");
    g.accepted("b", ":refs/heads/topic");
    arrives(&g, "a", "refs/heads/topic", "");
}

#[test]
fn many_pushes_at_once_leave_nothing_behind() {
    let g = both();
    let pushes: Vec<_> = (0..8)
        .map(|i| {
            let site = if i % 2 == 0 { "a" } else { "b" };
            let c = g.commit(&[&g.c0], &format!("c{i}"));
            let name = format!("refs/heads/t{i}");
            let child = g.pushing(site, &[&format!("{c}:{name}")]).stderr(Stdio::null()).spawn().unwrap();
            (child, name, c)
        })
        .collect();
    for (mut child, name, c) in pushes {
        assert!(child.wait().unwrap().success(), "{name}");
        arrives(&g, "a", &name, &c);
        arrives(&g, "b", &name, &c);
    }
    settles(&g, "a");
    settles(&g, "b");
    assert_eq!(g.values("a"), g.values("b"));
}

#[test]
fn the_pusher_does_not_wait_for_the_other_site() {
    let g = both();
    let (held, c1, c2) = (g.lab.path("held"), g.commit(&[&g.c0], "c1"), g.commit(&[&g.c0], "c2"));
    g.hook("b", "pre-receive", &format!("touch {0}; while test -e {0}; do sleep 0.05; done", held.display()));
    g.accepted("a", &format!("{c1}:refs/heads/one"));
    // The push is over, and the session is still held at b. The second one finds it at work, and is not lost.
    until("the session arrives", || held.exists());
    g.accepted("a", &format!("{c2}:refs/heads/two"));
    let status = g.status("a");
    assert_eq!(status["replicates"][0]["running"], true, "{status}");
    assert_eq!(g.value("b", "refs/heads/one"), "");
    fs::remove_file(g.lab.repo("b").join("hooks/pre-receive")).unwrap();
    fs::remove_file(held).unwrap();
    arrives(&g, "b", "refs/heads/one", &c1);
    arrives(&g, "b", "refs/heads/two", &c2);
    settles(&g, "a");
    assert_eq!(g.status("a")["good"], true);
}

#[test]
fn what_could_not_be_sent_stays_noted_until_it_is() {
    let g = both();
    let (there, away) = (g.lab.repo("b"), g.lab.path("away.git"));
    fs::rename(&there, &away).unwrap();
    let c1 = g.commit(&[&g.c0], "c1");
    let ran = g.push("a", &[&format!("{c1}:refs/heads/main")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    until("it fails", || !g.status("a")["replicates"][0]["failed"].is_null());
    until("it ends", || g.status("a")["replicates"][0]["running"] == false);
    let ran = g.lab.run("a", &["hook", "status", PROJECT]);
    assert!(
        ran.exits(3).contains("not sent on to b at 20") && ran.out.contains("still to be sent on to b"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("there is no repository at") && ran.out.contains("onward-b.log"), "{}", ran.out);
    ran.says(&["refgate push team/app b"]);
    fs::rename(&away, &there).unwrap();
    // Not by a part of it, nor by a look at it.
    g.lab.run("a", &["push", PROJECT, "b", "--dry-run"]).ok();
    g.lab.run("a", &["push", PROJECT, "b", "--ref", "refs/heads/none"]).ok();
    assert!(!g.status("a")["replicates"][0]["pending"].is_null());
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    let status = g.status("a");
    assert_eq!(
        (&status["good"], &status["replicates"][0]["failed"]),
        (&json!(true), &json!(null)),
        "{status}"
    );
    g.is_at("b", "refs/heads/main", &c1);
}

#[test]
fn a_process_that_was_killed_is_followed_by_the_next() {
    let g = both();
    let (held, c1, c2) = (g.lab.path("held"), g.commit(&[&g.c0], "c1"), g.commit(&[&g.c0], "c2"));
    g.hook("b", "pre-receive", &format!("touch {0}; while test -e {0}; do sleep 0.05; done", held.display()));
    g.accepted("a", &format!("{c1}:refs/heads/one"));
    until("the session arrives", || held.exists());
    let holder = fs::read_to_string(g.lab.repo("a").join("refgate/session-b.lock")).unwrap();
    let pid = holder.strip_prefix("pid ").and_then(|rest| rest.split(':').next()).unwrap();
    assert!(std::process::Command::new("kill").args(["-9", pid]).status().unwrap().success());
    until("it is dead", || g.status("a")["replicates"][0]["running"] == false);
    let status = g.status("a");
    assert!(status["good"] == false && !status["replicates"][0]["pending"].is_null(), "{status}");
    fs::remove_file(g.lab.repo("b").join("hooks/pre-receive")).unwrap();
    fs::remove_file(held).unwrap();
    g.accepted("a", &format!("{c2}:refs/heads/two"));
    arrives(&g, "b", "refs/heads/one", &c1);
    arrives(&g, "b", "refs/heads/two", &c2);
    settles(&g, "a");
}

#[test]
fn the_hook_is_kept_renewed_refused_and_taken_out() {
    let g = both();
    let hook = g.lab.repo("a").join("hooks/post-receive");
    let text = fs::read_to_string(&hook).unwrap();
    // Whoever installs again means what is there.
    fs::write(&hook, text.replace("refgate.config", "moved.config")).unwrap();
    assert_eq!(g.status("a")["post_receive"], "outdated");
    g.lab.run("a", &["hook", "install", PROJECT]).ok();
    assert_eq!(fs::read_to_string(&hook).unwrap(), text);
    let again = g
        .lab
        .run("a", &["hook", "install", PROJECT, "--replicate", "b", "--replicate", "b", "--json"])
        .json(0);
    assert!(again["steps"].as_array().unwrap().iter().all(|step| step["changed"] == false), "{again}");
    g.lab.run("a", &["hook", "install", PROJECT, "--replicate", "c"]).fails(2, &["unknown remote `c`"]);
    let ran = g.lab.run("a", &["hook", "install", PROJECT, "--no-replicate"]);
    assert!(ran.ok().contains("no hook ") && !hook.exists(), "{}", ran.out);
    g.lab.run("a", &["hook", "install", PROJECT, "--replicate", "b"]).ok();
    g.lab.run("a", &["hook", "uninstall", PROJECT]).ok();
    assert!(!hook.exists());
    g.hook("a", "post-receive", "exit 0");
    let ran = g.lab.run("a", &["hook", "install", PROJECT, "--replicate", "b"]);
    ran.fails(2, &["another hook is in the way", "post-receive", "run refgate's command from it"]);
    // Without the option it is nobody's business.
    g.lab.run("a", &["hook", "install", PROJECT]).ok();
    assert_eq!(g.status("a")["post_receive"], "foreign");
    assert_eq!(fs::read_to_string(&hook).unwrap(), "#!/bin/sh\nexit 0\n");
}

/// What the page about replication warns of ends all the same: no hook waits for the session that waits for it.
#[test]
fn two_hooks_in_the_foreground_do_not_stand_still() {
    let g = Gated::new(Kind::Files);
    for (site, other) in [("a", "b"), ("b", "a")] {
        let config = g.lab.path(&format!("{site}/refgate.config"));
        g.hook(
            site,
            "post-receive",
            &format!("cat >/dev/null\n{REFGATE} --config {} push {PROJECT} {other}", config.display()),
        );
    }
    let pushes: Vec<_> = (0..6)
        .map(|i| {
            let c = g.commit(&[&g.c0], &format!("c{i}"));
            let name = format!("refs/heads/t{i}");
            let site = if i % 2 == 0 { "a" } else { "b" };
            (g.pushing(site, &[&format!("{c}:{name}")]).stderr(Stdio::piped()).spawn().unwrap(), name, c)
        })
        .collect();
    for (child, name, c) in pushes {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{name}: {}", ran.err);
        // Who waits in vain for another session waits for 30 s, and says who holds it without this.
        for line in ran.err.lines().filter(|line| line.contains("another session")) {
            assert!(line.contains("it is not waited for, because a hook of replication"), "{line}");
        }
        let both = [g.value("a", &name), g.value("b", &name)];
        assert!(both.contains(&c), "{name}");
    }
    for (site, other) in [("a", "b"), ("b", "a")] {
        g.lab.run(site, &["push", PROJECT, other]).ok();
    }
    assert_eq!(g.values("a"), g.values("b"));
}
