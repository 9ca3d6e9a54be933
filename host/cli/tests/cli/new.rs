//! `new`: what it makes builds, passes its tests and is tidy, without anything from the network.

use std::fs;

use serde_json::json;

use crate::common::{Lab, Ran, clean, root, with_cargo};

#[test]
fn a_new_crate_is_complete_for_every_world() {
    let lab = Lab::new();
    let sdk = root().join("guest");
    for (name, world) in
        [("no-wip", "push-filter"), ("no_wip_in", "fetch-filter"), ("no-sandbox", "project-matcher")]
    {
        let made = lab.run("", &["new", name, "--world", world, "--sdk", sdk.to_str().unwrap()]);
        assert!(made.ok().starts_with(&format!("wrote {name}/Cargo.toml\n")), "{}", made.out);
        let dir = lab.path(name);
        let cargo = |args: &[&str]| {
            let mut cargo = with_cargo(clean("cargo", lab.dir.path()), &dir);
            Ran::of(cargo.args(args)).ok().to_owned()
        };
        assert!(cargo(&["test"]).contains("2 passed"), "{world}");
        cargo(&["fmt", "--check"]);
        cargo(&["clippy", "--all-targets", "--", "-D", "warnings", "-D", "clippy::all"]);
        let built = Ran::of(with_cargo(lab.command(""), &dir).arg("build"));
        assert!(built.ok().starts_with(&format!("{name}.wasm: {world}, ")), "{}", built.out);
        let file = format!("{name}.wasm");
        let tested = lab.run(name, &["test", "--filter", &file, "cases.json"]);
        assert_eq!(tested.ok(), "3 passed, 0 failed\n", "{world}");
        // Dropped in it takes part.
        fs::copy(dir.join(&file), lab.path("a/plugins").join(&file)).unwrap();
        assert!(lab.run("a", &["plugins", "list"]).ok().contains(name));
    }
}

#[test]
fn nothing_is_overwritten_and_what_cannot_work_is_refused() {
    let lab = Lab::new();
    let guest = root().join("guest");
    let sdk = guest.to_str().unwrap();
    lab.write("full/mine", "x");
    lab.run("", &["new", "x", "full", "--sdk", sdk]).fails(2, &["`full` is not empty"]);
    lab.run("", &["new", "x", "full/mine", "--sdk", sdk]).fails(1, &["cannot make `full/mine`"]);
    lab.run("", &["new", "Not", "--sdk", sdk]).fails(2, &["`Not` cannot be the name of a filter"]);
    lab.run("", &["new", "push", "--sdk", sdk]).fails(2, &["shipped filter"]);
    lab.run("", &["new", "x", "--world", "filter"]).exits(2);
    lab.run("", &["new", "x", "--lang", "cobol"]).exits(2);
    for lang in ["c", "python", "javascript"] {
        let example = format!("filters/examples/{lang}");
        lab.run("", &["new", "x", "--lang", lang]).fails(2, &["Rust only", &example]);
        assert!(root().join(example).join("README.md").is_file());
    }
    // Neither the lab nor what is above it is a clone.
    lab.run("", &["new", "x"]).fails(2, &["the SDK is not found", "--sdk"]);
    lab.run("", &["new", "x", "--sdk", "full"]).fails(2, &["`full` is not the SDK"]);
    assert!(!lab.path("x").exists(), "nothing is left of what was refused");

    lab.mkdir("empty");
    let got = lab.run("", &["--json", "new", "x", "empty", "--sdk", sdk]).json(0);
    assert_eq!(
        (&got["command"], &got["name"], &got["world"]),
        (&json!("new"), &json!("x"), &json!("push-filter"))
    );
    for file in got["files"].as_array().unwrap() {
        assert!(lab.path("empty").join(file.as_str().unwrap()).is_file(), "{file}");
    }
}

#[test]
fn in_a_clone_the_sdk_is_found() {
    let lab = Lab::new();
    lab.write("clone/guest/Cargo.toml", "[package]\nname = \"refgate-guest\"\n");
    lab.run("", &["new", "x", "clone/my/x"]).ok();
    let manifest = fs::read_to_string(lab.path("clone/my/x/Cargo.toml")).unwrap();
    assert!(manifest.contains("refgate-guest = { path = \"../../guest\" }"), "{manifest}");
}
