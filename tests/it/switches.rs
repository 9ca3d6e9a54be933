//! The gate switched off, projects that do not match, and a ref-db that fails.

use std::fs;
use std::sync::Arc;

use refgate_host::replicate::{Options, Silent, fetch, push};
use refgate_tests::{Lab, run};

use crate::told;

/// A is stale at `main` and lacks `topic`, which the ref-db records as deleted; B holds newer things.
async fn divided() -> Arc<Lab> {
    let lab = Lab::with(&["none", "gated"]);
    for site in ["A", "B"] {
        lab.repo(site).advance("main", "c0");
        lab.repo(site).advance("topic", "t0");
    }
    lab.seed("B").await;
    lab.commit("B", "main", "c1").await;
    assert!(lab.write("B", "topic", None).await);
    lab.repo("B").advance("dead", "d0");
    lab.seed("B").await;
    let dead = lab.entry("B", "dead").await.value;
    assert!(lab.record("B", "dead", dead, refgate_core::GlobalRef::Deleted).await);
    lab
}

#[test]
fn a_gate_that_is_on_holds_back_and_deletes() {
    run(async {
        let lab = divided().await;
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["dead=replicated", "main=not-up-to-date", "topic=not-up-to-date"]);
        assert!(report.to_json().get("gate").is_none());
    });
}

#[test]
fn a_gate_that_is_off_keeps_everything_and_deletes_nothing() {
    for switch in ["enabled", "pushReplicationFilterEnabled"] {
        run(async {
            let lab = divided().await;
            lab.configure("A", &format!("[ref-database]\n{switch} = false"));
            let report = lab.push("A", "B").await;
            assert_eq!(told(&report), ["main=replicated", "topic=replicated"], "{switch}");
            assert_eq!(report.to_json()["gate"], "off");
            assert!(report.decision.waits.is_empty());
            assert_eq!(lab.repo("B").get("main"), lab.repo("A").get("main"));
            assert!(lab.repo("B").get("dead").is_some());
        });
    }
}

#[test]
fn each_direction_has_its_own_switch() {
    run(async {
        let lab = divided().await;
        lab.configure("A", "[ref-database]\npullReplicationFilterEnabled = false");
        assert!(lab.push("A", "B").await.to_json().get("gate").is_none());
        let report = lab.fetch("A", "B").await;
        assert_eq!(
            (report.to_json()["gate"].as_str(), told(&report)),
            (Some("off"), vec!["main=replicated".into()])
        );
    });
}

#[test]
fn a_project_that_does_not_match_stays_where_it_is() {
    run(async {
        let lab = divided().await;
        lab.configure("A", "[projects]\npattern = ^(?!team/).*");
        lab.repo("A").advance("fresh", "f");
        let before = lab.repo("B").refs();
        let report = lab.push("A", "B").await;
        assert!(!told(&report).is_empty());
        assert!(told(&report).iter().all(|one| one.ends_with("=project-not-matched")), "{:?}", told(&report));
        let here = lab.repo("A").refs();
        let report = lab.fetch("A", "B").await;
        assert!(told(&report).iter().all(|one| one.ends_with("=project-not-matched")), "{:?}", told(&report));
        assert_eq!((lab.repo("A").refs(), lab.repo("B").refs()), (here, before));
    });
}

#[test]
fn a_ref_db_that_breaks_during_the_run_keeps_nothing() {
    run(async {
        let lab = divided().await;
        lab.repo("A").advance("fresh", "f");
        let site = lab.open("A").await.unwrap();
        fs::write(lab.dir().join("refdb.sqlite"), "garbage, and long enough to be read as a page").unwrap();
        let project = refgate_core::Project::new(refgate_tests::PROJECT).unwrap();
        let (before, options) = (lab.repo("B").refs(), Options::default());
        let report = push(&site, &project, "B", &options, Arc::new(Silent)).await.unwrap();
        let expected = ["fresh=refdb-unavailable", "main=refdb-unavailable", "topic=refdb-unavailable"];
        assert_eq!(told(&report), expected);
        assert!(!report.decision.problems.is_empty());
        assert_eq!(lab.repo("B").refs(), before);
    });
}

#[test]
fn what_needs_no_ref_db_goes_when_it_is_broken() {
    run(async {
        let lab = divided().await;
        lab.configure("A", "[ref-database \"enforcementRules\"]\nIGNORED = :refs/heads/scratch");
        for site in ["A", "B"] {
            lab.repo(site).advance("scratch", "s0");
        }
        lab.repo("B").advance("scratch", "s1");
        let site = lab.open("A").await.unwrap();
        fs::write(lab.dir().join("refdb.sqlite"), "garbage, and long enough to be read as a page").unwrap();
        let project = refgate_core::Project::new(refgate_tests::PROJECT).unwrap();
        let report = fetch(&site, &project, "B", &Options::default(), Arc::new(Silent)).await.unwrap();
        assert!(told(&report).contains(&"scratch=replicated".to_owned()), "{:?}", told(&report));
    });
}
