//! The last step of a fetch: under this site's locks on the refs that move, and with the ref-db read once more.

use std::sync::Arc;
use std::time::Duration;

use refgate_core::{BoxFuture, GlobalRef, Oid, Project, RefName};
use refgate_git::RefLocks;
use refgate_host::Report;
use refgate_host::replicate::{Options, Progress, fetch};
use refgate_tests::{Lab, PROJECT, full_name, run};

use crate::{refusal, told};

/// Does something when the decision has been made and nothing has moved.
struct BeforeMoving<F>(F);

impl<F: Fn() + Send + Sync> Progress for BeforeMoving<F> {
    fn stage(&self, text: &str) {
        if text == "moving refs" {
            self.0();
        }
    }
    fn line(&self, _: &str) {}
}

async fn fetch_while(
    lab: &Arc<Lab>,
    from: &str,
    act: impl Fn(&Lab) -> Act + Send + Sync + 'static,
) -> Report {
    let site = lab.open("A").await.unwrap();
    let inner = lab.clone();
    let progress = Arc::new(BeforeMoving(move || {
        let (inner, act) = (inner.clone(), act(&inner));
        // Another process would do it; a runtime of its own comes closest.
        std::thread::spawn(move || run(act(inner))).join().unwrap();
    }));
    fetch(&site, &Project::new(PROJECT).unwrap(), from, &Options::default(), progress).await.unwrap()
}

type Act = Box<dyn FnOnce(Arc<Lab>) -> BoxFuture<'static, ()> + Send>;

fn name(short: &str) -> RefName {
    RefName::new(full_name(short)).unwrap()
}

/// B is ahead of A at `main` and `topic`. Gives the new value of `main`.
async fn behind() -> (Arc<Lab>, Oid) {
    let lab = Lab::with(&["gated", "gated"]);
    for branch in ["main", "topic"] {
        lab.repo("A").advance(branch, "c0");
        lab.repo("B").advance(branch, "c0");
    }
    lab.seed("A").await;
    lab.commit("B", "topic", "t1").await;
    let c1 = lab.commit("B", "main", "c1").await;
    (lab, c1)
}

#[test]
fn a_ref_whose_entry_moves_after_the_decision_is_rejected_and_goes_with_the_next_run() {
    run(async {
        let (lab, _) = behind().await;
        let c0 = lab.repo("A").get("main");
        let report = fetch_while(&lab, "B", |_| {
            Box::new(|lab| {
                Box::pin(async move {
                    let _ = lab.commit("B", "main", "c2").await;
                })
            })
        })
        .await;
        assert_eq!(told(&report), ["main=rejected", "topic=replicated"]);
        assert_eq!(refusal(&report, "main"), "rejected: the ref-db moved meanwhile");
        assert_eq!((report.exit_code(), lab.repo("A").get("main")), (1, c0));
        assert_eq!(told(&lab.fetch("A", "B").await), ["main=replicated"]);
        assert_eq!(lab.repo("A").get("main"), lab.repo("B").get("main"));
    });
}

#[test]
fn a_deletion_that_was_taken_back_and_an_untracked_ref_that_is_tracked_now_do_not_go() {
    run(async {
        let (lab, _) = behind().await;
        lab.fetch("A", "B").await;
        let topic = lab.repo("A").get("topic");
        assert!(lab.write("B", "topic", None).await);
        // A mirror does not catch up, so that the fetch finds the deletion.
        lab.configure("A", "[site]\nwrites = none");
        lab.repo("B").advance("new", "n0");
        let report = fetch_while(&lab, "B", move |_| {
            Box::new(move |lab| {
                Box::pin(async move {
                    lab.record("B", "topic", GlobalRef::Deleted, GlobalRef::At(topic.unwrap())).await;
                    let other = lab.repo("B").commit(&[], "other");
                    lab.record("B", "new", GlobalRef::Untracked, GlobalRef::At(other)).await;
                })
            })
        })
        .await;
        assert_eq!(told(&report), ["new=rejected", "topic=rejected"]);
        assert_eq!((lab.repo("A").get("topic"), lab.repo("A").get("new")), (topic, None));
    });
}

#[test]
fn a_ref_that_a_client_writes_to_stays_and_the_others_go() {
    run(async {
        let (lab, c1) = behind().await;
        let c0 = lab.repo("A").get("main");
        let (writer, _) = RefLocks::try_acquire(&lab.path("A"), &[name("main")]).unwrap();
        let report = lab.fetch("A", "B").await;
        assert_eq!(told(&report), ["main=rejected", "topic=replicated"]);
        assert!(refusal(&report, "main").contains("another process of this site"), "{report:?}");
        assert_eq!(lab.repo("A").get("main"), c0);
        assert_eq!(lab.clock().slept().iter().sum::<Duration>(), Duration::from_secs(3));
        drop(writer);
        let report = lab.fetch("A", "B").await;
        assert_eq!((told(&report), report.caught_up()), (vec![], 1), "its objects came already");
        assert_eq!(lab.repo("A").get("main"), Some(c1));
    });
}

#[test]
fn a_writer_that_ends_in_time_is_waited_for() {
    run(async {
        let (lab, c1) = behind().await;
        let (writer, _) = RefLocks::try_acquire(&lab.path("A"), &[name("main")]).unwrap();
        let mut writer = Some(writer);
        lab.clock().during_sleep(move || -> BoxFuture<'static, ()> {
            drop(writer.take());
            Box::pin(std::future::ready(()))
        });
        assert_eq!(told(&lab.fetch("A", "B").await), ["main=replicated", "topic=replicated"]);
        assert_eq!(lab.repo("A").get("main"), Some(c1));
    });
}

#[test]
fn no_lock_is_held_while_a_decision_waits() {
    run(async {
        let lab = Lab::with(&["gated", "gated", "gated"]);
        for site in ["A", "B", "C"] {
            lab.repo(site).advance("main", "c0");
        }
        lab.seed("A").await;
        lab.commit("C", "main", "c1").await;
        let c2 = lab.commit("C", "main", "c2").await;
        lab.repo("B").advance("main", "c1");
        let inner = lab.clone();
        lab.clock().during_sleep(move || -> BoxFuture<'static, ()> {
            let (_mine, got) = RefLocks::try_acquire(&inner.path("A"), &[name("main")]).unwrap();
            assert_eq!(got, [true]);
            inner.repo("C").git(&["push", "-q", &inner.url("B"), "main"]);
            Box::pin(std::future::ready(()))
        });
        assert_eq!(told(&lab.fetch("A", "B").await), ["main=replicated"]);
        assert!(!lab.clock().has_hooks());
        assert_eq!(lab.repo("A").get("main"), Some(c2));
    });
}

#[test]
fn with_the_gate_off_locks_are_taken_and_nothing_is_read() {
    run(async {
        let (lab, c1) = behind().await;
        lab.configure("A", "[ref-database]\nenabled = false");
        let (writer, _) = RefLocks::try_acquire(&lab.path("A"), &[name("topic")]).unwrap();
        let report = fetch_while(&lab, "B", |_| {
            Box::new(|lab| {
                Box::pin(async move {
                    let c1 = GlobalRef::At(lab.repo("B").get("main").unwrap());
                    lab.record("B", "main", c1, GlobalRef::Deleted).await;
                })
            })
        })
        .await;
        assert_eq!(told(&report), ["main=replicated", "topic=rejected"]);
        assert_eq!(lab.repo("A").get("main"), Some(c1));
        drop(writer);
    });
}

#[test]
fn a_change_one_of_whose_refs_is_busy_stays_whole() {
    run(async {
        let lab = Lab::with(&["gated", "gated"]);
        let (patch_set, meta) = ("refs/changes/01/1/1", "refs/changes/01/1/meta");
        for name in [patch_set, meta] {
            lab.repo("B").advance(name, name);
        }
        let at = GlobalRef::At(lab.repo("B").get(meta).unwrap());
        lab.record("B", meta, GlobalRef::Untracked, at).await;
        let (writer, _) = RefLocks::try_acquire(&lab.path("A"), &[name(patch_set)]).unwrap();
        let report = lab.fetch("A", "B").await;
        assert!(report.decision.moves.iter().all(|one| one.state().has_failed()), "{report:?}");
        assert!(refusal(&report, meta).contains("of the same change"), "{report:?}");
        assert!(lab.repo("A").refs().is_empty());
        drop(writer);
        lab.fetch("A", "B").await;
        assert_eq!(lab.repo("A").refs(), lab.repo("B").refs());
    });
}

#[test]
fn a_busy_ref_of_a_source_of_truth_does_not_move_the_ref_db() {
    run(async {
        let lab = Lab::with(&["gated", "ungated"]);
        let c0 = lab.repo("A").advance("main", "c0");
        lab.repo("B").advance("main", "c0");
        lab.seed("A").await;
        lab.repo("B").advance("main", "c1");
        lab.configure("A", "[remote \"B\"]\nsourceOfTruth = true");
        let (_writer, _) = RefLocks::try_acquire(&lab.path("A"), &[name("main")]).unwrap();
        assert_eq!(told(&lab.fetch("A", "B").await), ["main=rejected"]);
        assert_eq!(lab.entry("A", "main").await.value, GlobalRef::At(c0));
    });
}
