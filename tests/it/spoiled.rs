//! One ref that spoils a transfer stops no other: damaged at the source, refused by the checks or a hook of the destination.

use std::fs;
use std::sync::Arc;

use refgate_core::Oid;
use refgate_tests::{Lab, Repo, run};

use crate::{decided, refusal, told};

/// Site A has `a`, `bad` and `c`; `bad` has a commit below it that is returned, and the file of it.
fn sites() -> (Arc<Lab>, Oid) {
    let lab = Lab::with(&["ungated", "ungated"]);
    let repo = lab.repo("A");
    let base = repo.advance("a", "base");
    let below = repo.commit(&[base], "below");
    repo.set("refs/heads/bad", repo.commit(&[below], "bad"));
    repo.advance("c", "other");
    (lab, below)
}

fn lose(repo: &Repo, oid: Oid) -> (std::path::PathBuf, Vec<u8>) {
    let hex = oid.to_string();
    let path = repo.path().join("objects").join(&hex[..2]).join(&hex[2..]);
    let content = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    (path, content)
}

#[test]
fn an_object_that_is_missing_at_the_source_stops_its_own_ref() {
    run(async {
        for direction in ["push", "fetch"] {
            let (lab, below) = sites();
            let (path, content) = lose(&lab.repo("A"), below);
            let go = async || match direction {
                "push" => lab.push("A", "B").await,
                _ => lab.fetch("B", "A").await,
            };
            let report = go().await;
            assert!(refusal(&report, "bad").contains(&below.to_string()), "{}", refusal(&report, "bad"));
            assert_eq!(report.exit_code(), 1);
            let at_b = lab.repo("B").refs();
            assert_eq!(at_b.keys().collect::<Vec<_>>(), ["refs/heads/a", "refs/heads/c"], "{direction}");
            // Repaired, one run makes all equal.
            fs::write(&path, &content).unwrap();
            assert_eq!(told(&go().await), ["bad=replicated"], "{direction}");
            assert_eq!(lab.repo("A").refs(), lab.repo("B").refs());
            assert!(lab.repo("B").is_whole());
        }
    });
}

#[test]
fn a_patch_set_that_cannot_come_holds_its_meta_and_nothing_else() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        let repo = lab.repo("A");
        let base = repo.advance("main", "base");
        let below = repo.commit(&[base], "below");
        repo.set("refs/changes/01/1/1", repo.commit(&[below], "one"));
        repo.set("refs/changes/01/1/meta", repo.commit(&[], "meta"));
        repo.set("refs/changes/02/2/1", repo.commit(&[base], "two"));
        repo.set("refs/changes/02/2/meta", repo.commit(&[], "meta of 2"));
        lose(&repo, below);
        let report = lab.fetch("B", "A").await;
        assert!(refusal(&report, "refs/changes/01/1/1").contains(&below.to_string()));
        assert_eq!(refusal(&report, "refs/changes/01/1/meta"), "held-back");
        let here = lab.repo("B").refs();
        let expected = ["refs/changes/02/2/1", "refs/changes/02/2/meta", "refs/heads/main"];
        assert_eq!(here.keys().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn a_ref_that_a_hook_dislikes_is_named_with_what_to_write() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        let repo = lab.repo("A");
        let base = repo.advance("main", "base");
        repo.set("refs/pull/1/head", base);
        let script = r#"while read o n r; do case $r in refs/pull/*) echo "no $r" >&2; exit 1; esac; done"#;
        lab.repo("B").hook("pre-receive", script);
        let report = lab.push("A", "B").await;
        assert_eq!(refusal(&report, "main"), "replicated");
        let said = refusal(&report, "refs/pull/1/head");
        assert!(said.contains("pre-receive hook declined") && said.contains("no refs/pull/1/head"), "{said}");
        let hint = decided(&report, "refs/pull/1/head").hint().unwrap();
        assert!(hint.contains("push = ^refs/pull/*"), "{hint}");
        lab.configure("A", "[remote \"B\"]\npush = +refs/*:refs/*\npush = ^refs/pull/*");
        assert_eq!(told(&lab.push("A", "B").await), Vec::<String>::new(), "what the hint says helps");
    });
}
