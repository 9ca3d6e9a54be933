//! `refdb lock`, fenced writes, and texts, on the command line.

use serde_json::json;

use crate::common::{Lab, PROJECT, REFGATE};

const MAIN: &str = "refs/heads/main";

fn oid(digit: char) -> String {
    digit.to_string().repeat(40)
}

#[test]
fn a_command_runs_under_the_lock_and_its_fence_ends_with_it() {
    let (lab, first) = Lab::seeded();
    let second = oid('b');
    let script = format!(
        "{REFGATE} refdb cas {PROJECT} {MAIN} {first} {second} && \
         {REFGATE} refdb lock --wait 500 {PROJECT} {MAIN} -- true; echo inner $?; echo $REFGATE_FENCE > fence; exit 7"
    );
    let ran = lab.run("a", &["refdb", "lock", PROJECT, MAIN, "--", "sh", "-c", &script]);
    assert_eq!(ran.exits(7), format!("{MAIN} is now {second}\ninner 1\n"), "{}", ran.err);
    ran.says(&["is locked"]);
    let fence = std::fs::read_to_string(lab.path("a/fence")).unwrap();
    let late = lab.run("a", &["refdb", "cas", PROJECT, MAIN, &second, &first, "--fence", fence.trim()]);
    late.fails(1, &["the lock is not held any more", "refgate refdb lock"]);
    let get = lab.run("a", &["--json", "refdb", "get", PROJECT, MAIN]).json(0);
    assert_eq!(get["refs"][0]["value"], json!(second));
    lab.run("a", &["refdb", "lock", PROJECT, MAIN, "--", "no-such-program"]).fails(1, &["no-such-program"]);
    lab.run("a", &["refdb", "cas", PROJECT, MAIN, &second, &first, "--fence", "x"])
        .fails(2, &["`x` is no fence"]);
    lab.run("a", &["refdb", "lock", PROJECT, MAIN, "--", "sh", "-c", "kill -9 $$"]).exits(137);
}

#[test]
fn texts_are_written_and_read() {
    let lab = Lab::new();
    const VERSION: &str = "refs/multi-site/version/value";
    let put = lab.run("a", &["refdb", "put", PROJECT, VERSION, "text:1700000000"]);
    assert_eq!(put.ok(), format!("{VERSION} is now text:1700000000\n"));
    let cas = |from: &str, to: &str| lab.run("a", &["refdb", "cas", PROJECT, VERSION, from, to]);
    assert_eq!(cas("text:1700000000", "text:2").ok(), format!("{VERSION} is now text:2\n"));
    assert_eq!(cas("absent", "text:3").exits(1), format!("{VERSION} was left alone: it is text:2\n"));
    let get = lab.run("a", &["--json", "refdb", "get", PROJECT, VERSION]).json(0);
    assert_eq!(get["refs"][0], json!({"ref": VERSION, "value": null, "text": "2"}));
    assert!(lab.run("a", &["refdb", "ls", PROJECT]).ok().contains("text:2"));
    lab.commit("a", MAIN, &[]);
    lab.run("a", &["refdb", "seed", PROJECT]).ok();
    assert!(lab.run("a", &["refdb", "check", PROJECT]).ok().contains("1 equal, 0 different"));
    cas(&oid('a'), "text:3").fails(2, &["only take the place of a text"]);
    lab.run("a", &["refdb", "put", PROJECT, VERSION, "text:"]).fails(2, &["empty"]);
    lab.run("a", &["refdb", "put", PROJECT, MAIN, &format!("text:{}", oid('a'))]).fails(2, &["object id"]);
}
