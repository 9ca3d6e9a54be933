//! What needs a hand inside the thread: a full disk, and a deadline that passes while a commit is under way.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use refgate_core::{BoxFuture, Clock, Deadline, Project, RefDbError, RefDbErrorKind, RefName};

use tokio::sync::Notify;

use super::create::create_if_missing;
use super::file::StoreFile;
use super::ops;
use super::worker::{Call, Worker, one};

/// Time stands still until a test says that every deadline has passed.
struct TestClock {
    start: Instant,
    late: Notify,
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.start
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.late.notified())
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

#[allow(clippy::disallowed_methods)]
fn real_now() -> Instant {
    Instant::now()
}

struct Bench {
    worker: Worker,
    clock: Arc<TestClock>,
    _dir: tempfile::TempDir,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.sqlite");
    create_if_missing(&path, false).unwrap();
    let clock = Arc::new(TestClock { start: real_now(), late: Notify::new() });
    let file = Arc::new(StoreFile::check(&path, false).unwrap());
    Bench { worker: Worker::start("test", file, clock.clone()).unwrap(), clock, _dir: dir }
}

fn call<T: Send + 'static>(
    bench: &Bench,
    work: impl FnOnce(&mut Call<'_>) -> Result<T, RefDbError> + Send + 'static,
) -> Result<T, RefDbError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(bench.worker.call(Deadline::after(&*bench.clock, Duration::from_secs(60)), work))
}

fn sites(bench: &Bench) -> Vec<String> {
    call(bench, ops::sites).unwrap()
}

#[test]
fn a_full_disk_leaves_nothing_half_done() {
    let bench = bench();
    call(&bench, |c| ops::add_site(c, "a")).unwrap();
    call(&bench, |c| {
        c.read(|tx| Ok(tx.pragma_query_value(None, "max_page_count", |_| Ok(()))?))?;
        c.read(|tx| Ok(tx.query_row("PRAGMA max_page_count = 8", [], |_| Ok(()))?))
    })
    .unwrap();
    let e = call(&bench, |c| {
        c.write(|tx| {
            for n in 0..10_000 {
                tx.execute("INSERT INTO site (name) VALUES (?1)", [format!("site-{n}")])?;
            }
            Ok(((), true))
        })
    })
    .unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Unavailable);
    assert!(e.message.contains("the disk is full, nothing was written"), "{e}");
    assert_eq!(sites(&bench), ["a"]);
    call(&bench, |c| ops::add_site(c, "b")).unwrap();
    assert_eq!(sites(&bench), ["a", "b"], "the connection lives on");
}

#[test]
fn a_deadline_decides_by_whether_the_commit_had_started() {
    let bench = bench();
    for (committing, kind, what) in [
        (false, RefDbErrorKind::Unavailable, "nothing was written"),
        (true, RefDbErrorKind::Indeterminate, "may or may not have happened"),
    ] {
        let (release, held) = channel::<()>();
        let (done, finished) = channel();
        let clock = bench.clock.clone();
        let e = call(&bench, move |c| {
            let deadline_passes = || {
                clock.late.notify_one();
                held.recv().ok();
            };
            let result = c.write(|tx| {
                if !committing {
                    deadline_passes();
                }
                tx.execute("INSERT INTO site (name) VALUES (?1)", [committing.to_string()])?;
                Ok(((), true))
            });
            if committing {
                // Stands for a commit that takes too long: the answer comes after the deadline.
                deadline_passes();
            }
            done.send(result.is_ok()).ok();
            result
        })
        .unwrap_err();
        assert_eq!(e.kind, kind, "{e}");
        assert!(e.message.contains(what), "{e}");
        release.send(()).ok();
        assert_eq!(finished.recv().unwrap(), committing);
        assert_eq!(sites(&bench).contains(&committing.to_string()), committing);
    }
}

#[test]
fn neither_a_call_nor_the_end_waits_for_a_thread_that_is_stuck() {
    let bench = bench();
    // Stands for a read of a disk that hangs: nothing interrupts it.
    let (never, stuck) = channel::<()>();
    let clock = bench.clock.clone();
    let start = real_now();
    let e = call(&bench, move |_| {
        clock.late.notify_one();
        let _ = stuck.recv();
        Ok(())
    })
    .unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}");
    drop(bench);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // Only now it may go on.
    drop(never);
}

#[test]
fn a_statement_ends_when_nobody_waits_for_it_any_more() {
    let bench = bench();
    let endless = "WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    let (done, finished) = channel();
    let clock = bench.clock.clone();
    let e = call(&bench, move |c| {
        clock.late.notify_one();
        let result = c.read(|tx| Ok(tx.query_row(endless, [], |_| Ok(()))?));
        drop(done.send(result.clone()));
        result
    })
    .unwrap_err();
    assert!(e.message.contains("no answer by the deadline"), "{e}");
    let e = finished.recv_timeout(Duration::from_secs(60)).expect("the statement ends").unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Unavailable);
    assert!(e.message.contains("no answer by the deadline"), "{e}");
    assert_eq!(sites(&bench), [""; 0], "the connection lives on");
}

#[test]
fn a_write_that_changed_nothing_is_not_applied() {
    // Every write is compared with what it changed. A trigger that swallows it is how a file would do that; it is neither
    // taken nor run, so here it stands for whatever else may.
    let bench = bench();
    call(&bench, |c| ops::add_site(c, "a")).unwrap();
    let e = call(&bench, |c| {
        c.record(|tx| Ok((tx.execute("UPDATE counter SET name = 'x' WHERE name = 'revision'", [])?, true)))
    })
    .unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Corrupt, "{e}");
    assert_eq!(sites(&bench), ["a"]);
    for n in [0, 2] {
        assert!(one(n).is_err());
    }
    assert!(one(1).is_ok());
}

#[test]
fn a_thread_that_died_is_an_error_and_no_hang() {
    let bench = bench();
    for _ in 0..2 {
        let e = call(&bench, |_| -> Result<(), RefDbError> { panic!("on purpose") }).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Unavailable);
        assert!(e.message.contains("its thread ended"), "{e}");
    }
}

/// Not a benchmark: a bound that a quadratic or unprepared read would break by far.
#[test]
fn a_hundred_thousand_refs_are_read_in_one_transaction() {
    let bench = bench();
    let refs: Vec<RefName> = (0..100_000)
        .map(|n| RefName::new(format!("refs/changes/{:02}/{n}/meta", n % 100)).unwrap())
        .collect();
    let project = Project::new("p").unwrap();
    let start = real_now();
    let found = call(&bench, move |c| ops::get_many(c, &project, &refs)).unwrap();
    assert_eq!(found.len(), 100_000);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
