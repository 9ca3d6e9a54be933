//! Records of writes that were cut short: what catch-up makes of each, and what it leaves alone.

use std::fs::{self, File};
use std::sync::Arc;
use std::time::Duration;

use refgate_core::{GlobalRef, Oid, Project, RefName};
use refgate_git::{RefLocks, Repository};
use refgate_host::gated::{Journal, Record, RecordedRef};
use refgate_host::replicate::{CaughtUp, Fate, catch_up, catch_up_refs};
use refgate_tests::{Lab, PROJECT, full_name, run};

const META: &str = "refs/changes/12/4512/meta";
const PATCH_SET: &str = "refs/changes/12/4512/1";

fn name(name: &str) -> RefName {
    RefName::new(full_name(name)).unwrap()
}

fn recorded(ref_name: &str, old: Option<Oid>, new: Option<Oid>) -> RecordedRef {
    RecordedRef { name: name(ref_name), old, new, tracked: true, group: None }
}

fn repository(lab: &Lab, site: &str) -> Repository {
    Repository::open(&lab.path(site)).unwrap()
}

/// Leaves a record of `refs` at A, as a process that died does.
fn begin(lab: &Lab, id: &str, refs: Vec<RecordedRef>) {
    let record = Record { id: id.into(), project: Project::new(PROJECT).unwrap(), refs };
    Journal::of(&repository(lab, "A")).begin(&record).unwrap();
}

async fn caught_up(lab: &Lab) -> CaughtUp {
    let site = lab.open("A").await.unwrap();
    catch_up(&site, &Project::new(PROJECT).unwrap(), &repository(lab, "A")).await.unwrap()
}

fn fates(done: &CaughtUp) -> Vec<Fate> {
    done.records.iter().map(|record| record.fate.clone()).collect()
}

fn moved(done: &CaughtUp) -> Vec<String> {
    let mut names: Vec<String> = done.moved.iter().map(|one| one.name.to_string()).collect();
    names.sort();
    names
}

/// Neither a record nor a ref that keeps something for one.
fn nothing_is_left(lab: &Lab) -> bool {
    let kept = lab.repo("A").refs().into_keys().filter(|name| name.starts_with("refs/refgate/")).count();
    kept == 0 && Journal::of(&repository(lab, "A")).list().unwrap().is_empty()
}

/// A and B hold c0, recorded; a record at A says c0 → c1, and c1 is kept there. Gives c0 and c1.
async fn begun() -> (Arc<Lab>, Oid, Oid) {
    let lab = Lab::with(&["gated", "gated"]);
    let c0 = lab.repo("A").advance("main", "c0");
    lab.repo("B").advance("main", "c0");
    lab.seed("A").await;
    let c1 = lab.repo("A").commit(&[c0], "c1");
    begin(&lab, "1", vec![recorded("main", Some(c0), Some(c1))]);
    (lab, c0, c1)
}

/// A record of a new change; its `/meta` is in the ref-db, nothing is here. Gives the values of both refs.
async fn uploaded() -> (Arc<Lab>, Oid, Oid) {
    let lab = Lab::with(&["gated", "gated"]);
    let (ps, meta) = (lab.repo("A").commit(&[], "ps"), lab.repo("A").commit(&[], "meta"));
    let one = |name, new| RecordedRef { group: Some(0), ..recorded(name, None, Some(new)) };
    begin(&lab, "1", vec![RecordedRef { tracked: false, ..one(PATCH_SET, ps) }, one(META, meta)]);
    assert!(lab.record("A", META, GlobalRef::Untracked, GlobalRef::At(meta)).await);
    (lab, ps, meta)
}

#[test]
fn a_record_is_finished_as_a_whole() {
    run(async {
        let (lab, ps, meta) = uploaded().await;
        let done = caught_up(&lab).await;
        assert_eq!((moved(&done), fates(&done)), (vec![PATCH_SET.into(), META.into()], vec![Fate::Ended]));
        assert_eq!((lab.repo("A").get(PATCH_SET), lab.repo("A").get(META)), (Some(ps), Some(meta)));
        assert!(nothing_is_left(&lab));
        let again = caught_up(&lab).await;
        assert!(again.moved.is_empty() && again.records.is_empty());
    });
}

/// A gated write that dies after so many of its steps: record, ref-db, local ref.
async fn killed(lab: &Lab, old: Option<Oid>, new: Option<Oid>, steps: usize) {
    let before = lab.entry("A", "x").await.value;
    if steps >= 1 {
        begin(lab, "1", vec![recorded("x", old, new)]);
    }
    if steps >= 2 {
        assert!(lab.record("A", "x", before, GlobalRef::at_or_deleted(new)).await);
    }
    match new {
        _ if steps < 3 => {}
        Some(oid) => lab.repo("A").set("x", oid),
        None => lab.repo("A").delete("x"),
    }
}

#[test]
fn a_write_that_is_killed_at_any_step_either_had_no_effect_or_is_finished() {
    let lab = Lab::with(&["gated"]);
    let (a, other) = (lab.repo("A").commit(&[], "a"), lab.repo("A").commit(&[], "other"));
    let b = lab.repo("A").commit(&[a], "b");
    let writes =
        [(None, Some(a)), (Some(a), Some(b)), (Some(b), Some(a)), (Some(a), Some(other)), (Some(a), None)];
    for (old, new) in writes {
        for steps in 0..=3 {
            run(async {
                let lab = Lab::with(&["gated"]);
                let repo = lab.repo("A");
                let commits = [repo.commit(&[], "a"), repo.commit(&[], "other"), repo.commit(&[a], "b")];
                assert!(commits.contains(&a) && commits.contains(&other) && commits.contains(&b));
                if let Some(oid) = old {
                    lab.repo("A").set("x", oid);
                    lab.seed("A").await;
                }
                killed(&lab, old, new, steps).await;
                caught_up(&lab).await;
                let want = if steps < 2 { old } else { new };
                assert_eq!(lab.repo("A").get("x"), want, "{old:?} to {new:?}, killed after {steps}");
                assert_eq!(lab.entry("A", "x").await.value.oid(), want);
                assert!(nothing_is_left(&lab), "{old:?} to {new:?}, killed after {steps}");
            });
        }
    }
}

#[test]
fn a_patch_set_number_that_is_taken_stops_its_change_and_nothing_else() {
    run(async {
        let (lab, _, _) = uploaded().await;
        lab.repo("A").set(PATCH_SET, lab.repo("A").commit(&[], "other"));
        let c0 = lab.repo("A").advance("main", "c0");
        lab.seed("A").await;
        let c1 = lab.repo("A").commit(&[c0], "c1");
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;
        let done = caught_up(&lab).await;
        assert_eq!(moved(&done), ["refs/heads/main"]);
        assert!(matches!(&fates(&done)[..], [Fate::Blocked(why)] if why.contains(PATCH_SET)), "{done:?}");
        assert!(done.problems[0].contains("`1`"), "{done:?}");
        assert_eq!(lab.repo("A").get(META), None, "no `/meta` without what it names");
        let report = lab.push("A", "B").await;
        assert!(report.decision.problems.iter().any(|p| p.contains("cannot be finished")), "{report:?}");
    });
}

#[test]
fn a_patch_set_waits_for_every_recorded_ref_of_its_group() {
    run(async {
        let (lab, ps, meta) = uploaded().await;
        let robots = lab.repo("A").commit(&[], "robots");
        let journal = Journal::of(&repository(&lab, "A"));
        let mut record = journal.list().unwrap().remove(0);
        journal.end(&record).unwrap();
        let other = "refs/changes/12/4512/robot-comments";
        record.refs.push(RecordedRef { group: Some(0), ..recorded(other, None, Some(robots)) });
        journal.begin(&record).unwrap();
        let done = caught_up(&lab).await;
        assert_eq!(moved(&done), [META]);
        assert!(matches!(&fates(&done)[..], [Fate::Waiting(why)] if why.contains("only some")), "{done:?}");
        assert_eq!((lab.repo("A").get(PATCH_SET), lab.repo("A").get(META)), (None, Some(meta)));
        lab.record("A", other, GlobalRef::Untracked, GlobalRef::At(robots)).await;
        assert_eq!(fates(&caught_up(&lab).await), [Fate::Ended]);
        assert_eq!(lab.repo("A").get(PATCH_SET), Some(ps));
        assert!(nothing_is_left(&lab));
    });
}

#[test]
fn a_write_that_never_reached_the_ref_db_is_dropped_and_the_ref_is_untouched() {
    run(async {
        let (lab, c0, c1) = begun().await;
        let done = caught_up(&lab).await;
        assert_eq!((moved(&done), fates(&done)), (vec![], vec![Fate::Ended]));
        assert_eq!(lab.repo("A").get("main"), Some(c0));
        assert!(nothing_is_left(&lab) && lab.repo("A").lost(c1));
        assert_eq!(lab.entry("A", "main").await.value, GlobalRef::At(c0));
    });
}

#[test]
fn a_network_store_may_still_get_the_write_of_a_dead_process() {
    run(async {
        let (lab, c0, c1) = begun().await;
        let site = lab.open_far("A").await;
        let (project, repository) = (Project::new(PROJECT).unwrap(), repository(&lab, "A"));
        for _ in 0..2 {
            let done = catch_up(&site, &project, &repository).await.unwrap();
            assert!(
                matches!(&fates(&done)[..], [Fate::Waiting(why)] if why.contains("may still")),
                "{done:?}"
            );
        }
        // It comes late after all.
        assert!(lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await);
        let done = catch_up(&site, &project, &repository).await.unwrap();
        assert_eq!((moved(&done), fates(&done)), (vec!["refs/heads/main".into()], vec![Fate::Ended]));

        let c2 = lab.repo("A").commit(&[c1], "c2");
        begin(&lab, "2", vec![recorded("main", Some(c1), Some(c2))]);
        catch_up(&site, &project, &repository).await.unwrap();
        let mark = File::options().write(true).open(lab.path("A").join("refgate/dead-writers/2")).unwrap();
        let seen = mark.metadata().unwrap().modified().unwrap();
        mark.set_modified(seen - Duration::from_secs(599)).unwrap();
        assert!(matches!(
            fates(&catch_up(&site, &project, &repository).await.unwrap())[..],
            [Fate::Waiting(_)]
        ));
        mark.set_modified(seen - Duration::from_secs(600)).unwrap();
        assert_eq!(fates(&catch_up(&site, &project, &repository).await.unwrap()), [Fate::Ended]);
        assert_eq!(lab.repo("A").get("main"), Some(c1));
        assert!(nothing_is_left(&lab));
        assert_eq!(fs::read_dir(lab.path("A").join("refgate/dead-writers")).unwrap().count(), 0);
    });
}

#[test]
fn a_live_writer_is_left_alone() {
    run(async {
        let (lab, c0, c1) = begun().await;
        let t0 = lab.repo("A").advance("topic", "t0");
        lab.seed("A").await;
        let t1 = lab.repo("A").commit(&[t0], "t1");
        lab.record("A", "topic", GlobalRef::At(t0), GlobalRef::At(t1)).await;
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;
        let (writer, _) = RefLocks::try_acquire(&lab.path("A"), &[name("main")]).unwrap();
        let done = caught_up(&lab).await;
        assert_eq!((moved(&done), fates(&done)), (vec!["refs/heads/topic".into()], vec![Fate::Busy]));
        assert_eq!((done.busy, lab.repo("A").get("main")), (vec![name("main")], Some(c0)));
        assert!(lab.clock().slept().is_empty(), "nobody waits for it");
        drop(writer);
        assert_eq!(fates(&caught_up(&lab).await), [Fate::Ended]);
        assert_eq!(lab.repo("A").get("main"), Some(c1));
        assert!(nothing_is_left(&lab));
    });
}

#[test]
fn a_write_that_others_have_replaced_is_over() {
    run(async {
        let (lab, c0, c1) = begun().await;
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;
        lab.repo("B").advance("main", "c1");
        let reset = lab.repo("B").commit(&[c0], "reset");
        assert!(lab.write("B", "main", Some(reset)).await);
        let done = caught_up(&lab).await;
        assert_eq!((moved(&done), fates(&done)), (vec![], vec![Fate::Ended]));
        assert_eq!(lab.repo("A").get("main"), Some(c0), "the new value is not here");
        assert!(nothing_is_left(&lab));
        lab.fetch("A", "B").await;
        assert_eq!(lab.repo("A").get("main"), Some(reset));
    });
}

#[test]
fn a_write_that_others_have_built_on_is_over_once_that_is_here() {
    run(async {
        let (lab, c0, c1) = begun().await;
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;
        lab.repo("B").advance("main", "c1");
        let c2 = lab.commit("B", "main", "c2").await;
        assert!(matches!(fates(&caught_up(&lab).await)[..], [Fate::Waiting(_)]), "nobody can tell yet");
        lab.fetch("A", "B").await;
        assert_eq!(lab.repo("A").get("main"), Some(c2));
        assert_eq!(fates(&caught_up(&lab).await), [Fate::Ended]);
        assert!(nothing_is_left(&lab));
    });
}

#[test]
fn a_write_that_lost_its_race_stays_until_the_site_has_caught_up() {
    run(async {
        let (lab, _, _) = begun().await;
        let other = lab.commit("B", "main", "other").await;
        let done = caught_up(&lab).await;
        assert!(matches!(&fates(&done)[..], [Fate::Waiting(why)] if why.contains("main")), "{done:?}");
        lab.fetch("A", "B").await;
        assert_eq!(lab.repo("A").get("main"), Some(other));
        assert_eq!(fates(&caught_up(&lab).await), [Fate::Ended]);
        assert!(nothing_is_left(&lab));
    });
}

#[test]
fn a_damaged_record_is_named_and_stops_nothing() {
    run(async {
        let (lab, c0, c1) = begun().await;
        let path = lab.path("A").join("refgate/journal/0.json");
        fs::write(&path, "{").unwrap();
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;
        let report = lab.push("A", "B").await;
        let problem = report.decision.problems.iter().find(|p| p.contains("0.json")).expect("it is named");
        assert!(problem.contains("refdb check"), "{problem}");
        assert_eq!(report.caught_up(), 1);
        assert_eq!(lab.repo("B").get("main"), Some(c1));
        assert!(path.exists());
    });
}

#[test]
fn records_wait_where_nothing_catches_up() {
    run(async {
        let (lab, c0, c1) = begun().await;
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;
        lab.configure("A", "[projects]\npattern = other/*");
        assert!(caught_up(&lab).await.records.is_empty());
        lab.reconfigure("A", "[site]\nwrites = ungated");
        assert!(caught_up(&lab).await.records.is_empty());
        assert_eq!(lab.repo("A").get("main"), Some(c0));
        assert!(!nothing_is_left(&lab));
    });
}

#[test]
fn some_refs_are_caught_up_and_all_records_with_them() {
    run(async {
        let (lab, c0, c1) = begun().await;
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;
        for branch in ["one", "two"] {
            let old = lab.repo("A").advance(branch, "old");
            lab.seed("A").await;
            let new = lab.repo("A").commit(&[old], "new");
            lab.record("A", branch, GlobalRef::At(old), GlobalRef::At(new)).await;
        }
        let site = lab.open("A").await.unwrap();
        let project = Project::new(PROJECT).unwrap();
        let done = catch_up_refs(&site, &project, &repository(&lab, "A"), &[name("two")]).await.unwrap();
        assert_eq!(
            (moved(&done), fates(&done)),
            (vec!["refs/heads/main".into(), "refs/heads/two".into()], vec![Fate::Ended])
        );
    });
}
