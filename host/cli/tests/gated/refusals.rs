//! What a pusher reads when a ref does not move, and that nothing else is touched by it.

use std::fs;

use crate::common::{PROJECT, Ran, mode};
use crate::lab::{Gated, Kind, kinds};

/// Panics unless the push failed and said all of `parts`.
fn refused(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, 1, "{}", ran.err);
    ran.says(parts);
}

/// Panics when a pusher is told what is a matter of the site alone.
fn nothing_of_operators(ran: &Ran) {
    for word in ["refgate refdb", "refgate hook", "sqlite", "refgate.config", "ref-database", "wrytes"] {
        assert!(!ran.err.contains(word), "`{word}` is told to a pusher: {}", ran.err);
    }
}

#[test]
fn a_stale_site_refuses_until_replication_came_and_names_what_to_do() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let c1 = g.commit(&[&g.c0], "c1");
        g.accepted("a", &format!("{c1}:refs/heads/main"));
        let other = g.commit(&[&g.c0], "other");
        let ran = g.push("b", &[&format!("{other}:refs/heads/main"), &format!("{other}:refs/heads/fresh")]);
        refused(
            &ran,
            &["[remote rejected]", "not up to date", &c1[..12], &c1, "fetch from `a`", "push again"],
        );
        assert!(ran.err.contains("[new branch]"), "the other ref goes: {}", ran.err);
        g.is_at("b", "refs/heads/fresh", &other);
        assert_eq!(g.value("b", "refs/heads/main"), g.c0);
        g.lab.run("a", &["push", PROJECT, "b"]).ok();
        let merged = g.commit(&[&c1, &other], "merged");
        g.accepted("b", &format!("{merged}:refs/heads/main"));
        g.is_at("b", "refs/heads/main", &merged);
        g.is_clean("b");
    }
}

#[test]
fn a_ref_that_is_here_and_not_in_the_ref_db_is_refused_and_operators_read_what_helps() {
    let g = Gated::new(Kind::Files);
    g.git("a", &["update-ref", "refs/heads/old", &g.c0]);
    let c1 = g.commit(&[&g.c0], "c1");
    for spec in [format!("{c1}:refs/heads/old"), ":refs/heads/old".into()] {
        let ran = g.push("a", &[&spec]);
        refused(&ran, &["all sites together do not know it yet", "ask the operators of this site"]);
        nothing_of_operators(&ran);
    }
    let told = &g.status("a")["refused"];
    assert_eq!((told.as_array().unwrap().len(), &told[0]["ref"]), (1, &serde_json::json!("refs/heads/old")));
    assert!(told[0]["why"].as_str().unwrap().contains("`refgate refdb seed team/app`"), "{told}");
    let text = g.lab.run("a", &["hook", "status", PROJECT]);
    assert!(text.out.contains("refs/heads/old: it is not in the ref-db"), "{}", text.out);
    assert_eq!(
        (g.value("a", "refs/heads/old"), g.global("refs/heads/old")),
        (g.c0.clone(), "untracked".into())
    );
    g.lab.run("a", &["refdb", "seed", PROJECT]).ok();
    g.accepted("a", &format!("{c1}:refs/heads/old"));
}

#[test]
fn without_the_ref_db_nothing_moves() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    let (file, away) = (g.lab.path("refdb.sqlite"), g.lab.path("away"));
    fs::rename(&file, &away).unwrap();
    let ran = g.push("a", &[&format!("{c1}:refs/heads/main")]);
    refused(&ran, &["[remote rejected]", "this site takes no pushes now: ask its operators"]);
    nothing_of_operators(&ran);
    fs::rename(&away, &file).unwrap();
    assert_eq!(g.value("a", "refs/heads/main"), g.c0);
    // A configuration that somebody broke holds everything back as well.
    let config = g.lab.path("a/refgate.config");
    let text = fs::read_to_string(&config).unwrap();
    g.lab.configure("a", "[site]\n    wrytes = gated");
    let ran = g.push("a", &[&format!("{c1}:refs/heads/main")]);
    refused(&ran, &["[remote rejected]", "ask its operators"]);
    nothing_of_operators(&ran);
    fs::write(&config, text).unwrap();
    let told = g.status("a")["refused"].to_string();
    assert!(told.contains("refdb.sqlite") && told.contains("wrytes"), "{told}");
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    g.is_clean("a");
}

#[test]
fn what_is_not_the_clients_to_write_is_refused_ref_by_ref() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let c1 = g.commit(&[&g.c0], "c1");
        g.git("a", &["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
        for (name, says) in [
            ("refs/refgate/x", "for refgate itself"),
            ("refs/refgate/keep/1/x", "hidden ref"),
            ("refs/x", "funny refname"),
            ("refs/heads/alias", "symbolic"),
        ] {
            let ran = g.push("a", &[&format!("+{c1}:{name}"), &format!("+{c1}:refs/heads/ok")]);
            refused(&ran, &[name.trim_start_matches("refs/heads/"), says]);
            g.is_at("a", "refs/heads/ok", &c1);
        }
        assert_eq!(g.value("a", "refs/heads/main"), g.c0, "nothing goes through a symbolic ref");
        g.accepted("a", &format!("{c1}:refs/refgate/rescued/1/refs/heads/x"));
        // What git keeps for one repository is nothing to the ref-db.
        for private in
            [&format!("refs/replace/{}", g.c0), "refs/prefetch/remotes/o/main", "refs/remotes/o/main"]
        {
            g.accepted("a", &format!("{c1}:{private}"));
            assert_eq!((g.value("a", private), g.global(private)), (c1.clone(), "untracked".into()));
        }
    }
}

#[test]
fn git_itself_refuses_names_that_are_none_and_so_does_the_hook() {
    let g = Gated::new(Kind::Files);
    // git's client sends no such name, so this one speaks the protocol by hand.
    let zero = "0".repeat(40);
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let input = [
        line("version=1\0push-options\n"),
        "0000".into(),
        line(&format!("{zero} {} refs/heads/a..b", g.c0)),
        line(&format!("{zero} {} HEAD", g.c0)),
        line(&format!("{zero} {} refs/heads/twice", g.c0)),
        line(&format!("{zero} {} refs/heads/twice", g.c0)),
        line(&format!("{zero} {} refs/heads/good", g.c0)),
        "00000000".into(),
    ];
    let mut hook = g.lab.command("a");
    let config = g.lab.path("a/refgate.config");
    hook.current_dir(g.lab.repo("a")).arg("--config").arg(config).args(["hook", "proc-receive", PROJECT]);
    let given = g.lab.path("given");
    fs::write(&given, input.concat()).unwrap();
    let ran = Ran::of(hook.stdin(fs::File::open(given).unwrap()));
    let out = ran.ok();
    for part in [
        "ng refs/heads/a..b funny refname",
        "ng HEAD funny refname",
        "ng refs/heads/twice named twice",
        "ok refs/heads/good",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn a_write_that_git_cannot_do_is_refused_before_the_ref_db_moves() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let c1 = g.commit(&[&g.c0], "c1");
        let ran = g.push("a", &[&format!("{c1}:refs/heads/main/sub"), &format!("{c1}:refs/heads/ok")]);
        refused(&ran, &["-> main/sub (it cannot exist beside"]);
        assert_eq!(g.global("refs/heads/main/sub"), "untracked");
        g.is_at("a", "refs/heads/ok", &c1);
        g.is_clean("a");
    }
    // A lock that a dead git left: whoever asks the ref-db first would have moved it for nothing.
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    let lock = g.lab.repo("a").join("refs/heads/main.lock");
    fs::write(&lock, "").unwrap();
    refused(&g.push("a", &[&format!("{c1}:refs/heads/main")]), &["this site cannot store it now"]);
    assert!(g.status("a")["refused"].to_string().contains("main.lock"));
    assert_eq!(g.global("refs/heads/main"), g.c0);
    fs::remove_file(lock).unwrap();
    g.is_clean("a");
}

#[test]
fn the_hook_of_a_copied_repository_writes_nothing() {
    let g = Gated::new(Kind::Files);
    let copy = g.lab.repo("a").with_file_name("copy.git");
    let copied = std::process::Command::new("cp").arg("-r").arg(g.lab.repo("a")).arg(&copy).status();
    assert!(copied.unwrap().success());
    let c1 = g.commit(&[&g.c0], "c1");
    let mut push = crate::common::clean("git", g.lab.dir.path());
    let ran = Ran::of(
        push.arg("-C").arg(g.lab.path("client")).arg("push").arg(&copy).arg(format!("{c1}:refs/heads/x")),
    );
    refused(&ran, &["ask its operators"]);
    let told = fs::read_to_string(copy.join("refgate/refused.jsonl")).unwrap();
    assert!(told.contains("another repository") && told.contains("hook install"), "{told}");
    assert_eq!(g.value("a", "refs/heads/x"), "");
}

#[test]
fn a_hook_that_cannot_start_refuses_everything() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    mode(&g.lab.repo("a").join("hooks/proc-receive"), 0o644);
    refused(&g.push("a", &[&format!("{c1}:refs/heads/main")]), &["[remote rejected]"]);
    assert_eq!(g.value("a", "refs/heads/main"), g.c0);
}

#[test]
fn what_the_ref_db_has_and_this_site_cannot_store_is_said_until_it_is_settled() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let c1 = g.commit(&[&g.c0], "c1");
        // The trial passes, and from then on nothing may touch the branch any more.
        let script = "[ \"$1\" = prepared ] || exit 0\ngrep -q ' refs/heads/main$' || exit 0\n\
                      [ ! -e refused ] && touch refused && exit 0\necho 'the disk of this site is full' >&2\nexit 1";
        let script = script.replace("refused", &g.lab.repo("b").join("refused").display().to_string());
        g.hook("b", "reference-transaction", &script);
        let ran = g.push("b", &[&format!("{c1}:refs/heads/main"), &format!("{c1}:refs/heads/other")]);
        assert_eq!(ran.code, 1, "{kind:?}: {}", ran.err);
        assert!(ran.err.contains("recorded for all sites, but not stored here"), "{kind:?}: {}", ran.err);
        assert_eq!(
            (g.value("b", "refs/heads/main"), g.global("refs/heads/main")),
            (g.c0.clone(), c1.clone())
        );
        g.is_at("b", "refs/heads/other", &c1);
        for args in [["push", PROJECT, "a"], ["fetch", PROJECT, "a"]] {
            let ran = g.lab.run("b", &args);
            assert_eq!(ran.code, 1, "{kind:?} {args:?}: {}", ran.err);
            assert!(ran.err.contains("refs/heads/main") && ran.err.contains("hook"), "{kind:?}: {}", ran.err);
        }
        let healed = g.lab.run("b", &["refdb", "heal", PROJECT, "--yes"]);
        assert!(healed.code == 3 && healed.out.contains("stuck"), "{kind:?}: {}", healed.out);
        let status = g.lab.run("b", &["hook", "status", PROJECT]);
        assert!(
            status.code == 3 && status.out.contains("stuck: refs/heads/main"),
            "{kind:?}: {}",
            status.out
        );
        fs::remove_file(g.lab.repo("b").join("hooks/reference-transaction")).unwrap();
        assert_eq!(g.lab.run("b", &["push", PROJECT, "a"]).code, 0);
        g.is_at("b", "refs/heads/main", &c1);
        g.is_at("a", "refs/heads/main", &c1);
        g.is_clean("b");
    }
}

#[test]
fn what_git_keeps_for_one_repository_stays_there() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    for mark in [&[][..], &["--push-option=refgate.replication=b"]] {
        for name in ["refs/remotes/o/x", "refs/worktree/x", "refs/bisect/bad", "refs/stash"] {
            let spec = format!("{c1}:{name}");
            let ran = g.push("a", &[&[spec.as_str()], mark].concat());
            assert_eq!(ran.code, i32::from(name == "refs/stash"), "{name}: {}", ran.err);
            assert_eq!(g.global(name), "untracked");
        }
    }
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    g.lab.run("b", &["fetch", PROJECT, "a"]).ok();
    assert_eq!(g.values("b").keys().collect::<Vec<_>>(), ["refs/heads/main"]);
    for site in ["a", "b"] {
        g.lab.run(site, &["refdb", "check", PROJECT]).ok();
    }
}

#[test]
fn more_refs_than_may_be_held_at_once_are_refused() {
    let g = Gated::new(Kind::Files);
    // git reads them from a file of its own: no command line is so long.
    g.client_refs("many", 5001);
    let ran = g.push("a", &["--atomic", "refs/many/*:refs/heads/*"]);
    refused(&ran, &["at most 5000 refs move all or nothing", "push without --atomic, or fewer refs at once"]);
    assert_eq!(g.values("a").len(), 1);
    assert_eq!(g.globals().len(), 1);
}
