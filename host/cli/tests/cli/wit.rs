//! `wit show` and `wit diff`: the contract as text, and changes that plugins survive or do not.

use std::fs;
use std::path::Path;

use refgate_filters::EMBEDDED;
use serde_json::json;

use crate::common::Lab;

/// The WIT of this tree in `dir`.
fn copy(lab: &Lab, dir: &str) {
    lab.run("", &["wit", "show", dir]).ok();
}

fn replace(lab: &Lab, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(lab.path(file)).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    lab.write(file, text.replace(from, to));
}

#[test]
fn the_text_is_that_of_the_tree() {
    let lab = Lab::new();
    let ran = lab.run("", &["wit", "show", "wit"]);
    assert!(ran.ok().starts_with("wrote wit: batches.wit, "), "{}", ran.out);
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let mut count = 0;
    for entry in fs::read_dir(tree).unwrap() {
        let path = entry.unwrap().path();
        let copy = lab.path("wit").join(path.file_name().unwrap());
        assert_eq!(fs::read(&path).unwrap(), fs::read(copy).unwrap(), "{}", path.display());
        count += 1;
    }
    assert_eq!(fs::read_dir(lab.path("wit")).unwrap().count(), count);
    lab.run("", &["wit", "show", "wit"]).fails(2, &["`wit` is not empty"]);

    // As one text it is the same contract.
    let text = lab.run("", &["wit", "show"]);
    lab.write("one.wit", text.ok());
    let same = lab.run("", &["wit", "diff", "one.wit", "wit"]);
    assert_eq!(same.ok(), "push-filter: compatible\nfetch-filter: compatible\nproject-matcher: compatible\n");
    let got = lab.run("", &["--json", "wit", "show"]).json(0);
    assert_eq!(got["wit"].as_str().unwrap(), text.out);
}

#[test]
fn what_plugins_need_must_stay() {
    let lab = Lab::new();
    let method = "attempt: func() -> u32;";
    for (file, from, to, code, said) in [
        // More to call leaves nobody behind.
        (
            "batches.wit",
            method,
            "attempt: func() -> u32;\n    age: func() -> u64;",
            0,
            "push-filter: compatible",
        ),
        ("batches.wit", method, "", 1, "plugins may call `ref-batch.attempt`"),
        (
            "batches.wit",
            method,
            "attempt: func() -> u64;",
            1,
            "was `func(self: borrow<ref-batch>) -> u32` and is",
        ),
        (
            "batches.wit",
            "record column { bytes: list<u8>,",
            "record column { raw: list<u8>,",
            1,
            "record { raw:",
        ),
        (
            "push.wit",
            "  filter:",
            "  warm-up: func();\n  filter:",
            1,
            "calls `warm-up`, which plugins do not have",
        ),
        (
            "worlds.wit",
            "export lifecycle;\n  export push;",
            "export lifecycle;\n  export push;\n  export fetch;",
            1,
            "wants the export `refgate:filter/fetch`",
        ),
        (
            "worlds.wit",
            "world push-filter",
            "world pusher",
            1,
            "push-filter: plugins break\n    the new side has no",
        ),
    ] {
        let _ = fs::remove_dir_all(lab.path("new"));
        copy(&lab, "new");
        replace(&lab, &format!("new/{file}"), from, to);
        let _ = fs::remove_dir_all(lab.path("old"));
        copy(&lab, "old");
        let ran = lab.run("", &["wit", "diff", "old", "new"]);
        assert!(ran.exits(code).contains(said), "`{said}` is not in: {}", ran.out);
        // The world that does not change goes on.
        if !file.starts_with("batches") {
            assert!(ran.out.contains("project-matcher: compatible"), "{}", ran.out);
        }
    }
    // The other way round: what is new now would be missing then.
    let _ = fs::remove_dir_all(lab.path("new"));
    copy(&lab, "new");
    replace(&lab, "new/batches.wit", method, "attempt: func() -> u32;\n    age: func() -> u64;");
    let ran = lab.run("", &["wit", "diff", "new"]);
    assert!(ran.exits(1).contains("`ref-batch.age`"), "{}", ran.out);
}

#[test]
fn another_series_of_versions_is_another_contract() {
    let lab = Lab::new();
    copy(&lab, "new");
    for entry in fs::read_dir(lab.path("new")).unwrap() {
        let name = format!("new/{}", entry.unwrap().file_name().to_str().unwrap());
        let text = fs::read_to_string(lab.path(&name)).unwrap();
        let package = text.lines().find(|l| l.starts_with("package ")).unwrap();
        lab.write(&name, text.replace(package, "package refgate:filter@0.99.0;"));
    }
    let ran = lab.run("", &["wit", "diff", "new"]);
    assert!(ran.exits(1).contains("was of version 0.99.x and is of 0.1.x"), "{}", ran.out);
}

#[test]
fn components_are_compared_with_what_they_were_made_for() {
    let lab = Lab::new();
    for embedded in EMBEDDED {
        lab.write(&format!("{}.wasm", embedded.name), embedded.wasm);
    }
    assert_eq!(lab.run("", &["wit", "diff", "push.wasm"]).ok(), "push-filter: compatible\n");
    assert_eq!(lab.run("", &["wit", "diff", "project-matcher.wasm"]).ok(), "project-matcher: compatible\n");
    assert_eq!(lab.run("", &["wit", "diff", "fetch.wasm", "fetch.wasm"]).ok(), "component: compatible\n");
    copy(&lab, "new");
    // The shipped push filter selects; a host without that would not run it.
    replace(&lab, "new/batches.wit", "select: func(mask: u32, value: u32) -> list<u32>;", "");
    let got = lab.run("", &["--json", "wit", "diff", "push.wasm", "new"]).json(1);
    assert_eq!(got["compatible"], false);
    let want =
        "`refgate:filter/batches`: plugins may call `ref-batch.select`, which the new side does not offer";
    assert_eq!(got["worlds"], json!([{"world": "push-filter", "compatible": false, "breaks": [want]}]));
}

#[test]
fn what_is_no_contract_is_refused() {
    let lab = Lab::new();
    lab.write("empty.wit", "package a:b;\n");
    lab.write("bad.wit", "package a:b;\nworld {");
    lab.write("core.wasm", b"\0asm\x01\0\0\0");
    for (file, part) in
        [("none", "none"), ("empty.wit", "no world"), ("bad.wit", "bad.wit:2"), ("core.wasm", "")]
    {
        lab.run("", &["wit", "diff", file]).fails(2, &[&format!("`{file}` cannot be compared"), part]);
    }
}
