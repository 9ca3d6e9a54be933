//! A ref-db that is older than what a site saw, or another one: nothing moves until an operator has looked.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::common::PROJECT;
use crate::lab::{Gated, Kind};

const X: &str = "refs/heads/x";

/// What every command that would move something says.
const OLDER: &str = "is older than what this site saw";
const OTHER: &str = "is another one than this site knows";
const DAMAGED: &str = "where this site keeps what it knows of its ref-db, cannot be read";

fn store(g: &Gated) -> PathBuf {
    g.lab.path("refdb.sqlite")
}

fn copy_of_now(g: &Gated) -> PathBuf {
    // While nobody has it open, everything is in this one file.
    let copy = g.lab.path("backup.sqlite");
    fs::copy(store(g), &copy).unwrap();
    copy
}

fn put_back(g: &Gated, copy: &PathBuf) {
    fs::copy(copy, store(g)).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(g.lab.path(&format!("refdb.sqlite{suffix}")));
    }
}

fn file(g: &Gated, site: &str) -> PathBuf {
    g.lab.path(&format!("{site}/git/.refgate/refdb"))
}

fn record(g: &Gated, site: &str) -> Value {
    serde_json::from_slice(&fs::read(file(g, site)).unwrap()).unwrap()
}

/// Everything that moves refs or entries at `site` ends with exit code 1 and says why; what only looks goes on.
fn all_stops(g: &Gated, site: &str, why: &str) {
    let other = if site == "a" { "b" } else { "a" };
    let moving: [&[&str]; 9] = [
        &["push", PROJECT, other],
        &["push", PROJECT, other, "--dry-run"],
        &["fetch", PROJECT, other],
        &["refdb", "heal", PROJECT, "--yes"],
        &["refdb", "forget", PROJECT],
        &["refdb", "seed", PROJECT],
        &["refdb", "start-over", PROJECT],
        &["refdb", "cas", PROJECT, X, "absent", &g.c0],
        &["hook", "status", PROJECT],
    ];
    let before = (g.values(site), fs::read(file(g, site)).unwrap());
    for args in moving {
        let ran = g.lab.run(site, args);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{args:?}: {}", ran.err);
        let named = if why == DAMAGED { "git/.refgate/refdb" } else { "refdb.sqlite" };
        ran.says(&[named, why, "refgate refdb check PROJECT", "refgate refdb accept"]);
    }
    for args in [["refdb", "ls", PROJECT], ["refdb", "check", PROJECT]] {
        let ran = g.lab.run(site, &args);
        assert!([0, 3].contains(&ran.code), "{}", ran.err);
        ran.says(&[why]);
    }
    g.lab.run(site, &["config", "check"]).says(&[why]);
    let c = g.commit(&[&g.c0], "refused");
    let ran = g.push(site, &[&format!("{c}:refs/heads/refused")]);
    assert_eq!(ran.code, 1);
    ran.says(&["this site's record is being checked by its operators"]);
    // A pusher has no part in what operators do.
    assert!(!ran.err.contains("refdb") && !ran.err.contains("revision"), "{}", ran.err);
    assert_eq!(before, (g.values(site), fs::read(file(g, site)).unwrap()), "nothing moved");
}

#[test]
fn an_old_copy_that_is_put_back_deletes_no_live_branch() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "precious");
    g.accepted("a", &format!("{c1}:{X}"));
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    g.accepted("a", &format!(":{X}"));
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    let old = copy_of_now(&g);
    g.accepted("a", &format!("{c1}:{X}"));
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    assert_eq!((g.value("a", X), g.value("b", X)), (c1.clone(), c1.clone()));
    put_back(&g, &old);
    for site in ["a", "b"] {
        all_stops(&g, site, OLDER);
        assert_eq!(g.value(site, X), c1);
    }
    let shown = g.lab.run("a", &["--json", "refdb", "accept"]).json(3);
    assert_eq!((&shown["state"], &shown["accepted"]), (&Value::from("older"), &Value::from(false)));
    assert_eq!(shown["known"]["revision"], record(&g, "a")["revision"]);
    assert!(shown["there"]["revision"].as_u64() < shown["known"]["revision"].as_u64());

    // What only this site knows is recorded again. From then on the revision grows past what the sites saw, so it is
    // another store by then.
    let ran = g.lab.run("a", &["refdb", "put", PROJECT, X, &c1]);
    ran.ok();
    ran.says(&[OLDER, "the ref-db has another identity now"]);
    for site in ["a", "b"] {
        all_stops(&g, site, OTHER);
    }
    g.lab.run("a", &["refdb", "accept", "--yes"]).ok();
    all_stops(&g, "b", OTHER);
    // The mark of `a` names the store, and `b` takes nothing before its operators have looked, too.
    let c2 = g.commit(&[&c1], "c2");
    g.accepted("a", &format!("{c2}:{X}"));
    let ran = g.lab.run("a", &["push", PROJECT, "b"]);
    // Who replicates is an operator, and reads the whole.
    assert!(ran.exits(1).contains("rejected: ") && ran.out.contains(OTHER), "{}", ran.out);
    g.lab.run("b", &["refdb", "accept", "--yes"]).ok();
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    assert_eq!((g.value("a", X), g.value("b", X)), (c2.clone(), c2));
    g.is_clean("a");
    g.is_clean("b");
}

#[test]
fn accepting_an_old_copy_makes_every_other_site_ask() {
    let g = Gated::new(Kind::Files);
    let old = copy_of_now(&g);
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:{X}"));
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    put_back(&g, &old);
    let identity = |site: &str| record(&g, site)["identity"].clone();
    let before = identity("a");
    let ran = g.lab.run("a", &["refdb", "accept", "--yes"]);
    assert!(ran.ok().contains("accepted: this site goes on with what is there"), "{}", ran.out);
    ran.says(&["it has another identity now"]);
    assert_ne!(identity("a"), before);
    assert_eq!(identity("b"), before);
    // However far its revision has come.
    for n in 0..4 {
        g.lab.run("a", &["refdb", "put", PROJECT, &format!("refs/heads/n{n}"), &g.c0]).ok();
    }
    all_stops(&g, "b", OTHER);
    g.lab.run("a", &["refdb", "accept"]).ok();
}

#[test]
fn another_ref_db_under_the_same_or_another_url_stops_everything() {
    let g = Gated::new(Kind::Files);
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    let known = record(&g, "a");
    fs::remove_file(store(&g)).unwrap();
    let ran = g.lab.run("a", &["refdb", "seed", PROJECT]);
    assert_eq!(ran.code, 1);
    ran.says(&["created the ref-db", OTHER, "under the same url"]);
    for site in ["a", "b"] {
        all_stops(&g, site, OTHER);
    }
    assert_eq!(record(&g, "a"), known);
    g.lab.configure("b", "[ref-database]\n    url = sqlite:../elsewhere.sqlite");
    let ran = g.lab.run("b", &["refdb", "put", PROJECT, X, &g.c0]);
    ran.ok();
    ran.says(&["elsewhere.sqlite", OTHER, "`sqlite:../refdb.sqlite`"]);
    for site in ["a", "b"] {
        g.lab.run(site, &["refdb", "accept", "--yes"]).ok();
        g.lab.run(site, &["refdb", "seed", PROJECT]).ok();
    }
    // Both are content with what they have, and it is not the same.
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/y"));
    let ran = g.lab.run("a", &["push", PROJECT, "b"]);
    let told = "rejected: the receiving site uses another ref-db than the sending one";
    assert!(ran.exits(1).contains(told), "{}", ran.out);
    assert_eq!(g.value("b", "refs/heads/y"), "");
}

#[test]
fn what_is_remembered_grows_and_a_dry_run_remembers_nothing() {
    let g = Gated::new(Kind::Files);
    let revision = |site: &str| record(&g, site)["revision"].as_u64().unwrap();
    let first = revision("a");
    g.lab.run("b", &["refdb", "put", PROJECT, X, &g.c0]).ok();
    assert!(revision("b") > first);
    g.lab.run("a", &["push", PROJECT, "b", "--dry-run"]);
    g.lab.run("a", &["refdb", "ls", PROJECT]).ok();
    assert_eq!(revision("a"), first);
    g.lab.run("a", &["push", PROJECT, "b"]);
    assert_eq!(revision("a"), revision("b"));
    // The hook remembers its own write.
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/y"));
    assert!(revision("a") > revision("b"));
    // Who came later with something older changes nothing.
    let text = fs::read_to_string(file(&g, "a")).unwrap();
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    assert_eq!(fs::read_to_string(file(&g, "a")).unwrap(), text);
}

#[test]
fn a_damaged_file_stops_everything_and_is_written_anew() {
    let g = Gated::new(Kind::Files);
    for damage in ["", "{\"identity\": 7}", "garbage \u{0}"] {
        fs::write(file(&g, "a"), damage).unwrap();
        all_stops(&g, "a", DAMAGED);
        g.lab.run("a", &["refdb", "accept"]).exits(3);
        g.lab.run("a", &["refdb", "accept", "--yes"]).ok();
        g.lab.run("a", &["push", PROJECT, "b"]).ok();
    }
    // The first time of a site is no reason to stop.
    fs::remove_file(file(&g, "a")).unwrap();
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    assert!(record(&g, "a")["revision"].is_u64());
}

#[test]
fn processes_that_come_at_once_take_each_other_for_no_old_copy() {
    let g = Gated::new(Kind::Files);
    let identity = record(&g, "a")["identity"].clone();
    // Each may have asked the store before another one wrote, and look at the file after that one has.
    std::thread::scope(|scope| {
        for n in 0..4 {
            let g = &g;
            scope.spawn(move || {
                for m in 0..8 {
                    let ran =
                        g.lab.run("a", &["refdb", "put", PROJECT, &format!("refs/heads/n{n}-{m}"), &g.c0]);
                    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
                }
            });
        }
    });
    assert_eq!(record(&g, "a")["identity"], identity);
    g.lab.run("a", &["refdb", "accept"]).ok();
}
