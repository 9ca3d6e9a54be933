//! `plugins history` and `rollback`: which sets there were, going back to one, and what the directory holds then.

use std::fs;

use refgate_runtime::Manifest;
use serde_json::{Value, json};

use crate::common::{Lab, PROJECT};

/// The shipped push filter as another build of a plugin.
fn build(version: &str) -> Vec<u8> {
    let push = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap();
    Manifest { version: Some(version.to_owned()), ..Manifest::default() }.embed(push.wasm).unwrap()
}

/// Makes live what the directory holds; the digest of `extra`, if it takes part.
fn live(lab: &Lab) -> Option<String> {
    let report = lab.run("a", &["--json", "push", PROJECT, "b"]).json(0);
    let filters = report["generation"]["filters"].as_array().unwrap();
    filters.iter().find(|f| f["name"] == "extra").map(|f| f["digest"].as_str().unwrap().to_owned())
}

/// Sets with `extra` of versions 1, 2 and 3, after one without; the number of the first.
fn versions() -> (Lab, u64) {
    let (lab, _) = Lab::seeded();
    assert_eq!(live(&lab), None);
    let first = lab.run("a", &["--json", "plugins", "list"]).json(0)["generation"].as_u64().unwrap();
    for version in ["1", "2", "3"] {
        lab.write("a/plugins/extra.wasm", build(version));
        assert_eq!(live(&lab), Some(refgate_runtime::digest(&build(version))));
    }
    (lab, first)
}

fn history(lab: &Lab) -> Vec<(u64, String)> {
    let got = lab.run("a", &["--json", "plugins", "history"]).json(0);
    let one = |g: &Value| (g["generation"].as_u64().unwrap(), g["state"].as_str().unwrap().to_owned());
    got["generations"].as_array().unwrap().iter().map(one).collect()
}

fn states(of: &[(u64, &str)]) -> Vec<(u64, String)> {
    of.iter().map(|(id, state)| (*id, (*state).to_owned())).collect()
}

#[test]
fn the_sets_that_were_live_are_listed_and_one_can_be_chosen() {
    let (lab, first) = versions();
    let now = states(&[(first + 3, "live"), (first + 2, "before"), (first + 1, "before"), (first, "before")]);
    assert_eq!(history(&lab), now);
    let text = lab.run("a", &["plugins", "history"]);
    let lines: Vec<&str> = text.ok().lines().collect();
    assert!(lines[0].starts_with("GENERATION  LIVE SINCE"), "{}", text.out);
    assert!(lines[1].contains("live") && lines[1].contains("extra sha256:"), "{}", text.out);
    assert!(lines[4].ends_with("the shipped ones alone"), "{}", text.out);
    assert!(lines[1].contains("Z  live"), "a time: {}", text.out);

    let to = (first + 1).to_string();
    let back = ["plugins", "rollback", "--to", &to];
    let dry = lab.run("a", &[&back[..], &["--dry-run"]].concat());
    let would = format!(
        "generation {} would be live, with the files of generation {to}; taken back: extra\n",
        first + 4
    );
    assert!(dry.ok().starts_with(&would), "{}", dry.out);
    assert_eq!(history(&lab), now, "nothing changed");
    assert_eq!(live(&lab), Some(refgate_runtime::digest(&build("3"))));

    let done = lab.run("a", &back);
    let file = "plugins/extra.wasm";
    assert!(done.ok().contains(" is live, with the files of generation "), "{}", done.out);
    let still = format!(
        "`{file}` still is what was taken back. It stays out until you put another file there, or run `refgate plugins release extra`.\n"
    );
    assert!(done.out.ends_with(&still), "{}", done.out);
    assert_eq!(live(&lab), Some(refgate_runtime::digest(&build("1"))));
    let now = [
        (first + 4, "live"),
        (first + 3, "taken back"),
        (first + 2, "taken back"),
        (first + 1, "before"),
        (first, "before"),
    ];
    assert_eq!(history(&lab), states(&now));
    lab.run("a", &["plugins", "rollback", "--to", "99"])
        .fails(1, &["generation 99 is not kept", "plugins history"]);
    lab.run("a", &["plugins", "rollback", "--to", &(first + 4).to_string()]).fails(1, &["is the live one"]);
}

#[test]
fn what_the_directory_holds_after_going_back_is_said() {
    let (lab, first) = versions();
    let rollback = |lab: &Lab| {
        let got = lab.run("a", &["--json", "plugins", "rollback", "--dry-run"]).json(0);
        assert_eq!((&got["dry_run"], &got["of"]), (&json!(true), &json!(first + 2)));
        got["directory"][0]["holds"].clone()
    };
    assert_eq!(rollback(&lab), "taken-back");
    lab.write("a/plugins/extra.wasm", build("2"));
    assert_eq!(rollback(&lab), "decides");
    lab.write("a/plugins/extra.wasm", build("4"));
    assert_eq!(rollback(&lab), "another");
    fs::remove_file(lab.path("a/plugins/extra.wasm")).unwrap();
    assert_eq!(rollback(&lab), "nothing");

    // That the file went is taken back: what is saved decides until the file is there again.
    assert_eq!(live(&lab), None);
    let back = lab.run("a", &["plugins", "rollback", "--reason", "it is needed"]);
    assert!(back.ok().contains("`plugins/extra.wasm` is not there; the saved copy decides"), "{}", back.out);
    for _ in 0..2 {
        let push = lab.run("a", &["--json", "push", PROJECT, "b"]);
        assert_eq!(push.json(0)["generation"]["filters"][0]["name"], "extra");
        push.says(&["`extra` decides though its file is gone", "it is needed"]);
    }
    lab.write("a/plugins/extra.wasm", build("4"));
    assert_eq!(live(&lab), Some(refgate_runtime::digest(&build("4"))));
}

#[test]
fn without_sets_there_is_nothing_to_list_or_to_go_back_to() {
    let lab = Lab::new();
    assert_eq!(lab.run("a", &["plugins", "history"]).ok(), "no set was live yet\n");
    assert_eq!(history(&lab), []);
    lab.run("a", &["plugins", "rollback", "--dry-run"]).fails(1, &["no set before"]);
}
