//! `build` and `test`: from a crate to a filter that holds back refs of a real push.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{Lab, PROJECT, Ran};

const CASE: &str = r#"{"cases":[{"name":"a new ref goes","direction":"push","project":"p","offer":[
    {"ref":"refs/heads/wip/x","new":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}],
    "local":{"refs/heads/wip/x":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
    "expect":{"keep":[{"ref":"refs/heads/wip/x"}]}}]}"#;

#[test]
fn cases_pass_fail_or_cannot_be_read() {
    let lab = Lab::new();
    lab.write("good.json", CASE);
    lab.write(
        "bad.json",
        CASE.replace("\"keep\":[{\"ref\":\"refs/heads/wip/x\"}]", "\"keep\":[],\"waits\":1"),
    );
    // No configuration file is here.
    assert_eq!(lab.run("", &["test", "good.json"]).ok(), "1 passed, 0 failed\n");
    let ran = lab.run("", &["test", "good.json", "bad.json"]);
    let text = ran.exits(1);
    assert!(text.starts_with("FAILED bad.json: a new ref goes\n    "), "{text}");
    assert!(text.ends_with("1 passed, 1 failed\n") && text.contains("refs/heads/wip/x"), "{text}");

    let got = lab.run("", &["--json", "test", "good.json", "bad.json"]).json(1);
    let diff = got["cases"][1]["diff"].as_str().unwrap();
    let want = json!({"cases": [
        {"file": "good.json", "name": "a new ref goes", "passed": true, "diff": Value::Null},
        {"file": "bad.json", "name": "a new ref goes", "passed": false, "diff": diff},
    ], "passed": 1, "failed": 1});
    assert_eq!(got, want);

    lab.write(
        "good.toml",
        "[[cases]]\nname = \"p\"\ndirection = \"project\"\nproject = \"x\"\nexpect = { match = true }\n",
    );
    assert_eq!(lab.run("", &["test", "good.toml"]).ok(), "1 passed, 0 failed\n");

    for (text, part) in [
        ("{", "EOF"),
        ("{\"cases\":[{\"name\":\"x\"}]}", "direction"),
        (&CASE.replacen(&"a".repeat(40), "aaaa", 1), "40 or 64 hex digits, this has 4"),
        (&CASE.replace("offer", "offers"), "`offers`"),
    ] {
        lab.write("wrong.json", text);
        lab.run("", &["test", "good.json", "wrong.json"])
            .fails(2, &["`wrong.json` is not a case file", part]);
        let got = lab.run("", &["--json", "test", "wrong.json"]).json(2);
        assert_eq!(got["command"], "test");
    }
    lab.run("", &["test", "none.json"]).fails(2, &["`none.json`"]);
    lab.run("", &["test", "--filter", "none.wasm", "good.json"]).fails(2, &["none.wasm"]);
    lab.run("", &["test", "--plugins", "none", "good.json"]).fails(2, &["plugin directory `none`"]);
}

#[test]
fn a_filter_is_built_tested_and_dropped_in() {
    let (lab, first) = Lab::seeded();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    lab.write(
        "wip/Cargo.toml",
        format!(
            "[package]\nname = \"no-wip\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
             [dependencies]\nrefgate-guest = {{ path = {:?} }}\n[workspace]\n",
            root.join("guest")
        ),
    );
    // The versions of the workspace are on this machine already.
    lab.write("wip/Cargo.lock", std::fs::read(root.join("Cargo.lock")).unwrap());
    lab.write(
        "wip/src/lib.rs",
        "use refgate_guest::{Batch, NoSettings, Problems, PushFilter, Verdicts, export_push_filter};\n\
         struct NoWip;\n\
         impl PushFilter for NoWip {\n\
             type Settings = NoSettings;\n\
             fn new(_: NoSettings) -> Result<Self, Problems> { Ok(NoWip) }\n\
             fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {\n\
                 verdicts.discard(batch.select_prefix(b\"refs/heads/wip/\"), \"work-in-progress\");\n\
                 Ok(())\n\
             }\n\
         }\n\
         export_push_filter!(NoWip);\n",
    );
    // Kept between runs, so that only the first one compiles the SDK.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("filters");
    let build = |args: &[&str]| {
        // rustup and cargo find themselves by HOME.
        let home = std::env::var_os("HOME").unwrap_or_default();
        Ran::of(lab.command("").env("HOME", home).env("CARGO_TARGET_DIR", &target).arg("build").args(args))
    };
    let got = build(&["wip", "-o", "a/plugins/no-wip.wasm", "--json"]).json(0);
    let size = std::fs::metadata(lab.path("a/plugins/no-wip.wasm")).unwrap().len();
    assert_eq!((&got["command"], &got["file"]), (&json!("build"), &json!("a/plugins/no-wip.wasm")));
    assert_eq!((&got["size"], &got["worlds"]), (&json!(size), &json!(["push-filter"])));
    assert!(
        got["imports"].as_array().unwrap().iter().all(|i| i.as_str().unwrap().starts_with("refgate:filter/"))
    );
    let text = build(&["wip"]);
    assert!(
        text.ok().starts_with(&format!("no-wip.wasm: push-filter, {size} bytes, sha256:")),
        "{}",
        text.out
    );
    assert!(lab.path("no-wip.wasm").is_file());

    lab.write(
        "case.json",
        CASE.replace(
            "\"keep\":[{\"ref\":\"refs/heads/wip/x\"}]",
            "\"discard\":[{\"ref\":\"refs/heads/wip/x\",\"reason\":\"work-in-progress\"}]",
        ),
    );
    assert_eq!(lab.run("", &["test", "--filter", "no-wip.wasm", "case.json"]).ok(), "1 passed, 0 failed\n");
    assert_eq!(lab.run("", &["test", "--plugins", "a/plugins", "case.json"]).ok(), "1 passed, 0 failed\n");
    lab.run("", &["test", "case.json"]).exits(1);

    lab.commit("a", "refs/heads/wip/x", &[&first]);
    lab.commit("a", "refs/heads/ready", &[&first]);
    lab.run("a", &["refdb", "publish", PROJECT]).ok();
    let ran = lab.run("a", &["push", PROJECT, "b"]);
    assert!(ran.exits(3).contains("held back: work-in-progress (by no-wip)"), "{}", ran.out);
    assert_eq!(lab.value("b", "refs/heads/wip/x"), "");
    assert_ne!(lab.value("b", "refs/heads/ready"), "");
}

#[test]
fn what_is_no_crate_is_refused_and_nothing_is_written() {
    let lab = Lab::new();
    lab.mkdir("empty");
    lab.run("", &["build", "empty"]).fails(2, &["empty/Cargo.toml", "directory of a crate"]);
    let got = lab.run("", &["build", "empty", "--json"]).json(2);
    assert_eq!(got["command"], "build");
}

#[test]
fn a_file_is_taken_as_a_core_module_and_what_would_not_load_is_not_written() {
    let lab = Lab::new();
    let push = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap();
    // A module that exports nothing, and one that wants `fd_write` of WASI.
    let empty = b"\0asm\x01\0\0\0";
    let system =
        [&empty[..], b"\x01\x04\x01\x60\0\0", b"\x02\x23\x01\x16wasi_snapshot_preview1\x08fd_write\0\0"]
            .concat();
    lab.write("push.component", push.wasm);
    lab.write("empty.module", empty);
    lab.write("system.module", system);
    lab.write("text.module", "int main()");
    for (module, code, parts) in [
        ("push.component", 2, ["`push.component` is a component already", "use it as it is"]),
        ("text.module", 2, ["`text.module` is not WebAssembly", "a core module"]),
        ("system.module", 2, ["`system.module` does not make a component", "wasi_snapshot_preview1"]),
        ("empty.module", 1, ["`empty.module` makes would not load", "no world of refgate"]),
    ] {
        lab.run("", &["build", module, "-o", "x.wasm"]).fails(code, &parts);
        assert!(!lab.path("x.wasm").exists(), "{module}");
    }
    lab.write("x.wasm", empty);
    lab.run("", &["build", "x.wasm"]).fails(2, &["would take the place of `x.wasm`", "--output"]);
    assert_eq!(std::fs::read(lab.path("x.wasm")).unwrap(), empty);
}
