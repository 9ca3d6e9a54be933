//! Servers that stop, die and come back, and requests and answers that get lost on the way.

use std::sync::Arc;
use std::thread;

use refgate_core::{Edit, Entry, Expected, GlobalRef, Outcome, RefDbError, RefDbErrorKind};
use refgate_refdb::OpenMode::{Create, Existing};
use refgate_servers::{Etcd, EtcdSetup};

use crate::common::*;
use crate::proxy::{Fault, Proxy};
use crate::support::*;

tests![
    a_server_that_is_down,
    every_call_answers_by_its_deadline,
    a_stopped_server_and_another_writer,
    a_late_write_never_lands_after_resolve,
    a_late_write_never_lands_after_the_next_write,
    a_write_that_was_dropped_never_lands_after_the_next_one,
    a_late_removal_of_a_project_never_lands,
    an_applied_write_whose_answer_is_lost,
    a_connection_that_breaks_in_a_write,
    a_call_that_ends_half_way_says_so,
    a_killed_server_comes_back,
    a_lost_session_is_made_anew,
    another_server_takes_over,
    a_server_without_space_takes_nothing_and_says_so,
];

/// A store behind a proxy, and one beside it.
fn behind(server: &Etcd) -> (Proxy, Store, Store) {
    let direct = store(server);
    let proxy = Proxy::new(&server.address());
    let db = Store(open_url(&proxy.url("refs"), Existing).unwrap().db);
    // So that the session is there and the write is the next thing that is sent.
    db.put("p", "refs/first", at(1));
    (proxy, db, direct)
}

fn set(r: &str, n: u64) -> [Edit; 1] {
    [edit(r, Expected::Absent, at(n))]
}

fn a_server_that_is_down() {
    let mut server = Etcd::start();
    let db = store(&server);
    db.put("p", "refs/a", at(1));
    server.kill();
    pause(100);
    let start = now();
    fails(cas_within(&db, 5_000, &set("refs/b", 1)), RefDbErrorKind::Unavailable, "nothing was written");
    let read = block_on(db.0.get_many(&project("p"), &[name("refs/a")], within(5_000)));
    fails(read, RefDbErrorKind::Unavailable, "no server can be reached");
    fails(lock(&db, "refs/a", 5, 5_000), RefDbErrorKind::Unavailable, "no server can be reached");
    assert!(start.elapsed().as_secs() < 2, "nobody waits for what is not there");
}

fn every_call_answers_by_its_deadline() {
    let server = Etcd::start();
    let db = store(&server);
    db.put("p", "refs/a", at(1));
    let held = lock(&db, "refs/a", 60, 5_000).unwrap();
    server.stop();
    let (p, n, edits) = (project("p"), name("refs/a"), set("refs/b", 2));
    let names: Vec<_> = (0..500).map(|i| name(&format!("refs/{i}"))).collect();
    let ms = 300;
    let kinds: [Option<RefDbErrorKind>; 12] = [
        answers_within(ms, || block_on(db.0.get_many(&p, &names, within(ms))).err()),
        answers_within(ms, || block_on(db.0.scan(&p, b"", None, 9, within(ms))).err()),
        answers_within(ms, || cas_within(&db, ms, &edits).err()),
        answers_within(ms, || block_on(db.0.resolve(&p, &edits, within(ms))).err()),
        answers_within(ms, || block_on(db.0.put(&p, &n, at(2), within(ms))).err()),
        answers_within(ms, || block_on(db.0.remove_ref(&p, &n, within(ms))).err()),
        answers_within(ms, || block_on(db.0.get_text(&p, &n, within(ms))).err()),
        answers_within(ms, || lock(&db, "refs/b", 5, ms).err()),
        answers_within(ms, || lock(&db, "refs/a", 5, ms).err()),
        answers_within(ms, || block_on(db.0.note_site("s", within(ms))).err()),
        answers_within(ms, || block_on(db.0.sites(within(ms))).err()),
        answers_within(ms, || block_on(held.renew(within(ms))).err()),
    ]
    .map(|e: Option<RefDbError>| e.map(|e| e.kind));
    // All of them read first, so certainly nothing was written.
    assert_eq!(kinds, [Some(RefDbErrorKind::Unavailable); 12]);
    // This one does not.
    let removed = answers_within(ms, || block_on(db.0.remove_project(&p, within(ms))));
    assert!(matches!(removed, Err(e) if e.kind != RefDbErrorKind::Corrupt));
    assert!(answers_within(ms, || block_on(held.release(within(ms)))).is_err());
    server.cont();
    // And it goes on without anybody's help.
    resolve(&db, &edits);
    db.put("p", "refs/a", at(3));
    assert_eq!(db.value("p", "refs/a"), at(3));
}

fn a_stopped_server_and_another_writer() {
    let server = Etcd::start();
    let (db, other) = (store(&server), store(&server));
    db.put("p", "refs/a", at(1));
    server.stop();
    let edits = [edit("refs/a", Expected::Exactly(at(1)), at(2))];
    let e = cas_within(&db, 400, &edits).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}");
    server.cont();
    assert_eq!(other.cas("p", "refs/a", Expected::Exactly(at(1)), at(3)), Outcome::Applied);
    assert_eq!(other.cas("p", "refs/a", Expected::Exactly(at(3)), at(1)), Outcome::Applied);
    pause(300);
    assert_eq!(db.value("p", "refs/a"), at(1));
    assert_eq!(db.superseded("p", "refs/a"), [oid(1), oid(3)]);
}

fn a_late_write_never_lands_after_resolve() {
    let server = Etcd::start();
    let (proxy, db, direct) = behind(&server);
    proxy.wait_for(&oid(2).to_string(), Fault::KeepRequest);
    let edits = set("refs/a", 2);
    let e = answers_within(400, || cas_within(&db, 400, &edits)).unwrap_err();
    proxy.hit();
    assert_eq!(e.kind, RefDbErrorKind::Indeterminate);
    assert!(e.message.contains("may or may not have happened"), "{e}");
    assert_eq!(resolve(&db, &edits), [mismatch(GlobalRef::Untracked)]);
    proxy.release();
    pause(300);
    // The ref is as the late write expects it: only its session keeps it out.
    assert_eq!(direct.value("p", "refs/a"), GlobalRef::Untracked);
    assert_eq!(db.cas("p", "refs/a", Expected::Absent, at(3)), Outcome::Applied);
}

fn a_late_write_never_lands_after_the_next_write() {
    let server = Etcd::start();
    let (proxy, db, direct) = behind(&server);
    proxy.wait_for(&oid(2).to_string(), Fault::KeepRequest);
    let e = cas_within(&db, 400, &set("refs/a", 2)).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Indeterminate);
    db.put("p", "refs/b", at(3));
    proxy.release();
    pause(300);
    assert_eq!(direct.value("p", "refs/a"), GlobalRef::Untracked);
    assert_eq!(keys(&server, "refs/session/").len(), 1, "the old one is gone");
}

fn a_write_that_was_dropped_never_lands_after_the_next_one() {
    let server = Etcd::start();
    let (proxy, db, direct) = behind(&server);
    proxy.wait_for(&oid(2).to_string(), Fault::KeepRequest);
    let (p, edits) = (project("p"), set("refs/a", 2));
    let mut write = Box::pin(db.0.compare_and_put(&p, &edits, refgate_core::Atomicity::Each, within(30_000)));
    block_on(async {
        let mut polls = 0;
        std::future::poll_fn(|cx| {
            polls += 1;
            assert!(write.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    });
    proxy.hit();
    drop(write);
    // Its connection is stuck; the call that notices it makes a new one necessary.
    assert!(cas_within(&db, 300, &set("refs/b", 4)).is_err());
    db.put("p", "refs/b", at(3));
    proxy.release();
    pause(300);
    assert_eq!(direct.value("p", "refs/a"), GlobalRef::Untracked);
}

fn a_late_removal_of_a_project_never_lands() {
    let server = Etcd::start();
    let (proxy, db, direct) = behind(&server);
    proxy.wait_for("refs/entry/gone//", Fault::KeepRequest);
    direct.put("gone", "refs/a", at(1));
    let removed = block_on(db.0.remove_project(&project("gone"), within(400)));
    fails(removed, RefDbErrorKind::Indeterminate, "read the refs again");
    resolve(&db, &[]);
    proxy.release();
    pause(300);
    assert_eq!(direct.value("gone", "refs/a"), at(1));
    assert_eq!(db.remove_project("gone"), 1);
}

fn an_applied_write_whose_answer_is_lost() {
    let server = Etcd::start();
    let (proxy, db, direct) = behind(&server);
    proxy.wait_for(&oid(2).to_string(), Fault::KeepAnswer);
    let edits = set("refs/a", 2);
    fails(cas_within(&db, 400, &edits), RefDbErrorKind::Indeterminate, "may or may not");
    assert_eq!(direct.value("p", "refs/a"), at(2));
    assert_eq!(resolve(&db, &edits), [Outcome::Applied]);
    proxy.release();
    // Somebody else goes on; the answer is about now.
    assert_eq!(direct.cas("p", "refs/a", Expected::Exactly(at(2)), at(3)), Outcome::Applied);
    assert_eq!(resolve(&db, &edits), [mismatch(at(3))]);
}

fn a_connection_that_breaks_in_a_write() {
    let server = Etcd::start();
    for (n, fault) in [(2, Fault::Cut), (3, Fault::CutAnswer)] {
        let (proxy, db, _) = behind(&server);
        proxy.wait_for(&oid(n).to_string(), fault);
        let (edits, start) = (set(&format!("refs/{n}"), n), now());
        fails(cas_within(&db, 5_000, &edits), RefDbErrorKind::Indeterminate, "may or may not");
        assert!(start.elapsed().as_secs() < 2, "a broken connection is noticed at once");
        let expected = if fault == Fault::Cut { mismatch(GlobalRef::Untracked) } else { Outcome::Applied };
        assert_eq!(resolve(&db, &edits), [expected], "{fault:?}");
        db.put("p", "refs/after", at(n));
    }
}

fn a_call_that_ends_half_way_says_so() {
    let server = Etcd::start();
    let (proxy, db, direct) = behind(&server);
    // It is in the second transaction, which reads first.
    proxy.wait_for("refs/n150", Fault::KeepRequest);
    let edits: Vec<Edit> =
        (0..200).map(|i| edit(&format!("refs/n{i:03}"), Expected::Absent, at(i))).collect();
    let e = fails(cas_within(&db, 500, &edits), RefDbErrorKind::Unavailable, "only a part was written");
    assert!(!e.message.contains("nothing"), "{e}");
    assert_eq!(direct.value("p", "refs/n000"), at(0));
    assert_eq!(direct.value("p", "refs/n199"), GlobalRef::Untracked);
}

fn a_killed_server_comes_back() {
    let mut server = Etcd::start();
    let db = store(&server);
    assert_eq!(db.cas("p", "refs/a", Expected::Absent, at(1)), Outcome::Applied);
    let held = lock(&db, "refs/a", 60, 5_000).unwrap();
    server.kill();
    server.restart();
    assert_eq!(db.value("p", "refs/a"), at(1));
    let fenced = edit("refs/a", Expected::Exactly(at(1)), at(2)).fenced(held.token().clone());
    assert_eq!(cas_within(&db, 5_000, &[fenced]).unwrap(), [Outcome::Applied]);
    block_on(held.renew(within(5_000))).unwrap();
    assert!(held.is_valid());
    release(held);
    assert!(keys(&server, "refs/lock/").is_empty());
}

fn a_lost_session_is_made_anew() {
    let server = Etcd::start();
    let db = store(&server);
    db.put("p", "refs/a", at(1));
    let before = keys(&server, "refs/session/");
    let lease = before[0].trim_start_matches("refs/session/").to_owned();
    server.control(["lease", "revoke", &lease]);
    assert_eq!(db.cas("p", "refs/a", Expected::Exactly(at(1)), at(2)), Outcome::Applied);
    let after = keys(&server, "refs/session/");
    assert_eq!(after.len(), 1);
    assert_ne!(before, after);
    // Callers that begin together share one.
    server.control(["lease", "revoke", after[0].trim_start_matches("refs/session/")]);
    let db = Arc::new(db);
    let writers: Vec<_> = (0..8u64)
        .map(|i| {
            let db = db.clone();
            thread::spawn(move || db.put("p", &format!("refs/{i}"), at(i)))
        })
        .collect();
    writers.into_iter().for_each(|w| w.join().unwrap());
    assert_eq!(keys(&server, "refs/session/").len(), 1);
}

fn another_server_takes_over() {
    let server = Etcd::start();
    let (one, two) = (Proxy::new(&server.address()), Proxy::new(&server.address()));
    let closed = refgate_servers::free_port();
    let url = format!("etcd://127.0.0.1:{closed},{},{}/refs", one.address, two.address);
    let db = Store(open_url(&url, Create).unwrap().db);
    db.put("p", "refs/a", at(1));
    one.down();
    assert_eq!(db.value("p", "refs/a"), at(1));
    assert_eq!(db.cas("p", "refs/a", Expected::Exactly(at(1)), at(2)), Outcome::Applied);
    let held = lock(&db, "refs/a", 5, 5_000).unwrap();
    release(held);
    two.down();
    let read = block_on(db.0.get_many(&project("p"), &[name("refs/a")], within(3_000)));
    fails(read, RefDbErrorKind::Unavailable, "nothing was written");
}

fn a_server_without_space_takes_nothing_and_says_so() {
    let server = Etcd::start_with(EtcdSetup { quota: Some(4_000_000), ..EtcdSetup::default() });
    let db = store(&server);
    db.put("p", "refs/first", at(1));
    let (p, long) = (project("p"), Entry { value: at(1), superseded: (0..3_000).map(oid).collect() });
    let full = (0..200).find_map(|i| {
        let n = name(&format!("refs/{i}"));
        let wrote = block_on(db.0.swap_entry(&p, &n, &Entry::default(), &long, within(5_000)));
        wrote.err().map(|e| (e, n))
    });
    let (e, n) = full.expect("200 times 120 kB are more than there is");
    assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}");
    assert!(e.message.contains("out of space; compact, defragment"), "{e}");
    let e = fails(cas_within(&db, 5_000, &set("refs/b", 1)), RefDbErrorKind::Unavailable, "out of space");
    assert!(!e.message.contains("may or may not"), "{e}");
    fails(lock(&db, "refs/b", 5, 5_000), RefDbErrorKind::Unavailable, "out of space");
    assert_eq!(db.value("p", "refs/first"), at(1), "reading goes on");
    assert_eq!(db.value("p", &n.to_string()), GlobalRef::Untracked);
}
