//! Refs that move while a decision waits, and what a wait costs.

use std::sync::Arc;

use refgate_core::{BoxFuture, Edit, Expected, GlobalRef, Oid, Project, RefName};
use refgate_host::replicate::{Options, Progress, fetch};
use refgate_tests::{Lab, run};

use crate::{decided, refusal, told};

/// Does something in the next wait.
fn during_wait(lab: &Arc<Lab>, act: impl FnOnce(&Lab) + Send + 'static) {
    let inner = lab.clone();
    lab.clock().during_sleep(move || -> BoxFuture<'static, ()> { Box::pin(async move { act(&inner) }) });
}

/// `main` is c0 at B, c1 at A and c2 in the ref-db; c2 exists at C only. Gives c2.
async fn stale() -> (Arc<Lab>, Oid) {
    let lab = Lab::with(&["gated", "gated", "gated"]);
    for site in ["A", "B", "C"] {
        lab.repo(site).advance("main", "c0");
    }
    lab.seed("A").await;
    lab.commit("C", "main", "c1").await;
    lab.repo("A").advance("main", "c1");
    let c2 = lab.commit("C", "main", "c2").await;
    (lab, c2)
}

#[test]
fn a_stale_ref_that_catches_up_during_the_wait_goes_with_its_reloaded_value() {
    run(async {
        let (lab, c2) = stale().await;
        during_wait(&lab, |lab| {
            lab.repo("A").advance("main", "c2");
        });
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["main=replicated"]);
        let main = decided(&report, "main");
        assert_eq!((main.is_reloaded(), main.new()), (true, Some(c2)));
        assert_eq!(lab.repo("B").get("main"), Some(c2));
        assert_eq!(report.decision.waits.len(), 1);
        let ms = report.decision.waits[0].ms;
        assert!((10..15).contains(&ms), "{ms}");
        assert_eq!(lab.clock().slept().len(), 1);
    });
}

#[test]
fn one_that_does_not_catch_up_is_held_back_with_both_values_and_a_hint() {
    run(async {
        let (lab, c2) = stale().await;
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["main=not-up-to-date"]);
        assert_eq!(report.exit_code(), 3);
        let document = report.to_json();
        let main = &document["refs"][0];
        assert_eq!(main["local"], lab.repo("A").get("main").unwrap().to_string());
        assert_eq!(main["global"], c2.to_string());
        assert_eq!((&main["result"], &main["retryable"]), (&"held-back".into(), &true.into()));
        assert!(main["hint"].as_str().unwrap().contains("publish"), "{main}");
    });
}

#[test]
fn a_ref_that_is_gone_at_the_reload_is_no_deletion() {
    run(async {
        let (lab, _) = stale().await;
        during_wait(&lab, |lab| lab.repo("A").delete("main"));
        let old = lab.repo("B").get("main");
        assert_eq!(told(&lab.push("A", "B").await), ["main=local-ref-missing"]);
        assert_eq!(lab.repo("B").get("main"), old);
    });
}

#[test]
fn a_fetch_lists_the_remote_again_after_the_wait() {
    run(async {
        let (lab, c2) = stale().await;
        // A holds c1, B still c0: neither is what the ref-db records, until B gets it.
        during_wait(&lab, |lab| drop(lab.repo("C").git(&["push", "-q", &lab.url("B"), "main"])));
        assert_eq!(told(&lab.fetch("A", "B").await), ["main=replicated"]);
        assert_eq!(lab.repo("A").get("main"), Some(c2));
        assert!(lab.repo("A").is_whole());
    });
}

#[test]
fn a_local_write_while_a_fetch_decides_survives() {
    run(async {
        let (lab, _) = stale().await;
        // `topic` needs no wait, but waits with `main`; meanwhile a client of A writes to it.
        let t0 = lab.repo("A").advance("topic", "t0");
        lab.repo("C").advance("topic", "t0");
        lab.seed("A").await;
        lab.commit("C", "topic", "t1").await;
        lab.commit("C", "other", "o").await;
        lab.repo("B").advance("late", "l");
        lab.repo("C").set("main", lab.repo("C").get("topic").unwrap());
        during_wait(&lab, |lab| {
            lab.repo("A").advance("topic", "mine");
        });
        let report = lab.fetch("A", "C").await;
        assert_eq!(told(&report), ["main=not-up-to-date", "other=replicated", "topic=rejected"]);
        assert_eq!(report.exit_code(), 1);
        assert!(refusal(&report, "topic").starts_with("rejected: "));
        let mine = lab.repo("A").get("topic").unwrap();
        assert!(lab.repo("A").is_ancestor(t0, mine));
        assert_eq!(lab.repo("A").git(&["log", "-1", "--format=%s", "topic"]), "mine");
    });
}

#[test]
fn a_write_at_the_remote_between_advertisement_and_commands_survives() {
    run(async {
        let (lab, _) = stale().await;
        lab.repo("B").advance("topic", "t0");
        lab.repo("A").advance("topic", "t0");
        lab.seed("A").await;
        lab.commit("A", "topic", "t1").await;
        lab.commit("A", "fresh", "f").await;
        during_wait(&lab, |lab| {
            lab.repo("B").advance("topic", "theirs");
        });
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["fresh=replicated", "main=not-up-to-date", "topic=rejected"]);
        assert_eq!(lab.repo("B").git(&["log", "-1", "--format=%s", "topic"]), "theirs");
    });
}

#[test]
fn a_thousand_stale_refs_cost_one_wait() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        let base = lab.repo("A").commit(&[], "base");
        let newer = lab.repo("B").commit(&[], "newer");
        let names: Vec<String> = (0..1000).map(|i| format!("refs/heads/b{i:04}")).collect();
        let commands: String = names.iter().map(|name| format!("create {name} {base}\n")).collect();
        lab.repo("A").git_with(&["update-ref", "--stdin"], commands.as_bytes());
        let edit = |name: &String| {
            Edit::new(RefName::new(name.as_str()).unwrap(), Expected::Absent, GlobalRef::At(newer))
        };
        lab.record_all("A", &names.iter().map(edit).collect::<Vec<_>>()).await;
        let report = lab.push("A", "B").await;
        let counts = report.counts();
        assert_eq!((counts.offered, counts.discarded, counts.replicated), (1000, 1000, 0));
        assert_eq!(report.decision.waits.iter().map(|w| w.refs).collect::<Vec<_>>(), [1000]);
        assert_eq!(lab.clock().slept().len(), 1);
    });
}

/// Moves B's `main` away, objects and all, between the listing of a fetch and the transfer.
struct Outrun(Arc<Lab>);

impl Progress for Outrun {
    fn stage(&self, text: &str) {
        if text.starts_with("fetching") {
            let b = self.0.repo("B");
            b.delete("main");
            b.git(&["prune", "--expire=now"]);
        }
    }
    fn line(&self, _: &str) {}
}

#[test]
fn a_ref_that_is_gone_before_its_objects_came_is_reported_and_the_others_go() {
    run(async {
        let lab = Lab::with(&["ungated", "ungated"]);
        lab.repo("B").advance("main", "c0");
        lab.repo("B").advance("topic", "t0");
        let site = lab.open("A").await.unwrap();
        let project = Project::new(refgate_tests::PROJECT).unwrap();
        let progress = Arc::new(Outrun(lab.clone()));
        let report = fetch(&site, &project, "B", &Options::default(), progress).await.unwrap();
        assert_eq!(told(&report), ["main=not-up-to-date", "topic=replicated"]);
        assert_eq!(report.exit_code(), 3);
        assert!(decided(&report, "main").hint().unwrap().contains("run again"));
        assert_eq!(lab.repo("A").get("main"), None);
    });
}
