//! Ref names are bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use refgate_core::ObjectFormat;
use refgate_host::replicate::Options;
use refgate_tests::{Lab, Setup, run};

use crate::told;

/// Not UTF-8, UTF-8 beyond ASCII, and what a shell, a glob or our own escaping would read.
const NAMES: [&[u8]; 6] = [
    b"refs/heads/caf\xe9",
    b"refs/heads/\xff\xfe/\x80",
    "refs/heads/ünï".as_bytes(),
    b"refs/heads/100%41",
    b"refs/heads/$(id);'x'",
    b"refs/heads/{a,b}!",
];

async fn travel(setup: Setup) {
    let lab = Lab::new(setup);
    ["A", "B", "C"].iter().for_each(|site| lab.site(site, "gated"));
    let repo = lab.repo("A");
    let oid = repo.commit(&[], "one").to_string();
    for name in NAMES {
        repo.git(&[OsStr::new("update-ref"), OsStr::from_bytes(name), OsStr::new(&oid)]);
    }
    let pushed = lab.push("A", "B").await;
    assert_eq!(pushed.counts().replicated, NAMES.len(), "{:?}", told(&pushed));
    let fetched = lab.fetch("C", "B").await;
    assert_eq!(fetched.counts().replicated, NAMES.len(), "{:?}", told(&fetched));
    let raw = |site: &str| lab.repo(site).try_git(&["for-each-ref", "--format=%(refname)"], b"").stdout;
    let mut expected: Vec<&[u8]> = NAMES.to_vec();
    expected.sort_unstable();
    for site in ["A", "B", "C"] {
        assert_eq!(raw(site).trim_ascii().split(|b| *b == b'\n').collect::<Vec<_>>(), expected, "{site}");
    }
    let document = pushed.to_json();
    let shown: Vec<&str> =
        document["refs"].as_array().unwrap().iter().map(|r| r["ref"].as_str().unwrap()).collect();
    assert!(shown.contains(&"refs/heads/caf%E9") && shown.contains(&"refs/heads/100%2541"), "{shown:?}");
}

#[test]
fn any_legal_bytes_travel_by_path() {
    run(travel(Setup::default()));
}

#[test]
fn any_legal_bytes_travel_over_git_daemon() {
    run(travel(Setup { daemon: true, ..Setup::default() }));
}

#[test]
fn any_legal_bytes_travel_on_reftable() {
    // An older git has no reftable; the scenarios show that as ignored.
    if refgate_tests::reftable_is_known() {
        run(travel(Setup { reftable: true, ..Setup::default() }));
    }
}

#[test]
fn a_dry_run_brings_objects_and_moves_nothing() {
    run(async {
        let lab = Lab::new(Setup { format: ObjectFormat::Sha256, ..Setup::default() });
        ["A", "B"].iter().for_each(|site| lab.site(site, "ungated"));
        let oid = lab.repo("A").advance("main", "c0");
        let options = Options { dry_run: true, ..Options::default() };
        assert_eq!(told(&lab.try_push("A", "B", &options).await.unwrap()), ["main=not-sent"]);
        assert!(!lab.repo("B").has(oid));
        assert_eq!(told(&lab.try_fetch("B", "A", &options).await.unwrap()), ["main=not-sent"]);
        assert!(lab.repo("B").has(oid) && lab.repo("B").refs().is_empty());
        assert_eq!(oid.to_string().len(), 64);
    });
}
