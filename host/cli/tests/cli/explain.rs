//! `explain`: what reasons mean, and how one ref stands now.

use serde_json::{Value, json};

use crate::common::{Lab, PROJECT, example_filter, git};

/// `main` moved on at b, and the ref-db says so; a has not seen it.
fn behind() -> (Lab, String, String) {
    let (lab, first) = Lab::seeded();
    let second = lab.commit("b", "refs/heads/main", &[&first]);
    lab.run("b", &["refdb", "cas", PROJECT, "refs/heads/main", &first, &second]).ok();
    (lab, first, second)
}

#[test]
fn a_reason_of_refgate_is_explained_without_a_configuration() {
    let lab = Lab::new();
    let ran = lab.run("", &["explain", "remote-diverged"]);
    let out = ran.ok();
    assert!(
        out.starts_with(
            "remote-diverged\n  means        the remote holds a value that nothing accounts for\n"
        ),
        "{out}"
    );
    assert!(out.contains("released by  find out who wrote it") && out.contains("retry        yes"), "{out}");
    let got = lab.run("", &["explain", "deleted-globally", "--json"]).json(0);
    assert_eq!(
        (&got["command"], &got["retryable"], &got["held_back"]),
        (&json!("explain"), &json!(false), &json!(true))
    );
    assert_eq!(got["meanings"][0]["by"], Value::Null);
    lab.run("", &["explain", "remote-divergd"])
        .fails(2, &["is no reason", "did you mean `remote-diverged`?"]);
    lab.run("", &["explain", "a", "b"]).fails(2, &["give one reason, or a project"]);
}

#[test]
fn a_filters_own_reason_has_the_sentence_of_its_manifest() {
    let (lab, first) = Lab::seeded();
    example_filter(&lab, "a/plugins/wip.wasm");
    let sentence = lab.run("a", &["--json", "plugins", "inspect", "wip"]).json(0)["manifest"]["reasons"]
        ["work-in-progress"]
        .as_str()
        .unwrap()
        .to_owned();
    let ran = lab.run("a", &["explain", "work-in-progress"]);
    assert!(ran.ok().contains(&format!("means        {sentence} (filter `wip`)")), "{}", ran.out);
    lab.commit("a", "refs/heads/wip/x", &[&first]);
    lab.run("a", &["refdb", "publish", PROJECT]).ok();
    let push = lab.run("a", &["push", PROJECT, "b"]);
    assert!(push.exits(3).contains(&format!("work-in-progress: {sentence}\n")), "{}", push.out);
    let got = lab.run("a", &["push", PROJECT, "b", "--json"]).json(3);
    assert_eq!(got["refs"][0]["meaning"], json!(sentence));
    let got = lab.run("a", &["explain", PROJECT, "refs/heads/wip/x", "b", "--json"]).json(0);
    assert_eq!((&got["verdict"], &got["meaning"]), (&json!("discard"), &json!(sentence)));
    assert!(got["release"].as_str().unwrap().contains("`wip`"), "{got}");
}

#[test]
fn a_ref_is_explained_with_its_values_and_what_releases_it() {
    let (lab, first, second) = behind();
    let ran = lab.run("a", &["explain", PROJECT, "refs/heads/main", "b"]);
    let want = format!(
        "refs/heads/main of team/app, push to b\n  local        {first}\n  remote       {second}\n  \
         ref-db       {second}\n  policy       REQUIRED (no rule names it)\n  \
         verdict      held back: not-up-to-date (by push)\n  that is      the value on offer is not"
    );
    assert!(ran.ok().starts_with(&want), "{}", ran.out);
    assert!(ran.out.contains("`refgate refdb publish team/app refs/heads/main`"), "{}", ran.out);
    ran.says(&["hint: usually this site is behind"]);
    assert_eq!(lab.value("b", "refs/heads/main"), second, "nothing moved");
    let mut got = lab.run("a", &["explain", PROJECT, "refs/heads/main", "b", "--json"]).json(0);
    assert_eq!(got["decision"]["reason"], "not-up-to-date");
    for text in ["decision", "meaning", "release"] {
        assert!(!got[text].take().is_null(), "{text}");
    }
    let mut want = json!({
        "command": "explain", "direction": "push", "project": PROJECT, "ref": "refs/heads/main", "remote": "b",
        "remote_ref": "refs/heads/main", "policy": "REQUIRED", "because": "no rule names it", "local": first,
        "there": second, "global": second, "superseded": [], "verdict": "discard",
        "meaning": null, "release": null, "decision": null,
    });
    assert_eq!(got, want);
    let mut fetch = lab.run("a", &["explain", PROJECT, "refs/heads/main", "b", "--fetch", "--json"]).json(0);
    fetch["decision"].take();
    want["direction"] = json!("fetch");
    want["verdict"] = json!("keep");
    assert_eq!(fetch, want);
    assert_eq!(lab.value("a", "refs/heads/main"), first, "nothing moved");
}

#[test]
fn superseded_values_and_rules_are_shown() {
    let (lab, first) = Lab::seeded();
    let other = lab.commit("a", "refs/heads/other", &[]);
    git(&lab.repo("a"), &["update-ref", "refs/heads/main", &other]);
    lab.run("a", &["refdb", "cas", PROJECT, "refs/heads/main", &first, &other]).ok();
    let got = lab.run("a", &["explain", PROJECT, "refs/heads/main", "b", "--json"]).json(0);
    assert_eq!((&got["superseded"], &got["global"]), (&json!([first]), &json!(other)));
    lab.configure(
        "a",
        &format!("[ref-database \"enforcementRules\"]\n    IGNORED = {PROJECT}:refs/heads/main"),
    );
    let ran = lab.run("a", &["explain", PROJECT, "refs/heads/main", "b"]);
    assert!(ran.ok().contains("policy       IGNORED (rule `team/app:refs/heads/main`)"), "{}", ran.out);
}

#[test]
fn what_is_not_on_offer_says_why() {
    let (lab, first) = Lab::seeded();
    git(&lab.repo("b"), &["update-ref", "refs/heads/there", &first]);
    git(&lab.repo("a"), &["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
    for (name, fetch, why) in [
        ("refs/heads/main", false, "both sides hold the same"),
        ("refs/heads/none", false, "neither side has it"),
        ("refs/heads/there", false, "it is only at `b`: here it is gone"),
        ("refs/heads/alias", false, "a symbolic ref"),
        ("refs/stash", false, "git keeps this name for one repository"),
        ("refs/refgate/keep/x", false, "for itself"),
        ("refs/heads/main", true, "both sides hold the same"),
    ] {
        let mut args = vec!["explain", PROJECT, name, "b"];
        args.extend(fetch.then_some("--fetch"));
        let ran = lab.run("a", &args);
        assert!(
            ran.ok().contains("verdict      not on offer: ") && ran.out.contains(why),
            "{name}: {}",
            ran.out
        );
    }
    lab.configure("a", "[remote \"b\"]\n    push = +refs/heads/*:refs/heads/*");
    let ran = lab.run("a", &["explain", PROJECT, "refs/tags/x", "b"]);
    assert!(ran.ok().contains("no refspec of `remote.b.push` leads to it"), "{}", ran.out);
    lab.run("a", &["explain", PROJECT, "main", "b"]).fails(2, &["is not a full ref name", "refs/heads/main"]);
    lab.run("a", &["explain", PROJECT, "refs/heads/main", "c"]).fails(2, &["unknown remote `c`"]);
}

/// docs/concepts.md has the texts of the program.
#[test]
fn the_table_of_reasons_is_what_the_program_says() {
    let docs = include_str!("../../../../docs/concepts.md");
    let lab = Lab::new();
    let mut rows = 0;
    for line in docs.lines().skip_while(|line| !line.starts_with("### Reasons")) {
        let Some((name, rest)) = line.strip_prefix("| `").and_then(|line| line.split_once("` | ")) else {
            continue;
        };
        if rows > 0 && line.starts_with("##") {
            break;
        }
        let ran = lab.run("", &["explain", name, "--json"]);
        if ran.code != 0 {
            break;
        }
        let got = ran.json(0);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let retry = if got["retryable"] == true { "yes" } else { "no" };
        let want =
            format!("{} | {retry} | {} |", text(&got["meanings"][0]["meaning"]), text(&got["release"]));
        assert_eq!(rest, want, "{name}");
        rows += 1;
    }
    assert_eq!(rows, 15, "a reason is missing in the table");
}
