//! The flow of a decision, with filters made here: who is asked what, how often, and what a failure does.

mod changes;
mod world;

use std::sync::{Arc, Mutex};

use self::world::{Custom, World, keep_all, oid, shipped};
use crate::ablation::{Rule, without};
use crate::batch::state;
use crate::table::RemoteValue;
use crate::{Answer, Direction, FilterError, GlobalRef, SiteKind};

#[test]
fn a_stale_ref_that_catches_up_is_kept_with_the_reloaded_value() {
    let mut world = World::push(&["refs/heads/x=a<c", "refs/heads/y=b<c"]);
    world.global("refs/heads/x", GlobalRef::At(oid("b")));
    world.global("refs/heads/y", GlobalRef::At(oid("b")));
    world.local_after_wait("refs/heads/x", Some(oid("b")));
    let decision = world.decide(&[shipped()]);
    let x = decision.moves.get(0);
    assert_eq!((x.new(), x.is_reloaded(), x.is_kept()), (Some(oid("b")), true, true));
    assert!(!decision.moves.get(1).is_reloaded());
    assert_eq!(decision.waits.len(), 1);
    assert_eq!(decision.waits[0].refs, 1);
    assert_eq!(world.slept(), vec![decision.waits[0].ms]);
}

#[test]
fn a_deletion_is_judged_by_what_is_on_offer_and_then_by_the_reload() {
    let mut world = World::push(&["refs/heads/x=-<c", "refs/heads/y=-<c", "refs/heads/z=-<a"]);
    for name in ["refs/heads/x", "refs/heads/y", "refs/heads/z"] {
        world.global(name, GlobalRef::At(oid("a")));
    }
    // Here all the time, back at the reload, and here as the remote has it.
    world.local("refs/heads/x", Some(oid("a")));
    world.local_after_wait("refs/heads/y", Some(oid("a")));
    world.local("refs/heads/z", Some(oid("a")));
    let decision = world.decide(&[shipped()]);
    assert_eq!(decision.waits[0].refs, 3);
    assert!(world.reasons(&decision).iter().all(|(_, r)| r == "not-up-to-date host"), "{:?}", decision.moves);
    assert!(decision.moves.iter().all(|one| one.is_deletion() && one.new().is_none()));
}

#[test]
fn every_call_of_a_look_has_one_time_and_the_second_look_has_its_own() {
    let offers: Vec<String> = (0..270_000).map(|i| format!("refs/heads/x{i}=a<c")).collect();
    let mut world = World::push(&offers.iter().map(String::as_str).collect::<Vec<_>>());
    world.global("refs/heads/x7", GlobalRef::At(oid("b")));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watch = |name| {
        let seen = seen.clone();
        Custom::filter(name, move |batch| {
            seen.lock().unwrap().push((batch.attempt, batch.now_ms));
            Ok(Answer::default())
        })
    };
    let decision = world.decide(&[watch("a"), shipped(), watch("z")]);
    let later = 1_000_000 + decision.waits[0].ms;
    let first = [(0, 1_000_000); 4];
    assert_eq!(*seen.lock().unwrap(), [&first[..], &[(1, later); 2]].concat());
}

#[test]
fn filters_are_told_which_updates_are_no_fast_forward() {
    let mut world = World::push(&[
        "refs/heads/ahead=b<c",
        "refs/heads/back=b<a",
        "refs/heads/new=b<-",
        "refs/heads/gone=-<a",
    ]);
    for name in ["refs/heads/ahead", "refs/heads/back", "refs/heads/new"] {
        world.superseded(name, oid("b"), &[oid("a")]);
    }
    world.global("refs/heads/gone", GlobalRef::Deleted);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let watch = Custom::filter("watch", move |batch| {
        kept.lock().unwrap().extend(batch.states.iter().map(|s| s & state::NOT_FAST_FORWARD != 0));
        Ok(Answer::default())
    });
    let decision = world.decide(&[watch]);
    assert!(decision.moves.get(1).is_kept(), "it was once global");
    assert_eq!(*seen.lock().unwrap(), [false, true, false, false]);
}

#[test]
fn a_thousand_stale_refs_cost_one_wait_and_two_reads() {
    let offers: Vec<String> = (0..1000).map(|i| format!("refs/heads/x{i}=a<c")).collect();
    let mut world = World::push(&offers.iter().map(String::as_str).collect::<Vec<_>>());
    for i in 0..1000 {
        world.global(&format!("refs/heads/x{i}"), GlobalRef::At(oid("b")));
    }
    let decision = world.decide(&[shipped()]);
    assert_eq!(decision.waits.len(), 1);
    assert_eq!(decision.waits[0].refs, 1000);
    assert_eq!(world.reads(), 2, "one bulk read of the ref-db per look");
    assert!(world.reasons(&decision).iter().all(|(_, r)| r == "not-up-to-date host"));
}

#[test]
fn no_filter_asks_for_a_recheck_so_nobody_waits() {
    let mut world = World::push(&["refs/heads/x=a<c"]);
    world.global("refs/heads/x", GlobalRef::At(oid("b")));
    let decision = world.decide(&[keep_all()]);
    assert_eq!(world.reasons(&decision), [("refs/heads/x".into(), "not-up-to-date host".into())]);
    assert!(decision.waits.is_empty());
}

/// Trace H9: without the floor a filter that keeps everything takes a site back to an old value.
#[test]
fn h9_the_floor_is_what_stops_a_filter_that_keeps_everything() {
    let mut world = World::fetch(&["refs/heads/main=c"]);
    world.local("refs/heads/main", Some(oid("a")));
    world.global("refs/heads/main", GlobalRef::At(oid("a")));
    let decision = without(&[Rule::Floor], || world.decide(&[keep_all()]));
    assert!(decision.moves.get(0).is_kept(), "without the floor the site goes back");
    assert_eq!(decision.moves.get(0).new(), Some(oid("c")));
    let decision = world.decide(&[keep_all()]);
    assert_eq!(world.reasons(&decision), [("refs/heads/main".into(), "already-up-to-date host".into())]);
}

#[test]
fn filters_see_what_those_before_left_and_the_first_discard_counts() {
    let mut world = World::push(&["refs/heads/a=a<-", "refs/heads/b=a<-"]);
    let first = Custom::filter("a", |_| {
        Ok(Answer { discards: vec![(vec![0], "mine".into())], rechecks: vec![0], ..Answer::default() })
    });
    let second = Custom::filter("b", |batch| {
        assert_eq!((batch.len(), batch.name(0)), (1, &b"refs/heads/b"[..]));
        Ok(Answer::default())
    });
    let decision = world.decide(&[first, second]);
    assert_eq!(world.reasons(&decision)[0].1, "mine a");
    assert!(decision.moves.get(1).is_kept());
    assert!(decision.waits.is_empty(), "discard wins over recheck");
}

#[test]
fn a_filter_that_fails_holds_back_what_it_saw_and_no_more() {
    let mut world = World::push(&["refs/heads/a=a<-", "refs/heads/b=a<-"]);
    let first = Custom::filter("a", |_| {
        Ok(Answer { discards: vec![(vec![0], "mine".into())], rechecks: vec![], ..Answer::default() })
    });
    let broken = Custom::filter("b", |_| Err(FilterError("it trapped".into())));
    let decision = world.decide(&[first, broken]);
    assert_eq!(
        world.reasons(&decision).iter().map(|r| r.1.as_str()).collect::<Vec<_>>(),
        ["mine a", "filter-failed b"]
    );
    assert!(decision.problems[0].contains("it trapped"), "{:?}", decision.problems);
    let liar =
        Custom::filter("c", |_| Ok(Answer { discards: vec![], rechecks: vec![7], ..Answer::default() }));
    let decision = world.decide(&[liar]);
    assert!(world.reasons(&decision).iter().all(|r| r.1 == "filter-failed c"));
}

#[test]
fn a_final_reason_must_not_hide_a_held_back_ref() {
    let mut world = World::push(&["refs/heads/a=a<-"]);
    for reason in ["already-up-to-date", "deleted-globally", "project-not-matched"] {
        let liar = Custom::filter("c", move |_| {
            Ok(Answer { discards: vec![(vec![0], reason.into())], rechecks: vec![], ..Answer::default() })
        });
        let decision = world.decide(&[liar]);
        assert_eq!(world.reasons(&decision)[0].1, "filter-failed c");
    }
}

#[test]
fn a_second_recheck_counts_as_discard() {
    let mut world = World::push(&["refs/heads/a=a<-"]);
    let never_satisfied =
        Custom::filter("again", |_| Ok(Answer { discards: vec![], rechecks: vec![0], ..Answer::default() }));
    let decision = world.decide(&[never_satisfied]);
    assert_eq!(world.reasons(&decision)[0].1, "not-up-to-date again");
    assert_eq!(decision.waits.len(), 1);
}

#[test]
fn a_ref_db_that_fails_holds_everything_back_but_what_needs_no_read() {
    let mut world = World::push(&[
        "refs/heads/a=a<-",
        "refs/multi-site/version=a<b",
        "refs/changes/12/12/1=a<-",
        "refs/changes/x=a<-",
    ]);
    world.refdb_down = true;
    let decision = world.decide(&[shipped()]);
    let verdicts: Vec<bool> = decision.moves.iter().map(|r| r.is_kept()).collect();
    assert_eq!(verdicts, [false, true, false, true]);
    assert_eq!(world.reasons(&decision)[0].1, "refdb-unavailable host");
    assert_eq!(world.reasons(&decision)[1].1, "refdb-unavailable host", "the change may have been deleted");
    assert!(decision.problems[0].contains("down"));
}

#[test]
fn a_local_ref_that_cannot_be_read_holds_back_itself() {
    let mut world = World::push(&["refs/heads/a=-<-", "refs/heads/b=a<-"]);
    world.broken = Some("refs/heads/a");
    world.global("refs/heads/a", GlobalRef::At(oid("c")));
    let decision = world.decide(&[shipped()]);
    assert_eq!(
        world.reasons(&decision),
        [("refs/heads/a".to_owned(), "repository-unreadable host".to_owned())]
    );
    assert_eq!(decision.moves.get(0).hint(), Some("it is damaged"));
    assert!(decision.moves.get(1).is_kept() && decision.waits.is_empty(), "nobody waits for it");
}

#[test]
fn a_gate_that_is_off_reads_nothing_and_deletes_nothing() {
    let mut world = World::push(&["refs/heads/a=a<c", "refs/heads/b=-<c"]);
    world.global("refs/heads/a", GlobalRef::At(oid("b")));
    world.gate = false;
    let decision = world.decide(&[shipped()]);
    assert!(decision.gate_off && decision.moves.get(0).is_kept() && !decision.moves.get(1).is_kept());
    assert_eq!(world.reads(), 0);
}

#[test]
fn the_list_counts_for_gated_sites_and_mirrors_and_the_hint_names_the_key() {
    for (kind, keeps) in [(SiteKind::Gated, true), (SiteKind::Mirror, true), (SiteKind::Ungated, false)] {
        // d is no ancestor of a; c is one of d, which is listed.
        let mut world = World::push(&["refs/heads/a=a<d", "refs/heads/b=a<e"]);
        world.superseded("refs/heads/a", oid("a"), &[oid("d")]);
        world.superseded("refs/heads/b", oid("a"), &[oid("d")]);
        world.ancestor("e", "d");
        world.kind = kind;
        let decision = world.decide(&[shipped()]);
        for one in decision.moves.iter() {
            assert_eq!(one.is_kept(), keeps, "{kind:?}");
            assert_eq!(one.hint().as_ref().is_some_and(|h| h.contains("remote.peer.writes")), !keeps);
        }
    }
}

#[test]
fn a_source_of_truth_may_be_ahead_of_the_ref_db() {
    let mut world = World::fetch(&["refs/heads/main=b"]);
    world.local("refs/heads/main", Some(oid("a")));
    world.global("refs/heads/main", GlobalRef::At(oid("a")));
    world.ancestor("a", "b");
    let plain = world.decide(&[shipped()]);
    assert_eq!(world.reasons(&plain)[0].1, "already-up-to-date host");
    world.source_of_truth = true;
    let decision = world.decide(&[shipped()]);
    assert!(decision.moves.get(0).is_kept());
    assert_eq!(decision.moves.get(0).advances(), Some(oid("a")));
}

#[test]
fn a_group_goes_whole_or_not_at_all() {
    let meta = "refs/changes/12/4512/meta";
    let mut world = World::push(&[
        "refs/changes/12/4512/1=a<-",
        "refs/changes/12/4512/meta=a<c",
        "refs/changes/12/4513/1=a<b",
        "refs/changes/12/4513/2=a<-",
        "refs/changes/12/4513/meta=a<-",
        "refs/changes/12/451/1=a<-",
    ]);
    world.global(meta, GlobalRef::At(oid("b")));
    let decision = world.decide(&[shipped()]);
    let said: Vec<_> = world.reasons(&decision).into_iter().map(|r| r.1).collect();
    assert_eq!(
        said,
        [
            "outdated-meta host",
            "not-up-to-date host",
            "remote-diverged host",
            "outdated-meta host",
            "group-incomplete host"
        ]
    );
    assert!(decision.moves.get(5).is_kept(), "another change");
}

#[test]
fn an_empty_batch_asks_nobody() {
    let mut world = World::push(&[]);
    let decision = world.decide(&[Custom::filter("x", |_| panic!("asked"))]);
    assert!(decision.moves.is_empty());
    assert_eq!(world.reads(), 0);
}

#[test]
fn names_only_get_the_pinned_value_after_a_recheck() {
    let mut world = World::fetch(&["refs/heads/main=?"]);
    world.local("refs/heads/main", Some(oid("a")));
    world.global("refs/heads/main", GlobalRef::At(oid("b")));
    world.ancestor("a", "b");
    assert_eq!(world.updates()[0].remote, RemoteValue::Unknown);
    let decision = world.decide(&[shipped()]);
    assert!(decision.moves.get(0).is_kept());
    assert_eq!((decision.moves.get(0).new(), decision.waits.len()), (Some(oid("b")), 1));
}

#[test]
fn many_refs_are_split_between_groups_not_within() {
    let mut offers = Vec::new();
    for change in 0..90_000 {
        offers.extend(
            ["1", "2", "meta"].map(|part| format!("refs/changes/{:02}/{change}/{part}=a<-", change % 100)),
        );
    }
    let mut world = World::push(&offers.iter().map(String::as_str).collect::<Vec<_>>());
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = sizes.clone();
    let counting = Custom::filter("count", move |batch| {
        assert_eq!(batch.direction, Direction::Push);
        assert_eq!(batch.len() % 3, 0, "a change was split");
        seen.lock().unwrap().push(batch.len());
        Ok(Answer::default())
    });
    let decision = world.decide(&[counting]);
    let sizes = sizes.lock().unwrap();
    assert!(sizes.len() > 1 && sizes.iter().sum::<usize>() == 270_000, "{sizes:?}");
    assert!(decision.moves.iter().all(|r| r.is_kept()));
}
