//! No file in the plugin directory can stop a client's push, and no pusher reads of one.

use std::fs;

use crate::common::{PROJECT, Ran, chooser};
use crate::lab::{Gated, Kind};

#[path = "../../../../tests/programs/heavy/mod.rs"]
#[allow(dead_code)]
mod heavy;

/// Pushes a new commit to `main`, which must be accepted without a word about plugins; what it was.
fn goes(g: &Gated, what: &str) -> String {
    let commit = g.commit(&[&g.value("a", "refs/heads/main")], what);
    let ran = g.push("a", &[&format!("{commit}:refs/heads/main")]);
    assert_eq!(ran.code, 0, "{what}: {}", ran.err);
    assert!(!ran.err.contains("plugin") && !ran.err.contains("chooser"), "{what}: {}", ran.err);
    assert_eq!(g.value("a", "refs/heads/main"), commit, "{what}");
    commit
}

/// What the operator reads.
fn status(g: &Gated) -> Ran {
    g.lab.run("a", &["hook", "status", PROJECT])
}

#[test]
fn a_plugin_file_in_whatever_state_stops_no_push() {
    // Once with a set that was live before, and once without any.
    for live in [true, false] {
        let g = Gated::new(Kind::Files);
        let _ = fs::remove_dir_all(g.lab.path("a/plugins.state"));
        if live {
            g.lab.run("a", &["push", PROJECT, "b"]).ok();
        }
        let whole = chooser(vec![]);
        let file = "a/plugins/chooser.wasm";
        let gated = |what: &str| {
            let commit = goes(&g, what);
            g.is_at("a", "refs/heads/main", &commit);
        };
        g.lab.write(file, &whole[..3000]);
        gated("a plugin that is cut off");
        status(&g).says(&["chooser.wasm", "writes of clients go on"]);
        g.lab.run("a", &["push", PROJECT, "b"]).fails(2, &["chooser.wasm"]);
        g.lab.write(file, &whole);
        gated("a plugin that is whole, and its settings are not written yet");
        g.lab.configure("a", "[plugins]\n    compileTimeout = 1");
        for (name, wasm) in heavy::all() {
            g.lab.write("a/plugins/heavy.wasm", wasm);
            gated(&format!("a plugin that takes a machine: {name}"));
        }
        status(&g).says(&["heavy.wasm", "compiling it takes longer than 1 s"]);
        fs::remove_file(g.lab.path("a/plugins/heavy.wasm")).unwrap();
        g.lab.configure("a", "[plugins]\n    compileTimeout = 600");
        g.lab.write("a/plugins/chooser.toml", "on-failure = 'ajar'");
        gated("a policy that is none");
        fs::remove_file(g.lab.path("a/plugins/chooser.toml")).unwrap();
        fs::remove_file(g.lab.path(file)).unwrap();
        g.lab.configure("a", "[plugin \"chooser\"]\n    pattern = team/*");
        gated("settings without their plugin");
        g.lab.write(file, &whole);
        gated("both");
        g.lab.write("a/plugins/CHOOSER.wasm", &whole);
        gated("two of one name");
        fs::remove_dir_all(g.lab.path("a/plugins")).unwrap();
        gated("no directory");
        g.lab.write("a/plugins", "no directory");
        gated("a file in its place");
        fs::remove_file(g.lab.path("a/plugins")).unwrap();
        g.lab.mkdir("a/plugins");
        g.lab.configure("a", "[plugins]\n    require = chooser");
        gated("a plugin that must be there");
        g.lab.configure("a", "[plugins]\n    verify = signature\n    signers = none");
        gated("no list of signers");
        g.is_clean("a");
    }
}

#[test]
fn a_matcher_that_was_live_goes_on_and_one_that_never_was_leaves_nothing_out() {
    let g = Gated::new(Kind::Files);
    g.lab.configure("a", "[plugin \"chooser\"]\n    pattern = other/*");
    let whole = chooser(vec![]);
    g.lab.write("a/plugins/chooser.wasm", &whole[..3000]);
    let c1 = goes(&g, "it never was live, so the project is gated");
    g.is_at("a", "refs/heads/main", &c1);
    g.lab.write("a/plugins/chooser.wasm", &whole);
    goes(&g, "it says that the project is none of ours");
    assert_eq!(g.global("refs/heads/main"), c1);
    for (what, bytes) in [("torn", &whole[..3000]), ("empty", b""), ("something else", b"text")] {
        g.lab.write("a/plugins/chooser.wasm", bytes);
        goes(&g, what);
        assert_eq!(g.global("refs/heads/main"), c1, "{what}: what it said last still counts");
    }
}

#[test]
fn patterns_that_are_wrong_are_the_configurations_matter() {
    let g = Gated::new(Kind::Files);
    let config = g.lab.path("a/refgate.config");
    let text = fs::read_to_string(&config).unwrap();
    let _ = fs::remove_dir_all(g.lab.path("a/plugins.state"));
    g.lab.configure("a", "[projects]\n    pattern = ^(");
    let c1 = g.commit(&[&g.c0], "c1");
    let ran = g.push("a", &[&format!("{c1}:refs/heads/main")]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    ran.says(&["[remote rejected]", "this site takes no pushes now: ask its operators"]);
    assert!(!ran.err.contains("project-matcher") && !ran.err.contains("^("), "{}", ran.err);
    g.lab.run("a", &["config", "check"]).fails(2, &["^("]);
    assert_eq!((g.value("a", "refs/heads/main"), g.global("refs/heads/main")), (g.c0.clone(), g.c0.clone()));
    // Once there was a set that could tell, that one does.
    fs::write(&config, format!("{text}[projects]\n    pattern = team/*\n")).unwrap();
    goes(&g, "right");
    fs::write(&config, format!("{text}[projects]\n    pattern = ^(\n")).unwrap();
    let commit = goes(&g, "wrong again");
    g.is_at("a", "refs/heads/main", &commit);
    status(&g).says(&["project-matcher", "which was live last"]);
}
