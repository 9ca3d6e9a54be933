//! Locks in a real file, with a time that passes only while somebody waits for a lock.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use refgate_core::refdb::{Administered, Locks, Write};
use refgate_core::{Atomicity, Edit, Expected, GlobalRef, Oid, Outcome, Store};

use super::*;
use crate::sqlite::SqliteRefDb;
use crate::sqlite::create::create_if_missing;
use crate::sqlite::file::StoreFile;

/// A pause for a lock takes no time and moves the clock; whoever waits for a deadline waits until it has been reached.
pub(in crate::sqlite) struct StepClock {
    start: Instant,
    passed: Mutex<Duration>,
}

impl StepClock {
    #[expect(clippy::disallowed_methods, reason = "an instant can be had from nowhere else; it stands still")]
    pub(in crate::sqlite) fn new() -> StepClock {
        StepClock { start: Instant::now(), passed: Mutex::default() }
    }
    fn passed(&self) -> Duration {
        *self.passed.lock().unwrap()
    }
    fn pass(&self, time: Duration) {
        *self.passed.lock().unwrap() += time;
    }
}

impl Clock for StepClock {
    fn now(&self) -> Instant {
        self.start + self.passed()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        let until = self.passed() + duration;
        Box::pin(async move {
            if duration <= PAUSE.1 {
                self.pass(duration);
            }
            poll_fn(|_| if self.passed() >= until { Poll::Ready(()) } else { Poll::Pending }).await;
        })
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

pub(in crate::sqlite) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);
/// The boot was before the tests began.
const BOOT: Duration = Duration::from_secs(1000);

struct Bench {
    clock: Arc<StepClock>,
    db: SqliteRefDb,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(StepClock::new());
        create_if_missing(&dir.path().join("r.sqlite"), false).unwrap();
        Bench { db: open(dir.path(), &clock), clock, dir }
    }
    fn within(&self, time: Duration) -> Deadline {
        Deadline::after(&*self.clock, time)
    }
    fn lock_in(&self, db: &SqliteRefDb, wait: Duration) -> Result<Box<dyn RefLock>, RefDbErrorKind> {
        block_on(db.lock(&project(), &name("refs/a"), LEASE, self.within(wait))).map_err(|e| e.kind)
    }
    fn lock(&self, wait: Duration) -> Result<Box<dyn RefLock>, RefDbErrorKind> {
        self.lock_in(&self.db, wait)
    }
    fn fenced(&self, token: &LockToken, to: u8) -> Outcome {
        let to = GlobalRef::At(Oid::from_bytes(&[to; 20]).unwrap());
        let edit = Edit::new(name("refs/x"), Expected::Absent, to).fenced(token.clone());
        let writes = [Write::from(&edit)];
        let written = self.db.write(&PROJECT, &writes, Atomicity::Each, self.within(SECOND));
        block_on(written).unwrap().remove(0).into()
    }
    /// Rows of locks, after all that was left to be done.
    fn rows(&self) -> i64 {
        let count = |call: &mut Call<'_>| {
            call.write(|tx| Ok((tx.query_row("SELECT count(*) FROM lock", [], |r| r.get(0))?, false)))
        };
        // The first may put more into the queue by dropping what nobody took.
        block_on(self.db.writer.call(self.within(SECOND), count)).unwrap();
        block_on(self.db.writer.call(self.within(SECOND), count)).unwrap()
    }
}

fn open(dir: &std::path::Path, clock: &Arc<StepClock>) -> SqliteRefDb {
    let file = StoreFile::check(&dir.join("r.sqlite"), false).unwrap();
    let boot = clock.clone();
    let machine = Machine::with_clock(move || BOOT + boot.passed());
    SqliteRefDb::start(file, machine, clock.clone()).unwrap()
}

fn project() -> Project {
    Project::new("p").unwrap()
}

fn name(name: &str) -> RefName {
    RefName::new(name).unwrap()
}

#[test]
fn a_lock_has_one_holder_and_a_waiter_leaves_nothing() {
    let b = Bench::new();
    let other = open(b.dir.path(), &b.clock);
    let held = b.lock(SECOND).unwrap();
    let before = b.clock.passed();
    assert_eq!(b.lock_in(&other, SECOND).err(), Some(RefDbErrorKind::LockTimeout));
    let waited = b.clock.passed() - before;
    assert!((SECOND - PAUSE.1..=SECOND).contains(&waited), "{waited:?}");
    assert_eq!(b.rows(), 1);
    assert_eq!(held.token().name, name("refs/a"));
    let elsewhere = Project::new("p/sub").unwrap();
    let next = block_on(other.lock(&elsewhere, &name("refs/a"), LEASE, b.within(SECOND))).unwrap();
    block_on(next.release(b.within(SECOND))).unwrap();
    block_on(held.release(b.within(SECOND))).unwrap();
    assert_eq!(b.rows(), 0);
    assert!(b.lock_in(&other, SECOND).is_ok());
}

#[test]
fn every_hold_has_a_higher_fence_also_after_the_file_was_closed() {
    let mut b = Bench::new();
    let mut last = 0;
    for round in 0..6 {
        if round == 3 {
            b.db = open(b.dir.path(), &b.clock);
        }
        let lock = b.lock(SECOND).unwrap();
        assert!(lock.token().fence > last);
        last = lock.token().fence;
        block_on(lock.release(b.within(SECOND))).unwrap();
    }
}

#[test]
fn after_its_lease_a_holder_has_nothing_and_takes_nothing() {
    let b = Bench::new();
    let old = b.lock(SECOND).unwrap();
    let restored = LockToken { holder: "hold of a file that was put back".to_owned(), ..old.token().clone() };
    assert_eq!(b.fenced(&restored, 1), Outcome::Fenced, "fences count anew there");
    assert_eq!(b.fenced(old.token(), 1), Outcome::Applied);
    let start = b.clock.passed();
    let new = b.lock(2 * LEASE).unwrap();
    let waited = b.clock.passed() - start;
    assert!((LEASE..LEASE + 2 * PAUSE.1).contains(&waited), "{waited:?}");
    assert!(!old.is_valid() && new.is_valid());
    assert_eq!(b.fenced(old.token(), 2), Outcome::Fenced);
    assert!(matches!(b.fenced(new.token(), 2), Outcome::Mismatch { .. }));
    let e = block_on(old.renew(b.within(SECOND))).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::LeaseLost);
    assert!(e.message.contains("`refs/a` in `p`"), "{e}");
    block_on(old.release(b.within(SECOND))).unwrap();
    assert_eq!(b.rows(), 1, "a late release takes nothing from the next holder");
    assert!(new.is_valid());
}

#[test]
fn a_lease_that_ran_out_is_over_even_when_nobody_came() {
    let b = Bench::new();
    let held = b.lock(SECOND).unwrap();
    b.clock.pass(LEASE - MARGIN);
    assert!(!held.is_valid(), "with a margin");
    assert_eq!(b.fenced(held.token(), 1), Outcome::Applied, "the store needs none");
    b.clock.pass(MARGIN);
    assert!(matches!(b.fenced(held.token(), 1), Outcome::Fenced));
    assert_eq!(block_on(held.renew(b.within(SECOND))).unwrap_err().kind, RefDbErrorKind::LeaseLost);
}

#[test]
fn renewing_begins_the_lease_anew_and_leases_are_clamped() {
    let b = Bench::new();
    let held = b.lock(SECOND).unwrap();
    for _ in 0..4 {
        b.clock.pass(LEASE - SECOND);
        assert!(held.is_valid());
        block_on(held.renew(b.within(SECOND))).unwrap();
    }
    drop(held);
    assert_eq!(b.rows(), 0);
    let short = block_on(b.db.lock(&project(), &name("refs/s"), Duration::ZERO, b.within(SECOND))).unwrap();
    let long = block_on(b.db.lock(&project(), &name("refs/l"), Duration::MAX, b.within(SECOND))).unwrap();
    assert!(short.is_valid() && long.is_valid());
    b.clock.pass(LEASE);
    assert!(!short.is_valid() && long.is_valid());
    b.clock.pass(super::LEASE.1);
    assert!(!long.is_valid());
}

#[test]
fn a_dropped_lock_and_a_dropped_attempt_leave_nothing() {
    let b = Bench::new();
    drop(b.lock(SECOND).unwrap());
    assert_eq!(b.rows(), 0);
    // Wherever the attempt is when its caller goes away.
    let (p, a) = (project(), name("refs/a"));
    let mut left_at_once = 0;
    for polls in 0..200 {
        let mut attempt = Box::pin(b.db.lock(&p, &a, LEASE, b.within(SECOND)));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls % 20 {
            match attempt.as_mut().poll(&mut context) {
                Poll::Ready(lock) => {
                    // Or no lock, where that of the round before is not back yet.
                    drop(lock);
                    attempt = Box::pin(b.db.lock(&p, &a, LEASE, b.within(SECOND)));
                }
                Poll::Pending => std::thread::yield_now(),
            }
        }
        drop(attempt);
        left_at_once += b.rows();
    }
    assert_eq!(left_at_once, 0);
    assert!(b.lock(Duration::from_millis(500)).is_ok());
}

#[test]
fn a_grant_that_nobody_waits_for_any_more_is_given_back() {
    for is_granted in [false, true] {
        let b = Bench::new();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let mut attempt = Box::pin(b.db.lock(&PROJECT, &REF, LEASE, b.within(SECOND)));
        // The thread of the writer stands still, so that the attempt is in its queue after these polls.
        b.db.writer.post(move |_| held.recv().unwrap_or_default());
        for _ in 0..3 {
            assert!(attempt.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            block_on(b.db.sites(b.within(SECOND))).unwrap();
        }
        if is_granted {
            release.send(()).unwrap();
            assert_eq!(b.rows(), 1, "the answer is there, and nobody has looked at it");
            drop(attempt);
        } else {
            drop(attempt);
            release.send(()).unwrap();
        }
        assert_eq!(b.rows(), 0);
    }
}

#[test]
fn a_lock_that_outlives_its_store_is_given_back() {
    let mut b = Bench::new();
    let held = b.lock(SECOND).unwrap();
    b.db = open(b.dir.path(), &b.clock);
    assert_eq!(b.rows(), 1);
    block_on(held.renew(b.within(SECOND))).unwrap();
    drop(held);
    assert!(b.lock(SECOND).is_ok());
}

#[test]
fn removing_a_project_keeps_its_locks() {
    let b = Bench::new();
    let held = b.lock(SECOND).unwrap();
    assert_eq!(b.fenced(held.token(), 1), Outcome::Applied);
    assert_eq!(block_on(b.db.remove_project(&project(), b.within(SECOND))).unwrap(), 1);
    assert_eq!((b.rows(), b.fenced(held.token(), 1)), (1, Outcome::Applied));
}

#[test]
fn a_reboot_ends_every_lease() {
    let b = Bench::new();
    let held = b.lock(SECOND).unwrap();
    let before_the_boot = |call: &mut Call<'_>| {
        call.write(|tx| Ok((tx.execute("UPDATE lock SET owner = 'old/' || substr(owner, 38)", [])?, true)))
    };
    block_on(b.db.writer.call(b.within(SECOND), before_the_boot)).unwrap();
    assert_eq!(b.fenced(held.token(), 1), Outcome::Fenced);
    let start = b.clock.passed();
    assert!(b.lock(SECOND).is_ok());
    assert_eq!(b.clock.passed(), start, "at once");
}

static PROJECT: std::sync::LazyLock<Project> = std::sync::LazyLock::new(project);
static REF: std::sync::LazyLock<RefName> = std::sync::LazyLock::new(|| name("refs/a"));
