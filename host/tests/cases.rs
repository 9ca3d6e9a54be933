//! Every case file below `tests/cases`, once through the shipped components and once through the same policies as plain
//! Rust; and that the runner tells a wrong case from a right one.

mod native;

use std::path::PathBuf;

use refgate_host::Config;
use refgate_host::cases::{self, CaseResult, MakeFilters};
use refgate_host::filters::Source;

fn files() -> Vec<PathBuf> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    assert!(files.len() >= 12, "{files:?}");
    files
}

async fn all_pass(make: &MakeFilters<'_>) {
    let results = cases::run_files(&files(), make, &native::NoClock).await.unwrap();
    let failed: Vec<String> = results
        .iter()
        .filter(|r| !r.passed())
        .map(|r| format!("{}: {}\n    {}", r.file.display(), r.name, r.diff.join("\n    ")))
        .collect();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), results.len(), failed.join("\n"));
    assert!(results.len() > 600, "{} cases were read", results.len());
}

#[tokio::test]
async fn every_case_holds_for_the_components() {
    let loader = native::loader();
    let make = |config: &Config| loader.load_from(&Source::Shipped, config).map_err(|e| e.message);
    all_pass(&make).await;
}

#[tokio::test]
async fn every_case_holds_for_the_policies_as_plain_rust() {
    all_pass(&|config: &Config| native::filters(&config.patterns)).await;
}

async fn run(text: &str) -> Vec<CaseResult> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cases.json");
    std::fs::write(&file, text).unwrap();
    let make = |config: &Config| native::filters(&config.patterns);
    cases::run_files(&[file], &make, &native::NoClock).await.unwrap()
}

#[tokio::test]
async fn a_wrong_expectation_fails_with_what_differs() {
    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    for (expect, diff) in [
        (r#"{"keep":[]}"#.to_owned(), "kept: expected []"),
        (
            format!(r#"{{"keep":[{{"ref":"refs/heads/x","new":"{A}"}}]}}"#),
            "kept `refs/heads/x`: expected aaaa",
        ),
        (r#"{"discard":[{"ref":"refs/heads/x"}]}"#.to_owned(), "discarded: expected `refs/heads/x`"),
        (
            r#"{"discard":[{"ref":"refs/heads/y","reason":"locked"}]}"#.to_owned(),
            "expected locked, got not-up-to-date",
        ),
        (r#"{"discard":[]}"#.to_owned(), "`refs/heads/y` (not-up-to-date) was not expected"),
        (r#"{"waits":0}"#.to_owned(), "waits: expected 0, got 1"),
        (r#"{"wait_ms":[0,5]}"#.to_owned(), "wait: expected 0 to 5 ms"),
        (r#"{"error":"x"}"#.to_owned(), "expected an error"),
        (r#"{"match":true}"#.to_owned(), "`match` is for cases with direction `project`"),
    ] {
        let text = format!(
            r#"{{"cases":[{{"name":"n","direction":"push","project":"p","local":{{"refs/heads/x":"{A}","refs/heads/y":"{A}"}},
               "local_after_wait":{{"refs/heads/x":"{B}"}},"refdb":{{"refs/heads/x":"{B}","refs/heads/y":"{B}"}},
               "offer":[{{"ref":"refs/heads/x"}},{{"ref":"refs/heads/y"}}],"expect":{expect}}}]}}"#
        );
        let results = run(&text).await;
        let said = results[0].diff.join("\n");
        assert!(!results[0].passed() && said.contains(diff), "{expect}: {said}");
    }
}

#[test]
fn what_is_no_case_file_is_refused_with_its_place() {
    for (text, part) in [
        ("\"x\"", "invalid type"),
        (r#"{"cases":[{"name":"n"}]}"#, "missing field"),
        (
            r#"{"cases":[{"name":"n","direction":"push","project":"p","expect":{},"ofer":[]}]}"#,
            "unknown field `ofer`",
        ),
        (
            r#"{"cases":[{"name":"n","direction":"push","project":"p","expect":{},"local":{"refs/heads/x":"abc"}}]}"#,
            "an object id has 40 or 64 hex digits, this has 3",
        ),
        (
            r#"{"cases":[{"name":"n","direction":"push","project":"p","expect":{},"refdb":{"refs/heads/x":["abc"]}}]}"#,
            "`abc`: an object id has 40 or 64 hex digits",
        ),
        (
            r#"{"cases":[{"name":"n","direction":"push","project":"p","expect":{},"offer":[{"ref":"a b"}]}]}"#,
            "`a b` is not a legal name",
        ),
        (
            r#"{"cases":[{"name":"n","direction":"push","project":"p","now":"Friday","expect":{}}]}"#,
            "`Friday` is no time like `2026-12-24T18:00:00Z`",
        ),
        (
            r#"{"cases":[{"name":"n","direction":"push","project":"p","now":"1969-12-31T23:59:59Z","expect":{}}]}"#,
            "`1969-12-31T23:59:59Z` is before 1970",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.json");
        std::fs::write(&file, text).unwrap();
        let error = cases::load(&file).unwrap_err();
        assert!(error.message.contains(part) && error.message.contains("x.json"), "{}", error.message);
    }
}

#[tokio::test]
async fn the_same_structure_in_toml() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    let text = "[[cases]]\nname = \"prefix\"\ndirection = \"project\"\nproject = \"foo/bar\"\n\
                config = { \"projects.pattern\" = [\"foo/b*\"] }\nexpect = { match = true }\n";
    std::fs::write(&file, text).unwrap();
    let make = |config: &Config| native::filters(&config.patterns);
    let results = cases::run_files(&[file], &make, &native::NoClock).await.unwrap();
    assert!(results.len() == 1 && results[0].passed());
}

/// The two sides share no crate, only the WIT text: bit `n` of it is the `n`th name here.
#[test]
fn guest_and_host_mean_the_same_by_every_bit() {
    use refgate_core::state as host;
    use refgate_guest::state as guest;
    let bits = [
        (host::MAY_GO, guest::MAY_GO),
        (host::NO_LOCAL, guest::NO_LOCAL),
        (host::UNTRACKED, guest::UNTRACKED),
        (host::REFDB_UNAVAILABLE, guest::REFDB_UNAVAILABLE),
        (host::DELETION, guest::DELETION),
        (host::FORCED, guest::FORCED),
        (host::CHANGE_META, guest::CHANGE_META),
        (host::EXEMPT, guest::EXEMPT),
        (host::DELETED, guest::DELETED),
        (host::REMOTE_KNOWN, guest::REMOTE_KNOWN),
        (host::REMOTE_AT_GLOBAL, guest::REMOTE_AT_GLOBAL),
        (host::NOT_ACCOUNTED, guest::NOT_ACCOUNTED),
        (host::RECHECK_HELPS, guest::RECHECK_HELPS),
        (host::NOTHING_TO_DO, guest::NOTHING_TO_DO),
        (host::LOCKED, guest::LOCKED),
        (host::IGNORED, guest::IGNORED),
        (host::NOT_FAST_FORWARD, guest::NOT_FAST_FORWARD),
        (host::NOT_UP_TO_DATE, guest::NOT_UP_TO_DATE),
    ];
    for (n, (host, guest)) in bits.into_iter().enumerate() {
        assert_eq!((host, guest), (1 << n, 1 << n), "bit {n}");
    }
}
