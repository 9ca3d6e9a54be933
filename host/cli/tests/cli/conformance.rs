//! `refdb conformance`: what it prints, what it leaves behind, and what it refuses.

use serde_json::Value;

use crate::common::{Lab, PROJECT};

const MAIN: &str = "refs/heads/main";

fn numbers(document: &Value) -> Vec<u64> {
    document["cases"].as_array().unwrap().iter().map(|case| case["number"].as_u64().unwrap()).collect()
}

#[test]
fn a_store_in_use_passes_and_keeps_what_it_holds() {
    let lab = Lab::new();
    let value = "a".repeat(40);
    lab.run("a", &["refdb", "put", PROJECT, MAIN, &value]).ok();
    let before = lab.run("a", &["refdb", "get", PROJECT, "--json"]).json(0);
    let ran = lab.run("a", &["refdb", "conformance", "--json"]);
    let document = ran.json(0);
    ran.says(&["writes to sqlite:../refdb.sqlite", "`refgate-conformance-"]);
    assert_eq!(document["store"], "sqlite");
    assert_eq!(document["failed"], 0, "{document:#}");
    assert!(document["passed"].as_u64() > Some(40), "{document:#}");
    let all = numbers(&document);
    assert_eq!(
        all.len() as u64,
        document["passed"].as_u64().unwrap() + document["not_promised"].as_u64().unwrap()
    );
    for case in document["cases"].as_array().unwrap() {
        assert_eq!(case["why"].is_null(), case["result"] == "passed", "{case}");
    }
    assert_eq!(lab.run("a", &["refdb", "get", PROJECT, "--json"]).json(0), before);
    // The sites that a store knows cannot be taken back, so none is added.
    lab.run("a", &["refdb", "check", PROJECT]).says(&["only the site `a`"]);
    let prefix = ran.err.split('`').nth(1).unwrap();
    for n in all.iter().step_by(6) {
        let project = format!("{prefix}/{n}/p");
        assert_eq!(lab.run("a", &["refdb", "ls", &project]).ok().lines().count(), 1, "{project}");
    }
}

#[test]
fn a_table_with_the_reasons_and_a_run_that_can_be_repeated() {
    let lab = Lab::new();
    let ran = lab.run("a", &["refdb", "conformance", "--url", "memory:", "--only", "1[36]", "--seed", "7"]);
    let text = ran.ok();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("NUMBER  CASE ") && lines[0].ends_with("RESULT  MS"), "{text}");
    assert!(lines[1].starts_with("13      absent on an absent ref is applied"), "{text}");
    assert!(lines[2].starts_with("16  ") && lines[2].contains("  passed  "), "{text}");
    assert_eq!(lines[3], "2 passed, 0 failed, 0 not promised; seed 7");
    let ran = lab.run("a", &["refdb", "conformance", "--url", "memory:", "--only", "*too many*"]);
    let text = ran.ok();
    assert!(text.contains("\n40: not promised: all or nothing has no limit here\n"), "{text}");
    assert!(text.contains("0 passed, 0 failed, 1 not promised; seed "), "{text}");
    let locks = lab.run("a", &["--json", "refdb", "conformance", "--url", "memory:", "--only", "4[4-7] *"]);
    assert_eq!(numbers(&locks.json(0)), [44, 45, 46, 47]);
}

#[test]
fn what_cannot_be_tested_is_refused() {
    let lab = Lab::new();
    let run = |args: &[&str]| {
        let mut all = vec!["refdb", "conformance"];
        all.extend(args);
        lab.run("a", &all)
    };
    // The store of the configuration is not made to be tested.
    run(&[]).fails(1, &["no such file", "refdb.sqlite"]);
    run(&["--url", "sqlite:refgate.config/r.sqlite"]).fails(2, &["its directory", "cannot be made"]);
    run(&["--url", "noop:"]).fails(2, &["nothing to test", "--url"]);
    run(&["--url", "mysql://u:secret@h/db"]).fails(2, &["`mysql` is not a kind of store"]);
    run(&["--url", "memory:", "--only", "999"]).fails(2, &["no case matches `999`", "*lock*"]);
    run(&["--url", "memory:", "--only", "[a"]).fails(2, &["`[a` is no pattern"]);
    run(&["--seed", "x"]).fails(2, &["--seed"]);
    lab.write("a/refgate.config", "[site]\n    name = a\n[ref-database]\n    enabled = false\n");
    run(&[]).fails(2, &["no `ref-database.url`", "--url"]);
    // A URL needs no configuration.
    let ran = lab.run("", &["refdb", "conformance", "--url", "memory:", "--only", "1"]);
    assert!(ran.ok().contains("1 passed"), "{}", ran.out);
}

#[test]
fn a_store_that_does_something_else_is_exit_code_1() {
    let lab = Lab::new();
    let value = "a".repeat(40);
    lab.run("a", &["refdb", "put", PROJECT, MAIN, &value]).ok();
    // A store that takes nothing.
    lab.run("a", &["refdb", "close", "--message", "moving"]).ok();
    let run = |json: &[&str]| {
        let mut args = vec!["refdb", "conformance", "--only", "{2,5,22}", "--seed", "3"];
        args.extend(json);
        lab.run("a", &args)
    };
    let document = run(&["--json"]).json(1);
    let results: Vec<&str> =
        document["cases"].as_array().unwrap().iter().map(|case| case["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["failed"; 3], "{document:#}");
    assert_eq!((&document["failed"], &document["seed"]), (&3.into(), &3.into()));
    let why = document["cases"][1]["why"].as_str().unwrap();
    assert!(why.starts_with("an error, Closed: ") && why.contains("moving"), "{why}");
    let ran = run(&[]);
    let text = ran.exits(1);
    assert!(text.contains("\n5: failed: an error, Closed: "), "{text}");
    assert!(text.ends_with("0 passed, 3 failed, 0 not promised; seed 3\n"), "{text}");
    assert_eq!(lab.run("a", &["refdb", "get", PROJECT]).ok().lines().count(), 2, "what was there stays");
}

#[test]
fn a_url_on_the_command_line_may_name_an_empty_place() {
    let lab = Lab::new();
    let url = "sqlite:../trial/below/r.sqlite";
    let ran = lab.run("a", &["refdb", "conformance", "--url", url, "--only", "13"]);
    assert!(ran.ok().contains("1 passed, 0 failed"), "{}", ran.out);
    ran.says(&["created the ref-db sqlite:../trial/below/r.sqlite"]);
    assert!(lab.path("trial/below/r.sqlite").is_file());
    // The store of the configuration is there, or the configuration is wrong: the hint is the line that makes it.
    lab.commit("a", MAIN, &[]);
    let ran = lab.run("a", &["refdb", "conformance", "--only", "13"]);
    ran.fails(1, &["refdb.sqlite", "no such file", "make it with `refgate refdb seed PROJECT`"]);
    lab.run("a", &["refdb", "seed", PROJECT]).ok();
    lab.run("a", &["refdb", "conformance", "--only", "13"]).ok();
}
