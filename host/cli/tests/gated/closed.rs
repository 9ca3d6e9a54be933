//! `refdb close`: no write at any site until `refdb open`, and those who push read why.

use crate::common::PROJECT;
use crate::lab::{Gated, Kind};

const X: &str = "refs/heads/x";

#[test]
fn a_closed_ref_db_takes_no_write_and_replication_goes_on() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:{X}"));
    let ran = g.lab.run("b", &["refdb", "close", "--message", "we move at noon"]);
    assert!(
        ran.ok().contains("closed for all sites, no write lands any more: we move at noon"),
        "{}",
        ran.out
    );
    let before = g.globals();
    let c2 = g.commit(&[&c1], "c2");
    for (site, specs) in [
        ("a", vec![format!("{c2}:{X}")]),
        ("a", vec![format!(":{X}")]),
        ("a", vec!["--atomic".to_owned(), format!("{c2}:{X}"), format!("{c2}:refs/heads/y")]),
        ("a", vec![format!("{c2}:refs/heads/y"), format!("{c2}:refs/heads/z")]),
        ("b", vec![format!("{c2}:refs/heads/y")]),
    ] {
        let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
        let ran = g.push(site, &specs);
        assert_eq!(ran.code, 1, "{specs:?}: {}", ran.err);
        ran.says(&["writes are stopped at all sites: we move at noon"]);
        assert!(!ran.err.contains("refdb open") && !ran.err.contains("sqlite"), "{}", ran.err);
        g.is_clean(site);
    }
    g.git("a", &["update-ref", "refs/heads/past", &g.c0]);
    for args in [
        vec!["refdb", "cas", PROJECT, "refs/heads/y", "absent", &c2],
        vec!["refdb", "put", PROJECT, "refs/heads/y", &c2],
        vec!["refdb", "rm", PROJECT, X],
        vec!["refdb", "seed", PROJECT],
        vec!["refdb", "publish", PROJECT],
    ] {
        let ran = g.lab.run("a", &args);
        assert_eq!(ran.code, 1, "{args:?}: {}", ran.out);
        ran.says(&["is closed, nothing was written: we move at noon", "refgate refdb open"]);
    }
    assert_eq!(g.globals(), before);
    for args in [&["config", "check"][..], &["refdb", "check", PROJECT]] {
        g.lab.run("a", args).says(&["the ref-db is closed, and takes no writes: we move at noon"]);
    }
    // What was accepted before still goes where it is missing.
    g.git("a", &["update-ref", "-d", "refs/heads/past"]);
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    assert_eq!(g.value("b", X), c1);
    assert_eq!(g.lab.run("a", &["--json", "refdb", "open"]).json(0)["closed"], serde_json::Value::Null);
    g.accepted("b", &format!("{c2}:{X}"));
    g.is_at("b", X, &c2);
}

#[test]
fn a_source_of_truth_moves_no_closed_ref_db() {
    let g = Gated::new(Kind::Files);
    g.lab.configure("a", "[remote \"b\"]\n    sourceOfTruth = true\n    writes = ungated");
    let c1 = g.commit(&[&g.c0], "upstream");
    g.git("b", &["fetch", "-q", g.lab.path("client").to_str().unwrap(), &c1]);
    g.git("b", &["update-ref", "refs/heads/main", &c1]);
    g.lab.run("a", &["refdb", "close"]).ok();
    let ran = g.lab.run("a", &["fetch", PROJECT, "b"]);
    assert!(ran.exits(1).contains("rejected: the ref-db could not be moved:"), "{}", ran.out);
    assert!(ran.out.contains("is closed, nothing was written"), "{}", ran.out);
    g.is_at("a", "refs/heads/main", &g.c0);
    g.lab.run("a", &["refdb", "open"]).ok();
    g.lab.run("a", &["fetch", PROJECT, "b"]).ok();
    g.is_at("a", "refs/heads/main", &c1);
}

#[test]
fn a_message_is_one_line() {
    let g = Gated::new(Kind::Files);
    g.lab.run("a", &["refdb", "close", "--message", "two\nlines"]).fails(2, &["a message is one line"]);
    g.lab.run("a", &["refdb", "close", "--message", ""]).fails(2, &["an empty message says nothing"]);
    assert!(g.lab.run("a", &["refdb", "open"]).ok().contains("open: the ref-db takes writes"));
}
