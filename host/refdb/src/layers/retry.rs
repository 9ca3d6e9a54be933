//! Repeats what certainly did nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{Rng, RngExt};
use refgate_core::refdb::{Layer, Operation};
use refgate_core::{BoxFuture, Clock, Deadline, RefDbError, RefDbErrorKind};

/// How often, and with which pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The longest first pause. It doubles with every further one.
    pub first_pause: Duration,
    /// The longest pause of all.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    /// Five attempts, with pauses of at most 20, 40, 80 and 160 ms.
    fn default() -> RetryPolicy {
        RetryPolicy {
            attempts: 5,
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(1),
        }
    }
}

/// Repeats a call that failed as [`Unavailable`](RefDbErrorKind::Unavailable), which says that nothing was written, until
/// its attempts or its time are used up; the last error is what the caller gets.
///
/// A pause is between half of its longest and all of it, so that those who failed together do not come back together. No
/// other error is repeated: after [`Indeterminate`](RefDbErrorKind::Indeterminate) a repetition could meet its own value,
/// and the rest would fail the same way again.
pub struct Retry {
    policy: RetryPolicy,
    clock: Arc<dyn Clock>,
    rng: Arc<Mutex<dyn Rng + Send>>,
}

impl Retry {
    /// Pauses by `clock`, their length by `rng`.
    pub fn new(policy: RetryPolicy, clock: Arc<dyn Clock>, rng: Arc<Mutex<dyn Rng + Send>>) -> Retry {
        Retry { policy, clock, rng }
    }

    /// The pause before attempt number `attempt`, the second being 1.
    fn pause(&self, attempt: u32) -> Duration {
        let doubled = self.policy.first_pause.saturating_mul(2u32.saturating_pow(attempt - 1));
        let longest = doubled.min(self.policy.longest_pause);
        let mut rng = self.rng.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        longest.mul_f64(rng.random_range(0.5..=1.0))
    }
}

impl Layer for Retry {
    fn around<'a, T: Send + 'a>(
        &'a self,
        _: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> BoxFuture<'a, Result<T, RefDbError>> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RefDbError>> {
        Box::pin(async move {
            let mut attempt = 1;
            loop {
                match call(deadline).await {
                    Err(e) if e.kind == RefDbErrorKind::Unavailable && attempt < self.policy.attempts => {
                        let pause = self.pause(attempt);
                        // An attempt without time could only hide why this one failed.
                        if deadline.left(&*self.clock) <= pause {
                            return Err(e);
                        }
                        self.clock.sleep(pause).await;
                        attempt += 1;
                    }
                    answer => return answer,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 4,
        first_pause: Duration::from_millis(100),
        longest_pause: Duration::from_millis(250),
    };

    fn retry(policy: RetryPolicy) -> Retry {
        Retry::new(policy, clock(), Arc::new(Mutex::new(SmallRng::seed_from_u64(1))))
    }

    #[test]
    fn unavailable_is_repeated_with_growing_pauses() {
        run(async {
            let store =
                Scripted::new([Step::err(RefDbErrorKind::Unavailable); 3].into_iter().chain([Step::ok()]));
            let db = around(store.db.clone(), retry(POLICY));
            assert_eq!(sites(&*db, 10 * SECOND).await, Ok(()));
            let pauses: Vec<u128> =
                store.times().windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
            assert_eq!(pauses.len(), 3);
            for (pause, longest) in pauses.iter().zip([100, 200, 250]) {
                // The timer of the runtime counts whole milliseconds.
                assert!((longest / 2..=longest + 1).contains(pause), "{pauses:?}");
            }
        });
    }

    #[test]
    fn attempts_and_time_are_limited_and_the_last_error_is_told() {
        run(async {
            let failing = || Scripted::new([Step::err(RefDbErrorKind::Unavailable); 9]);
            let store = failing();
            let db = around(store.db.clone(), retry(POLICY));
            assert_eq!(sites(&*db, 10 * SECOND).await, Err(RefDbErrorKind::Unavailable));
            assert_eq!(store.calls(), 4);

            let store = failing();
            let db = around(store.db.clone(), retry(POLICY));
            let start = clock().now();
            let wait = Duration::from_millis(160);
            assert_eq!(sites(&*db, wait).await, Err(RefDbErrorKind::Unavailable));
            assert_eq!(store.calls(), 2, "the second pause would be too long");
            assert!(clock().now() - start < wait);

            for attempts in [0, 1] {
                let store = failing();
                let db = around(store.db.clone(), retry(RetryPolicy { attempts, ..POLICY }));
                assert_eq!(sites(&*db, SECOND).await, Err(RefDbErrorKind::Unavailable));
                assert_eq!(store.calls(), 1);
            }
        });
    }

    #[test]
    fn nothing_else_is_repeated_by_any_operation() {
        run(async {
            use RefDbErrorKind::*;
            for kind in [
                Indeterminate,
                Corrupt,
                InvalidName,
                TooLarge,
                Unsupported,
                Config,
                Auth,
                LockTimeout,
                LeaseLost,
            ] {
                let store = Scripted::new([Step::err(kind); Operation::ALL.len()]);
                let db = around(store.db.clone(), retry(POLICY));
                for (operation, (found, took)) in each_operation(&*db, SECOND).await {
                    assert_eq!((found, took), (Some(kind), Duration::ZERO), "{operation:?}");
                }
                assert_eq!(store.calls(), Operation::ALL.len(), "{kind:?}");
            }
        });
    }

    #[test]
    fn the_pause_stays_within_its_bounds_however_many_there_were() {
        let retry = retry(RetryPolicy { attempts: u32::MAX, ..POLICY });
        for attempt in [1, 2, 31, 32, 33, 1000, u32::MAX] {
            assert!(retry.pause(attempt) <= POLICY.longest_pause);
            assert!(retry.pause(attempt) >= POLICY.first_pause / 2);
        }
    }
}
