//! Catch-up: a gated site sets what a gated write left behind, and nothing else does.

use std::sync::Arc;

use refgate_core::{GlobalRef, Oid};
use refgate_host::replicate::Options;
use refgate_tests::{Lab, run};

use crate::{decided, told};

/// The ref-db records c1, the ref is still at c0, and c1 is here: a gated write that was killed half-way.
async fn half_written(kind: &str) -> (Arc<Lab>, Oid, Oid) {
    let lab = Lab::with(&[kind, "gated"]);
    let repo = lab.repo("A");
    let c0 = repo.advance("main", "c0");
    lab.seed("A").await;
    let c1 = repo.commit(&[c0], "c1");
    assert!(lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await);
    (lab, c0, c1)
}

#[test]
fn a_gated_write_that_was_cut_short_is_finished() {
    run(async {
        let (lab, _, c1) = half_written("gated").await;
        let report = lab.push("A", "B").await;
        assert_eq!((told(&report), report.caught_up()), (vec!["main=replicated".to_owned()], 1));
        assert_eq!((lab.repo("A").get("main"), lab.repo("B").get("main")), (Some(c1), Some(c1)));

        let (lab, _, c1) = half_written("gated").await;
        assert_eq!(lab.fetch("A", "B").await.caught_up(), 1);
        assert_eq!(lab.repo("A").get("main"), Some(c1));
    });
}

#[test]
fn a_dry_run_moves_nothing_and_says_what_a_run_would_do() {
    run(async {
        let (lab, c0, c1) = half_written("gated").await;
        let options = Options { dry_run: true, ..Options::default() };
        let report = lab.try_push("A", "B", &options).await.unwrap();
        assert_eq!((told(&report), report.caught_up()), (vec!["main=not-sent".to_owned()], 1));
        assert_eq!(decided(&report, "main").new(), Some(c1), "the value that catch-up would have set");
        assert!(lab.clock().slept().is_empty(), "nothing is stale after catch-up");
        let report = lab.try_fetch("A", "B", &options).await.unwrap();
        assert_eq!((told(&report), report.caught_up()), (vec![], 1));
        assert_eq!((lab.repo("A").get("main"), lab.repo("B").get("main")), (Some(c0), None));
    });
}

#[test]
fn sites_that_are_not_gated_do_not_catch_up() {
    for kind in ["ungated", "none"] {
        run(async {
            let (lab, c0, _) = half_written(kind).await;
            assert_eq!(lab.push("A", "B").await.caught_up(), 0);
            assert_eq!(lab.repo("A").get("main"), Some(c0), "{kind}");
        });
    }
}

#[test]
fn a_value_that_nothing_accounts_for_stays() {
    run(async {
        let (lab, c0, _) = half_written("gated").await;
        let wild = lab.repo("A").commit(&[c0], "wild");
        lab.repo("A").set("main", wild);
        let report = lab.push("A", "B").await;
        assert_eq!((told(&report), report.caught_up()), (vec!["main=not-up-to-date".to_owned()], 0));
        assert_eq!(lab.repo("A").get("main"), Some(wild));
    });
}

#[test]
fn a_source_of_truth_moves_the_ref_db_and_then_the_ref() {
    run(async {
        let lab = Lab::with(&["gated", "ungated"]);
        let c0 = lab.repo("A").advance("main", "c0");
        lab.repo("B").advance("main", "c0");
        lab.seed("A").await;
        let c1 = lab.repo("B").advance("main", "c1");
        assert_eq!(told(&lab.fetch("A", "B").await), ["main=already-up-to-date"]);
        assert_eq!(lab.repo("A").get("main"), Some(c0));

        lab.configure("A", "[remote \"B\"]\nsourceOfTruth = true");
        assert_eq!(told(&lab.fetch("A", "B").await), ["main=replicated"]);
        assert_eq!(lab.repo("A").get("main"), Some(c1));
        assert_eq!(lab.entry("A", "main").await.value, GlobalRef::At(c1));

        // It was reset there: that is not ahead of anything.
        let reset = lab.repo("B").commit(&[c0], "reset");
        lab.repo("B").set("main", reset);
        assert_eq!(told(&lab.fetch("A", "B").await), ["main=already-up-to-date"]);
        assert_eq!(lab.entry("A", "main").await.value, GlobalRef::At(c1));
    });
}

#[test]
fn a_meta_without_a_record_waits_for_its_patch_sets() {
    const META: &str = "refs/changes/01/1/meta";
    run(async {
        let lab = Lab::with(&["gated", "gated"]);
        let repo = lab.repo("A");
        let m0 = repo.advance(META, "m0");
        lab.seed("A").await;
        // As after a fetch that brought its objects and was killed before it moved refs.
        let m1 = repo.commit(&[m0], "m1");
        assert!(lab.record("A", META, GlobalRef::At(m0), GlobalRef::At(m1)).await);
        assert_eq!(lab.push("A", "B").await.caught_up(), 0);
        assert_eq!(repo.get(META), Some(m0));
    });
}
