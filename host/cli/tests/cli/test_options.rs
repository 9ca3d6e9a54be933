//! The options of `test`, and `bench`: what helps authors to find out what their filter does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::json;

use crate::common::{Lab, Ran, example_filter, root, with_cargo};

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
    lab.run("", &["bench", "push.wasm", "--world", "fetch-filter"])
        .fails(2, &["no fetch-filter, but push-filter"]);
    lab.run("", &["bench", "none.wasm"]).fails(2, &["`none.wasm`"]);
    lab.write("no.json", "{}");
    lab.run("", &["bench", "push.wasm", "--compare", "no.json"]).fails(2, &["`no.json` is no measurement"]);
    lab.run("", &["bench", "push.wasm", "--max-ratio", "-1"]).exits(2);
}
