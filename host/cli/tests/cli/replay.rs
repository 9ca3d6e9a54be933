//! `--record` and `replay`: what a real push asked is asked again.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Lab, PROJECT, example_filter};

/// A push of `wip/x` and a stale `main` with a recording in `looks`.
fn recorded() -> Lab {
    let (lab, first) = Lab::seeded();
    lab.commit("a", "refs/heads/wip/x", &[&first]);
    lab.run("a", &["refdb", "publish", PROJECT]).ok();
    let newer = lab.commit("b", "refs/heads/main", &[&first]);
    lab.run("a", &["refdb", "cas", PROJECT, "refs/heads/main", &first, &newer]).ok();
    let ran = lab.run("a", &["push", PROJECT, "b", "--record", "looks"]);
    assert!(ran.exits(3).contains("1 replicated, 1 held back") && !ran.err.contains("looks"), "{}", ran.err);
    lab
}

#[test]
fn the_same_filters_change_nothing_and_others_exactly_what_they_decide_otherwise() {
    let lab = recorded();
    let same = lab.run("a", &["replay", "looks"]);
    assert_eq!(same.ok(), "0 of 3 refs changed, in 2 looks\n");

    example_filter(&lab, "a/plugins/wip.wasm");
    let ran = lab.run("a", &["replay", "looks"]);
    assert_eq!(
        ran.exits(3),
        "PROJECT   LOOK    REF               WAS   NOW\n\
         team/app  push b  refs/heads/wip/x  keep  discard: work-in-progress (by wip)\n\
         1 of 3 refs changed, in 2 looks\n"
    );
    assert_eq!(lab.run("a", &["replay", "looks", "--plugins", "plugins"]).exits(3), ran.out);

    // Alone it asks for no recheck.
    let got = lab.run("a", &["--json", "replay", "looks", "--filter", "plugins/wip.wasm"]).json(3);
    assert_eq!(
        (&got["command"], &got["file"], &got["notes"]),
        (&json!("replay"), &json!("looks"), &json!([]))
    );
    assert_eq!((&got["looks"], &got["refs"], &got["changed"]), (&json!(2), &json!(3), &json!(3)));
    let refs: Vec<Value> = got["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| json!([c["line"], c["attempt"], c["ref"], c["was"]["verdict"], c["now"]["verdict"]]))
        .collect();
    let want = [
        json!([2, 0, "refs/heads/main", "recheck", "keep"]),
        json!([2, 0, "refs/heads/wip/x", "keep", "discard"]),
        json!([3, 1, "refs/heads/main", "discard", "keep"]),
    ];
    assert_eq!(refs, want);
    assert_eq!(got["changes"][1]["now"], json!({"verdict":"discard","reason":"work-in-progress","by":"wip"}));
    assert_eq!(got["changes"][1]["project"], PROJECT);

    // No configuration is needed for filters from elsewhere.
    fs::copy(lab.path("a/looks"), lab.path("looks")).unwrap();
    lab.run("", &["replay", "looks", "--filter", "a/plugins/wip.wasm"]).exits(3);
    lab.run("", &["replay", "looks"]).fails(2, &["refgate.config"]);
}

#[test]
fn a_recording_of_the_configuration_is_continued_and_stays_within_its_size() {
    let (lab, first) = Lab::seeded();
    lab.configure("a", "[plugins]\n    record = looks");
    for name in ["refs/heads/one", "refs/heads/two"] {
        lab.commit("a", name, &[&first]);
        lab.run("a", &["refdb", "publish", PROJECT]).ok();
        lab.run("a", &["push", PROJECT, "b"]).ok();
    }
    // Nothing was behind, so every push looked once.
    assert_eq!(lab.run("a", &["replay", "looks"]).ok(), "0 of 2 refs changed, in 2 looks\n");

    let long = fs::read_to_string(lab.path("a/looks")).unwrap();
    let (header, look) = long.split_once('\n').unwrap();
    let look = look.lines().next().unwrap().to_owned() + "\n";
    lab.write("a/looks", header.to_owned() + "\n" + &look.repeat((1 << 20) / look.len()));
    let before = fs::read(lab.path("a/looks")).unwrap();
    lab.commit("a", "refs/heads/three", &[&first]);
    lab.run("a", &["refdb", "publish", PROJECT]).ok();
    let ran = lab.run("a", &["push", PROJECT, "b", "--record-max", "1"]);
    assert!(ran.ok().contains("1 replicated"), "{}", ran.out);
    ran.says(&["warning: the recording", "1 MiB", "1 look is not in the recording"]);
    assert_eq!(fs::read(lab.path("a/looks")).unwrap(), before);
}

#[test]
fn a_recording_that_cannot_be_written_or_read_is_refused() {
    let (lab, first) = Lab::seeded();
    lab.commit("a", "refs/heads/one", &[&first]);
    lab.run("a", &["refdb", "publish", PROJECT]).ok();
    lab.write("a/notes", "mine\n");
    let ran = lab.run("a", &["push", PROJECT, "b", "--record", "notes"]);
    ran.fails(2, &["cannot record to `notes`", "does not begin as a refgate-record"]);
    assert_eq!(lab.value("b", "refs/heads/one"), "");
    lab.run("a", &["push", PROJECT, "b", "--record", "none/looks"]).fails(2, &["`none/looks`"]);
    lab.run("a", &["push", PROJECT, "b", "--record-max", "0"]).exits(2);

    lab.run("a", &["replay", "notes"]).fails(2, &["line 1 of `notes` cannot be read"]);
    lab.run("a", &["replay", "none"]).fails(2, &["the recording `none`"]);
    lab.run("a", &["push", PROJECT, "b", "--record", "looks"]).ok();
    let good = fs::read_to_string(lab.path("a/looks")).unwrap();
    lab.write("a/looks", &good[..good.len() - 20]);
    let ran = lab.run("a", &["replay", "looks"]);
    assert_eq!(ran.ok(), "0 of 0 refs changed, in 0 looks\n");
    ran.says(&["line 2 is cut off"]);
    lab.write("a/looks", good.replace("refs/heads/one", "refs/heads/a..b"));
    let got = lab.run("a", &["--json", "replay", "looks"]).json(2);
    assert!(got["error"]["message"].as_str().unwrap().contains("line 2 of `looks`"), "{got}");
}
