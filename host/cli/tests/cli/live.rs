//! The set of plugins that decides: its states, its number, going back, checking, watching.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

use refgate_runtime::Manifest;
use serde_json::{Value, json};

use crate::common::{Lab, PROJECT, mode};

/// The shipped push filter as another build of a plugin, with cases if there are any.
fn build(version: &str, cases: Vec<Value>) -> Vec<u8> {
    let push = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap();
    let manifest = Manifest { version: Some(version.to_owned()), cases, ..Manifest::default() };
    manifest.embed(push.wasm).unwrap()
}

fn states(list: &Value) -> Vec<(String, String)> {
    let text = |p: &Value, key: &str| p[key].as_str().unwrap().to_owned();
    list["plugins"].as_array().unwrap().iter().map(|p| (text(p, "name"), text(p, "state"))).collect()
}

fn generation(lab: &Lab) -> u64 {
    let report = lab.run("a", &["--json", "push", PROJECT, "b"]).json(0);
    report["generation"]["id"].as_u64().unwrap()
}

#[test]
fn every_plugin_has_a_state_and_what_is_broken_says_why() {
    let lab = Lab::new();
    lab.write("a/plugins/good.wasm", build("1", vec![]));
    lab.write("a/plugins/torn.wasm", &build("2", vec![])[..5000]);
    lab.write("a/plugins/good.toml", "on-failure = 'ajar'");
    lab.write("a/plugins/twin.wasm", build("3", vec![]));
    lab.write("a/plugins/TWIN.wasm", build("4", vec![]));
    lab.write("a/plugins/big.wasm", vec![0; (64 << 20) + 1]);
    let ran = lab.run("a", &["plugins", "list"]);
    let text = ran.exits(2);
    for part in [
        "good ",
        "quarantined",
        "`ajar`",
        "TWIN",
        "two plugins of one name",
        "torn",
        "larger than 64 MiB",
        "idle",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(ran.err.contains("commands refuse this set"), "{}", ran.err);
    let list = lab.run("a", &["--json", "plugins", "list"]).json(2);
    let states = states(&list);
    let state =
        |name: &str| states.iter().filter(|(n, _)| n == name).map(|(_, s)| s.as_str()).collect::<Vec<_>>();
    for name in ["TWIN", "twin", "big", "good", "torn"] {
        assert_eq!(state(name), ["quarantined"], "{name}");
    }
    assert!(list["error"]["message"].as_str().unwrap().contains("plugin"));
    for file in ["torn.wasm", "good.toml", "TWIN.wasm", "big.wasm"] {
        std::fs::remove_file(lab.path("a/plugins").join(file)).unwrap();
    }
    let list = lab.run("a", &["--json", "plugins", "list"]).json(0);
    assert!(list["plugins"].as_array().unwrap().iter().any(|p| p["name"] == "good" && p["state"] == "live"));
}

#[test]
fn a_set_keeps_its_number_and_a_rollback_brings_the_one_before_back() {
    let (lab, _) = Lab::seeded();
    let first = generation(&lab);
    assert_eq!(generation(&lab), first, "the same set");
    lab.run("a", &["plugins", "rollback"]).fails(1, &["no set before"]);
    lab.write("a/plugins/extra.wasm", build("1", vec![]));
    assert_eq!(generation(&lab), first + 1);
    let back = lab.run("a", &["--json", "plugins", "rollback", "--reason", "a test"]).json(0);
    assert_eq!((&back["generation"], &back["plugins"]), (&json!(first + 2), &json!(["extra"])));
    let push = lab.run("a", &["--json", "push", PROJECT, "b"]);
    let report = push.json(0);
    assert_eq!(report["generation"]["id"], first + 2);
    assert_eq!(report["generation"]["filters"].as_array().unwrap().len(), 1, "{report}");
    assert!(push.err.contains("`extra` is left aside, it was rolled back: a test"), "{}", push.err);
    let list = lab.run("a", &["plugins", "list"]);
    assert!(list.ok().contains("extra: a test"), "{}", list.out);
    lab.run("a", &["plugins", "release", "extr"]).fails(1, &["not quarantined", "did you mean `extra`"]);
    lab.run("a", &["plugins", "release", "extra"]).ok();
    assert_eq!(generation(&lab), first + 3);
    // Another build is another chance without a release.
    lab.run("a", &["plugins", "rollback"]).ok();
    lab.write("a/plugins/extra.wasm", build("2", vec![]));
    assert_eq!(generation(&lab), first + 5);
}

#[test]
fn a_plugin_is_checked_as_a_host_would_take_it() {
    let lab = Lab::new();
    let case = |waits: u32| {
        json!({"cases": [{"name": "nothing to wait for", "direction": "push", "project": "p",
            "local": {"refs/heads/x": "a".repeat(40)}, "offer": [{"ref": "refs/heads/x"}], "expect": {"waits": waits}}]})
    };
    lab.write("a/good.wasm", build("1", vec![case(0)]));
    lab.write("a/bad.wasm", build("1", vec![case(1)]));
    let good = lab.run("a", &["plugins", "check", "good.wasm"]);
    assert_eq!(good.ok(), "good.wasm: 1 plugin loads, 1 cases pass\n");
    lab.run("a", &["plugins", "check", "good.wasm", "bad.wasm"])
        .fails(2, &["bad.wasm", "waits: expected 1, got 0"]);
    // Without any configuration too.
    lab.run("", &["plugins", "check", "a/good.wasm"]).ok();
    lab.run("", &["plugins", "check"]).fails(2, &["nothing to check"]);
    lab.write("a/plugins/bad.wasm", build("1", vec![case(1)]));
    lab.run("a", &["plugins", "check"]).fails(2, &["its own case"]);
    assert!(!lab.path("a/plugins.state/live.json").exists(), "a check saves nothing");
}

#[test]
fn a_damaged_state_is_said_and_the_directory_decides() {
    let (lab, _) = Lab::seeded();
    lab.run("a", &["push", PROJECT, "b", "--create"]).ok();
    lab.write("a/plugins/extra.wasm", build("1", vec![]));
    assert_eq!(generation(&lab), 2);
    for damage in ["{", "", "\0\0\0", "{\"format\": 99}", "null", "[]"] {
        // Who lists what is there changes nothing; who loads it writes it anew.
        let loads = [
            (&["plugins", "list"][..], false),
            (&["config", "check"], true),
            (&["push", PROJECT, "b"], true),
        ];
        for (args, renews) in loads {
            lab.write("a/plugins.state/live.json", damage);
            let ran = lab.run("a", args);
            ran.ok();
            ran.says(&["live.json`: it is damaged", "the plugin directory decides", "live.json.damaged"]);
            // It is said once.
            let again = lab.run("a", args);
            again.ok();
            assert_eq!(again.err.contains("damaged"), !renews, "{args:?}: {}", again.err);
            if renews {
                let kept = std::fs::read_to_string(lab.path("a/plugins.state/live.json.damaged")).unwrap();
                assert_eq!(kept, damage);
            }
        }
        assert_eq!(generation(&lab), 1, "numbers begin anew");
    }
}

#[test]
fn what_must_be_vouched_for_is_refused_without() {
    let lab = Lab::new();
    let wasm = build("1", vec![]);
    lab.write("a/plugins/extra.wasm", &wasm);
    lab.configure("a", "[plugins]\n    verify = checksum");
    lab.run("a", &["config", "check"]).fails(2, &["extra.wasm", "no pinned digest"]);
    lab.write("a/plugins/extra.toml", format!("digest = '{}'", refgate_runtime::digest(&wasm)));
    lab.run("a", &["config", "check"]).ok();
    lab.write("a/plugins/extra.wasm", build("2", vec![]));
    lab.run("a", &["config", "check"]).fails(2, &["extra.wasm", "is pinned"]);
    lab.configure("a", "[plugins]\n    verify = signature");
    lab.run("a", &["config", "check"]).fails(2, &["needs a list of signers", "plugins.signers"]);
    lab.configure("a", "[plugins]\n    verify = always");
    lab.run("a", &["config", "check"]).fails(2, &["`always`", "`none`, `checksum` or `signature`"]);
}

#[test]
fn compiled_plugins_are_kept_where_only_their_owner_can_read() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    lab.configure("a", "[projects]\n    pattern = team/*");
    for _ in 0..2 {
        lab.run("a", &["project", "match", "team/x"]).ok();
    }
    let cache = lab.path("a/plugins.state/cache");
    let modes: Vec<u32> =
        std::fs::read_dir(&cache).unwrap().map(|e| e.unwrap().metadata().unwrap().mode() & 0o7777).collect();
    assert!(modes.len() >= 2 && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
    assert_eq!(cache.metadata().unwrap().mode() & 0o7777, 0o700);
    // What others may write is not used, and that is said; decisions go on.
    mode(&lab.path("a/plugins.state"), 0o777);
    let ran = lab.run("a", &["project", "match", "team/x"]);
    ran.ok();
    assert!(ran.err.contains("others") && ran.err.contains("plugins.state"), "{}", ran.err);
}

#[test]
fn watching_says_what_happens() {
    let lab = Lab::new();
    let mut command = lab.command("a");
    // Nothing is found by chance: what is not noticed at once is not noticed.
    command.args(["plugins", "watch", "--rescan", "3600"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (said, heard) = channel();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
    let next = || heard.recv_timeout(Duration::from_secs(60)).expect("another line");
    assert!(next().starts_with("generation 1 is live"));
    lab.write("a/extra.new", build("1", vec![]));
    std::fs::rename(lab.path("a/extra.new"), lab.path("a/plugins/extra.wasm")).unwrap();
    let line = next();
    assert!(line.starts_with("generation 2 is live; new: extra; proved on 0 cases"), "{line}");
    lab.run("a", &["plugins", "rollback"]).ok();
    let line = next();
    assert!(
        line.starts_with("generation 2 was rolled back, generation 3 is live; taken back: extra"),
        "{line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
