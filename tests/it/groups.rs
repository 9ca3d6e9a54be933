//! Changes go whole or not at all.

use std::sync::Arc;

use refgate_core::GlobalRef;
use refgate_tests::{Lab, run};

use crate::{refusal, told};

const META: &str = "refs/changes/01/1/meta";

/// A change with two patch sets at A, nothing of it at B.
async fn change() -> Arc<Lab> {
    let lab = Lab::with(&["gated", "gated"]);
    let repo = lab.repo("A");
    lab.commit("A", META, "notes").await;
    for patch_set in ["1", "2"] {
        repo.advance(&format!("refs/changes/01/1/{patch_set}"), patch_set);
    }
    lab.commit("A", "main", "beside it").await;
    lab
}

#[test]
fn a_whole_change_goes() {
    run(async {
        let lab = change().await;
        let report = lab.push("A", "B").await;
        assert_eq!(report.counts().replicated, 4);
        assert_eq!(lab.repo("A").refs(), lab.repo("B").refs());
    });
}

#[test]
fn an_outdated_meta_holds_back_its_patch_sets() {
    run(async {
        let lab = change().await;
        let old = lab.entry("A", META).await.value;
        let newer = lab.repo("B").commit(&[], "notes of B");
        assert!(lab.record("B", META, old, GlobalRef::At(newer)).await);
        let expected = [
            "refs/changes/01/1/1=outdated-meta",
            "refs/changes/01/1/2=outdated-meta",
            "refs/changes/01/1/meta=not-up-to-date",
            "main=replicated",
        ];
        assert_eq!(told(&lab.push("A", "B").await), expected);
        assert_eq!(lab.repo("B").refs().into_keys().collect::<Vec<_>>(), ["refs/heads/main"]);
    });
}

#[test]
fn on_a_fetch_too() {
    run(async {
        let lab = change().await;
        let old = lab.entry("A", META).await.value;
        let newer = lab.repo("A").commit(&[], "notes of nobody here");
        assert!(lab.record("A", META, old, GlobalRef::At(newer)).await);
        let expected = [
            "refs/changes/01/1/1=outdated-meta",
            "refs/changes/01/1/2=outdated-meta",
            "refs/changes/01/1/meta=not-up-to-date",
            "main=replicated",
        ];
        assert_eq!(told(&lab.fetch("B", "A").await), expected);
        assert_eq!(lab.repo("B").refs().into_keys().collect::<Vec<_>>(), ["refs/heads/main"]);
    });
}

#[test]
fn a_patch_set_that_the_remote_refuses_holds_back_its_meta() {
    run(async {
        let lab = change().await;
        lab.repo("B").hook("update", "case $1 in refs/changes/01/1/2) echo not today >&2; exit 1;; esac");
        let report = lab.push("A", "B").await;
        let expected = [
            "refs/changes/01/1/1=replicated",
            "refs/changes/01/1/2=rejected",
            "refs/changes/01/1/meta=group-incomplete",
            "main=replicated",
        ];
        assert_eq!(told(&report), expected);
        assert!(refusal(&report, "refs/changes/01/1/2").contains("hook declined"));
        assert_eq!(report.exit_code(), 1);
        assert_eq!(lab.repo("B").get(META), None);
        // The next run finishes what this one could not.
        lab.repo("B").hook("update", "exit 0");
        assert_eq!(lab.push("A", "B").await.counts().replicated, 2);
        assert_eq!(lab.repo("A").refs(), lab.repo("B").refs());
    });
}

#[test]
fn a_patch_set_is_created_and_never_changed() {
    run(async {
        let lab = change().await;
        lab.push("A", "B").await;
        lab.repo("A").advance("refs/changes/01/1/1", "other content");
        let before = lab.repo("B").refs();
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["refs/changes/01/1/1=remote-diverged"]);
        assert_eq!(lab.repo("B").refs(), before);
    });
}

#[test]
fn a_meta_that_moves_while_it_is_decided_waits_for_the_run_that_has_its_patch_sets() {
    run(async {
        let lab = change().await;
        let repo = lab.repo("A");
        let old = repo.get(META).unwrap();
        let new = repo.commit(&[old], "names patch set 3");
        let third = repo.commit(&[], "patch set 3");
        assert!(lab.record("A", META, GlobalRef::At(old), GlobalRef::At(new)).await);
        let a = lab.repo("A");
        lab.clock().during_sleep(move || {
            Box::pin(async move {
                a.set("refs/changes/01/1/3", third);
                a.set(META, new);
            })
        });
        let expected = [
            "refs/changes/01/1/1=outdated-meta",
            "refs/changes/01/1/2=outdated-meta",
            "refs/changes/01/1/meta=group-incomplete",
            "main=replicated",
        ];
        assert_eq!(told(&lab.push("A", "B").await), expected);
        assert!(!lab.clock().has_hooks());
        assert_eq!(lab.push("A", "B").await.counts().replicated, 4);
        assert_eq!(lab.repo("A").refs(), lab.repo("B").refs());
    });
}
