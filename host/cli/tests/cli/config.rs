//! The configuration file as commands find it, and `config check`.

use serde_json::{Value, json};

use crate::common::{Lab, PROJECT, Ran, mode};

fn check(lab: &Lab) -> Ran {
    lab.run("a", &["config", "check"])
}

#[test]
fn every_value_has_an_origin() {
    let (lab, _) = Lab::seeded();
    let ran = check(&lab);
    let row = |key: &str| {
        let line =
            ran.out.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("{key}: {}", ran.out));
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("site.name"), ["a", "refgate.config:2"]);
    assert_eq!(row("ref-database.enabled"), ["true", "default"]);
    assert_eq!(row("remote.b.push"), ["+refs/*:refs/*", "default"]);
    assert!(ran.ok().starts_with("KEY ") && ran.out.ends_with("refgate.config is valid\n"), "{}", ran.out);

    let got = lab.run("a", &["--json", "config", "check"]).json(0);
    assert_eq!((&got["command"], &got["file"]), (&json!("config check"), &json!("refgate.config")));
    assert_eq!(got["filters"], json!(["fetch", "project-matcher", "push"]));
    let value =
        |key: &str| got["values"].as_array().unwrap().iter().find(|v| v["key"] == key).unwrap().clone();
    assert_eq!(value("site.name"), json!({"key": "site.name", "value": "a", "origin": "refgate.config:2"}));
    assert_eq!(
        value("remote.b.mirror"),
        json!({"key": "remote.b.mirror", "value": "true", "origin": Value::Null})
    );
    assert_eq!(
        got["values"].as_array().unwrap().len(),
        ran.out.lines().count() - 2,
        "the same as in the table"
    );
}

#[test]
fn keys_of_gerrit_are_accepted_and_listed() {
    let (lab, _) = Lab::seeded();
    lab.configure("a", "[cache]\n    synchronize = false");
    let ran = check(&lab);
    assert!(ran.ok().contains("accepted, but not used: cache.synchronize (refgate.config:"), "{}", ran.out);
    let got = lab.run("a", &["--json", "config", "check"]).json(0);
    assert_eq!(got["unused"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_a_suggestion() {
    for (text, parts) in [
        ("[site]\n    nmae = x", &["refgate.config:19: unknown key `site.nmae`", "`name`"] as &[&str]),
        (
            "[replication \"push-filter\"]\n    minWaitBeforeReloadLocalVersionMs = -1",
            &["refgate.config:19: ", "-1"],
        ),
        ("[projects]\n    pattern =", &["refgate.config:19: "]),
        (
            "[ref-database \"enforcementRules\"]\n    DESIRED = a:b",
            &["refgate.config:19: unknown policy `DESIRED`"],
        ),
        ("[remote \"c\"]\n    mirror = true", &["refgate.config:19: remote `c` has no url"]),
        ("[remote \"c\"]\n    url = ftp://h/x", &["refgate.config:19: ", "ftp"]),
        (
            "[ref-database]\n    url = redis://u:secret@h/x",
            &["`redis` is not a kind of store", "sqlite:PATH"],
        ),
        (
            "[projects]\n    pattern = ^(a",
            &["plugin `project-matcher`", "pattern `^(a`", "the group is not closed"],
        ),
        ("[plugins]\n    require = mine", &["plugin `mine`: it is required", "plugins/mine.wasm"]),
        ("[plugins]\n    directory = none", &["plugin directory `none`"]),
        ("[site", &["refgate.config:18: "]),
    ] {
        let (lab, _) = Lab::seeded();
        lab.configure("a", text);
        let lines = std::fs::read_to_string(lab.path("a/refgate.config")).unwrap().lines().count();
        assert_eq!(lines, 17 + text.lines().count(), "the lines below are those of another file");
        for args in [&["config", "check"] as &[&str], &["push", PROJECT, "b"]] {
            let ran = lab.run("a", args);
            ran.fails(2, parts);
            assert!(!ran.err.replace("`secretFile`", "").contains("secret"), "{}", ran.err);
            let mut args = args.to_vec();
            args.push("--json");
            let ran = lab.run("a", &args);
            let got = ran.json(2);
            assert_eq!(got["command"], args[..args.len() - 1].join(" ").replace(" team/app b", ""));
            let told = format!("{} {}", got["error"]["message"], got["error"]["hint"]);
            let told = told.replace("\\\"", "\"");
            parts.iter().for_each(|p| assert!(told.contains(p), "`{p}` is not in {told}"));
            ran.says(&[got["error"]["message"].as_str().unwrap()]);
        }
    }
}

#[test]
fn several_errors_are_told_at_once() {
    let lab = Lab::new();
    lab.configure("a", "[site]\n    nmae = x\n    writes = sometimes");
    check(&lab).fails(2, &["refgate.config:19: unknown key", "refgate.config:20: "]);
}

#[test]
fn a_missing_url_is_an_error_only_while_the_gate_is_on() {
    let lab = Lab::new();
    lab.write("a/refgate.config", "[site]\n    name = a\n");
    for args in [&["config", "check"] as &[&str], &["refdb", "ls", PROJECT]] {
        lab.run("a", args).fails(2, &["no `ref-database.url`", "hint: "]);
    }
    lab.configure("a", "[ref-database]\n    enabled = false");
    let ran = check(&lab);
    ran.ok();
    assert_eq!(ran.err, "warning: the gate is switched off: nothing is checked against the ref-db\n");
}

#[test]
fn the_file_is_found_from_anywhere() {
    let (lab, _) = Lab::seeded();
    lab.commit("a", "refs/heads/new", &[]);
    lab.mkdir("elsewhere");
    let file = lab.path("a/refgate.config");
    lab.run("elsewhere", &["push", PROJECT, "b"]).fails(2, &["refgate.config: ", "no such file", "--config"]);
    let by_option = ["--config", "../a/refgate.config", "push", PROJECT, "b", "--dry-run"];
    assert!(lab.run("elsewhere", &by_option).ok().contains("1 would go"));
    let by_name = Ran::of(lab.command("elsewhere").env("REFGATE_CONFIG", &file).args(["push", PROJECT, "b"]));
    assert!(by_name.ok().contains("1 replicated"), "{}", by_name.out);
    let both = ["--config", "../a/refgate.config", "refdb", "check", PROJECT];
    let ran = Ran::of(lab.command("elsewhere").env("REFGATE_CONFIG", "/nonexistent").args(both));
    assert!(ran.exits(3).contains("refs/heads/new"), "the option counts more than the variable");
    lab.write("elsewhere/refgate.config", "[include]\n    path = ../a/refgate.config\n");
    let ran = lab.run("elsewhere", &["push", PROJECT, "b"]);
    assert!(ran.ok().ends_with("\n0 replicated, 0 held back, 0 rejected\n"), "{}", ran.out);
}

#[test]
fn what_others_can_write_or_is_no_file_is_refused() {
    let lab = Lab::new();
    mode(&lab.path("a/refgate.config"), 0o646);
    check(&lab).fails(2, &["refgate.config: ", "others", "646", "chmod go-w"]);
    mode(&lab.path("a/refgate.config"), 0o644);
    mode(&lab.path("a/plugins"), 0o777);
    check(&lab).fails(2, &["plugin directory `plugins`", "others can write", "chmod go-w"]);
    lab.run("a", &["--config", "plugins", "push", "x", "b"]).fails(2, &["plugins: ", "not a regular file"]);
    lab.run("a", &["--config", "/dev/null", "push", "x", "b"]).fails(2, &["/dev/null: "]);
}

/// A former version, or another site's file: ours, and good in itself.
#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_who_may_write_its_directory_cannot_put_another_configuration_in_its_place() {
    let lab = Lab::new();
    mode(lab.dir.path(), 0o755);
    lab.write("old/refgate.config", "[ref-database]\n    enabled = false\n");
    mode(&lab.path("a"), 0o777);
    let mut stranger = std::process::Command::new("sh");
    stranger.args(["-c", "mv refgate.config x && ln -s ../old/refgate.config refgate.config"]);
    std::os::unix::process::CommandExt::uid(&mut stranger, 3002);
    assert!(stranger.current_dir(lab.path("a")).status().unwrap().success());
    let parts =
        ["refgate.config: cannot use this configuration", "others can write the directory", "chmod go-w"];
    check(&lab).fails(2, &parts);
    mode(&lab.path("a"), 0o755);
    check(&lab).fails(2, &["the link", "belongs to user 3002"]);
}

#[test]
fn repositories_that_everybody_can_replace_are_warned_of() {
    let lab = Lab::new();
    let told = "everybody on this machine can write";
    assert!(!check(&lab).err.contains(told));
    for mode_of_base in [0o777, 0o1777] {
        mode(&lab.path("a/git"), mode_of_base);
        let ran = check(&lab);
        ran.ok();
        ran.says(&[told, "chmod o-w", "a/git`"]);
    }
    mode(&lab.path("a/git"), 0o775);
    assert!(!check(&lab).err.contains(told), "a group is the operator's business");
}

#[test]
fn projects_are_matched_by_the_pattern_that_is_named() {
    let lab = Lab::new();
    lab.configure(
        "a",
        "[projects]\n    pattern = ^team/(?!private).*\n    pattern = lib*\n    pattern = Tool",
    );
    let names = ["team/app", "team/private", "library", "Tool", "tool"];
    let mut args = vec!["project", "match"];
    args.extend(names);
    let ran = lab.run("a", &args);
    let want = "PROJECT       REPLICATES  PATTERN\n\
                team/app      yes         ^team/(?!private).*\n\
                team/private  no          -\n\
                library       yes         lib*\n\
                Tool          yes         Tool\n\
                tool          no          -\n";
    assert_eq!(ran.ok(), want);
    args.push("--json");
    let got = lab.run("a", &args).json(0);
    let row = |i: usize| got["projects"][i].clone();
    assert_eq!(row(2), json!({"project": "library", "match": true, "pattern": "lib*"}));
    assert_eq!(row(4), json!({"project": "tool", "match": false, "pattern": Value::Null}));
    let all = lab.run("b", &["project", "match", "x", "--json"]).json(0);
    assert_eq!(all["projects"][0], json!({"project": "x", "match": true, "pattern": Value::Null}));
}
