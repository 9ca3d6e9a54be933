//! Files of the plugin directory that belong together: in whatever order they come, no command fails in between.

use std::fs;
use std::process::Command;

use refgate_runtime::{Manifest, digest};
use serde_json::{Value, json};

use crate::common::{Lab, PROJECT, chooser};

/// The shipped push filter as another build of a plugin.
fn build(version: &str) -> Vec<u8> {
    let push = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap();
    Manifest { version: Some(version.to_owned()), ..Manifest::default() }.embed(push.wasm).unwrap()
}

/// Every command that asks plugins works.
fn all_work(lab: &Lab) {
    for args in [
        &["push", PROJECT, "b"] as &[&str],
        &["fetch", PROJECT, "b"],
        &["config", "check"],
        &["plugins", "list"],
        &["project", "match", PROJECT],
        &["refdb", "check", PROJECT],
    ] {
        let ran = lab.run("a", args);
        assert!(ran.code == 0, "{args:?}: {}", ran.err);
    }
}

/// Whether the project `x/y` is left out, as the plugin that is tested here has it.
fn is_in_force(lab: &Lab) -> bool {
    let matched = lab.run("a", &["--json", "project", "match", PROJECT, "x/y"]);
    let projects: Value = serde_json::from_str(&matched.out).unwrap();
    projects["projects"].as_array().unwrap().iter().any(|p| p["project"] == "x/y" && p["match"] == false)
}

#[test]
fn a_section_may_be_there_before_its_plugin_and_after_it() {
    let section = "[plugin \"chooser\"]\n    pattern = team/*";
    let (lab, _) = Lab::seeded();
    all_work(&lab);
    lab.configure("a", section);
    all_work(&lab);
    let told = "plugin `chooser`: there are settings for it, but no such plugin";
    lab.run("a", &["push", PROJECT, "b"]).says(&[told]);
    let list = lab.run("a", &["--json", "plugins", "list"]).json(0);
    assert!(list["warnings"][0].as_str().unwrap().starts_with(told), "{list}");
    lab.write("a/plugins/chooser.wasm", chooser(vec![]));
    all_work(&lab);
    assert!(is_in_force(&lab));
    let quiet = lab.run("a", &["plugins", "list"]);
    assert!(!quiet.err.contains("chooser"), "{}", quiet.err);

    // The other order: it takes no part until something is set for it, and that is said.
    let (lab, _) = Lab::seeded();
    all_work(&lab);
    lab.write("a/plugins/chooser.wasm", chooser(vec![]));
    all_work(&lab);
    assert!(!is_in_force(&lab));
    lab.run("a", &["push", PROJECT, "b"]).says(&["`chooser` takes no part yet", "/pattern", "chooser.toml"]);
    let list = lab.run("a", &["--json", "plugins", "list"]).json(0);
    let waiting = list["plugins"].as_array().unwrap().iter().find(|p| p["name"] == "chooser").unwrap();
    assert!(
        waiting["state"] == "waiting" && waiting["reason"].as_str().unwrap().contains("/pattern"),
        "{list}"
    );
    lab.configure("a", section);
    all_work(&lab);
    assert!(is_in_force(&lab));
    // It decides now, so that its settings go is no small thing.
    let file = lab.path("a/refgate.config");
    let without = fs::read_to_string(&file).unwrap().replace(section, "");
    fs::write(&file, &without).unwrap();
    lab.run("a", &["push", PROJECT, "b"]).fails(2, &["chooser.wasm", "/pattern"]);
    fs::write(&file, without + "[plugins]\n    require = chooser\n").unwrap();
    lab.run("a", &["push", PROJECT, "b"]).fails(2, &["chooser.wasm", "/pattern"]);
}

#[test]
fn a_toml_before_its_plugin_is_the_order_in_which_nothing_is_said() {
    let (lab, _) = Lab::seeded();
    for (name, bytes) in
        [("chooser.toml", b"[settings]\npattern = ['team/*']\n".to_vec()), ("chooser.wasm", chooser(vec![]))]
    {
        lab.write(&format!("a/plugins/{name}"), bytes);
        all_work(&lab);
        let push = lab.run("a", &["push", PROJECT, "b"]);
        assert!(!push.err.contains("chooser"), "{}", push.err);
    }
    assert!(is_in_force(&lab));
}

#[test]
fn a_mistyped_section_is_told_with_what_may_be_meant() {
    let lab = Lab::new();
    lab.write("a/plugins/chooser.toml", "[settings]\npattern = ['team/*']\n");
    lab.write("a/plugins/chooser.wasm", chooser(vec![]));
    lab.configure("a", "[plugin \"choser\"]\n    pattern = x");
    for args in [&["config", "check"] as &[&str], &["plugins", "list"], &["plugins", "check"]] {
        let ran = lab.run("a", args);
        ran.ok();
        ran.says(&["plugin `choser`: there are settings for it", "did you mean `chooser`?"]);
    }
}

#[test]
fn a_pinned_plugin_is_replaced_without_a_moment_in_which_commands_fail() {
    let (lab, _) = Lab::seeded();
    lab.configure("a", "[plugins]\n    verify = checksum");
    let (old, new) = (build("1"), build("2"));
    let pin = |digests: &[&[u8]]| {
        let listed: Vec<String> = digests.iter().map(|wasm| format!("\"{}\"", digest(wasm))).collect();
        format!("digest = [{}]\n", listed.join(", "))
    };
    lab.write("a/plugins/extra.toml", pin(&[&old]));
    all_work(&lab);
    lab.write("a/plugins/extra.wasm", &old);
    all_work(&lab);
    lab.write("a/plugins/extra.toml", pin(&[&old, &new]));
    all_work(&lab);
    lab.write("a/plugins/extra.wasm", &new);
    all_work(&lab);
    lab.write("a/plugins/extra.toml", pin(&[&new]));
    all_work(&lab);
    lab.write("a/plugins/extra.wasm", &old);
    lab.run("a", &["config", "check"]).fails(2, &["extra.wasm", "is pinned", &digest(&old)]);
}

#[test]
fn a_signed_plugin_is_replaced_without_a_moment_in_which_commands_fail() {
    let (lab, _) = Lab::seeded();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(lab.path("KEY"))
        .output()
        .expect("ssh-keygen is installed (package openssh-client)");
    assert!(made.status.success(), "{made:?}");
    lab.write("signers", format!("alice {}", fs::read_to_string(lab.path("KEY.pub")).unwrap()));
    lab.configure("a", "[plugins]\n    verify = signature\n    signers = ../signers");
    let sign = |version: &str| {
        lab.write(&format!("{version}/extra.wasm"), build(version));
        let file = format!("{version}/extra.wasm");
        lab.run("", &["sign", &file, "--key", "KEY"]).ok();
        (build(version), fs::read_to_string(lab.path(&format!("{file}.sig"))).unwrap())
    };
    let ((old, old_sig), (new, new_sig)) = (sign("1"), sign("2"));
    lab.write("a/plugins/extra.wasm.sig", &old_sig);
    all_work(&lab);
    lab.write("a/plugins/extra.wasm", &old);
    all_work(&lab);
    lab.write("a/plugins/extra.wasm.sig", format!("{old_sig}{new_sig}"));
    all_work(&lab);
    lab.write("a/plugins/extra.wasm", &new);
    all_work(&lab);
    let verified = lab.run("a", &["verify", "plugins/extra.wasm"]);
    assert!(verified.ok().contains("signed by alice (SHA256:"), "{}", verified.out);
    lab.write("a/plugins/extra.wasm.sig", &new_sig);
    all_work(&lab);
    lab.write("a/plugins/extra.wasm", &old);
    lab.run("a", &["config", "check"]).fails(2, &["extra.wasm", "of other bytes"]);
}

#[test]
fn what_is_said_beside_a_plugin_counts_the_same_wherever_it_is_tried() {
    let (lab, first) = Lab::seeded();
    lab.commit("a", "refs/heads/new", &[&first]);
    lab.run("a", &["refdb", "publish", PROJECT]).ok();
    lab.run("a", &["push", PROJECT, "b", "--record", "looks"]).ok();
    let case = |config: Value, matches: bool| {
        json!({"cases": [{"name": "one", "direction": "project", "project": "team/x", "config": config,
            "expect": {"match": matches}}]})
    };
    let own = case(json!({"plugin.chooser.pattern": ["team/*"]}), true);
    lab.write("a/plugins/chooser.wasm", chooser(vec![own]));
    lab.write("unset.json", case(json!({}), false).to_string());
    lab.write("set.json", case(json!({"plugin.chooser.pattern": ["team/*"]}), true).to_string());
    let tries: [&[&str]; 4] = [
        &["plugins", "check", "plugins/chooser.wasm"],
        &["replay", "looks", "--plugins", "plugins"],
        &["bench", "plugins/chooser.wasm", "--refs", "10"],
        &["test", "--filter", "plugins/chooser.wasm", "../unset.json", "../set.json"],
    ];
    // Its settings are needed, and count; so do pins and what is no policy.
    let settings = "[settings]\npattern = ['other/*']\n";
    let other = format!("digest = 'sha256:{}'\n", "0".repeat(64));
    for (what, toml) in [
        ("no settings", String::new()),
        ("another digest", other + settings),
        ("no policy", "on-failure = 'ajar'\n".to_owned()),
    ] {
        lab.write("a/plugins/chooser.toml", toml);
        for args in tries {
            let ran = lab.run("a", args);
            // Settings are what cases are about: without them a case fails. The rest refuses the plugin.
            let expected = if args[0] == "test" && what == "no settings" { 1 } else { 2 };
            assert_eq!(ran.code, expected, "{what}: {args:?}: {}{}", ran.out, ran.err);
        }
    }
    lab.write("a/plugins/chooser.toml", settings);
    for args in tries {
        let ran = lab.run("a", args);
        assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.out, ran.err);
    }
    // Its author's cases know nothing of them, nor of the projects of this site.
    lab.write("a/plugins/chooser.toml", format!("projects = ['other/*']\n{settings}"));
    let own = lab.run("a", &["test", "--filter", "plugins/chooser.wasm"]);
    assert_eq!(own.ok(), "1 passed, 0 failed\n");
    lab.run("a", &["plugins", "check"]).ok();
    let percent = |mib: u32| {
        lab.write("a/plugins/chooser.toml", format!("{settings}[limits]\nmemory-mib = {mib}\n"));
        let got = lab.run("a", &["--json", "bench", "plugins/chooser.wasm", "--refs", "10"]).json(0);
        got["batches"][0]["memory_percent"].as_f64().unwrap()
    };
    assert!((percent(256) / percent(512) - 2.0).abs() < 0.01, "its own limit is what it is measured against");
}
