//! Locks: who gets them, how they end, and what a write under one is worth afterwards.

use std::task::{Context, Waker};
use std::time::Duration;

use refgate_core::{
    Atomicity::{AllOrNothing, Each},
    Expected, LockToken, Outcome, RefDbErrorKind,
};

use crate::common::*;
use crate::proxy::Proxy;
use crate::support::*;
use crate::{Needs::Server, Test};

pub const TESTS: &[Test] = &[
    ("one_holds_and_the_next_one_times_out_without_a_trace", Server, exclusive),
    ("those_who_wait_are_served_in_order", Server, fair),
    ("the_node_is_what_curator_makes", Server, node),
    ("a_cancelled_attempt_leaves_nothing", Server, cancelled),
    ("dropping_gives_back", Server, dropped),
    ("what_nobody_renews_is_given_back_after_the_lease", Server, lease),
    ("a_write_under_a_lost_lock_is_fenced", Server, fences),
    ("a_lost_session_loses_the_lock", Server, lost_session),
    ("a_broken_connection_does_not", Server, broken_connection),
];

const DIR: &str = "/gerrit/multi-site/locks/p/refs/heads/x";

fn exclusive() {
    let (server, t) = lab();
    let (raw, other) = (Raw::new(&server), store_at(&server.address(), ""));
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    assert!(held.is_valid());
    for t in [&t, &other] {
        let start = now();
        let e = lock(t, "refs/heads/x", 600).err().unwrap();
        assert_eq!(e.kind, RefDbErrorKind::LockTimeout, "{e}");
        assert!(start.elapsed() > Duration::from_millis(400) && start.elapsed() < Duration::from_millis(800));
        until("only the holder is left", || raw.children(DIR).len() == 1);
    }
    let elsewhere = lock(&other, "refs/heads/y", 5_000).unwrap();
    block_on(held.renew(within(5_000))).unwrap();
    assert!(held.is_valid());
    let first = held.token().fence;
    release(held);
    assert_eq!(raw.children(DIR), [""; 0]);
    let again = lock(&other, "refs/heads/x", 5_000).unwrap();
    assert!(again.token().fence > first, "fences grow");
    release(again);
    release(elsewhere);
}

fn fair() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (address, order) = (server.address(), &order);
            scope.spawn(move || {
                let t = store_at(&address, "");
                let held = lock(&t, "refs/heads/x", 15_000).unwrap();
                assert!(held.is_valid(), "however long it waited");
                order.lock().unwrap().push((n, held.token().fence));
                release(held);
            });
            until("it waits", || raw.children(DIR).len() == n + 2);
        }
        // Longer than a lease, so that those who wait need a new proof of their session.
        for _ in 0..5 {
            pause(500);
            block_on(held.renew(within(5_000))).unwrap();
        }
        release(held);
    });
    let order = order.into_inner().unwrap();
    assert_eq!(order.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(order.is_sorted_by_key(|(_, fence)| *fence));
}

fn node() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    let name = raw.children(DIR).remove(0);
    assert_eq!(name, held.token().holder);
    let (id, number) = name.strip_prefix("_c_").unwrap().split_once("-lock-").unwrap();
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert!(number.len() == 10 && number.bytes().all(|b| b.is_ascii_digit()), "{number}");
    let (data, stat) = raw.get(&hold_path(held.token())).unwrap();
    assert_eq!(data, "127.0.0.1");
    assert!(stat.ephemeral_owner > 0);
    assert_eq!(stat.czxid, held.token().fence as i64);
    release(held);
}

fn cancelled() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    let (p, x) = (project("p"), name("refs/heads/x"));
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    for wait in [0, 1, 5, 20, 100] {
        block_on(async {
            let mut attempt = Box::pin(t.0.lock(&p, &x, Duration::ZERO, within(10_000)));
            let mut context = Context::from_waker(Waker::noop());
            assert!(attempt.as_mut().poll(&mut context).is_pending());
            use refgate_core::Clock;
            RealClock.sleep(Duration::from_millis(wait)).await;
            assert!(attempt.as_mut().poll(&mut context).is_pending());
        });
        // It may only arrive after this.
        pause(100);
        until("only the holder is left", || raw.children(DIR).len() == 1);
    }
    assert!(held.is_valid());
    release(held);
}

fn dropped() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    drop(lock(&t, "refs/heads/x", 5_000).unwrap());
    until("it is given back", || raw.children(DIR).is_empty());
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    drop(t);
    assert!(held.is_valid(), "a lock outlives its store");
    block_on(held.renew(within(5_000))).unwrap();
    drop(held);
    until("it is given back", || raw.children(DIR).is_empty());
}

fn lease() {
    let (server, t) = lab();
    let other = store_at(&server.address(), "");
    let (shortest, longest) = t.0.capabilities().lease.unwrap();
    assert_eq!((shortest, longest), (Duration::from_secs(2), Duration::from_secs(2)));
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    let start = now();
    let next = lock(&other, "refs/heads/x", 10_000).unwrap();
    assert!(start.elapsed() > Duration::from_millis(1_500), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(!held.is_valid() && next.is_valid());
    let e = block_on(held.renew(within(5_000))).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::LeaseLost, "{e}");
    release(held);
    assert!(next.is_valid(), "releasing a lost lock takes nothing from the next holder");
    release(next);
}

fn fences() {
    let (server, t) = lab();
    let other = store_at(&server.address(), "");
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    let token = held.token().clone();
    let under = |r: &str, token: &LockToken, n| edit(r, Expected::Absent, at(n)).fenced(token.clone());
    assert_eq!(t.edits("p", &[under("refs/heads/x", &token, 1)], Each).unwrap(), [Outcome::Applied]);
    assert_eq!(other.edits("p", &[under("refs/heads/o", &token, 1)], Each).unwrap(), [Outcome::Applied]);
    release(held);
    let next = lock(&other, "refs/heads/x", 5_000).unwrap();
    let plain = edit("refs/heads/z", Expected::Absent, at(1));
    let both = [under("refs/heads/y", &token, 1), plain.clone()];
    assert_eq!(t.edits("p", &both, AllOrNothing).unwrap()[0], Outcome::Fenced);
    assert_eq!(t.edits("p", &both, Each).unwrap(), [Outcome::Fenced, Outcome::Applied]);
    assert_eq!(t.value("p", "refs/heads/y"), refgate_core::GlobalRef::Untracked);
    let good = [under("refs/heads/y", next.token(), 1), under("refs/heads/w", &token, 1)];
    assert_eq!(t.edits("p", &good, Each).unwrap(), [Outcome::Applied, Outcome::Fenced]);
    for holder in ["", "../../x", "no-such-hold"] {
        let forged = LockToken { holder: holder.into(), ..token.clone() };
        assert_eq!(t.edits("p", &[under("refs/heads/v", &forged, 1)], Each).unwrap(), [Outcome::Fenced]);
    }
    release(next);
}

fn lost_session() {
    let (server, t) = lab();
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    server.stop();
    pause(1_200);
    assert!(!held.is_valid(), "half of the lease is over");
    pause(3_000);
    server.cont();
    let other = store_at(&server.address(), "");
    let next = lock(&other, "refs/heads/x", 10_000).unwrap();
    assert!(!held.is_valid() && next.is_valid());
    let e = block_on(held.renew(within(5_000))).unwrap_err();
    assert!(matches!(e.kind, RefDbErrorKind::LeaseLost), "{e}");
    drop(next);
    let again = lock(&t, "refs/heads/x", 10_000).unwrap();
    assert!(again.is_valid(), "the store has a new session by itself");
}

fn broken_connection() {
    let (server, _) = lab();
    let proxy = Proxy::start(server.address());
    let t = store_at(&proxy.address, "");
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    proxy.cut();
    until("it is held again", || block_on(held.renew(within(500))).is_ok() && held.is_valid());
    t.put("p", "refs/heads/x", at(1));
    proxy.cut();
    assert_eq!(t.value("p", "refs/heads/x"), at(1), "reads go on at once");
    until("it is held again", || block_on(held.renew(within(500))).is_ok());
    release(held);
}
