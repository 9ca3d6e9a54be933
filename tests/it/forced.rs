//! Forced updates and deletions that the ref-db accepted: they replicate where that is safe, and nowhere else.

use std::sync::Arc;

use refgate_tests::{Lab, run};

use crate::{decided, told};

/// A amended `main` and deleted `topic`, both accepted; B knows nothing of it.
async fn amended(kind_of_b: &str) -> Arc<Lab> {
    let lab = Lab::with(&["gated", kind_of_b]);
    for site in ["A", "B"] {
        lab.repo(site).advance("main", "c0");
        lab.repo(site).advance("main", "c1");
        lab.repo(site).advance("topic", "t");
    }
    lab.seed("A").await;
    let repo = lab.repo("A");
    let c0 = repo.git(&["rev-parse", "main~"]).parse().unwrap();
    let amended = repo.commit(&[c0], "amended");
    assert!(lab.write("A", "main", Some(amended)).await);
    assert!(lab.write("A", "topic", None).await);
    lab
}

#[test]
fn they_go_to_a_gated_site_and_to_a_pure_mirror() {
    for kind in ["gated", "none"] {
        run(async {
            let lab = amended(kind).await;
            let report = lab.push("A", "B").await;
            assert_eq!(told(&report), ["main=replicated", "topic=replicated"], "{kind}");
            assert!(decided(&report, "topic").is_deletion());
            assert_eq!(lab.repo("A").refs(), lab.repo("B").refs());
        });
    }
}

#[test]
fn they_are_fetched_by_a_gated_site_and_by_a_pure_mirror() {
    for kind in ["gated", "none"] {
        run(async {
            let lab = amended(kind).await;
            // Catch-up at a gated site deletes `topic` before the fetch does.
            let expected = match kind {
                "gated" => vec!["main=replicated"],
                _ => vec!["main=replicated", "topic=replicated"],
            };
            assert_eq!(told(&lab.fetch("B", "A").await), expected, "{kind}");
            assert_eq!(lab.repo("A").refs(), lab.repo("B").refs());
        });
    }
}

#[test]
fn an_ungated_site_keeps_what_it_has_and_the_hint_names_the_key() {
    run(async {
        let lab = amended("ungated").await;
        let before = lab.repo("B").refs();
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["main=remote-diverged", "topic=remote-diverged"]);
        for name in ["main", "topic"] {
            let hint = decided(&report, name).hint().unwrap_or_default();
            assert!(hint.contains("remote.B.writes"), "{name}: {hint}");
        }
        let report = lab.fetch("B", "A").await;
        assert_eq!(told(&report), ["main=local-diverged", "topic=local-diverged"]);
        let hint = decided(&report, "main").hint().unwrap_or_default();
        assert!(hint.contains("site.writes"), "{hint}");
        assert_eq!(lab.repo("B").refs(), before);
    });
}

#[test]
fn without_mirror_dead_refs_stay() {
    run(async {
        let lab = amended("gated").await;
        lab.configure("A", "[remote \"B\"]\nmirror = false");
        assert_eq!(told(&lab.push("A", "B").await), ["main=replicated"]);
        assert!(lab.repo("B").get("topic").is_some());
    });
}

#[test]
fn a_site_that_slept_through_a_fast_forward_and_a_reset_follows() {
    run(async {
        let lab = Lab::with(&["gated", "none"]);
        lab.repo("A").advance("main", "c0");
        lab.repo("B").advance("main", "c0");
        lab.seed("A").await;
        lab.commit("A", "main", "c1").await;
        let other = lab.repo("A").commit(&[], "other");
        assert!(lab.write("A", "main", Some(other)).await);
        assert_eq!(lab.entry("A", "main").await.superseded.len(), 1);
        assert_eq!(told(&lab.push("A", "B").await), ["main=replicated"]);
        assert_eq!(lab.repo("B").get("main"), Some(other));
    });
}

#[test]
fn a_site_that_only_fetches_follows_a_deletion_over_values_that_it_never_had() {
    run(async {
        let lab = Lab::with(&["gated", "gated"]);
        lab.commit("B", "main", "c0").await;
        lab.fetch("A", "B").await;
        let c1 = lab.commit("B", "main", "c1").await;
        assert!(lab.write("B", "main", None).await);
        assert!(!lab.repo("A").has(c1));
        assert_eq!(told(&lab.fetch("A", "B").await), ["main=rejected"], "HEAD names it");
        lab.repo("A").git(&["config", "receive.denyDeleteCurrent", "ignore"]);
        // By now all that it takes is here.
        assert_eq!(lab.fetch("A", "B").await.caught_up(), 1);
        assert_eq!(lab.repo("A").get("main"), None);
    });
}
