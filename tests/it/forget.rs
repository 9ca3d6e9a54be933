//! `refdb forget`: deletions and superseded values go only when no site can need them any more.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use refgate_core::{Entry, GlobalRef, Oid, Project};
use refgate_host::forget::{Moment, Options, Report, forget};
use refgate_host::{Error, ErrorKind};
use refgate_tests::{Lab, PROJECT, Setup, run};

use crate::told;

const HOUR: u64 = 3600;

/// `hour` hours after some moment.
async fn try_forget(lab: &Lab, hour: u64, yes: bool, sites_are_complete: bool) -> Result<Report, Error> {
    forget_at(lab, moment(hour, hour), yes, sites_are_complete).await
}

/// `wall` hours later by the clock on the wall, and `up` by the time since the boot.
fn moment(wall: u64, up: u64) -> Moment {
    Moment {
        wall: UNIX_EPOCH + Duration::from_secs(1_793_707_205 + wall * HOUR),
        boot: "this one".into(),
        since_boot: Duration::from_secs(60 + up * HOUR),
    }
}

async fn forget_at(lab: &Lab, now: Moment, yes: bool, sites_are_complete: bool) -> Result<Report, Error> {
    let site = lab.open("A").await.unwrap();
    let options = Options { yes, sites_are_complete, now: Arc::new(move || now.clone()) };
    forget(&site, &Project::new(PROJECT).unwrap(), &options).await
}

/// `name=fate` of each entry that holds something old.
async fn forgotten(lab: &Lab, hour: u64, yes: bool) -> Vec<String> {
    let report = try_forget(lab, hour, yes, false).await.unwrap();
    let one = |row: &refgate_host::forget::Forgotten| {
        format!("{}={}", row.name.to_string().replace("refs/heads/", ""), row.fate.name())
    };
    report.rows.iter().map(one).collect()
}

/// A and B hold `main`, and held `gone`, which was deleted everywhere; `main` was reset once. Gives the old values.
async fn deleted() -> (Arc<Lab>, Oid, Oid) {
    let lab = Lab::with(&["gated", "gated"]);
    let old = lab.commit("A", "main", "old").await;
    let gone = lab.commit("A", "gone", "gone").await;
    lab.push("A", "B").await;
    let reset = lab.repo("A").commit(&[], "reset");
    assert!(lab.write("A", "main", Some(reset)).await && lab.write("A", "gone", None).await);
    lab.push("A", "B").await;
    (lab, old, gone)
}

#[test]
fn two_runs_a_day_apart_forget_what_no_site_shows() {
    run(async {
        let (lab, old, gone) = deleted().await;
        let reset = lab.repo("A").get("main").unwrap();
        for _ in 0..2 {
            assert_eq!(forgotten(&lab, 0, false).await, ["gone=noted", "main=noted"]);
        }
        assert!(!lab.path("A").join("refgate/forget.json").exists(), "a look notes nothing");
        assert_eq!(forgotten(&lab, 0, true).await, ["gone=noted", "main=noted"]);
        assert_eq!(forgotten(&lab, 23, true).await, ["gone=waiting", "main=waiting"]);
        assert_eq!(forgotten(&lab, 24, false).await, ["gone=due", "main=due"]);
        assert_eq!(lab.entry("A", "gone").await, Entry { value: GlobalRef::Deleted, superseded: vec![gone] });
        assert_eq!(
            lab.entry("A", "main").await,
            Entry { value: GlobalRef::At(reset), superseded: vec![old] }
        );
        assert_eq!(forgotten(&lab, 24, true).await, ["gone=forgotten", "main=forgotten"]);
        assert_eq!(lab.entry("A", "gone").await, Entry::default());
        assert_eq!(lab.entry("A", "main").await, Entry::new(GlobalRef::At(reset)));
        assert_eq!(forgotten(&lab, 25, true).await, [""; 0]);
        assert!(!lab.path("A").join("refgate/forget.json").exists());
    });
}

#[test]
fn a_clock_that_jumps_forgets_nothing() {
    run(async {
        let (lab, _, gone) = deleted().await;
        let fates = |now| {
            let lab = &lab;
            async move {
                let report = forget_at(lab, now, true, false).await.unwrap();
                report.rows.iter().map(|row| row.fate.name()).collect::<Vec<_>>()
            }
        };
        assert_eq!(fates(moment(0, 0)).await, ["noted", "noted"]);
        // Seconds later, and the clock on the wall is a day ahead; then a day later, and it is where it was.
        assert_eq!(fates(moment(25, 0)).await, ["waiting", "waiting"]);
        assert_eq!(fates(moment(0, 25)).await, ["waiting", "waiting"]);
        // The machine was started anew an hour ago.
        let anew = |up| Moment {
            boot: "another".into(),
            since_boot: Duration::from_secs(up * HOUR),
            ..moment(48, 0)
        };
        assert_eq!(fates(anew(1)).await, ["waiting", "waiting"]);
        assert_eq!(lab.entry("A", "gone").await, Entry { value: GlobalRef::Deleted, superseded: vec![gone] });
        assert_eq!(fates(anew(24)).await, ["forgotten", "forgotten"]);
    });
}

#[test]
fn a_site_that_still_shows_an_old_value_keeps_the_entry() {
    run(async {
        let (lab, old, gone) = deleted().await;
        forgotten(&lab, 0, true).await;
        lab.repo("B").set("gone", gone);
        lab.repo("B").set("main", old);
        let report = try_forget(&lab, 48, true, false).await.unwrap();
        let why: Vec<String> = report.rows.iter().map(|row| row.fate.why().unwrap()).collect();
        assert_eq!(why, [format!("`B` shows {gone}"), format!("`B` shows {old}")]);
        // And what was seen before that does not count any more.
        lab.push("A", "B").await;
        assert_eq!(lab.repo("B").get("gone"), None);
        assert_eq!(forgotten(&lab, 96, true).await, ["gone=noted", "main=noted"]);
        lab.repo("A").set("gone", gone);
        assert_eq!(forgotten(&lab, 120, true).await, ["gone=kept", "main=forgotten"]);
    });
}

#[test]
fn an_entry_that_changed_in_between_begins_anew() {
    run(async {
        let (lab, _, gone) = deleted().await;
        forgotten(&lab, 0, true).await;
        let other = lab.repo("A").commit(&[], "other");
        assert!(lab.write("A", "gone", Some(other)).await && lab.write("A", "gone", None).await);
        assert_eq!(forgotten(&lab, 24, true).await, ["gone=noted", "main=forgotten"]);
        assert_eq!(lab.entry("A", "gone").await.superseded, [gone, other]);
        assert_eq!(forgotten(&lab, 48, true).await, ["gone=forgotten"]);
    });
}

#[test]
fn a_site_that_cannot_be_listed_stops_everything() {
    run(async {
        let (lab, _, _) = deleted().await;
        forgotten(&lab, 0, true).await;
        fs::rename(lab.path("B"), lab.path("B").with_extension("away")).unwrap();
        let e = try_forget(&lab, 24, true, false).await.unwrap_err();
        assert!(e.kind == ErrorKind::Failed && e.message.contains("nothing was forgotten: `B`"), "{e}");
        assert_eq!(lab.entry("A", "gone").await.value, GlobalRef::Deleted);
    });
}

#[test]
fn a_site_that_is_not_configured_stops_it_unless_it_is_said_to_be_gone() {
    run(async {
        let (lab, _, _) = deleted().await;
        let deadline = refgate_core::Deadline::after(lab.clock().as_ref(), Duration::from_secs(60));
        lab.refdb("A").await.note_site("Z", deadline).await.unwrap();
        let e = try_forget(&lab, 0, true, false).await.unwrap_err();
        assert!(e.kind == ErrorKind::Usage && e.message.contains("`Z`"), "{e}");
        assert!(!lab.path("A").join("refgate/forget.json").exists());
        assert_eq!(try_forget(&lab, 0, false, false).await.unwrap().unknown_sites, ["Z"]);
        try_forget(&lab, 0, true, true).await.unwrap();
        try_forget(&lab, 24, true, true).await.unwrap();
        assert_eq!(lab.entry("A", "gone").await, Entry::default());
    });
}

#[test]
fn the_time_between_two_runs_is_configured() {
    run(async {
        let (lab, _, _) = deleted().await;
        lab.configure("A", "[ref-database]\nforgetAfterHours = 1");
        forgotten(&lab, 0, true).await;
        assert_eq!(forgotten(&lab, 1, true).await, ["gone=forgotten", "main=forgotten"]);
    });
}

#[test]
fn a_ref_that_has_another_name_at_a_remote_is_looked_for_there() {
    run(async {
        let (lab, _, gone) = deleted().await;
        lab.configure("A", "[remote \"B\"]\nfetch = +refs/mirror/*:refs/heads/*");
        forgotten(&lab, 0, true).await;
        lab.repo("B").set("refs/mirror/gone", gone);
        assert_eq!(forgotten(&lab, 24, true).await, ["gone=kept", "main=forgotten"]);
    });
}

#[test]
fn after_a_deletion_is_forgotten_the_name_is_free_again() {
    run(async {
        let (lab, _, _) = deleted().await;
        forgotten(&lab, 0, true).await;
        forgotten(&lab, 24, true).await;
        let new = lab.commit("B", "gone", "new").await;
        assert_eq!(told(&lab.push("B", "A").await), ["gone=replicated"]);
        assert_eq!(lab.repo("A").get("gone"), Some(new));
    });
}

#[test]
fn damaged_notes_are_named() {
    run(async {
        let (lab, _, _) = deleted().await;
        fs::create_dir_all(lab.path("A").join("refgate")).unwrap();
        fs::write(lab.path("A").join("refgate/forget.json"), "{").unwrap();
        let e = try_forget(&lab, 0, true, false).await.unwrap_err();
        assert!(e.message.contains("forget.json") && e.hint.is_some(), "{e}");
    });
}

#[test]
fn a_value_that_a_site_hides_is_seen_on_this_machine() {
    run(async {
        let (lab, _, gone) = deleted().await;
        for key in ["transfer.hideRefs", "uploadpack.hideRefs"] {
            lab.repo("B").set("gone", gone);
            lab.repo("B").git(&["config", key, "refs/heads/gone"]);
            forgotten(&lab, 0, true).await;
            let report = try_forget(&lab, 48, true, false).await.unwrap();
            assert_eq!(report.rows[0].fate.why(), Some(format!("`B` shows {gone}")), "{key}");
            lab.repo("B").git(&["config", "--unset", key]);
        }
        assert_eq!(lab.entry("A", "gone").await.value, GlobalRef::Deleted);
    });
}

#[test]
fn a_remote_that_may_hide_refs_keeps_the_entry_unless_it_is_said_to_show_all() {
    run(async {
        let lab = Lab::new(Setup { daemon: true, ..Setup::default() });
        for site in ["A", "B"] {
            lab.site(site, "gated");
        }
        lab.commit("A", "gone", "gone").await;
        lab.push("A", "B").await;
        assert!(lab.write("A", "gone", None).await);
        lab.push("A", "B").await;
        forgotten(&lab, 0, true).await;
        let report = try_forget(&lab, 48, true, false).await.unwrap();
        let why = report.rows[0].fate.why().unwrap();
        assert!(why.contains("`B` may hide refs") && why.contains("remote.B.showsAllRefs"), "{why}");
        assert_eq!(lab.entry("A", "gone").await.value, GlobalRef::Deleted);
        lab.configure("A", "[remote \"B\"]\nshowsAllRefs = true");
        assert_eq!(forgotten(&lab, 50, true).await, ["gone=noted"]);
        assert_eq!(forgotten(&lab, 98, true).await, ["gone=forgotten"]);
    });
}
