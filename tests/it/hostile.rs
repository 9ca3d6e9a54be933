//! Remotes that do not mean well: what they cost is bounded, and the error says what was too much.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use nix::sys::resource::{UsageWho, getrusage};
use refgate_host::Error;
use refgate_host::replicate::Options;
use refgate_tests::{Harm, Hostile, Lab, run};

use crate::refusal;

/// What a process may take at its peak, in KiB: far less than what any of these remotes would make it take.
const PEAK: u64 = 300 * 1024;

/// Set in the process whose memory is looked at: this one runs other tests.
const INNER: &str = "REFGATE_TEST_HOSTILE";

/// The file that gets what was measured, for whoever wants to know.
const FIGURES: &str = "REFGATE_TEST_FIGURES";

/// A site with one commit, and this remote `H`.
async fn site(remote: &Hostile, keys: &str) -> Arc<Lab> {
    let lab = Lab::with(&["ungated"]);
    lab.configure("A", &format!("[remote \"H\"]\nurl = {}\n{keys}", remote.url()));
    lab.commit("A", "main", "c0").await;
    lab
}

/// The most memory that this process had at once since it was asked last, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = line.trim().trim_end_matches(" kB").parse().unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak
}

#[test]
fn what_a_remote_says_without_end_is_cut_off_and_takes_little_memory() {
    if std::env::var_os(INNER).is_some() {
        return run(each_harm());
    }
    let mut inner = Command::new(std::env::current_exe().unwrap());
    let name = "hostile::what_a_remote_says_without_end_is_cut_off_and_takes_little_memory";
    let output = inner.args(["--exact", name, "--nocapture"]).env(INNER, "1").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}{said}");
}

async fn each_harm() {
    let no_keys = "";
    let few = "maxRefs = 200000";
    let soon = "sessionTimeout = 1";
    let too_many = "more than 200000 refs; `maxRefs` of the remote";
    let too_long = "more than 52248576 bytes; `maxRefs` of the remote";
    for (harm, keys, push, fetch) in [
        (Harm::Refs, few, too_many, too_many),
        (Harm::Peeled, few, too_many, too_long),
        (Harm::Haves, few, too_long, too_many),
        (Harm::LongLine, no_keys, "a line of its listing has", "a line of its listing has"),
        (Harm::Twice, no_keys, "`refs/heads/0` twice", "`refs/heads/0` twice"),
        (Harm::Drip, soon, "lasted longer than 1 s", "lasted longer than 1 s"),
        (Harm::Band1, no_keys, "its report has more than", ""),
        (Harm::Report, no_keys, "its report has more than", ""),
        (Harm::Band2, no_keys, "printed more than 67108864 bytes", "without the end of a line"),
        (Harm::Lines, no_keys, "printed more than 67108864 bytes", "printed more than 67108864 bytes"),
    ] {
        let remote = Hostile::start(harm);
        let lab = site(&remote, keys).await;
        // What the laboratory takes is no matter of the remote.
        peak();
        check(harm, "push", push, words(lab.try_push("A", "H", &Options::default()).await));
        if !fetch.is_empty() {
            check(harm, "fetch", fetch, words(lab.try_fetch("A", "H", &Options::default()).await));
        }
    }
}

fn check(harm: Harm, doing: &str, expected: &str, said: String) {
    assert!(said.contains(expected), "{harm:?}, {doing}: {said}");
    let programs = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    let peak = peak();
    if let Some(figures) = std::env::var_os(FIGURES) {
        let line = format!("{harm:?}, {doing}: {peak} KiB, programs up to now at most {programs} KiB\n");
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(figures)
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }
    assert!(peak < PEAK, "{harm:?}, {doing}: {peak} KiB");
    assert!(programs.unsigned_abs() < PEAK, "{harm:?}, {doing}: a program took {programs} KiB");
}

/// The error, or why the branch was not taken.
fn words(done: Result<refgate_host::Report, Error>) -> String {
    match done {
        Ok(report) => {
            report.decision.moves.iter().map(|one| one.state().to_string()).collect::<Vec<_>>().join("\n")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_remote_that_refuses_one_object_per_request_is_not_asked_for_each() {
    run(async {
        let remote = Hostile::start(Harm::OneByOne);
        let lab = site(&remote, "").await;
        let report = lab.try_fetch("A", "H", &Options::default()).await.unwrap();
        assert_eq!(report.decision.moves.len(), Hostile::REFS);
        let sessions = remote.sessions();
        assert!(sessions < 60, "{sessions} sessions for {} refs", Hostile::REFS);
        let last = (0..Hostile::REFS).map(|n| refusal(&report, &n.to_string()));
        assert!(last.filter(|said| said.contains("was not asked for this one")).count() > 200);
    });
}
