//! How many round trips reads take, and what happens on servers that take smaller batches or none.

use refgate_core::{
    Atomicity::AllOrNothing, Atomicity::Each, Expected, GlobalRef, Outcome, RefDbErrorKind, RefName,
};
use refgate_servers::ZooKeeper;

use crate::common::*;
use crate::proxy::{GET_DATA, MULTI, MULTI_READ, Proxy, SYNC};
use crate::support::*;
use crate::{Needs::Server, Test};

pub const TESTS: &[Test] = &[
    ("ten_thousand_refs_take_21_round_trips", Server, round_trips),
    ("a_smaller_limit_halves_the_batch", Server, smaller),
    ("a_server_without_batches_is_asked_one_by_one", Server, none_at_all),
    ("each_goes_on_in_parts_and_all_or_nothing_is_refused", Server, many_edits),
    ("what_does_not_fit_in_a_packet_is_refused_or_split", Server, packets),
];

fn behind_proxy() -> (ZooKeeper, Proxy, Store) {
    let server = ZooKeeper::start();
    let proxy = Proxy::start(server.address());
    let t = store_at(&proxy.address, "");
    (server, proxy, t)
}

fn fill(t: &Store, n: u64) -> Vec<RefName> {
    let edits: Vec<_> = (0..n).map(|n| edit(&ref_name(n), Expected::Absent, at(n))).collect();
    let outcomes = t.edits("p", &edits, Each).unwrap();
    assert!(outcomes.iter().all(|o| *o == Outcome::Applied));
    edits.into_iter().map(|edit| edit.name).collect()
}

fn ref_name(n: u64) -> String {
    format!("refs/changes/{:02}/{n}/meta", n % 100)
}

fn values(t: &Store, names: &[RefName]) -> Vec<GlobalRef> {
    let found = block_on(t.0.get_many(&project("p"), names, within(20_000))).unwrap();
    found.iter().map(|found| found.entry().unwrap().value).collect()
}

fn round_trips() {
    let (_server, proxy, t) = behind_proxy();
    let names = fill(&t, 10_000);
    let expected: Vec<GlobalRef> = (0..10_000).map(at).collect();
    proxy.seen();
    assert_eq!(values(&t, &names), expected);
    let seen = proxy.seen();
    assert_eq!(seen.len(), 21, "{seen:?}");
    assert_eq!(seen[0].0, SYNC);
    assert!(seen[1..].iter().all(|one| *one == (MULTI_READ, 1_000)), "{seen:?}");
    for (n, trips) in [(0, 0), (1, 2), (499, 2), (500, 2), (501, 3), (1_000, 3), (1_001, 4)] {
        assert_eq!(values(&t, &names[..n]), expected[..n]);
        assert_eq!(proxy.seen().len(), trips, "{n} refs");
    }
    let local = store_at(&proxy.address, "&read=local");
    assert!(!local.0.capabilities().linearizable_reads && t.0.capabilities().linearizable_reads);
    proxy.seen();
    assert_eq!(values(&local, &names[..500]), expected[..500]);
    assert_eq!(proxy.seen(), [(MULTI_READ, 1_000)]);
    let mut sorted: Vec<String> = (0..10_000).map(ref_name).collect();
    sorted.sort();
    proxy.seen();
    assert_eq!(t.scan("p", "refs/changes/", None, 9), sorted);
    let trips = proxy.seen().len();
    assert!(trips < 70, "{trips} round trips for a scan");
    assert_eq!(t.scan("p", "refs/changes/", Some(&sorted[9_000]), 9), sorted[9_001..]);
}

fn smaller() {
    let (_server, proxy, t) = behind_proxy();
    let names = fill(&t, 1_000);
    let expected: Vec<GlobalRef> = (0..1_000).map(at).collect();
    proxy.cap(300);
    proxy.seen();
    assert_eq!(values(&t, &names), expected);
    let accepted =
        |seen: &[(i32, usize)]| seen.iter().filter(|(_, n)| *n <= 300).map(|(_, n)| n).sum::<usize>();
    let first = proxy.seen();
    assert_eq!(accepted(&first), 2_000 + 1, "{first:?}");
    assert_eq!(values(&t, &names), expected);
    let second = proxy.seen();
    assert!(second.iter().all(|(_, n)| *n <= 250), "the next call knows: {second:?}");
}

fn none_at_all() {
    let (_server, proxy, t) = behind_proxy();
    let names = fill(&t, 1_500);
    let expected: Vec<GlobalRef> = (0..1_500).map(at).collect();
    proxy.no_batches();
    proxy.seen();
    assert_eq!(values(&t, &names), expected);
    proxy.seen();
    assert_eq!(values(&t, &names), expected);
    let seen = proxy.seen();
    assert_eq!(seen.iter().filter(|(code, _)| *code == GET_DATA).count(), 3_000);
    assert!(seen.iter().all(|(code, _)| *code != MULTI_READ));
    assert_eq!(t.scan("p", "refs/changes/07/", None, 9).len(), 15);
    assert_eq!(t.cas("p", &ref_name(1), Expected::Exactly(at(1)), at(2)), Outcome::Applied);
    assert_eq!(t.remove_project("p"), 1_500);
}

fn many_edits() {
    let (_server, proxy, t) = behind_proxy();
    let limit = t.0.capabilities().atomic_edits;
    assert_eq!(limit, 500);
    let edits = |from: u64, n: u64| -> Vec<_> {
        (from..from + n).map(|n| edit(&ref_name(n), Expected::Absent, at(n))).collect()
    };
    proxy.seen();
    let e = t.edits("p", &edits(0, 501), AllOrNothing).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::TooLarge, "{e}");
    assert!(proxy.seen().is_empty(), "refused before anything is sent");
    assert_eq!(t.edits("p", &edits(0, 500), AllOrNothing).unwrap(), [Outcome::Applied; 500]);
    let writes = proxy.seen().iter().filter(|(code, _)| *code == MULTI).count();
    assert!(writes <= 2, "{writes} writes: one that lacks directories, one that lands");
    let mut mixed = edits(0, 501);
    mixed.extend(edits(501, 700));
    let outcomes = t.edits("p", &mixed, Each).unwrap();
    assert!(outcomes[..500].iter().enumerate().all(|(n, o)| *o == mismatch(at(n as u64))));
    assert!(outcomes[500..].iter().all(|o| *o == Outcome::Applied));
}

fn packets() {
    let (_server, _proxy, t) = behind_proxy();
    // 500 names of 3,000 bytes are 1.5 MB.
    let long = |n: u64| format!("refs/{}/{n}", vec!["x".repeat(200); 15].join("/"));
    let edits: Vec<_> = (0..500).map(|n| edit(&long(n), Expected::Absent, at(n))).collect();
    let e = t.edits("p", &edits, AllOrNothing).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::TooLarge, "{e}");
    assert_eq!(t.value("p", &long(0)), GlobalRef::Untracked);
    assert_eq!(t.edits("p", &edits, Each).unwrap(), [Outcome::Applied; 500]);
    let names: Vec<RefName> = edits.into_iter().map(|edit| edit.name).collect();
    assert_eq!(values(&t, &names), (0..500).map(at).collect::<Vec<_>>());
    assert_eq!(t.scan("p", "", None, 9).len(), 500);
    assert_eq!(t.remove_project("p"), 500);
}
