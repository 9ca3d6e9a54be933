//! `refdb …`: what it prints, what it writes, and which commands may make a store.

use serde_json::json;

use crate::common::{Lab, PROJECT};

const MAIN: &str = "refs/heads/main";
const DELETED: &str = "refs/heads/gone";

fn oid(digit: char) -> String {
    digit.to_string().repeat(40)
}

#[test]
fn values_are_written_and_read() {
    let lab = Lab::new();
    let (a, b) = (oid('a'), oid('b'));
    let put = lab.run("a", &["refdb", "put", PROJECT, MAIN, &a]);
    assert_eq!(put.ok(), format!("{MAIN} is now {a}\n"));
    put.says(&["created the ref-db sqlite:../refdb.sqlite"]);
    assert_eq!(
        lab.run("a", &["refdb", "put", PROJECT, DELETED, &oid('0')]).ok(),
        format!("{DELETED} is now deleted\n")
    );

    let cas = |expected: &str, new: &str| lab.run("a", &["refdb", "cas", PROJECT, MAIN, expected, new]);
    assert_eq!(cas("absent", &b).exits(1), format!("{MAIN} was left alone: expected absent, it is {a}\n"));
    assert_eq!(cas(&a.to_uppercase(), &b).ok(), format!("{MAIN} is now {b}\n"));
    let refused = lab.run("a", &["--json", "refdb", "cas", PROJECT, MAIN, &a, "deleted"]);
    let want =
        json!({"command": "refdb cas", "project": PROJECT, "ref": MAIN, "outcome": "mismatch", "actual": b});
    assert_eq!(refused.json(1), want);

    // What the write by compare-and-put replaced is superseded: nobody could tell whether it was a fast-forward.
    let get = lab.run("a", &["refdb", "get", PROJECT, MAIN, "refs/heads/none", "--json"]);
    let want = json!({"command": "refdb get", "project": PROJECT, "refs": [
        {"ref": MAIN, "value": b, "superseded": [a]},
        {"ref": "refs/heads/none", "value": "untracked", "superseded": []},
    ]});
    assert_eq!(get.json(0), want);
    let ls = lab.run("a", &["refdb", "ls", PROJECT]);
    let gap = " ".repeat(40 - "deleted".len());
    let want = format!(
        "REF              VALUE{}  SUPERSEDED\n{DELETED}  deleted{gap}\n{MAIN}  {b}  1\n",
        " ".repeat(35)
    );
    assert_eq!(
        ls.ok().replace(&format!("deleted{gap}"), "deleted"),
        want.replace(&format!("deleted{gap}"), "deleted")
    );
    assert_eq!(
        lab.run("a", &["refdb", "ls", "team"]).ok(),
        "REF  VALUE  SUPERSEDED\n",
        "no prefix of a project"
    );
}

#[test]
fn forgetting_a_project_needs_a_yes() {
    let lab = Lab::new();
    let a = oid('a');
    lab.run("a", &["refdb", "put", PROJECT, MAIN, &a]).ok();
    lab.run("a", &["refdb", "put", PROJECT, "refs/heads/x", &a]).ok();
    let rm = lab.run("a", &["--json", "refdb", "rm", PROJECT, "refs/heads/x"]);
    let want =
        json!({"command": "refdb rm", "project": PROJECT, "dropped": [{"ref": "refs/heads/x", "value": a}]});
    assert_eq!(rm.json(0), want);
    assert_eq!(lab.run("a", &["refdb", "rm", PROJECT, "refs/heads/x"]).ok(), "0 entries forgotten\n");
    lab.run("a", &["refdb", "rm", PROJECT]).fails(2, &["forget all 1 entries of `team/app`", "--yes"]);
    let rm = lab.run("a", &["refdb", "rm", PROJECT, "--yes"]);
    assert_eq!(rm.ok(), format!("forgot {MAIN}, it was {a}\n1 entries forgotten\n"));
}

#[test]
fn seeding_fills_and_overwrites_only_when_told_twice() {
    let lab = Lab::new();
    let first = lab.commit("a", MAIN, &[]);
    let new = lab.commit("a", "refs/heads/new", &[&first]);
    let foreign = oid('f');
    lab.run("a", &["refdb", "put", PROJECT, MAIN, &foreign]).ok();
    let seed = lab.run("a", &["--json", "refdb", "seed", PROJECT]);
    let difference = json!({"ref": MAIN, "local": first, "global": foreign, "what": "differs"});
    let want = json!({"command": "refdb seed", "project": PROJECT, "seeded": 1, "differences": [difference]});
    assert_eq!(seed.json(3), want);
    let text = lab.run("a", &["refdb", "seed", PROJECT]);
    assert!(
        text.exits(3).ends_with(&format!("{MAIN}  {first}  {foreign}  differs\n0 seeded, 1 different\n"))
    );

    lab.run("a", &["refdb", "seed", PROJECT, "--force"]).fails(2, &["overwrites", "--yes"]);
    let force = lab.run("a", &["--json", "refdb", "seed", PROJECT, "--force", "--yes"]);
    let want = json!({"command": "refdb seed", "project": PROJECT, "seeded": 1, "differences": [],
                      "overwritten": [{"ref": MAIN, "value": foreign}]});
    assert_eq!(force.json(0), want);
    force.says(&[&format!("overwrote {MAIN}, it was {foreign}")]);
    let get = lab.run("a", &["--json", "refdb", "get", PROJECT]).json(0);
    assert_eq!(
        get["refs"],
        json!([{"ref": MAIN, "value": first, "superseded": []},
                                   {"ref": "refs/heads/new", "value": new, "superseded": []}])
    );
}

#[test]
fn check_lists_every_kind_of_difference() {
    let (lab, first) = Lab::seeded();
    let second = lab.commit("a", MAIN, &[&first]);
    let new = lab.commit("a", "refs/heads/new", &[&first]);
    lab.commit("a", DELETED, &[&first]);
    lab.run("a", &["refdb", "put", PROJECT, DELETED, "deleted"]).ok();
    lab.run("a", &["refdb", "put", PROJECT, "refs/heads/there", &first]).ok();
    let check = lab.run("a", &["--json", "refdb", "check", PROJECT]);
    let got = check.json(3);
    let what: Vec<_> =
        got["differences"].as_array().unwrap().iter().map(|d| (&d["ref"], &d["what"])).collect();
    let want = [
        (DELETED, "deleted in the ref-db"),
        (MAIN, "ahead"),
        ("refs/heads/new", "untracked"),
        ("refs/heads/there", "not here"),
    ];
    let want: Vec<_> = want.iter().map(|(r, w)| (json!(r), json!(w))).collect();
    assert_eq!(what, want.iter().map(|(r, w)| (r, w)).collect::<Vec<_>>());
    assert_eq!(
        got["differences"][2],
        json!({"ref": "refs/heads/new", "local": new, "global": "untracked", "what": "untracked"})
    );
    check.says(&["only the site `a` ever used this ref-db"]);

    // Only forward, and only what is asked for.
    let publish = lab.run("a", &["refdb", "publish", PROJECT, MAIN]);
    assert_eq!(publish.ok(), "1 published, 0 different\n");
    let all = lab.run("a", &["--json", "refdb", "publish", PROJECT]).json(3);
    assert_eq!((&all["published"], &all["differences"][0]["ref"]), (&json!(1), &json!(DELETED)));
    let get = lab.run("a", &["--json", "refdb", "get", PROJECT, MAIN]).json(0);
    assert_eq!(get["refs"][0], json!({"ref": MAIN, "value": second, "superseded": []}));
    lab.run("a", &["refdb", "publish", PROJECT, "refs/heads/none"])
        .fails(2, &["has no ref `refs/heads/none`"]);
}

#[test]
fn publish_never_goes_back() {
    let (lab, first) = Lab::seeded();
    let foreign = oid('e');
    lab.run("a", &["refdb", "cas", PROJECT, MAIN, &first, &foreign]).ok();
    let publish = lab.run("a", &["refdb", "publish", PROJECT]);
    assert!(publish.exits(3).contains("does not descend"), "{}", publish.out);
    assert!(lab.run("a", &["refdb", "ls", PROJECT]).ok().contains(&foreign));
}

#[test]
fn only_commands_that_fill_it_make_a_store() {
    let (lab, first) = Lab::seeded();
    let other = || std::fs::remove_file(lab.path("refdb.sqlite")).unwrap();
    other();
    let gone = ["refdb.sqlite", "no such file"];
    for args in [
        &["push", PROJECT, "b"] as &[&str],
        &["fetch", PROJECT, "b"],
        &["refdb", "get", PROJECT],
        &["refdb", "ls", PROJECT],
        &["refdb", "rm", PROJECT, MAIN],
        &["refdb", "publish", PROJECT],
        &["refdb", "check", PROJECT],
    ] {
        lab.run("a", args).fails(1, &gone);
        assert!(!lab.path("refdb.sqlite").exists(), "{args:?} made one");
    }
    lab.run("a", &["config", "check"]).says(&gone);
    // This site knows the one that is lost, so an operator has to say that a new one is meant.
    let ran = lab.run("a", &["refdb", "seed", PROJECT]);
    assert_eq!(ran.code, 1);
    ran.says(&["created the ref-db", "is another one than this site knows", "refgate refdb accept"]);
    lab.run("a", &["refdb", "accept", "--yes"]).ok();
    lab.run("a", &["refdb", "seed", PROJECT]).ok();
    other();
    for args in [
        &["refdb", "seed", PROJECT] as &[&str],
        &["refdb", "put", PROJECT, MAIN, &first],
        &["refdb", "cas", PROJECT, MAIN, "absent", &first],
    ] {
        std::fs::remove_file(lab.path("a/git/.refgate/refdb")).unwrap();
        let ran = lab.run("a", args);
        ran.ok();
        ran.says(&["created the ref-db"]);
        other();
    }
}

#[test]
fn a_store_that_keeps_nothing_says_so() {
    let lab = Lab::new();
    lab.commit("a", MAIN, &[]);
    lab.configure("a", "[ref-database]\n    url = noop:");
    lab.run("a", &["refdb", "seed", PROJECT]).says(&["warning: the ref-db `noop:` keeps nothing"]);
}

#[test]
fn wrong_values_and_names_are_refused() {
    let lab = Lab::new();
    let put = |name: &str, value: &str| lab.run("a", &["refdb", "put", PROJECT, name, value]);
    put("main", &oid('a')).fails(2, &["`main` is not a full ref name", "refs/heads/main"]);
    put(MAIN, "abc").fails(2, &["`abc` is no value", "40 or 64"]);
    put(MAIN, "absent").fails(2, &["`absent` is no value"]);
    put(MAIN, &"x".repeat(40)).fails(2, &["is no value"]);
    put("refs/heads/a..b", &oid('a')).fails(2, &["refs/heads/a..b"]);
    assert!(!lab.path("refdb.sqlite").exists(), "nothing half done");
}
