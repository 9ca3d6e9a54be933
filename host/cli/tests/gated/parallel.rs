//! Pushes at the same time: different refs do not wait for each other, the same ref has one winner.

use std::process::Stdio;

use crate::common::Ran;
use crate::lab::{Gated, Kind, kinds, until};

#[test]
fn a_push_that_hangs_in_the_ref_db_keeps_no_other_ref_waiting() {
    for kind in kinds() {
        for step in ["journal", "put"] {
            let g = Gated::new(kind);
            let c1 = g.commit(&[&g.c0], "c1");
            let held = g.lab.path("held");
            let mut slow = g.pushing("a", &[&format!("{c1}:refs/heads/slow")]);
            slow.env("REFGATE_HOLD_AT", format!("{step}:{}", held.display()));
            let mut slow = slow.stderr(Stdio::piped()).spawn().unwrap();
            until("the slow push arrives", || held.exists());
            for name in ["main", "x", "y"] {
                g.accepted("a", &format!("{c1}:refs/heads/{name}"));
            }
            // The record of a live process is nobody else's business.
            assert_eq!(g.status("a")["unfinished"][0]["running"], true);
            std::fs::remove_file(&held).unwrap();
            assert!(slow.wait().unwrap().success(), "{kind:?} {step}");
            g.is_at("a", "refs/heads/slow", &c1);
            g.is_clean("a");
        }
    }
}

#[test]
fn of_many_pushes_of_one_ref_one_wins_and_the_others_are_told() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let rivals: Vec<String> = (0..6).map(|i| g.commit(&[&g.c0], &format!("rival {i}"))).collect();
        let start = |i: usize| {
            let site = if i.is_multiple_of(2) { "a" } else { "b" };
            let specs = format!("{}:refs/heads/main", rivals[i]);
            g.pushing(site, &[&specs]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let running: Vec<_> = (0..rivals.len()).map(start).collect();
        let done: Vec<Ran> = running.into_iter().map(|c| c.wait_with_output().unwrap().into()).collect();
        let winners: Vec<usize> = (0..done.len()).filter(|i| done[*i].code == 0).collect();
        let [winner] = winners.as_slice() else { panic!("{winners:?} won") };
        assert_eq!(g.global("refs/heads/main"), rivals[*winner]);
        let (at, other) = if winner.is_multiple_of(2) { ("a", "b") } else { ("b", "a") };
        g.is_at(at, "refs/heads/main", &rivals[*winner]);
        assert_eq!(g.value(other, "refs/heads/main"), g.c0);
        for loser in done.iter().filter(|d| d.code != 0) {
            loser.says(&["[remote rejected]"]);
            let told = ["fetch first", "not up to date", "another site was first"];
            assert!(told.iter().any(|t| loser.err.contains(t)), "{}", loser.err);
        }
        g.is_clean("a");
        g.is_clean("b");
    }
}

#[test]
fn a_push_that_waits_too_long_for_a_ref_is_told_that_it_is_busy() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    let held = g.lab.path("held");
    let mut slow = g.pushing("a", &[&format!("{c1}:refs/heads/main")]);
    slow.env("REFGATE_HOLD_AT", format!("locked:{}", held.display()));
    let mut slow = slow.stderr(Stdio::null()).spawn().unwrap();
    until("the slow push arrives", || held.exists());
    let ran = g.push("a", &[&format!("{c1}:refs/heads/main")]);
    std::fs::remove_file(&held).unwrap();
    assert!(slow.wait().unwrap().success());
    assert_eq!(ran.code, 1);
    ran.says(&["busy"]);
    g.is_at("a", "refs/heads/main", &c1);
}

#[test]
fn who_loses_in_the_ref_db_is_told_and_the_same_value_from_two_sites_is_no_loss() {
    for same in [false, true] {
        let g = Gated::new(Kind::Files);
        let (c1, other) = (g.commit(&[&g.c0], "c1"), g.commit(&[&g.c0], "other"));
        let held = g.lab.path("held");
        let mut slow = g.pushing("a", &[&format!("{c1}:refs/heads/main")]);
        slow.env("REFGATE_HOLD_AT", format!("journal:{}", held.display()));
        let slow = slow.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        until("the slow push arrives", || held.exists());
        let first = if same { &c1 } else { &other };
        g.accepted("b", &format!("{first}:refs/heads/main"));
        std::fs::remove_file(&held).unwrap();
        let ran = Ran::from(slow.wait_with_output().unwrap());
        assert_eq!(ran.code == 0, same, "{}", ran.err);
        if same {
            g.is_at("a", "refs/heads/main", &c1);
        } else {
            ran.says(&["another site was first: it is", &other[..12], "push again"]);
            assert_eq!((g.value("a", "refs/heads/main"), g.global("refs/heads/main")), (g.c0.clone(), other));
        }
        g.is_clean("a");
    }
}

#[test]
fn a_push_of_very_many_refs_lets_others_through() {
    let g = Gated::new(Kind::Files);
    let specs: Vec<String> = (0..1200).map(|i| format!("{}:refs/heads/many/{i:04}", g.c0)).collect();
    let args: Vec<&str> = specs.iter().map(String::as_str).collect();
    let (hold, mut many) = (g.lab.path("hold"), g.pushing("a", &args));
    let mut many = many.env("REFGATE_HOLD_AT", format!("put:{}", hold.display())).spawn().unwrap();
    // It stops when the ref-db has its first refs, which are locked, and nothing else is.
    until("the push holds its first part", || hold.exists());
    let c1 = g.commit(&[&g.c0], "c1");
    for i in 0..3 {
        g.accepted("a", &format!("{c1}:refs/heads/other/{i}"));
    }
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    // The last ones belong to no part that has begun.
    g.accepted("a", &format!("{c1}:refs/heads/many/1199"));
    std::fs::remove_file(&hold).unwrap();
    for _ in 0..2 {
        until("the push holds its next part", || hold.exists());
        std::fs::remove_file(&hold).unwrap();
    }
    assert!(!many.wait().unwrap().success(), "one ref was somebody else's by then");
    let (refs, globals) = (g.values("a"), g.globals());
    assert_eq!(refs.len(), 1204);
    assert_eq!(refs, globals.into_iter().filter(|(name, _)| refs.contains_key(name)).collect());
    assert_eq!(refs["refs/heads/many/1199"], c1);
    g.is_clean("a");
}
