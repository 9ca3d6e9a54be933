//! Locks: one holder, in the order of coming, gone with the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use refgate_core::refdb::while_renewed;
use refgate_core::{BoxFuture, Clock, Expected, GlobalRef, LockToken, Outcome, RefDbErrorKind};
use refgate_refdb::{Location, OpenMode, open};
use refgate_servers::Etcd;

use crate::common::*;
use crate::support::*;

tests![
    one_holder_at_a_time,
    a_waiter_gets_it_after_the_release,
    waiters_are_served_in_order,
    a_dropped_lock_is_given_back,
    a_dropped_attempt_leaves_nothing,
    a_lost_lease_fences_its_holder,
    a_waiter_outlives_its_own_lease,
    leases_are_clamped,
    validity_is_by_our_own_clock,
    a_lock_outlives_its_store,
    locks_bind_only_those_who_ask,
];

fn one_holder_at_a_time() {
    let server = Etcd::start();
    let (db, other) = (store(&server), store(&server));
    let held = lock(&db, "refs/a", 10, 5_000).unwrap();
    assert!(held.is_valid());
    assert_eq!(keys(&server, "refs/lock/"), [format!("refs/lock/p//refs/a//{}", held.token().holder)]);
    let start = now();
    let e = answers_within(600, || lock(&other, "refs/a", 10, 600));
    fails(e, RefDbErrorKind::LockTimeout, "another holder keeps the lock of `refs/a` in `p`");
    assert!(start.elapsed() > Duration::from_millis(300), "it waited");
    assert_eq!(keys(&server, "refs/lock/").len(), 1, "nothing of the attempt is left");
    let apart = lock(&other, "refs/b", 10, 5_000).unwrap();
    release(apart);
    release(held);
    assert!(keys(&server, "refs/lock/").is_empty());
    let again = lock(&other, "refs/a", 10, 5_000).unwrap();
    release(again);
}

fn a_waiter_gets_it_after_the_release() {
    let server = Etcd::start();
    let (db, other) = (store(&server), store(&server));
    let held = lock(&db, "refs/a", 10, 5_000).unwrap();
    let first = held.token().fence;
    let waiter = thread::spawn(move || {
        let held = lock(&other, "refs/a", 10, 10_000).unwrap();
        (held.token().fence, now())
    });
    while keys(&server, "refs/lock/").len() < 2 {
        pause(10);
    }
    pause(100);
    assert!(!waiter.is_finished());
    let released = now();
    release(held);
    let (second, got) = waiter.join().unwrap();
    assert!(second > first);
    assert!(got - released < Duration::from_millis(500), "it is told, not left to look again");
}

fn waiters_are_served_in_order() {
    let server = Etcd::start();
    let db = store(&server);
    let held = lock(&db, "refs/a", 10, 5_000).unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let waiters: Vec<_> = (0..4usize)
        .map(|i| {
            let (db, at) = (db.clone(), order.clone());
            let waiter = thread::spawn(move || {
                let held = lock(&db, "refs/a", 10, 20_000).unwrap();
                at.lock().unwrap().push((i, held.token().fence));
                release(held);
            });
            while keys(&server, "refs/lock/").len() < i + 2 {
                pause(10);
            }
            waiter
        })
        .collect();
    release(held);
    waiters.into_iter().for_each(|w| w.join().unwrap());
    let order = order.lock().unwrap();
    assert_eq!(order.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(order.windows(2).all(|two| two[0].1 < two[1].1), "{order:?}");
}

fn a_dropped_lock_is_given_back() {
    let server = Etcd::start();
    let db = store(&server);
    drop(lock(&db, "refs/a", 600, 5_000).unwrap());
    let held = lock(&db, "refs/a", 600, 2_000).unwrap();
    // Also when the store is closed at the same moment.
    drop(held);
    drop(db);
    assert!(keys(&server, "refs/lock/").is_empty());
}

fn a_dropped_attempt_leaves_nothing() {
    let server = Etcd::start();
    let db = store(&server);
    let held = lock(&db, "refs/a", 600, 5_000).unwrap();
    let (p, n) = (project("p"), name("refs/a"));
    let mut attempt = Box::pin(db.0.lock(&p, &n, Duration::from_secs(600), within(60_000)));
    block_on(async {
        std::future::poll_fn(|cx| {
            assert!(attempt.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    });
    while keys(&server, "refs/lock/").len() < 2 {
        pause(10);
    }
    drop(attempt);
    let start = now();
    while keys(&server, "refs/lock/").len() > 1 {
        assert!(start.elapsed() < Duration::from_secs(3), "the waiter stays");
        pause(10);
    }
    release(held);
}

fn a_lost_lease_fences_its_holder() {
    let server = Etcd::start();
    let (db, other) = (store(&server), store(&server));
    db.put("p", "refs/a", at(1));
    let lost = lock(&db, "refs/a", 2, 5_000).unwrap();
    let next = lock(&other, "refs/a", 10, 10_000).unwrap();
    assert!(!lost.is_valid());
    assert!(next.token().fence > lost.token().fence);
    let edit = |fence: &LockToken| edit("refs/a", Expected::Exactly(at(1)), at(2)).fenced(fence.clone());
    let apply = |fence: &LockToken| cas_within(&db, 5_000, &[edit(fence)]).unwrap()[0];
    assert_eq!(apply(lost.token()), Outcome::Fenced);
    let e = fails(block_on(lost.renew(within(5_000))), RefDbErrorKind::LeaseLost, "`refs/a` ran out");
    assert!(e.message.contains("take it again"), "{e}");
    fails(block_on(lost.renew(within(5_000))), RefDbErrorKind::LeaseLost, "ran out");
    // Tokens that nobody gave out.
    let mut forged = next.token().clone();
    forged.fence += 1;
    assert_eq!(apply(&forged), Outcome::Fenced);
    forged.holder = "x//y".to_owned();
    assert_eq!(apply(&forged), Outcome::Fenced);
    assert_eq!(db.value("p", "refs/a"), at(1));
    assert_eq!(apply(next.token()), Outcome::Applied);
    // All or nothing: the fence of one holds back the others.
    let edits = [edit(lost.token()), crate::common::edit("refs/b", Expected::Absent, at(1))];
    let outcomes = db.edits("p", &edits, refgate_core::Atomicity::AllOrNothing).unwrap();
    assert_eq!(outcomes, [Outcome::Fenced, mismatch(GlobalRef::Untracked)]);
    release(lost);
    release(next);
}

fn a_waiter_outlives_its_own_lease() {
    let server = Etcd::start();
    let (db, other) = (store(&server), store(&server));
    let held = lock(&db, "refs/a", 2, 5_000).unwrap();
    let waiter = thread::spawn(move || {
        let held = lock(&other, "refs/a", 2, 30_000).unwrap();
        (held.is_valid(), held.token().fence)
    });
    while keys(&server, "refs/lock/").len() < 2 {
        pause(10);
    }
    let lease = Duration::from_secs(2);
    let five_seconds = async { RealClock.sleep(Duration::from_secs(5)).await };
    block_on(while_renewed(&*held, lease, &RealClock, five_seconds));
    assert!(held.is_valid() && !waiter.is_finished());
    let fence = held.token().fence;
    release(held);
    let (valid, next) = waiter.join().unwrap();
    assert!(valid && next > fence);
}

fn leases_are_clamped() {
    let server = Etcd::start();
    let db = store(&server);
    let (shortest, longest) = db.0.capabilities().lease.unwrap();
    let granted = |lease: Duration| {
        let held = block_on(db.0.lock(&project("p"), &name("refs/a"), lease, within(5_000))).unwrap();
        let told = server.control(["lease", "timetolive", &held.token().holder]);
        release(held);
        let told = String::from_utf8(told).unwrap();
        let seconds = told.split_once("granted with TTL(").unwrap().1.split_once("s)").unwrap().0.to_owned();
        Duration::from_secs(seconds.parse().unwrap())
    };
    assert_eq!(granted(Duration::from_millis(1)), shortest);
    assert_eq!(granted(Duration::from_millis(2_001)), Duration::from_secs(3));
    assert_eq!(granted(Duration::MAX), longest);
}

/// The real clock, and how far it was turned on.
struct Ahead(Arc<AtomicU64>);

impl Clock for Ahead {
    fn now(&self) -> Instant {
        now() + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move { RealClock.sleep(duration).await })
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

fn validity_is_by_our_own_clock() {
    let server = Etcd::start();
    let ahead = Arc::new(AtomicU64::new(0));
    let location = Location::new(url(&server, "refs"), "/");
    let db = Store(open(&location, OpenMode::Create, Arc::new(Ahead(ahead.clone()))).unwrap().db);
    let held = lock(&db, "refs/a", 60, 5_000).unwrap();
    ahead.store(50_000, Ordering::Relaxed);
    assert!(held.is_valid());
    ahead.store(56_000, Ordering::Relaxed);
    assert!(!held.is_valid(), "a tenth of the lease is for clocks that differ");
    let far = refgate_core::Deadline::after(&Ahead(ahead), Duration::from_secs(5));
    block_on(held.renew(far)).unwrap();
    assert!(held.is_valid());
}

fn a_lock_outlives_its_store() {
    let server = Etcd::start();
    let db = store(&server);
    let held = lock(&db, "refs/a", 60, 5_000).unwrap();
    drop(db);
    block_on(held.renew(within(5_000))).unwrap();
    assert!(held.is_valid());
    release(held);
    assert!(keys(&server, "refs/lock/").is_empty());
}

fn locks_bind_only_those_who_ask() {
    let server = Etcd::start();
    let (db, other) = (store(&server), store(&server));
    let held = lock(&db, "refs/a", 60, 5_000).unwrap();
    assert_eq!(other.cas("p", "refs/a", Expected::Absent, at(1)), Outcome::Applied);
    assert_eq!(other.remove_project("p"), 1);
    let fenced = edit("refs/a", Expected::Absent, at(2)).fenced(held.token().clone());
    assert_eq!(cas_within(&db, 5_000, &[fenced]).unwrap(), [Outcome::Applied], "the lock stays");
    release(held);
}
