//! `refdb copy`: everything that a ref-db holds, and the proof of it.

use serde_json::Value;

use crate::common::{Lab, PROJECT};

const FROM: &str = "sqlite:../refdb.sqlite";
const TO: &str = "sqlite:../deep/below/copy.sqlite";

fn oid(digit: char) -> String {
    digit.to_string().repeat(40)
}

/// Values, a deletion, superseded values and a text, in three projects.
fn filled() -> Lab {
    let lab = Lab::new();
    let run = |args: &[&str]| {
        lab.run("a", args).ok();
    };
    let [a, b, c] = ['a', 'b', 'c'].map(oid);
    for project in [PROJECT, "team/app/sub", "x"] {
        run(&["refdb", "put", project, "refs/heads/main", &a]);
        run(&["refdb", "cas", project, "refs/heads/main", &a, &b]);
        run(&["refdb", "cas", project, "refs/heads/main", &b, &c]);
    }
    run(&["refdb", "cas", PROJECT, "refs/heads/gone", "absent", &a]);
    run(&["refdb", "cas", PROJECT, "refs/heads/gone", &a, "deleted"]);
    run(&["refdb", "put", "x", "refs/multi-site/version/value", "text:1793707205"]);
    lab.run("b", &["refdb", "put", "x", "refs/heads/b", &a]).ok();
    lab
}

/// What the store of `site` holds, through that site's commands.
fn all(lab: &Lab, site: &str) -> Vec<Value> {
    let of = |project: &str| lab.run(site, &["--json", "refdb", "ls", project]).json(0);
    [PROJECT, "team/app/sub", "x"].map(of).to_vec()
}

#[test]
fn a_copy_holds_everything_and_has_an_identity_of_its_own() {
    let lab = filled();
    lab.run("a", &["refdb", "close", "--message", "moving"]).ok();
    let ran = lab.run("a", &["--json", "refdb", "copy", FROM, TO]);
    let done = ran.json(0);
    ran.says(&["created the ref-db sqlite:../deep/below/copy.sqlite"]);
    for (key, value) in [("projects", 3), ("equal", 6), ("written", 6), ("sites", 2)] {
        assert_eq!(done[key], value, "{key}: {done}");
    }
    assert_eq!((&done["closed"], &done["differences"]), (&Value::from("moving"), &serde_json::json!([])));
    let before = all(&lab, "a");
    assert_eq!(before[0]["refs"][1]["superseded"].as_array().unwrap().len(), 2, "{before:?}");
    lab.configure("a", &format!("[ref-database]\n    url = {TO}"));
    let ran = lab.run("a", &["refdb", "accept"]);
    assert!(ran.exits(3).contains("not accepted"), "{}", ran.out);
    lab.run("a", &["refdb", "accept", "--yes"]).ok();
    assert_eq!(all(&lab, "a"), before);
    // The copy is open, and what it was made of stays closed.
    lab.run("a", &["refdb", "put", "x", "refs/heads/new", &oid('d')]).ok();
    lab.run("b", &["refdb", "put", "x", "refs/heads/new", &oid('d')]).fails(1, &["is closed"]);
}

#[test]
fn a_copy_that_was_cut_short_goes_on_and_anything_else_is_refused() {
    let lab = filled();
    let ran = lab.run("a", &["refdb", "copy", FROM, TO]);
    assert!(
        ran.ok().contains(
            "6 entries of 3 projects and 2 sites are the same in both (6 written now), 0 different"
        ),
        "{}",
        ran.out
    );
    ran.says(&["is open: what is written meanwhile may be missing", "refgate refdb close"]);
    // As if the rest of the first copy had not been written.
    lab.configure("b", &format!("[ref-database]\n    url = {TO}"));
    lab.run("b", &["refdb", "accept", "--yes"]).ok();
    lab.run("b", &["refdb", "rm", "x", "--yes"]).ok();
    let done = lab.run("a", &["--json", "refdb", "copy", FROM, TO]).json(0);
    assert_eq!((&done["equal"], &done["written"]), (&Value::from(6), &Value::from(3)));
    lab.run("b", &["refdb", "put", "strange", "refs/heads/main", &oid('e')]).ok();
    lab.run("b", &["refdb", "put", "x", "refs/heads/b", &oid('e')]).ok();
    let ran = lab.run("a", &["refdb", "copy", FROM, TO]);
    assert_eq!(ran.code, 1);
    ran.says(&[
        "the target holds what the source does not, nothing was written: 2 entries",
        "`refs/heads/main` of `strange`",
    ]);
    assert_eq!(
        lab.run("b", &["--json", "refdb", "ls", "strange"]).json(0)["refs"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn what_cannot_be_copied_is_said_and_nothing_is_made_of_a_missing_source() {
    let lab = filled();
    lab.run("a", &["refdb", "copy", FROM, FROM]).says(&["both URLs name the same ref-db"]);
    let ran = lab.run("a", &["refdb", "copy", "sqlite:../missing.sqlite", TO]);
    assert_eq!(ran.code, 1);
    ran.says(&["missing.sqlite", "no such file"]);
    assert!(!lab.path("missing.sqlite").exists() && !lab.path("deep").exists());
    lab.run("a", &["refdb", "copy", FROM, "nonsense"]).says(&["names no kind of store"]);
    // An entry that nobody can read is no reason to leave the others behind, and no success.
    let connection = rusqlite::Connection::open(lab.path("refdb.sqlite")).unwrap();
    let spoil =
        "UPDATE entry SET value = x'00112233' WHERE project = 'x' AND name = CAST('refs/heads/b' AS BLOB)";
    assert_eq!(connection.execute(spoil, []).unwrap(), 1);
    drop(connection);
    let done = lab.run("a", &["--json", "refdb", "copy", FROM, TO]).json(3);
    assert_eq!(done["equal"], 5);
    assert_eq!(done["differences"][0]["ref"], "refs/heads/b");
    assert!(done["differences"][0]["from"].as_str().unwrap().starts_with("unreadable"), "{done}");
}
