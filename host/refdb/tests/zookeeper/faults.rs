//! Servers that stop, die and come back, and what can still land afterwards.

use std::sync::Arc;
use std::time::Duration;

use refgate_core::{Atomicity::Each, Deadline, Expected, GlobalRef, Outcome, RefDbErrorKind};
use refgate_servers::ZooKeeper;

use crate::common::*;
use crate::proxy::{MULTI, Proxy};
use crate::support::*;
use crate::{Needs::Server, Test};

pub const TESTS: &[Test] = &[
    ("a_write_that_timed_out_never_overtakes_a_later_one", Server, late_write),
    ("resolve_shuts_out_what_was_in_doubt", Server, resolve),
    ("a_write_that_was_not_sent_is_not_in_doubt", Server, not_sent),
    ("a_lost_answer_is_in_doubt_and_resolved", Server, lost_answer),
    ("a_lost_request_is_in_doubt_and_resolved", Server, lost_request),
    ("every_call_answers_by_its_deadline_when_the_server_is_stopped", Server, deadlines),
    ("a_dropped_write_does_not_land_after_the_next_one", Server, dropped_write),
    ("an_expired_session_is_replaced", Server, expiry),
    ("a_killed_server_loses_nothing_that_was_applied", Server, killed),
    ("who_is_shut_out_comes_back_as_somebody_else", Server, shut_out),
];

fn write_by(
    t: &Store,
    deadline: Deadline,
    expected: GlobalRef,
    new: GlobalRef,
) -> Result<Outcome, RefDbErrorKind> {
    let edits = [edit("refs/x", Expected::Exactly(expected), new)];
    block_on(t.0.compare_and_put(&project("p"), &edits, Each, deadline)).map(|o| o[0]).map_err(|e| e.kind)
}

/// As often as it leaves it open.
fn resolved(t: &Store, new: GlobalRef, ms: u64) -> Outcome {
    let edits = [edit("refs/x", Expected::Absent, new)];
    let end = within(ms);
    loop {
        match block_on(t.0.resolve(&project("p"), &edits, end)) {
            Ok(outcomes) => return outcomes[0],
            Err(e) => assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}"),
        }
        assert!(!end.left(&RealClock).is_zero(), "never resolved");
    }
}

/// A stopped server takes requests into its buffers, so that all of them could be done when it goes on.
fn late_write() {
    let (server, proxy, t) = behind_proxy();
    let stopping = server.clone();
    proxy.before(MULTI, move || stop(&stopping));
    assert_eq!(write_by(&t, within(300), at(1), at(2)), Err(RefDbErrorKind::Indeterminate));
    // The next ones find that there is no connection.
    for _ in 0..3 {
        let kind = write_by(&t, within(300), at(1), at(3)).unwrap_err();
        assert_eq!(kind, RefDbErrorKind::Unavailable, "nothing was sent");
    }
    pause(2_000);
    server.cont();
    let other = store_at(&server.address(), "");
    let before = other.value("p", "refs/x");
    assert!([at(1), at(2)].contains(&before), "{before:?}");
    assert_eq!(other.cas("p", "refs/x", Expected::Exactly(before), at(9)), Outcome::Applied);
    pause(3_000);
    assert_eq!(other.value("p", "refs/x"), at(9));
    assert_eq!(resolved(&t, at(2), 5_000), mismatch(at(9)));
    assert_eq!(t.cas("p", "refs/x", Expected::Exactly(at(9)), at(10)), Outcome::Applied);
}

fn resolve() {
    for round in 0..5 {
        let (server, proxy, t) = behind_proxy();
        let raw = Raw::new(&server);
        let stopping = server.clone();
        proxy.before(MULTI, move || stop(&stopping));
        assert_eq!(write_by(&t, within(200), at(1), at(2)), Err(RefDbErrorKind::Indeterminate));
        let outcome = std::thread::scope(|scope| {
            let resolving = scope.spawn(|| resolved(&t, at(2), 10_000));
            pause(300 * round);
            server.cont();
            resolving.join().unwrap()
        });
        let expected = if outcome == Outcome::Applied { at(2) } else { at(1) };
        assert_eq!(t.value("p", "refs/x"), expected, "{outcome:?}");
        pause(500);
        assert_eq!(t.value("p", "refs/x"), expected, "what resolve said stays true");
        let sessions = raw.children("/gerrit/multi-site-refgate/sessions");
        assert!(sessions.len() <= 1, "the old one is gone: {sessions:?}");
    }
}

fn not_sent() {
    let (mut server, t) = lab();
    t.put("p", "refs/x", at(1));
    server.kill();
    let start = now();
    assert_eq!(write_by(&t, within(5_000), at(1), at(2)), Err(RefDbErrorKind::Unavailable));
    assert!(start.elapsed() < Duration::from_secs(3), "a refused connection is known at once");
    let e = t.edits("p", &[edit("refs/x", Expected::Absent, at(2))], Each).unwrap_err();
    assert!(e.message.contains("nothing was written") && e.message.contains("is it running"), "{e}");
    server.restart();
    assert_eq!(t.value("p", "refs/x"), at(1));
    assert_eq!(write_by(&t, within(5_000), at(1), at(2)), Ok(Outcome::Applied));
}

/// All threads of a server stop, though not at the same moment.
fn stop(server: &ZooKeeper) {
    server.stop();
    pause(50);
}

fn behind_proxy() -> (Arc<ZooKeeper>, Proxy, Store) {
    let server = Arc::new(ZooKeeper::start());
    let proxy = Proxy::start(server.address());
    let t = store_at(&proxy.address, "");
    t.put("p", "refs/x", at(1));
    (server, proxy, t)
}

fn lost_answer() {
    let (_server, proxy, t) = behind_proxy();
    // The first write of a list is refused once, for it lacks directories.
    t.put("p", "refs/x", at(5));
    t.cas("p", "refs/x", Expected::Exactly(at(5)), at(1));
    proxy.cut_at(MULTI, true);
    assert_eq!(write_by(&t, within(5_000), at(1), at(2)), Err(RefDbErrorKind::Indeterminate));
    assert_eq!(resolved(&t, at(2), 5_000), Outcome::Applied);
    assert_eq!(t.superseded("p", "refs/x"), [oid(5), oid(1)]);
}

fn lost_request() {
    let (_server, proxy, t) = behind_proxy();
    proxy.cut_at(MULTI, false);
    assert_eq!(write_by(&t, within(5_000), at(1), at(2)), Err(RefDbErrorKind::Indeterminate));
    assert_eq!(resolved(&t, at(2), 5_000), mismatch(at(1)));
    assert_eq!(write_by(&t, within(5_000), at(1), at(2)), Ok(Outcome::Applied));
}

fn deadlines() {
    let (server, t) = lab();
    t.put("p", "refs/x", at(1));
    let held = lock(&t, "refs/x", 5_000).unwrap();
    server.stop();
    let (p, x) = (project("p"), name("refs/x"));
    let edits = [edit("refs/x", Expected::Exactly(at(1)), at(2))];
    let db = db(&t);
    for wait in [0, 30, 400] {
        let check = |what: &str, run: &dyn Fn() -> Option<RefDbErrorKind>| {
            let start = now();
            let kind = run();
            let late = start.elapsed().saturating_sub(Duration::from_millis(wait));
            // Twice the 50 ms that are promised: the machine has other things to do.
            assert!(late < Duration::from_millis(100), "{what} within {wait} ms: {late:?} late");
            assert!(kind.is_some(), "{what} has an answer from a stopped server");
        };
        let by = || within(wait);
        check("get_many", &|| {
            block_on(db.get_many(&p, std::slice::from_ref(&x), by())).err().map(|e| e.kind)
        });
        check("scan", &|| block_on(db.scan(&p, b"", None, 9, by())).err().map(|e| e.kind));
        check("compare_and_put", &|| {
            block_on(db.compare_and_put(&p, &edits, Each, by())).err().map(|e| e.kind)
        });
        check("resolve", &|| block_on(db.resolve(&p, &edits, by())).err().map(|e| e.kind));
        check("put", &|| block_on(db.put(&p, &x, at(3), by())).err().map(|e| e.kind));
        check("remove_ref", &|| block_on(db.remove_ref(&p, &x, by())).err().map(|e| e.kind));
        check("remove_project", &|| block_on(db.remove_project(&p, by())).err().map(|e| e.kind));
        check("get_text", &|| block_on(db.get_text(&p, &x, by())).err().map(|e| e.kind));
        check("lock", &|| block_on(db.lock(&p, &x, Duration::ZERO, by())).err().map(|e| e.kind));
        check("renew", &|| block_on(held.renew(by())).err().map(|e| e.kind));
        check("sites", &|| block_on(db.sites(by())).err().map(|e| e.kind));
        check("note_site", &|| block_on(db.note_site("s", by())).err().map(|e| e.kind));
    }
    let start = now();
    drop(held);
    drop(t);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?} to let go", start.elapsed());
}

fn dropped_write() {
    let (server, proxy, t) = behind_proxy();
    let stopping = server.clone();
    proxy.before(MULTI, move || stop(&stopping));
    block_on(async {
        let edits = [edit("refs/x", Expected::Exactly(at(1)), at(2))];
        let p = project("p");
        let write = t.0.compare_and_put(&p, &edits, Each, within(10_000));
        let late = async {
            use refgate_core::Clock;
            RealClock.sleep(Duration::from_millis(200)).await;
        };
        tokio::select! { _ = write => panic!("a stopped server"), () = late => {} }
    });
    let next = std::thread::scope(|scope| {
        let next = scope.spawn(|| t.put("p", "refs/x", at(3)));
        pause(300);
        server.cont();
        next.join()
    });
    next.unwrap();
    for _ in 0..10 {
        pause(100);
        assert_eq!(t.value("p", "refs/x"), at(3));
    }
}

fn expiry() {
    let (server, t) = lab();
    t.put("p", "refs/x", at(1));
    server.stop();
    pause(5_000);
    server.cont();
    until("reads go on", || block_on(t.0.get_many(&project("p"), &[name("refs/x")], within(1_000))).is_ok());
    assert_eq!(t.value("p", "refs/x"), at(1));
    until("writes go on", || write_by(&t, within(2_000), at(1), at(1)).is_ok());
    assert_eq!(t.cas("p", "refs/x", Expected::Exactly(at(1)), at(2)), Outcome::Applied);
}

fn killed() {
    let (mut server, t) = lab();
    for n in 1..=3 {
        t.put("p", "refs/x", at(n));
        server.kill();
        let e = block_on(t.0.get_many(&project("p"), &[name("refs/x")], within(5_000))).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}");
        server.restart();
        assert_eq!(t.value("p", "refs/x"), at(n));
    }
}

fn shut_out() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    t.put("p", "refs/x", at(1));
    let dir = "/gerrit/multi-site-refgate/sessions";
    let session = raw.children(dir).remove(0);
    raw.delete(&format!("{dir}/{session}"));
    assert_eq!(t.cas("p", "refs/x", Expected::Exactly(at(1)), at(2)), Outcome::Applied);
    assert_ne!(raw.children(dir), [session]);
}
