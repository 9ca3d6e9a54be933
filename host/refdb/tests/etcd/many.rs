//! Many refs at once: round trips, limits of the server, and writers that race.

use refgate_core::{
    Atomicity::{AllOrNothing, Each},
    Edit, Entry, Expected, GlobalRef, Lookup, Outcome, RefDbErrorKind,
};
use refgate_servers::{Etcd, EtcdSetup};

use crate::common::*;
use crate::support::*;

tests![
    ten_thousand_refs_cost_ninety_round_trips,
    a_part_of_a_project_is_read_in_transactions,
    chunks_end_where_they_should,
    one_read_is_one_moment,
    a_server_that_takes_less_is_learned,
    atomic_edits_have_an_honest_limit,
    more_bytes_than_the_server_takes,
    racing_writers_lose_nothing,
];

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("refs/changes/{:02}/{i}/meta", i % 100)).collect()
}

fn fill(db: &Store, names: &[String]) {
    let edits: Vec<Edit> =
        names.iter().enumerate().map(|(i, r)| edit(r, Expected::Absent, at(i as u64))).collect();
    let outcomes = block_on(db.0.compare_and_put(&project("p"), &edits, Each, within(60_000))).unwrap();
    assert!(outcomes.iter().all(|o| *o == Outcome::Applied));
}

fn asked(server: &Etcd) -> u64 {
    server.answered("Range") + server.answered("Txn")
}

/// Reads `names` and every second one that is not there, and returns how many requests that took.
fn read_all(server: &Etcd, db: &Store, names: &[String]) -> u64 {
    let refs: Vec<&str> = names.iter().flat_map(|r| [r.as_str(), "refs/no"]).collect();
    let before = asked(server);
    let found = db.lookups("p", &refs);
    let took = asked(server) - before;
    for (i, two) in found.chunks(2).enumerate() {
        assert_eq!(two[0], Lookup::Entry(Entry::new(at(i as u64))), "{i}");
        assert_eq!(two[1], Lookup::Entry(Entry::default()));
    }
    took
}

fn ten_thousand_refs_cost_ninety_round_trips() {
    let server = Etcd::start();
    let db = store(&server);
    let all = names(10_000);
    fill(&db, &all);
    let took = read_all(&server, &db, &all);
    assert!(took <= 4, "{took} round trips for the whole project");
}

fn a_part_of_a_project_is_read_in_transactions() {
    let server = Etcd::start();
    let db = store(&server);
    let all = names(5_000);
    fill(&db, &all);
    // A fifth of the project and one name that is not there: 8 transactions and the count.
    let took = read_all(&server, &db, &all[..1_000]);
    assert_eq!(took, 9);
    // One more than a quarter: the range.
    assert_eq!(read_all(&server, &db, &all[..1_250]), 2);
}

fn chunks_end_where_they_should() {
    let server = Etcd::start();
    let db = store(&server);
    let all = names(2_000);
    fill(&db, &all);
    for n in [1, 126, 127, 128, 129, 255, 256, 257] {
        let asked: Vec<&str> = all[..n].iter().map(String::as_str).collect();
        let values: Vec<GlobalRef> = db.get("p", &asked).into_iter().map(|e| e.value).collect();
        assert_eq!(values, (0..n).map(|i| at(i as u64)).collect::<Vec<_>>(), "{n}");
        let edits: Vec<Edit> =
            (0..n).map(|i| edit(&all[i], Expected::Exactly(at(i as u64)), at(i as u64))).collect();
        assert!(db.edits("p", &edits, Each).unwrap().iter().all(|o| *o == Outcome::Applied));
    }
}

fn one_read_is_one_moment() {
    let server = Etcd::start();
    let db = store(&server);
    // Far more that nobody asks for, so that the read goes in several transactions.
    fill(&db, &names(2_000));
    let all: Vec<String> = (0..300).map(|i| format!("refs/together/{i}")).collect();
    let moved: Vec<&str> = vec![&all[0], &all[150], &all[299]];
    moved.iter().for_each(|r| db.put("p", r, at(0)));
    std::thread::scope(|s| {
        let writer = s.spawn(|| {
            let db = store(&server);
            for n in 0..100 {
                let edits: Vec<Edit> =
                    moved.iter().map(|r| edit(r, Expected::Exactly(at(n)), at(n + 1))).collect();
                assert_eq!(db.edits("p", &edits, AllOrNothing).unwrap(), [Outcome::Applied; 3]);
            }
        });
        let asked: Vec<&str> = all.iter().map(String::as_str).collect();
        while !writer.is_finished() {
            let found = db.get("p", &asked);
            assert_eq!(found[0].value, found[150].value);
            assert_eq!(found[0].value, found[299].value);
        }
        writer.join().unwrap();
    });
}

fn a_server_that_takes_less_is_learned() {
    let server = Etcd::start_with(EtcdSetup { max_txn_ops: Some(20), ..EtcdSetup::default() });
    let db = store(&server);
    let all = names(500);
    fill(&db, &all);
    read_all(&server, &db, &all[..100]);
    let edits: Vec<Edit> = all[..40].iter().map(|r| edit(r, Expected::AbsentOrDeleted, at(1))).collect();
    assert!(db.edits("p", &edits, Each).unwrap().iter().all(|o| matches!(o, Outcome::Mismatch { .. })));
    let edits: Vec<Edit> = (0..40).map(|i| edit(&format!("refs/{i}"), Expected::Absent, at(1))).collect();
    let e = fails(db.edits("p", &edits, AllOrNothing), RefDbErrorKind::TooLarge, "--max-txn-ops");
    assert!(e.message.contains("nothing was written"), "{e}");
    assert_eq!(db.value("p", "refs/0"), GlobalRef::Untracked);
    assert_eq!(db.edits("p", &edits[..15], AllOrNothing).unwrap(), [Outcome::Applied; 15]);
}

fn atomic_edits_have_an_honest_limit() {
    let server = Etcd::start();
    let db = store(&server);
    let most = db.0.capabilities().atomic_edits;
    assert_eq!(most, 63);
    let locks: Vec<_> = (0..most).map(|i| lock(&db, &format!("refs/{i}"), 60, 10_000).unwrap()).collect();
    // The worst case: every edit has a lock of its own.
    let mut edits: Vec<Edit> = (0..most)
        .map(|i| edit(&format!("refs/{i}"), Expected::Absent, at(1)).fenced(locks[i].token().clone()))
        .collect();
    assert_eq!(db.edits("p", &edits, AllOrNothing).unwrap(), vec![Outcome::Applied; most]);
    edits.iter_mut().for_each(|e| (e.expected, e.new) = (Expected::Exactly(at(1)), at(2)));
    edits.push(edit("refs/more", Expected::Absent, at(2)));
    fails(db.edits("p", &edits, AllOrNothing), RefDbErrorKind::TooLarge, "64 edits");
    assert_eq!(db.value("p", "refs/0"), at(1), "refused before anything was written");
    assert_eq!(db.edits("p", &edits, Each).unwrap(), vec![Outcome::Applied; most + 1]);
}

fn more_bytes_than_the_server_takes() {
    let server = Etcd::start();
    let db = store(&server);
    // 40 entries of 120 kB each are more than one request may have, though few operations.
    let (p, long) = (project("p"), (0..3_000).map(oid).collect::<Vec<_>>());
    for i in 0..40 {
        let to = Entry { value: at(1), superseded: long.clone() };
        let n = name(&format!("refs/{i}"));
        assert!(block_on(db.0.swap_entry(&p, &n, &Entry::default(), &to, within(5_000))).unwrap());
    }
    let edits: Vec<Edit> =
        (0..40).map(|i| edit(&format!("refs/{i}"), Expected::Exactly(at(1)), at(2))).collect();
    fails(db.edits("p", &edits, AllOrNothing), RefDbErrorKind::TooLarge, "--max-request-bytes");
    assert_eq!(db.value("p", "refs/0"), at(1));
    assert_eq!(db.edits("p", &edits, Each).unwrap(), [Outcome::Applied; 40]);
    let refs: Vec<String> = (0..40).map(|i| format!("refs/{i}")).collect();
    let found = db.get("p", &refs.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(found.iter().all(|e| e.value == at(2) && e.superseded.len() == 3_000), "at 1 was listed already");
}

fn racing_writers_lose_nothing() {
    let server = Etcd::start();
    let shared = store(&server);
    shared.put("p", "refs/counter", at(0));
    std::thread::scope(|s| {
        for w in 0..8 {
            // Half of them share a session.
            let db = if w < 4 { shared.clone() } else { store(&server) };
            s.spawn(move || {
                for _ in 0..15 {
                    while {
                        let GlobalRef::At(old) = db.value("p", "refs/counter") else { panic!("gone") };
                        let n = u64::from_be_bytes(old.as_bytes()[12..].try_into().unwrap());
                        db.cas("p", "refs/counter", Expected::Exactly(at(n)), at(n + 1)) != Outcome::Applied
                    } {}
                }
            });
        }
    });
    assert_eq!(shared.value("p", "refs/counter"), at(8 * 15));
    assert_eq!(shared.superseded("p", "refs/counter").len(), 8 * 15);
}
