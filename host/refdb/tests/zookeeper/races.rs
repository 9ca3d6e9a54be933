//! Several writers at once, in one process and with sessions of their own.

use std::sync::atomic::{AtomicUsize, Ordering};

use refgate_core::{Atomicity::AllOrNothing, Atomicity::Each, Expected, GlobalRef, Outcome};

use crate::common::*;
use crate::support::*;
use crate::{Needs::Server, Test};

pub const TESTS: &[Test] = &[
    ("eight_writers_count_to_400", Server, counters),
    ("one_creates", Server, creators),
    ("all_or_nothing_is_one_moment", Server, pairs),
    ("a_race_for_some_refs_does_not_stop_the_others", Server, each),
];

fn counters() {
    let (server, t) = lab();
    let own: Vec<Store> = (0..4).map(|_| store_at(&server.address(), "")).collect();
    let applied = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let t = if n < 4 { &t } else { &own[n - 4] };
            let applied = &applied;
            scope.spawn(move || {
                for _ in 0..50 {
                    loop {
                        let before = t.value("p", "refs/counter");
                        let count = before.oid().map_or(0, |oid| number(oid.as_bytes()));
                        if t.cas("p", "refs/counter", Expected::Exactly(before), at(count + 1))
                            == Outcome::Applied
                        {
                            applied.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                    }
                }
            });
        }
    });
    assert_eq!((applied.into_inner(), t.value("p", "refs/counter")), (400, at(400)));
    assert_eq!(t.superseded("p", "refs/counter").len(), 399, "no list was lost either");
}

fn number(oid: &[u8]) -> u64 {
    u64::from_be_bytes(oid[12..].try_into().unwrap())
}

fn creators() {
    let (server, t) = lab();
    for round in 0..10 {
        let r = format!("refs/heads/{round}/x");
        let winners: Vec<u64> = std::thread::scope(|scope| {
            let tasks: Vec<_> = (1..=4)
                .map(|n| {
                    let (r, address) = (&r, server.address());
                    scope.spawn(move || {
                        let t = store_at(&address, "");
                        (t.cas("p", r, Expected::Absent, at(n)) == Outcome::Applied).then_some(n)
                    })
                })
                .collect();
            tasks.into_iter().filter_map(|task| task.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(t.value("p", &r), at(winners[0]));
    }
}

fn pairs() {
    let (_server, t) = lab();
    let names = ["refs/a", "refs/b/c"];
    t.put("p", names[0], at(0));
    t.put("p", names[1], at(0));
    std::thread::scope(|scope| {
        for n in 1..=4 {
            let t = &t;
            scope.spawn(move || {
                for step in 0..25 {
                    loop {
                        let before = t.value("p", names[0]);
                        let edits = names.map(|r| edit(r, Expected::Exactly(before), at(n * 1_000 + step)));
                        let outcomes = t.edits("p", &edits, AllOrNothing).unwrap();
                        assert_eq!(outcomes[0] == Outcome::Applied, outcomes[1] == Outcome::Applied);
                        if outcomes[0] == Outcome::Applied {
                            break;
                        }
                    }
                }
            });
        }
    });
    let found = t.get("p", &names);
    assert_eq!(found[0], found[1]);
}

fn each() {
    let (server, t) = lab();
    let other = store_at(&server.address(), "");
    let edits = |value: u64| -> Vec<_> {
        (0..300).map(|n| edit(&format!("refs/{n}"), Expected::Absent, at(value))).collect()
    };
    let (mine, theirs) = (edits(1), edits(2));
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| t.edits("p", &mine, Each).unwrap());
        let b = scope.spawn(|| other.edits("p", &theirs[100..], Each).unwrap());
        (a.join().unwrap(), b.join().unwrap())
    });
    for (n, a) in a.into_iter().enumerate() {
        let value = t.value("p", &format!("refs/{n}"));
        let b = n.checked_sub(100).map_or(mismatch(GlobalRef::Deleted), |n| b[n]);
        match value == at(1) {
            true => assert_eq!((a, n < 100 || b == mismatch(at(1))), (Outcome::Applied, true)),
            false => assert_eq!((a, b), (mismatch(at(2)), Outcome::Applied)),
        }
    }
}
