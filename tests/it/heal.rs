//! `refdb heal`: every row of its table, with real repositories.

use std::fs::{self, File};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use refgate_core::{Entry, GlobalRef, Oid, Project, RefName};
use refgate_git::{RefLocks, Repository};
use refgate_host::gated::{Journal, Record, RecordedRef};
use refgate_host::heal::{Options, Report, Row, RowResult, heal};
use refgate_host::replicate::Fate;
use refgate_host::{Error, ErrorKind};
use refgate_tests::{Lab, PROJECT, full_name, run};

use crate::told;

/// 2026-11-03 12:00:05 UTC
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_793_707_205)
}

fn look() -> Options {
    Options { publish: false, rescue: false, accept_loss: None, yes: false, now: now() }
}

fn yes() -> Options {
    Options { yes: true, ..look() }
}

async fn try_heal(lab: &Lab, site: &str, options: &Options) -> Result<Report, Error> {
    let site = lab.open(site).await.unwrap();
    heal(&site, &Project::new(PROJECT).unwrap(), options).await
}

/// `name row result` of each ref; it must not have changed anything when it only looked.
async fn healed(lab: &Lab, site: &str, options: &Options) -> Vec<String> {
    let before = (lab.repo(site).refs(), entries(lab, site).await);
    let report = try_heal(lab, site, options).await.unwrap();
    assert_eq!(report.exit_code(), if report.is_fine() { 0 } else { 3 });
    if !options.yes {
        assert_eq!((lab.repo(site).refs(), entries(lab, site).await), before, "a look changed something");
    }
    rows(&report)
}

fn rows(report: &Report) -> Vec<String> {
    let one = |one: &refgate_host::heal::Healed| {
        let name = one.finding.name.to_string().replace("refs/heads/", "");
        format!("{name} {} {}", one.finding.row.name(), one.result.name())
    };
    report.refs.iter().map(one).collect()
}

async fn entries(lab: &Lab, site: &str) -> Vec<(String, Entry)> {
    let mut out = Vec::new();
    for name in lab.repo(site).refs().into_keys().filter(|name| !name.starts_with("refs/refgate/")) {
        let entry = lab.entry(site, &name).await;
        out.push((name, entry));
    }
    out
}

fn name(short: &str) -> RefName {
    RefName::new(full_name(short)).unwrap()
}

/// A and B hold c0 at `main`, and the ref-db records it.
async fn seeded(kind: &str) -> (Arc<Lab>, Oid) {
    let lab = Lab::with(&[kind, "gated"]);
    let c0 = lab.repo("A").advance("main", "c0");
    lab.repo("B").advance("main", "c0");
    lab.seed("A").await;
    (lab, c0)
}

#[test]
fn a_site_that_agrees_is_fine() {
    run(async {
        let (lab, _) = seeded("gated").await;
        for options in [look(), yes()] {
            let report = try_heal(&lab, "A", &options).await.unwrap();
            assert!(report.is_fine() && report.refs.is_empty(), "{report:?}");
            assert_eq!(report.exit_code(), 0);
        }
    });
}

#[test]
fn what_catch_up_repairs_is_shown_and_then_done() {
    run(async {
        let (lab, c0) = seeded("gated").await;
        let c1 = lab.repo("A").commit(&[c0], "c1");
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;
        lab.repo("A").set("gone", c0);
        lab.seed("A").await;
        lab.record("A", "gone", GlobalRef::At(c0), GlobalRef::Deleted).await;
        assert_eq!(healed(&lab, "A", &look()).await, ["gone delete would", "main catch-up would"]);
        assert_eq!(healed(&lab, "A", &yes()).await, ["gone delete done", "main catch-up done"]);
        assert_eq!((lab.repo("A").get("main"), lab.repo("A").get("gone")), (Some(c1), None));
        assert!(try_heal(&lab, "A", &yes()).await.unwrap().is_fine(), "twice is once");
    });
}

#[test]
fn an_object_that_is_elsewhere_is_fetched_from_there() {
    run(async {
        let (lab, _) = seeded("gated").await;
        let c1 = lab.commit("B", "main", "c1").await;
        assert_eq!(healed(&lab, "A", &look()).await, ["main elsewhere left"]);
        let report = try_heal(&lab, "A", &yes()).await.unwrap();
        assert_eq!((rows(&report), report.exit_code()), (vec!["main elsewhere left".into()], 3));
        assert_eq!(report.refs[0].action, format!("`refgate fetch {PROJECT} B`"));
        lab.fetch("A", "B").await;
        assert_eq!(lab.repo("A").get("main"), Some(c1));
        assert!(try_heal(&lab, "A", &look()).await.unwrap().is_fine());
    });
}

#[test]
fn a_record_is_shown_and_ended() {
    run(async {
        let (lab, c0) = seeded("gated").await;
        let c1 = lab.repo("A").commit(&[c0], "c1");
        let one =
            RecordedRef { name: name("main"), old: Some(c0), new: Some(c1), tracked: true, group: None };
        let record = Record { id: "7".into(), project: Project::new(PROJECT).unwrap(), refs: vec![one] };
        let journal = Journal::of(&Repository::open(&lab.path("A")).unwrap());
        journal.begin(&record).unwrap();
        let report = try_heal(&lab, "A", &look()).await.unwrap();
        assert_eq!((report.records.len(), report.exit_code()), (1, 3));
        assert_eq!(report.records[0].fate, Fate::Ended);
        assert_eq!(journal.list().unwrap().len(), 1, "a look drops nothing");

        // A live writer holds its refs.
        let (writer, _) = RefLocks::try_acquire(&lab.path("A"), &[name("main")]).unwrap();
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;
        let report = try_heal(&lab, "A", &Options { rescue: true, publish: true, ..yes() }).await.unwrap();
        assert_eq!((report.records[0].fate.clone(), report.exit_code()), (Fate::Busy, 3));
        assert_eq!((rows(&report), lab.repo("A").get("main")), (vec!["main busy left".into()], Some(c0)));
        drop(writer);

        let report = try_heal(&lab, "A", &yes()).await.unwrap();
        assert_eq!((rows(&report), report.exit_code()), (vec!["main catch-up done".into()], 0));
        assert_eq!((report.records[0].fate.clone(), lab.repo("A").get("main")), (Fate::Ended, Some(c1)));
        assert_eq!(journal.list().unwrap(), []);
    });
}

#[test]
fn heal_beside_a_live_writer_takes_nothing_from_it() {
    run(async {
        let (lab, _) = seeded("gated").await;
        let inner = lab.clone();
        let writer = std::thread::spawn(move || {
            let repo = inner.repo("A");
            let journal = Journal::of(&Repository::open(&inner.path("A")).unwrap());
            for i in 0..20 {
                // Its locks first, then all the steps of a gated write.
                let _locks = loop {
                    let (locks, got) = RefLocks::try_acquire(&inner.path("A"), &[name("main")]).unwrap();
                    if got == [true] {
                        break locks;
                    }
                    std::thread::yield_now();
                };
                let old = repo.get("main").unwrap();
                let new = repo.commit(&[old], &format!("w{i}"));
                let one = RecordedRef {
                    name: name("main"),
                    old: Some(old),
                    new: Some(new),
                    tracked: true,
                    group: None,
                };
                let record =
                    Record { id: format!("w{i}"), project: Project::new(PROJECT).unwrap(), refs: vec![one] };
                journal.begin(&record).unwrap();
                assert!(run(inner.record("A", "main", GlobalRef::At(old), GlobalRef::At(new))), "w{i}");
                repo.git(&["update-ref", "refs/heads/main", &new.to_string(), &old.to_string()]);
                journal.end(&record).unwrap();
            }
        });
        let everything = Options { publish: true, rescue: true, ..yes() };
        let mut runs = 0;
        while !writer.is_finished() {
            let report = try_heal(&lab, "A", &everything).await.unwrap();
            assert!(report.refs.iter().all(|one| matches!(one.finding.row, Row::Busy)), "{report:?}");
            runs += 1;
        }
        writer.join().unwrap();
        assert!(runs > 0);
        assert!(try_heal(&lab, "A", &everything).await.unwrap().is_fine());
        assert_eq!(lab.repo("A").git(&["rev-list", "--count", "main"]), "21");
        assert_eq!(lab.entry("A", "main").await.value.oid(), lab.repo("A").get("main"));
    });
}

#[test]
fn a_record_that_cannot_be_finished_holds_its_refs_and_is_left() {
    run(async {
        let lab = Lab::with(&["gated", "gated"]);
        let (patch_set, meta) = ("refs/changes/12/4512/1", "refs/changes/12/4512/meta");
        let (ps, m) = (lab.repo("A").commit(&[], "ps"), lab.repo("A").commit(&[], "meta"));
        let one = |short: &str, new, tracked| RecordedRef {
            name: name(short),
            old: None,
            new: Some(new),
            tracked,
            group: Some(0),
        };
        let refs = vec![one(patch_set, ps, false), one(meta, m, true)];
        let record = Record { id: "7".into(), project: Project::new(PROJECT).unwrap(), refs };
        Journal::of(&Repository::open(&lab.path("A")).unwrap()).begin(&record).unwrap();
        lab.record("A", meta, GlobalRef::Untracked, GlobalRef::At(m)).await;
        lab.repo("A").set(patch_set, lab.repo("A").commit(&[], "other"));
        let report = try_heal(&lab, "A", &yes()).await.unwrap();
        assert_eq!((rows(&report), report.exit_code()), (vec![format!("{meta} recorded left")], 3));
        assert!(
            matches!(&report.records[0].fate, Fate::Blocked(why) if why.contains(patch_set)),
            "{report:?}"
        );
        // A person settles which patch set it is.
        lab.repo("A").delete(patch_set);
        assert!(try_heal(&lab, "A", &yes()).await.unwrap().is_fine());
        assert_eq!((lab.repo("A").get(patch_set), lab.repo("A").get(meta)), (Some(ps), Some(m)));
    });
}

#[test]
fn a_write_that_went_past_the_ref_db_is_published_when_told_so() {
    for kind in ["gated", "ungated"] {
        run(async {
            let (lab, c0) = seeded(kind).await;
            let c1 = lab.repo("A").advance("main", "c1");
            assert_eq!(healed(&lab, "A", &yes()).await, ["main publish left"]);
            assert_eq!(lab.entry("A", "main").await.value, GlobalRef::At(c0));
            let publish = Options { publish: true, ..look() };
            assert_eq!(healed(&lab, "A", &publish).await, ["main publish would"]);
            let publish = Options { publish: true, ..yes() };
            assert_eq!(healed(&lab, "A", &publish).await, ["main publish done"]);
            assert_eq!(lab.entry("A", "main").await, Entry::new(GlobalRef::At(c1)));
            assert_eq!(healed(&lab, "A", &publish).await, [""; 0]);
        });
    }
}

#[test]
fn two_histories_are_both_kept_and_the_copy_replicates() {
    for kind in ["gated", "ungated"] {
        run(async {
            let (lab, c0) = seeded(kind).await;
            let theirs = lab.repo("A").commit(&[c0], "theirs");
            let mine = lab.repo("A").advance("main", "mine");
            lab.repo("B").advance("main", "theirs");
            lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(theirs)).await;
            assert_eq!(healed(&lab, "A", &yes()).await, ["main rescue left"]);
            assert_eq!(lab.repo("A").get("main"), Some(mine));
            let rescue = Options { rescue: true, ..look() };
            assert_eq!(healed(&lab, "A", &rescue).await, ["main rescue would"]);

            let rescue = Options { rescue: true, ..yes() };
            let report = try_heal(&lab, "A", &rescue).await.unwrap();
            let copy = "refs/refgate/rescued/20261103T120005Z/heads/main";
            assert_eq!((rows(&report), report.exit_code()), (vec!["main rescue done".into()], 0));
            assert!(report.refs[0].action.contains(copy), "{report:?}");
            assert_eq!((lab.repo("A").get("main"), lab.repo("A").get(copy)), (Some(theirs), Some(mine)));
            assert_eq!(lab.entry("A", "main").await.value, GlobalRef::At(theirs), "never moved back");
            let report = lab.push("A", "B").await;
            assert_eq!(told(&report), [format!("{copy}=replicated")]);
            assert_eq!(lab.repo("B").get(copy), Some(mine));
            assert!(try_heal(&lab, "A", &rescue).await.unwrap().is_fine());
        });
    }
}

#[test]
fn a_rescue_that_was_killed_goes_on_with_the_copy_that_is_there() {
    run(async {
        let (lab, c0) = seeded("gated").await;
        let theirs = lab.repo("A").commit(&[c0], "theirs");
        let mine = lab.repo("A").advance("main", "mine");
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(theirs)).await;
        let copy = "refs/refgate/rescued/20200101T000000Z/heads/main";
        lab.repo("A").set(copy, mine);
        assert_eq!(healed(&lab, "A", &Options { rescue: true, ..yes() }).await, ["main rescue done"]);
        let want = [("refs/heads/main".to_owned(), theirs), (copy.to_owned(), mine)];
        assert_eq!(lab.repo("A").refs(), want.into());
    });
}

#[test]
fn a_ref_that_is_deleted_elsewhere_and_was_written_here_is_rescued() {
    run(async {
        let (lab, c0) = seeded("gated").await;
        let mine = lab.repo("A").commit(&[], "mine");
        lab.repo("A").set("main", mine);
        lab.record("B", "main", GlobalRef::At(c0), GlobalRef::Deleted).await;
        // The branch of HEAD goes only where the repository allows it.
        assert_eq!(healed(&lab, "A", &Options { rescue: true, ..yes() }).await, ["main rescue left"]);
        lab.repo("A").git(&["config", "receive.denyDeleteCurrent", "ignore"]);
        assert_eq!(healed(&lab, "A", &Options { rescue: true, ..yes() }).await, ["main rescue done"]);
        assert_eq!(lab.repo("A").get("main"), None);
        assert!(!lab.repo("A").lost(mine));
    });
}

#[test]
fn superseded_values_count_at_gated_sites_and_not_at_ungated_ones() {
    for (kind, row) in [("gated", "main catch-up would"), ("ungated", "main rescue left")] {
        run(async {
            let (lab, _) = seeded(kind).await;
            let reset = lab.repo("A").commit(&[], "reset");
            lab.record("A", "main", lab.entry("A", "main").await.value, GlobalRef::At(reset)).await;
            assert_eq!(healed(&lab, "A", &look()).await, [row]);
        });
    }
}

#[test]
fn a_site_that_does_not_catch_up_is_only_behind() {
    for kind in ["ungated", "none"] {
        run(async {
            let (lab, c0) = seeded(kind).await;
            let c1 = lab.repo("A").commit(&[c0], "c1");
            lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;
            lab.commit("B", "topic", "t").await;
            let left = ["main behind left", "topic elsewhere left"];
            assert_eq!(healed(&lab, "A", &yes()).await, left);
            assert_eq!(lab.repo("A").get("main"), Some(c0));
        });
    }
}

/// Only C had c2, and C is gone.
async fn lost() -> (Arc<Lab>, Oid, Oid) {
    let lab = Lab::with(&["gated", "gated", "gated"]);
    for site in ["A", "B", "C"] {
        lab.repo(site).advance("main", "c0");
    }
    lab.seed("A").await;
    let c0 = lab.repo("A").get("main").unwrap();
    let c1 = lab.commit("C", "main", "c1").await;
    fs::rename(lab.path("C"), lab.path("C").with_extension("away")).unwrap();
    (lab, c0, c1)
}

#[test]
fn a_value_that_no_site_shows_is_waited_for_unless_it_is_given_up_by_name() {
    run(async {
        let (lab, c0, c1) = lost().await;
        assert_eq!(healed(&lab, "A", &look()).await, ["main nowhere left"]);
        let report = try_heal(&lab, "A", &Options { publish: true, rescue: true, ..yes() }).await.unwrap();
        assert_eq!(rows(&report), ["main nowhere left"]);
        assert_eq!(report.unreachable[0].0, "C");
        assert!(report.refs[0].action.contains("wait for `C`"), "{report:?}");
        assert_eq!(lab.entry("A", "main").await.value, GlobalRef::At(c1), "never moved back by itself");

        for wrong in [c0, lab.repo("A").commit(&[], "unknown")] {
            let e = try_heal(&lab, "A", &Options { accept_loss: Some(wrong), ..yes() }).await.unwrap_err();
            assert_eq!(e.kind, ErrorKind::Usage, "{e}");
        }
        let accept = Options { accept_loss: Some(c1), ..look() };
        assert_eq!(healed(&lab, "A", &accept).await, ["main nowhere would"]);
        let report = try_heal(&lab, "A", &Options { accept_loss: Some(c1), ..yes() }).await.unwrap();
        assert_eq!((rows(&report), report.exit_code()), (vec!["main nowhere done".into()], 0));
        assert!(report.refs[0].action.contains(&c1.to_string()), "{report:?}");
        assert_eq!(lab.entry("A", "main").await, Entry::new(GlobalRef::At(c0)));

        // The site comes back: what was given up there is a second history, and nothing overwrites it.
        fs::rename(lab.path("C").with_extension("away"), lab.path("C")).unwrap();
        let c2 = lab.commit("A", "main", "c2").await;
        assert_eq!(told(&lab.push("A", "C").await), ["main=remote-diverged"]);
        lab.fetch("C", "A").await;
        assert_eq!(healed(&lab, "C", &Options { rescue: true, ..yes() }).await, ["main rescue done"]);
        assert_eq!(lab.repo("C").get("main"), Some(c2));
        assert!(!lab.repo("C").lost(c1));
    });
}

#[test]
fn a_value_below_a_tip_of_another_site_is_not_lost() {
    run(async {
        let (lab, _, c1) = lost().await;
        // B has built on it, past the ref-db.
        lab.repo("B").advance("main", "c1");
        lab.repo("B").advance("main", "more");
        let report = try_heal(&lab, "A", &Options { accept_loss: Some(c1), ..yes() }).await.unwrap();
        assert!(report.refs[0].action.contains("`B` has"), "{report:?}");
        assert_eq!((rows(&report), report.exit_code()), (vec!["main catch-up left".into()], 3));
        assert_eq!(lab.entry("A", "main").await.value, GlobalRef::At(c1));
        assert_eq!(healed(&lab, "A", &yes()).await, ["main catch-up done"]);
        assert_eq!(lab.repo("A").get("main"), Some(c1));
    });
}

#[test]
fn a_loss_is_accepted_at_gated_sites_only() {
    run(async {
        let (lab, _, c1) = lost().await;
        lab.configure("A", "[site]\nwrites = ungated");
        let e = try_heal(&lab, "A", &Options { accept_loss: Some(c1), ..yes() }).await.unwrap_err();
        assert!(e.message.contains("gated"), "{e}");
    });
}

#[test]
fn old_locks_that_nobody_has_open_and_refs_without_a_record_are_removed() {
    run(async {
        let (lab, c0) = seeded("gated").await;
        let dir = lab.path("A");
        let lock = dir.join("refs/heads/main.lock");
        let open = dir.join("packed-refs.lock");
        let young = dir.join("refs/heads/young.lock");
        // By the file system's clock. The one that is handed in is months away from it, and says nothing.
        let age = |path: &std::path::Path, seconds| {
            let file = File::create(path).unwrap();
            let made = file.metadata().unwrap().modified().unwrap();
            file.set_modified(made - Duration::from_secs(seconds)).unwrap();
            file
        };
        drop((age(&lock, 600), age(&young, 500)));
        let held = age(&open, 600);
        let keep = "refs/refgate/keep/7/x";
        lab.repo("A").set(keep, c0);
        let c1 = lab.repo("A").commit(&[c0], "c1");
        lab.record("A", "main", GlobalRef::At(c0), GlobalRef::At(c1)).await;

        let report = try_heal(&lab, "A", &look()).await.unwrap();
        let names: Vec<&str> = report.left_over.iter().map(|one| one.name.as_str()).collect();
        let locks = ["packed-refs.lock", "refs/heads/main.lock", "refs/heads/young.lock"];
        assert_eq!((names, report.exit_code()), ([&locks[..], &[keep]].concat(), 3));
        let results: Vec<_> = report.left_over.iter().map(|one| report.left_over_result(one)).collect();
        assert_eq!(results, [RowResult::Left, RowResult::Would, RowResult::Left, RowResult::Would]);
        let kept = |place: usize| report.left_over[place].kept.as_deref().unwrap_or_default();
        assert!(kept(0).starts_with(&format!("process {} has it open", std::process::id())), "{}", kept(0));
        assert!(kept(2).contains("no process has it open") && kept(2).contains("10 minutes"), "{}", kept(2));
        assert!(lock.exists());

        drop(held);
        fs::remove_file(&open).unwrap();
        let report = try_heal(&lab, "A", &yes()).await.unwrap();
        assert_eq!(report.exit_code(), 3, "{report:?}");
        let results: Vec<_> = report.left_over.iter().map(|one| report.left_over_result(one)).collect();
        assert_eq!(results, [RowResult::Done, RowResult::Left, RowResult::Done], "{report:?}");
        assert!(!lock.exists() && young.exists());
        // With the lock there the ref could not have moved.
        assert_eq!((lab.repo("A").get("main"), lab.repo("A").get(keep)), (Some(c1), None));
    });
}

#[test]
fn a_damaged_record_is_left_to_a_person() {
    run(async {
        let (lab, c0) = seeded("gated").await;
        fs::create_dir_all(lab.path("A").join("refgate/journal")).unwrap();
        fs::write(lab.path("A").join("refgate/journal/9.json"), "{").unwrap();
        lab.repo("A").set("refs/refgate/keep/9/x", c0);
        let report = try_heal(&lab, "A", &yes()).await.unwrap();
        assert!(report.problems[0].contains("9.json"), "{report:?}");
        assert_eq!(report.exit_code(), 3);
        assert_eq!(lab.repo("A").get("refs/refgate/keep/9/x"), Some(c0), "nobody knows what it is for");
    });
}

#[test]
fn heal_needs_a_gate_and_a_project_that_replicates() {
    run(async {
        let (lab, _) = seeded("gated").await;
        lab.configure("A", "[projects]\npattern = other");
        let e = try_heal(&lab, "A", &yes()).await.unwrap_err();
        assert!(e.kind == ErrorKind::Usage && e.message.contains("does not replicate"), "{e}");
        lab.reconfigure("A", "[ref-database]\nenabled = false");
        let e = try_heal(&lab, "A", &yes()).await.unwrap_err();
        assert!(e.kind == ErrorKind::Usage && e.message.contains("switched off"), "{e}");
    });
}

#[test]
fn the_document_names_every_part() {
    run(async {
        let (lab, _) = seeded("gated").await;
        let c1 = lab.repo("A").advance("main", "c1");
        let report = try_heal(&lab, "A", &look()).await.unwrap();
        assert_eq!(report.refs[0].finding.row, Row::Publish);
        let document = report.to_json();
        let row = &document["refs"][0];
        assert_eq!((&row["ref"], &row["local"]), (&"refs/heads/main".into(), &c1.to_string().into()));
        assert_eq!((&row["row"], &row["result"]), (&"publish".into(), &"left".into()));
        assert_eq!((&document["dry_run"], &document["fine"]), (&true.into(), &false.into()));
    });
}

#[test]
fn an_object_that_a_site_hides_is_neither_fetched_from_there_nor_given_up() {
    run(async {
        let (lab, _) = seeded("gated").await;
        let c1 = lab.commit("B", "main", "c1").await;
        lab.repo("B").git(&["config", "transfer.hideRefs", "refs/heads/main"]);
        let report = try_heal(&lab, "A", &look()).await.unwrap();
        assert_eq!(rows(&report), ["main hidden left"]);
        assert!(report.refs[0].action.contains("take what hides it out of"), "{report:?}");
        let e = try_heal(&lab, "A", &Options { accept_loss: Some(c1), ..yes() }).await.unwrap_err();
        assert!(e.message.contains("is not lost"), "{e}");
        // As it says.
        lab.repo("B").git(&["config", "--unset", "transfer.hideRefs"]);
        lab.fetch("A", "B").await;
        assert!(try_heal(&lab, "A", &look()).await.unwrap().is_fine());
    });
}

#[test]
fn what_a_remote_may_hide_is_given_up_only_when_it_is_said_to_show_all() {
    run(async {
        let lab = Lab::new(refgate_tests::Setup { daemon: true, ..Default::default() });
        for site in ["A", "B", "C"] {
            lab.site(site, "gated");
            lab.repo(site).advance("main", "c0");
        }
        lab.seed("A").await;
        let c1 = lab.commit("C", "main", "c1").await;
        fs::rename(lab.path("C"), lab.path("C").with_extension("away")).unwrap();
        let accept = Options { accept_loss: Some(c1), ..yes() };
        let report = try_heal(&lab, "A", &accept).await.unwrap();
        assert_eq!(rows(&report), ["main nowhere left"]);
        assert!(report.refs[0].action.contains("remote.B.showsAllRefs"), "{report:?}");
        assert_eq!(report.may_hide, ["B"]);
        assert_eq!(lab.entry("A", "main").await.value, GlobalRef::At(c1));
        lab.configure("A", "[remote \"B\"]\nshowsAllRefs = true");
        assert_eq!(rows(&try_heal(&lab, "A", &accept).await.unwrap()), ["main nowhere done"]);
    });
}
