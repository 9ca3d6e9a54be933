//! Catch-up and the policies of a site: what it has accepted is finished, anything else its fetch filters are asked about.

use std::sync::Arc;

use refgate_core::{
    Answer, BoxFuture, Direction, FilterError, FilterSet, GlobalRef, Oid, RefBatch, RefFilter,
};
use refgate_git::Repository;
use refgate_host::gated::{Journal, Record, RecordedRef};
use refgate_host::heal::{self, Row, heal};
use refgate_host::replicate::{self, CaughtUp, Options, Silent, catch_up, catch_up_refs};
use refgate_host::{Project, RefName, Report, Site};
use refgate_tests::{Lab, PROJECT, full_name, run};

use crate::told;

/// Holds back what is to become of these refs.
struct Holds(&'static [&'static str]);

impl RefFilter for Holds {
    fn name(&self) -> &str {
        "holds"
    }

    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        let mine = |i: &usize| self.0.iter().any(|name| full_name(name).as_bytes() == batch.name(*i));
        let which: Vec<u32> = (0..batch.len()).filter(mine).map(|i| i as u32).collect();
        let discards = if which.is_empty() { Vec::new() } else { vec![(which, "not-on-sundays".to_owned())] };
        Box::pin(std::future::ready(Ok(Answer { discards, ..Answer::default() })))
    }
}

/// The site with that policy on fetch.
async fn site(lab: &Lab, name: &str, holds: &'static [&'static str]) -> Site {
    let set = FilterSet { generation: 1, fetch: vec![Arc::new(Holds(holds))], ..FilterSet::default() };
    lab.open_with(name, set.into()).await
}

fn project() -> Project {
    Project::new(PROJECT).unwrap()
}

fn repository(lab: &Lab, site: &str) -> Repository {
    Repository::open(&lab.path(site)).unwrap()
}

async fn fetch(at: &Site, dry_run: bool) -> Report {
    let options = Options { dry_run, ..Options::default() };
    replicate::fetch(at, &project(), "A", &options, Arc::new(Silent)).await.unwrap()
}

async fn push(at: &Site, dry_run: bool) -> Report {
    let options = Options { dry_run, ..Options::default() };
    replicate::push(at, &project(), "A", &options, Arc::new(Silent)).await.unwrap()
}

/// What catch-up's rows say.
fn rows(report: &Report) -> Vec<String> {
    let row = |one: refgate_host::Move<'_>| {
        let why = one.reason().map_or(one.state().to_string(), ToString::to_string);
        format!("{}={why}", one.name().to_string().trim_start_matches("refs/heads/"))
    };
    report.catch_up.iter().map(row).collect()
}

fn moved(done: &CaughtUp) -> Vec<String> {
    done.moved.iter().map(|one| one.name.to_string()).collect()
}

/// A and B hold `main` and the tag; then A deletes the tag and advances `main`, and the new commit is at B, too.
async fn lab() -> (Arc<Lab>, Oid) {
    let lab = Lab::with(&["gated", "gated"]);
    let c0 = lab.commit("A", "main", "c0").await;
    assert!(lab.write("A", "refs/tags/v1", Some(c0)).await);
    lab.push("A", "B").await;
    let c1 = lab.commit("A", "main", "c1").await;
    assert_eq!(lab.repo("B").commit(&[c0], "c1"), c1, "its object came without its ref");
    assert!(lab.write("A", "refs/tags/v1", None).await);
    (lab, c1)
}

#[test]
fn what_a_filter_holds_back_catch_up_leaves_alone() {
    run(async {
        let (lab, c1) = lab().await;
        let held = site(&lab, "B", &["refs/tags/v1"]).await;
        let before = lab.repo("B").refs();
        for dry_run in [true, false] {
            let report = fetch(&held, dry_run).await;
            let went = if dry_run { "main=not-sent" } else { "main=replicated" };
            assert_eq!(rows(&report), [went], "the tag has a row of its own below");
            assert_eq!(told(&report), ["refs/tags/v1=not-on-sundays"]);
            assert_eq!(report.exit_code(), 3);
            assert_eq!(lab.repo("B").refs() == before, dry_run);
        }
        assert_eq!(lab.repo("B").get("main"), Some(c1));
        assert!(lab.repo("B").get("refs/tags/v1").is_some());
        for dry_run in [true, false] {
            let report = push(&held, dry_run).await;
            assert_eq!(rows(&report), ["refs/tags/v1=not-on-sundays"], "why B is behind");
            assert_eq!((told(&report), report.exit_code()), (vec!["refs/tags/v1=not-up-to-date".into()], 3));
        }
        let json = push(&held, true).await.to_json();
        let row = &json["catch_up"][0];
        assert_eq!((&row["ref"], &row["by"]), (&"refs/tags/v1".into(), &"holds".into()));

        // Without the policy the next run takes it.
        assert_eq!(rows(&lab.push("B", "A").await), ["refs/tags/v1=replicated"]);
        assert_eq!(lab.repo("B").get("refs/tags/v1"), None);
    });
}

#[test]
fn what_this_site_has_accepted_is_finished_whatever_its_filters_say() {
    run(async {
        let lab = Lab::with(&["gated", "gated"]);
        let c0 = lab.commit("A", "main", "c0").await;
        lab.push("A", "B").await;
        let c1 = lab.repo("B").commit(&[c0], "c1");
        let refs = vec![RecordedRef {
            name: RefName::new("refs/heads/main").unwrap(),
            old: Some(c0),
            new: Some(c1),
            tracked: true,
            group: None,
        }];
        let record = Record { id: "1".into(), project: project(), refs };
        Journal::of(&repository(&lab, "B")).begin(&record).unwrap();
        assert!(lab.record("B", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await);
        let held = site(&lab, "B", &["main"]).await;
        let done = catch_up(&held, &project(), &repository(&lab, "B")).await.unwrap();
        assert_eq!((moved(&done), done.held.len()), (vec!["refs/heads/main".to_owned()], 0));

        // What another site made of it is another value, which nobody here has accepted.
        Journal::of(&repository(&lab, "B")).begin(&Record { id: "2".into(), ..record }).unwrap();
        let c2 = lab.repo("B").commit(&[c1], "c2");
        assert!(lab.record("A", "main", GlobalRef::At(c1), GlobalRef::At(c2)).await);
        let done = catch_up(&held, &project(), &repository(&lab, "B")).await.unwrap();
        assert_eq!((moved(&done).len(), done.held.len(), lab.repo("B").get("main")), (0, 1, Some(c1)));
        assert_eq!(done.records.len(), 1, "{:?}", done.records);
        assert!(Journal::of(&repository(&lab, "B")).list().unwrap().is_empty(), "the write has ended");
    });
}

#[test]
fn a_hook_asks_about_the_refs_of_its_push_only() {
    run(async {
        let (lab, _) = lab().await;
        let held = site(&lab, "B", &["refs/tags/v1", "main"]).await;
        let one = [RefName::new("refs/heads/main").unwrap()];
        let done = catch_up_refs(&held, &project(), &repository(&lab, "B"), &one).await.unwrap();
        let names: Vec<String> = done.held.iter().map(|one| one.name().to_string()).collect();
        assert_eq!((names, moved(&done).len()), (vec!["refs/heads/main".to_owned()], 0));
    });
}

#[test]
fn a_change_whose_meta_is_held_back_stays_whole() {
    const META: &str = "refs/changes/01/1/meta";
    const FIRST: &str = "refs/changes/01/1/1";
    run(async {
        let lab = Lab::with(&["gated", "gated"]);
        let meta = lab.commit("A", META, "notes").await;
        lab.repo("A").advance(FIRST, "patch set");
        lab.push("A", "B").await;
        assert!(lab.record("A", META, GlobalRef::At(meta), GlobalRef::Deleted).await);
        let held = site(&lab, "B", &[META]).await;
        let done = catch_up(&held, &project(), &repository(&lab, "B")).await.unwrap();
        assert_eq!((moved(&done).len(), done.held.len()), (0, 2), "{:?}", done.held);
        assert!(lab.repo("B").get(META).is_some() && lab.repo("B").get(FIRST).is_some());
        let held = site(&lab, "B", &[FIRST]).await;
        let done = catch_up(&held, &project(), &repository(&lab, "B")).await.unwrap();
        assert_eq!((moved(&done).len(), done.held.len()), (0, 2), "{:?}", done.held);
    });
}

#[test]
fn heal_names_the_filter() {
    run(async {
        let (lab, _) = lab().await;
        let held = site(&lab, "B", &["refs/tags/v1"]).await;
        let options = heal::Options {
            publish: false,
            rescue: false,
            accept_loss: None,
            yes: true,
            now: std::time::UNIX_EPOCH,
        };
        let report = heal(&held, &project(), &options).await.unwrap();
        let left: Vec<&Row> = report
            .refs
            .iter()
            .filter(|one| one.result == heal::RowResult::Left)
            .map(|one| &one.finding.row)
            .collect();
        let row = Row::HeldBack { by: "holds".into(), reason: "not-on-sundays".into() };
        assert_eq!((left, report.exit_code()), (vec![&row], 3));
    });
}

#[test]
fn a_gate_that_is_off_on_fetch_asks_no_filter() {
    run(async {
        let (lab, c1) = lab().await;
        lab.configure("B", "[ref-database]\npullReplicationFilterEnabled = false");
        let held = site(&lab, "B", &["main"]).await;
        assert!(!held.gate.is_on(Direction::Fetch));
        catch_up(&held, &project(), &repository(&lab, "B")).await.unwrap();
        assert_eq!(lab.repo("B").get("main"), Some(c1));
    });
}
