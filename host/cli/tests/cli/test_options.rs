//! The options of `test`, and `bench`: what helps authors to find out what their filter does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Lab, PROJECT, Ran, chooser, example_filter, root, with_cargo};

const CASE: &str = r#"{"cases":[{"name":"a <new> ref goes","direction":"push","project":"p",
    "local":{"refs/heads/x":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
    "offer":[{"ref":"refs/heads/x"}],"expect":{"keep":[{"ref":"refs/heads/x"}]}}]}"#;

#[test]
fn a_component_brings_its_own_cases_and_says_what_they_cover() {
    let lab = Lab::new();
    example_filter(&lab, "wip.wasm");
    lab.write("cases.json", CASE);
    assert_eq!(lab.run("", &["test", "--filter", "wip.wasm"]).ok(), "2 passed, 0 failed\n");
    assert_eq!(lab.run("", &["test", "--filter", "wip.wasm", "--twice"]).ok(), "2 passed, 0 failed\n");
    lab.run("", &["test"]).fails(2, &["no cases to run"]);

    let text = lab.run("", &["test", "--filter", "wip.wasm", "--coverage"]);
    let lines = "coverage of the policy:\n    directions: 1 of 1\n    looks: 1 of 2, missing push 1\n";
    assert!(text.ok().starts_with(lines), "{}", text.out);
    assert!(text.out.contains("\n    reasons: 1 of 1\n"), "{}", text.out);
    let got = lab.run("", &["--json", "test", "--filter", "wip.wasm", "--coverage", "cases.json"]).json(0);
    let coverage = &got["coverage"];
    assert_eq!(coverage["reasons"], json!({"covered": [], "missing": ["work-in-progress"]}));
    assert_eq!(coverage["looks"], json!({"covered": ["push 0"], "missing": ["push 1"]}));
    let covered = coverage["states"]["covered"].as_array().unwrap();
    assert!(
        covered.contains(&json!("push MAY_GO")) && !covered.contains(&json!("push LOCKED")),
        "{coverage}"
    );

    // The shipped filters: a case each way, and projects.
    let cases = root().join("tests/cases");
    let files: Vec<String> = ["push.json", "fetch.json", "projects.json"]
        .iter()
        .map(|f| cases.join(f).to_str().unwrap().to_owned())
        .collect();
    let mut args =
        vec!["--json".to_owned(), "test".to_owned(), "--coverage".to_owned(), "--twice".to_owned()];
    args.extend(files);
    let got = lab.run("", &args).json(0);
    assert_eq!(got["coverage"]["directions"]["missing"], json!([]));
    assert_eq!(got["coverage"]["looks"]["missing"], json!([]));
    assert_eq!(got["coverage"]["matches"]["missing"], json!([]));
}

#[test]
fn settings_that_are_refused_are_covered_and_reasons_that_nobody_names_are_told() {
    let lab = Lab::new();
    lab.write("chooser.wasm", chooser(vec![]));
    let case = |name: &str, pattern: Value, expect: Value| {
        let config = if pattern.is_null() { json!({}) } else { json!({"plugin.chooser.pattern": pattern}) };
        json!({"name": name, "direction": "project", "project": "team/x", "config": config, "expect": expect})
    };
    let covered = |cases: Vec<Value>| {
        lab.write("cases.json", json!({"cases": cases}).to_string());
        let args = ["--json", "test", "--filter", "chooser.wasm", "--coverage", "cases.json"];
        let coverage = lab.run("", &args).json(0)["coverage"].clone();
        (coverage["settings"]["covered"].clone(), coverage["refused settings"].clone())
    };
    let refused = |covered: &[&str], missing: &[&str]| json!({"covered": covered, "missing": missing});
    let key = "chooser.pattern";
    let wrong = case("wrong", json!(["^("]), json!({"error": "/pattern"}));
    assert_eq!(covered(vec![wrong]), (json!([key]), refused(&[key], &[])));
    let right = case("right", json!(["team/*"]), json!({"match": true}));
    assert_eq!(covered(vec![right]), (json!([key]), refused(&[], &[key])));
    let missing = case("missing", Value::Null, json!({"error": "/pattern"}));
    assert_eq!(covered(vec![missing]), (json!([]), refused(&[key], &[])));

    // The filter of the guide, whose manifest names another reason than it gives.
    example_filter(&lab, "wip.wasm");
    lab.write("manifest.toml", "name = \"wip\"\nversion = \"1.0.0\"\n[reasons]\nnot-given = \"never\"\n");
    lab.run("", &["build", "wip.wasm", "--manifest", "manifest.toml", "-o", "other.wasm"]).ok();
    lab.write("cases.json", CASE.replace("refs/heads/x", "refs/heads/wip/x").replace("keep", "discard"));
    let text = lab.run("", &["test", "--filter", "other.wasm", "--coverage", "cases.json"]);
    assert!(
        text.ok().contains("\n    reasons: 0 of 1, missing not-given\n    undeclared reasons: work-in-progress, which no manifest names\n"),
        "{}",
        text.out
    );
    let own = lab.run("", &["--json", "test", "--filter", "wip.wasm", "--coverage", "cases.json"]).json(0);
    assert_eq!(own["coverage"].get("undeclared reasons"), None);
    // The shipped filters give no reason that they do not name.
    let cases = root().join("tests/cases/push.json");
    let shipped = lab.run("", &["--json", "test", "--coverage", cases.to_str().unwrap()]).json(0);
    assert_eq!(shipped["coverage"].get("undeclared reasons"), None);
    assert!(!shipped["coverage"]["reasons"]["covered"].as_array().unwrap().is_empty());
}

#[test]
fn results_are_written_as_junit() {
    let lab = Lab::new();
    lab.write("good.json", CASE);
    lab.write("bad.json", CASE.replace("\"keep\":[{\"ref\":\"refs/heads/x\"}]", "\"keep\":[]"));
    lab.run("", &["test", "good.json", "bad.json", "--junit", "out.xml"]).exits(1);
    let xml = fs::read_to_string(lab.path("out.xml")).unwrap();
    assert!(xml.contains("<testsuites name=\"refgate test\" tests=\"2\" failures=\"1\""), "{xml}");
    assert!(xml.contains("<testcase name=\"a &lt;new&gt; ref goes\" classname=\"good.json\"/>"), "{xml}");
    assert!(xml.contains("<failure message=\"kept: expected []"), "{xml}");
    lab.run("", &["test", "good.json", "--junit", "none/out.xml"]).fails(1, &["`none/out.xml`"]);
}

#[test]
fn state_that_a_filter_keeps_is_found() {
    let lab = Lab::new();
    let sdk = root().join("guest");
    lab.run("", &["new", "forgetful", "--sdk", sdk.to_str().unwrap()]).ok();
    let source = fs::read_to_string(lab.path("forgetful/src/lib.rs")).unwrap();
    let begin = "        for prefix in &self.settings.prefix {";
    assert!(source.contains(begin));
    let counting = "        static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);\n\
                    \x20       if CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {\n\
                    \x20           verdicts.discard_all(\"tired\");\n        }\n";
    lab.write("forgetful/src/lib.rs", source.replacen(begin, &format!("{counting}{begin}"), 1));
    Ran::of(with_cargo(lab.command(""), lab.dir.path()).args(["build", "forgetful"])).ok();
    lab.write("cases.json", CASE);
    // Every case has instances of its own, so nothing shows.
    assert_eq!(
        lab.run("", &["test", "--filter", "forgetful.wasm", "cases.json"]).ok(),
        "1 passed, 0 failed\n"
    );
    let ran = lab.run("", &["test", "--filter", "forgetful.wasm", "--twice", "cases.json"]);
    let text = ran.exits(1);
    assert!(text.contains("a fresh instance said `refs/heads/x` kept"), "{text}");
    assert!(text.contains("a used instance said `refs/heads/x` discarded: tired (by forgetful)"), "{text}");
}

/// A program that runs until the test ends.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    /// The lines up to one that contains `text`.
    fn until(&self, text: &str) -> String {
        let mut all = String::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(60));
            let line = line.unwrap_or_else(|e| panic!("no `{text}` ({e}) after: {all}"));
            all += &(line.clone() + "\n");
            if line.contains(text) {
                return all;
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn cases_run_again_when_they_change() {
    let lab = Lab::new();
    lab.write("cases.json", CASE);
    lab.run("", &["--json", "test", "--watch", "cases.json"]).exits(2);
    let mut command = lab.command("");
    let mut child = command
        .args(["test", "--watch", "cases.json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (tell, lines) = channel();
    for pipe in [
        Box::new(child.stdout.take().unwrap()) as Box<dyn std::io::Read + Send>,
        Box::new(child.stderr.take().unwrap()),
    ] {
        let tell = tell.clone();
        std::thread::spawn(move || {
            BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|l| tell.send(l))
        });
    }
    let watching = Watching { child, lines };
    assert_eq!(watching.until("passed"), "--- run 1 ---\n1 passed, 0 failed\n");
    // Something else beside it is no reason to run.
    lab.write("other.json", "x");
    lab.write("cases.json", CASE.replace("\"keep\":[{\"ref\":\"refs/heads/x\"}]", "\"keep\":[]"));
    // A slow disk may show half an edit first, so runs are not counted from here on.
    let text = watching.until("0 passed, 1 failed");
    assert!(text.contains("--- run 2 ---\n") && text.contains("FAILED cases.json: "), "{text}");
    // A file that cannot be read ends nothing.
    lab.write("cases.json", "{");
    watching.until("is not a case file");
    lab.write("cases.json", CASE);
    watching.until("1 passed, 0 failed");
}

#[test]
fn a_measurement_is_shown_saved_and_compared() {
    let lab = Lab::new();
    for embedded in refgate_filters::EMBEDDED {
        lab.write(&format!("{}.wasm", embedded.name), embedded.wasm);
    }
    let text = lab.run("", &["bench", "push.wasm", "--refs", "10", "--refs", "1000", "--save", "old.json"]);
    assert!(text.ok().starts_with("push-filter, compiled in "), "{}", text.out);
    assert_eq!(text.out.lines().count(), 2 + 4, "{}", text.out);

    let run = || lab.run("", &["--json", "bench", "push.wasm", "--refs", "1000"]).json(0);
    let (one, two) = (run(), run());
    for (one, two) in one["batches"].as_array().unwrap().iter().zip(two["batches"].as_array().unwrap()) {
        for same in ["fuel_per_ref", "host_calls", "bytes"] {
            assert_eq!(one[same], two[same], "{same}");
        }
        for some in ["fuel_per_ref", "host_calls", "ns_per_ref"] {
            assert!(one[some].as_f64().unwrap() > 0.0, "{some} {one}");
        }
        assert!(one["memory"].as_u64().unwrap() > 0, "{one}");
    }
    // What is stale is named by the filter.
    assert!(one["batches"][1]["bytes"].as_u64() > one["batches"][0]["bytes"].as_u64(), "{one}");

    // Time is not the same twice on a busy machine; a hundred times as long would be something else.
    let args = ["bench", "push.wasm", "--refs", "1000", "--compare", "old.json", "--max-ratio"];
    let same = lab.run("", &[&args[..], &["100"]].concat());
    assert!(same.ok().ends_with("0 of 10 numbers are worse than allowed\n"), "{}", same.out);
    let worse = lab.run("", &[&args[..], &["0.001"]].concat());
    assert!(worse.exits(1).contains("ns_per_ref") && worse.out.contains(" worse\n"), "{}", worse.out);

    let matcher = lab.run("", &["--json", "bench", "project-matcher.wasm", "--refs", "100"]).json(0);
    assert_eq!(
        (&matcher["world"], matcher["batches"].as_array().unwrap().len()),
        (&json!("project-matcher"), 1)
    );
    // What is saved is what was measured.
    let saved = fs::read_to_string(lab.path("old.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    let fuel = saved["batches"][2]["fuel_per_ref"].as_f64().unwrap();
    assert!(
        (fuel * 1000.0 - (fuel * 1000.0).round()).abs() < 1e-6,
        "a whole number of steps on 1,000 refs: {fuel}"
    );
    assert!(text.out.contains(&format!("{fuel:.1} ")), "{fuel}: {}", text.out);
    lab.run("", &["bench", "push.wasm", "--world", "fetch-filter"])
        .fails(2, &["no fetch-filter, but push-filter"]);
    lab.run("", &["bench", "none.wasm"]).fails(2, &["`none.wasm`"]);
    lab.write("no.json", "{}");
    lab.run("", &["bench", "push.wasm", "--compare", "no.json"]).fails(2, &["`no.json` is no measurement"]);
    lab.run("", &["bench", "push.wasm", "--max-ratio", "-1"]).exits(2);
}

#[test]
fn a_measurement_takes_names_or_a_recording() {
    let (lab, first) = Lab::seeded();
    for name in ["refs/heads/one", "refs/heads/two"] {
        lab.commit("a", name, &[&first]);
    }
    lab.run("a", &["refdb", "publish", PROJECT]).ok();
    lab.run("a", &["push", PROJECT, "b", "--record", "looks"]).ok();
    example_filter(&lab, "wip.wasm");
    for embedded in refgate_filters::EMBEDDED {
        lab.write(&format!("{}.wasm", embedded.name), embedded.wasm);
    }
    let measured = |args: &[&str]| {
        let got = lab.run("", &[&["--json", "bench"], args].concat()).json(0);
        let row = |r: &Value| json!([r["from"], r["refs"], r["stale"], r["calls"]]);
        let rows: Vec<Value> = got["batches"].as_array().unwrap().iter().map(row).collect();
        (json!(rows), got["batches"][0]["bytes"].as_u64().unwrap())
    };
    lab.write("names", "refs/heads/main\nrefs/heads/wip/a\nrefs/heads/wip/b\n");
    let (rows, bytes) = measured(&["wip.wasm", "--names", "names"]);
    assert_eq!(rows, json!([["names", 3, false, 1], ["names", 3, true, 1]]));
    let (rows, fewer) = measured(&["wip.wasm", "--names", "names", "--refs", "1"]);
    assert_eq!(rows, json!([["names", 1, false, 1], ["names", 1, true, 1]]));
    assert!(bytes > fewer, "it names the two that it discards: {bytes} {fewer}");
    lab.write("projects", "team/app\nother\n");
    assert_eq!(measured(&["project-matcher.wasm", "--names", "projects"]).0, json!([["names", 2, false, 1]]));
    let (rows, _) = measured(&["push.wasm", "--recording", "a/looks"]);
    assert_eq!(rows, json!([["recording", 2, Value::Null, 1]]));
    let text = lab.run("", &["bench", "push.wasm", "--recording", "a/looks", "--save", "old"]);
    assert!(text.ok().contains("as recorded"), "{}", text.out);
    let again = lab.run(
        "",
        &["bench", "push.wasm", "--recording", "a/looks", "--compare", "old", "--max-ratio", "1000"],
    );
    assert!(again.ok().ends_with("0 of 5 numbers are worse than allowed\n"), "{}", again.out);

    let bench = |args: &[&str], parts: &[&str]| lab.run("", &[&["bench"], args].concat()).fails(2, parts);
    bench(&["push.wasm", "--names", "names", "--refs", "4"], &["`--refs 4`", "3 names"]);
    bench(&["push.wasm", "--names", "none"], &["the names in `none`"]);
    lab.write("empty", "\n");
    bench(&["push.wasm", "--names", "empty"], &["no names"]);
    lab.write("bad", "refs/heads/a..b\n");
    bench(&["push.wasm", "--names", "bad"], &["`bad`", "a..b"]);
    bench(&["fetch.wasm", "--recording", "a/looks"], &["no fetch"]);
    bench(&["push.wasm", "--recording", "names"], &["line 1 of `names` cannot be read"]);
    bench(&["project-matcher.wasm", "--recording", "a/looks"], &["--names"]);
}
