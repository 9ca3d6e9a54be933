//! A change is deleted whole, everywhere, and does not come back.

use std::sync::Arc;

use globset::Glob;
use refgate_core::{GlobalRef, Project};
use refgate_host::replicate::{Options, catch_up};
use refgate_tests::{Lab, PROJECT, Setup, reftable_is_known, run};

use crate::{refusal, told};

const META: &str = "refs/changes/01/1/meta";
const FIRST: &str = "refs/changes/01/1/1";
const ROBOTS: &str = "refs/changes/01/1/robot-comments";

const WHOLE: [&str; 3] = ["refs/changes/01/1/1", META, ROBOTS];

/// A change at all sites, on every storage that this git knows.
async fn labs(kinds: &[&str]) -> Vec<Arc<Lab>> {
    let mut labs = Vec::new();
    for reftable in [false, true].into_iter().filter(|reftable| !reftable || reftable_is_known()) {
        let lab = Lab::new(Setup { reftable, ..Setup::default() });
        let names: Vec<String> = ('A'..='Z').take(kinds.len()).map(String::from).collect();
        names.iter().zip(kinds).for_each(|(name, kind)| lab.site(name, kind));
        lab.commit("A", "main", "beside it").await;
        lab.commit("A", META, "notes").await;
        lab.commit("A", ROBOTS, "notes of robots").await;
        lab.repo("A").advance(FIRST, "patch set");
        for name in &names[1..] {
            lab.push("A", name).await;
            assert_eq!(lab.repo(name).refs(), lab.repo("A").refs());
        }
        labs.push(lab);
    }
    labs
}

/// The deletion in the ref-db, and of these local refs.
async fn delete(lab: &Lab, site: &str, local: &[&str]) {
    let meta = lab.repo("A").get(META).expect("it is there");
    assert!(lab.record(site, META, GlobalRef::At(meta), GlobalRef::Deleted).await);
    local.iter().for_each(|name| lab.repo(site).delete(name));
}

fn left(lab: &Lab, site: &str) -> Vec<String> {
    lab.repo(site).refs().into_keys().filter(|name| name.starts_with("refs/changes/")).collect()
}

async fn caught_up(lab: &Lab, site: &str) -> usize {
    let opened = lab.open(site).await.expect("a site");
    let project = Project::new(PROJECT).expect("legal");
    let repository = opened.repository(&project).await.expect("it is there");
    catch_up(&opened, &project, &repository).await.expect("it runs").moved.len()
}

#[test]
fn a_push_takes_the_whole_change_along() {
    run(async {
        for destination in ["gated", "none"] {
            for lab in labs(&["gated", destination]).await {
                delete(&lab, "A", &WHOLE).await;
                let gone = WHOLE.map(|name| format!("{name}=replicated"));
                assert_eq!(told(&lab.push("A", "B").await), gone);
                assert_eq!(left(&lab, "B"), [""; 0]);
                assert!(told(&lab.push("A", "B").await).is_empty());
            }
        }
    });
}

#[test]
fn a_fetch_takes_the_whole_change_along_whatever_the_other_side_has_left() {
    run(async {
        for lab in labs(&["gated", "none", "ungated"]).await {
            delete(&lab, "C", &[META]).await;
            let gone = WHOLE.map(|name| format!("{name}=replicated"));
            assert_eq!(told(&lab.fetch("B", "C").await), gone);
            assert_eq!(left(&lab, "B"), [""; 0]);
            // What is left over there neither comes back nor goes anywhere.
            let held = [FIRST, ROBOTS].map(|name| format!("{name}=deleted-globally"));
            assert_eq!(told(&lab.fetch("B", "C").await), held);
            assert_eq!(told(&lab.push("C", "B").await), held);
            assert_eq!(left(&lab, "B"), [""; 0]);
        }
    });
}

#[test]
fn catch_up_deletes_whole_changes_and_what_is_left_of_older_ones() {
    run(async {
        for lab in labs(&["gated", "gated"]).await {
            delete(&lab, "A", &WHOLE).await;
            assert_eq!(caught_up(&lab, "B").await, 3);
            assert_eq!(left(&lab, "B"), [""; 0]);
            lab.repo("B").advance("refs/changes/01/1/7", "a late one");
            assert_eq!(caught_up(&lab, "B").await, 1);
            assert_eq!(left(&lab, "B"), [""; 0]);
        }
    });
}

#[test]
fn a_third_site_brings_nothing_back() {
    run(async {
        for lab in labs(&["gated", "gated", "ungated"]).await {
            delete(&lab, "A", &WHOLE).await;
            lab.push("A", "B").await;
            let held = [
                "refs/changes/01/1/1=deleted-globally",
                "refs/changes/01/1/meta=not-up-to-date",
                "refs/changes/01/1/robot-comments=deleted-globally",
            ];
            assert_eq!(told(&lab.push("C", "A").await), held);
            let held = WHOLE.map(|name| format!("{name}=deleted-globally"));
            assert_eq!(told(&lab.fetch("B", "C").await), held);
            assert_eq!((left(&lab, "A"), left(&lab, "B")), (vec![], vec![]));
            // Others write there, so nothing is deleted there: the change stays whole.
            let held = [
                "refs/changes/01/1/1=outdated-meta",
                "refs/changes/01/1/meta=remote-diverged",
                "refs/changes/01/1/robot-comments=outdated-meta",
            ];
            assert_eq!(told(&lab.push("A", "C").await), held);
            assert_eq!(left(&lab, "C"), WHOLE);
        }
    });
}

#[test]
fn where_the_meta_cannot_go_nothing_goes() {
    run(async {
        for lab in labs(&["gated", "gated", "none"]).await {
            let held = [
                "refs/changes/01/1/1=outdated-meta",
                "refs/changes/01/1/meta=remote-diverged",
                "refs/changes/01/1/robot-comments=outdated-meta",
            ];
            delete(&lab, "A", &WHOLE).await;
            let other = lab.repo("B").advance(META, "of nobody else");
            assert_eq!(told(&lab.push("A", "B").await), held);
            assert_eq!((left(&lab, "B").len(), lab.repo("B").get(META)), (3, Some(other)));
            assert_eq!(caught_up(&lab, "B").await, 0);
            assert_eq!(left(&lab, "B").len(), 3);
            // Not chosen is not going, either.
            let only = |glob: &str| Options {
                refs: vec![Glob::new(glob).expect("a glob").compile_matcher()],
                ..Options::default()
            };
            let report = lab.try_push("A", "C", &only(FIRST)).await.expect("it runs");
            assert_eq!(told(&report), ["refs/changes/01/1/1=outdated-meta"]);
            assert_eq!(left(&lab, "C").len(), 3);
            let report = lab.try_push("A", "C", &only(META)).await.expect("it runs");
            assert_eq!(told(&report), ["refs/changes/01/1/meta=replicated"]);
            let report = lab.try_push("A", "C", &only(FIRST)).await.expect("it runs");
            assert_eq!(told(&report), ["refs/changes/01/1/1=replicated"], "the meta is gone already");
        }
    });
}

/// A second change, deleted like the first.
async fn second(lab: &Lab) {
    let [first, notes] = ["refs/changes/02/2/1", "refs/changes/02/2/meta"];
    let meta = lab.commit("A", notes, "notes").await;
    lab.repo("A").advance(first, "patch set");
    lab.push("A", "B").await;
    assert!(lab.record("A", notes, GlobalRef::At(meta), GlobalRef::Deleted).await);
    [first, notes].iter().for_each(|name| lab.repo("A").delete(name));
}

#[test]
fn a_remote_that_refuses_one_ref_keeps_that_change_and_no_other() {
    run(async {
        for (refused, atomic) in [(META, true), (META, false), (FIRST, true), (FIRST, false)] {
            for lab in labs(&["gated", "none"]).await {
                second(&lab).await;
                delete(&lab, "A", &WHOLE).await;
                let repo = lab.repo("B");
                repo.git(&["config", "receive.advertiseAtomic", if atomic { "true" } else { "false" }]);
                repo.hook("update", &format!("case $1 in {refused}) exit 1;; esac"));
                let report = lab.push("A", "B").await;
                assert!(refusal(&report, refused).contains("hook declined"), "{:?}", told(&report));
                assert_eq!(repo.get("refs/changes/02/2/1"), None, "the other change goes");
                assert_eq!(repo.get(META).is_some(), atomic || refused == META, "{:?}", told(&report));
                assert!(repo.get(META).is_none() || left(&lab, "B").len() == 3, "{:?}", told(&report));
                repo.hook("update", "exit 0");
                lab.push("A", "B").await;
                assert_eq!(left(&lab, "B"), [""; 0]);
            }
        }
    });
}
