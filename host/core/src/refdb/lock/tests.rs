//! Many locks at once, and a lock that is kept alive.

use std::sync::atomic::{AtomicU32, Ordering};

use super::super::testing::*;
use super::*;

const LEASE: Duration = Duration::from_secs(12);

async fn is_free(db: &RefDb, ref_name: &str) -> bool {
    match db.lock(&project(), &name(ref_name), LEASE, within(Duration::ZERO)).await {
        Ok(lock) => {
            lock.release(within(SECOND)).await.unwrap();
            true
        }
        Err(e) => {
            assert_eq!(e.kind, RefDbErrorKind::LockTimeout);
            false
        }
    }
}

#[test]
fn the_first_in_order_is_waited_for_before_any_other_is_taken() {
    run(async {
        let db = db();
        let first = db.lock(&project(), &name("refs/a"), LEASE, within(SECOND)).await.unwrap();
        let waiting = {
            let db = db.clone();
            tokio::spawn(async move {
                let refs = [name("refs/c"), name("refs/a"), name("refs/b"), name("refs/c")];
                lock_many(&db, &project(), &refs, LEASE, within(10 * SECOND)).await
            })
        };
        pass(SECOND).await;
        assert!(is_free(&db, "refs/b").await && is_free(&db, "refs/c").await);
        drop(first);
        let locks = waiting.await.unwrap().unwrap();
        let names: Vec<String> = locks.iter().map(|l| l.token().name.to_string()).collect();
        assert_eq!(names, ["refs/a", "refs/b", "refs/c"], "each once");
        assert!(!is_free(&db, "refs/b").await);
    });
}

#[test]
fn opposite_orders_never_wait_for_each_other() {
    run(async {
        let db = db();
        let tasks: Vec<_> = [["refs/a", "refs/b"], ["refs/b", "refs/a"]]
            .into_iter()
            .map(|order| {
                let db = db.clone();
                tokio::spawn(async move {
                    for _ in 0..50 {
                        let refs = order.map(name);
                        let locks = lock_many(&db, &project(), &refs, LEASE, within(10 * SECOND)).await;
                        pass(Duration::from_millis(3)).await;
                        for lock in locks.unwrap() {
                            lock.release(within(SECOND)).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn after_a_failure_nothing_stays_locked() {
    run(async {
        let db = db();
        let held = db.lock(&project(), &name("refs/b"), LEASE, within(SECOND)).await.unwrap();
        let refs = [name("refs/a"), name("refs/b"), name("refs/c")];
        let e = lock_many(&db, &project(), &refs, LEASE, within(SECOND)).await.err().unwrap();
        assert_eq!(e.kind, RefDbErrorKind::LockTimeout);
        assert!(is_free(&db, "refs/a").await && is_free(&db, "refs/c").await);
        assert!(held.is_valid());
    });
}

#[test]
fn a_lease_that_the_wait_outlasts_is_told() {
    run(async {
        let db = db();
        let held = db.lock(&project(), &name("refs/b"), 3 * SECOND, within(SECOND)).await.unwrap();
        let refs = [name("refs/a"), name("refs/b")];
        let e = lock_many(&db, &project(), &refs, SECOND, within(10 * SECOND)).await.err().unwrap();
        assert_eq!(e.kind, RefDbErrorKind::LeaseLost);
        assert!(e.message.contains("`refs/a` in `p`"), "{e}");
        assert!(is_free(&db, "refs/b").await);
        assert!(!held.is_valid());
    });
}

#[test]
fn a_lock_lives_as_long_as_the_work_under_it() {
    run(async {
        let db = db();
        let lock = db.lock(&project(), &name("refs/a"), LEASE, within(SECOND)).await.unwrap();
        let done = while_renewed(&*lock, LEASE, &PausedClock, async {
            for _ in 0..100 {
                pass(SECOND).await;
                assert!(lock.is_valid());
            }
            7
        });
        assert_eq!(done.await, 7);
        pass(LEASE).await;
        assert!(!lock.is_valid(), "nobody renews it any more");
    });
}

/// A lock whose renewal takes its whole time and fails, `failures` times.
struct Flaky {
    lock: Box<dyn RefLock>,
    failures: AtomicU32,
}

impl RefLock for Flaky {
    fn token(&self) -> &LockToken {
        self.lock.token()
    }
    fn is_valid(&self) -> bool {
        self.lock.is_valid()
    }
    fn renew(&self, deadline: Deadline) -> BoxFuture<'_, Result<(), RefDbError>> {
        Box::pin(async move {
            if self.failures.load(Ordering::Relaxed) == 0 {
                return self.lock.renew(deadline).await;
            }
            self.failures.fetch_sub(1, Ordering::Relaxed);
            pass(deadline.left(&PausedClock)).await;
            Err(RefDbError::new(RefDbErrorKind::Unavailable, "not now"))
        })
    }
    fn release(self: Box<Self>, deadline: Deadline) -> BoxFuture<'static, Result<(), RefDbError>> {
        self.lock.release(deadline)
    }
}

#[test]
fn one_failed_renewal_is_made_good_and_a_lost_lease_does_not_stop_the_work() {
    run(async {
        for (failures, kept) in [(1, true), (2, false)] {
            let db = db();
            let lock = db.lock(&project(), &name("refs/a"), LEASE, within(SECOND)).await.unwrap();
            let lock = Flaky { lock, failures: AtomicU32::new(failures) };
            while_renewed(&lock, LEASE, &PausedClock, pass(3 * LEASE)).await;
            assert_eq!(lock.is_valid(), kept, "{failures} failures");
            assert_eq!(is_free(&db, "refs/a").await, !kept);
        }
    });
}

#[test]
fn no_lease_is_no_busy_loop() {
    run(async {
        let db = db();
        let lock = db.lock(&project(), &name("refs/a"), Duration::ZERO, within(SECOND)).await.unwrap();
        while_renewed(&*lock, Duration::ZERO, &PausedClock, pass(Duration::from_millis(50))).await;
    });
}
