//! `plugins list` and `inspect`, and files that are no plugins.

use serde_json::json;

use crate::common::{Lab, PROJECT};

#[test]
fn what_is_loaded_is_listed() {
    let lab = Lab::new();
    let list = lab.run("a", &["plugins", "list"]);
    let lines: Vec<&str> = list.ok().lines().collect();
    assert!(lines[0].starts_with("NAME "), "{}", list.out);
    assert!(
        lines[1].starts_with("fetch            fetch-filter     live   embedded  sha256:"),
        "{}",
        list.out
    );
    let got = lab.run("a", &["--json", "plugins", "list"]).json(0);
    assert_eq!((&got["command"], &got["generation"]), (&json!("plugins list"), &json!(1)));
    let plugin = &got["plugins"][2];
    assert_eq!(
        (&plugin["name"], &plugin["world"], &plugin["origin"]),
        (&json!("push"), &json!("push-filter"), &json!("embedded"))
    );

    let push = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap();
    lab.write("a/plugins/push.wasm", push.wasm);
    lab.write("a/plugins/README", "no plugin");
    let got = lab.run("a", &["--json", "plugins", "list"]).json(0);
    assert_eq!(got["plugins"].as_array().unwrap().len(), 3, "it replaces the embedded one");
    assert_eq!(got["plugins"][2]["origin"], "plugins/push.wasm");
}

#[test]
fn a_component_is_described_without_running_it() {
    let lab = Lab::new();
    let push = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap();
    lab.write("a/x.wasm", push.wasm);
    let text = lab.run("a", &["plugins", "inspect", "x.wasm"]);
    assert!(
        text.ok().starts_with(&format!("x.wasm: push-filter, {} bytes, sha256:", push.wasm.len())),
        "{}",
        text.out
    );
    assert!(text.out.contains("imports (all that it can do):\n    refgate:filter/batches@"), "{}", text.out);
    // By name, and without any configuration.
    let got = lab.run("", &["--json", "plugins", "inspect", "push"]).json(0);
    let imports: Vec<&str> =
        got["imports"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap()).collect();
    assert!(imports.iter().all(|i| i.starts_with("refgate:filter/")), "{imports:?}");
    assert_eq!(
        (&got["plugin"], &got["worlds"], &got["size"]),
        (&json!("push"), &json!(["push-filter"]), &json!(push.wasm.len()))
    );
    assert!(got["exports"][0]["name"].as_str().unwrap().starts_with("refgate:filter/push@"));
    lab.run("a", &["plugins", "inspect", "psh"]).fails(2, &["unknown plugin `psh`", "push"]);
    lab.run("a", &["plugins", "inspect", "none.wasm"]).fails(2, &["`none.wasm`"]);
}

#[test]
fn a_file_that_does_not_load_stops_everything_and_is_named() {
    let cases: [(&[u8], &str); 3] =
        [(b"", "empty"), (b"hello", "not WebAssembly"), (b"\0asm\x01\0\0\0", "core module")];
    for (bytes, why) in cases {
        let (lab, _) = Lab::seeded();
        lab.commit("a", "refs/heads/new", &[]);
        lab.write("a/plugins/mine.wasm", bytes);
        for args in [
            &["push", PROJECT, "b"] as &[&str],
            &["fetch", PROJECT, "b"],
            &["config", "check"],
            &["project", "match", "x"],
            &["plugins", "check"],
            &["plugins", "inspect", "mine"],
            &["plugins", "inspect", "plugins/mine.wasm"],
        ] {
            lab.run("a", args).fails(2, &["plugins/mine.wasm", why]);
        }
        let list = lab.run("a", &["plugins", "list"]);
        assert!(list.exits(2).contains("quarantined") && list.out.contains(why), "{}", list.out);
        list.says(&["plugins/mine.wasm", why]);
        assert_eq!(lab.value("b", "refs/heads/new"), "", "nothing replicates with a chain that is not whole");
    }
}
