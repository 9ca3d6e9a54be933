//! Stops waiting for a store that does not answer at all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use refgate_core::refdb::{Layer, Operation};
use refgate_core::{BoxFuture, Clock, Deadline, RefDbError, RefDbErrorKind};

/// So many calls in a row that were not answered end the patience.
const MISSES: u32 = 2;
/// A call that had less time than this says nothing about the store.
const FAIR: Duration = Duration::from_secs(1);
/// The longest time without a try.
const LONGEST: Duration = Duration::from_secs(10);

/// Refuses calls at once after two in a row were not answered by their deadlines, until as much time has passed as the last
/// of them was waited for, at most 10 s; then one may try again. Reads, writes and locks each have patience of their own: a
/// process that is stuck while it writes stops no read.
///
/// So a command that calls the store for each of many refs or projects does not pay the deadline for each of them. A refused
/// call is [`Unavailable`](RefDbErrorKind::Unavailable): it certainly did nothing.
pub struct Patience {
    clock: Arc<dyn Clock>,
    kinds: [Mutex<Missed>; 3],
}

#[derive(Clone, Copy, Default)]
struct Missed {
    in_a_row: u32,
    until: Option<Instant>,
}

impl Patience {
    /// Time by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Patience {
        Patience { clock, kinds: Default::default() }
    }

    fn missed(&self, operation: Operation) -> &Mutex<Missed> {
        &self.kinds[match operation {
            Operation::Lock => 0,
            _ if operation.is_write() => 1,
            _ => 2,
        }]
    }

    /// Whether `operation` may be tried now.
    fn allows(&self, operation: Operation, deadline: Deadline) -> Result<(), RefDbError> {
        let mut missed = self.missed(operation).lock().unwrap_or_else(PoisonError::into_inner);
        if missed.in_a_row >= MISSES && missed.until.is_some_and(|until| self.clock.now() < until) {
            let what = format!(
                "the ref-db did not answer {} calls in a row by their deadlines, so `{}` was not tried and nothing was written; \
                 look whether its server or its disk hangs",
                missed.in_a_row,
                operation.name()
            );
            return Err(RefDbError::new(RefDbErrorKind::Unavailable, what));
        }
        // Who comes while this one tries does not wait as well.
        missed.until = Some(deadline.instant().min(self.clock.now() + LONGEST));
        Ok(())
    }
}

impl Layer for Patience {
    fn around<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> BoxFuture<'a, Result<T, RefDbError>> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RefDbError>> {
        Box::pin(async move {
            self.allows(operation, deadline)?;
            let clock = &*self.clock;
            let (begin, given) = (clock.now(), deadline.left(clock));
            let answer = call(deadline).await;
            let unanswered = answer.as_ref().is_err_and(|e| {
                matches!(e.kind, RefDbErrorKind::Unavailable | RefDbErrorKind::Indeterminate)
                    && deadline.left(clock).is_zero()
            });
            let mut missed = self.missed(operation).lock().unwrap_or_else(PoisonError::into_inner);
            match unanswered {
                true if given >= FAIR => {
                    let end = clock.now();
                    let until = Some(end + (end - begin).min(LONGEST));
                    *missed = Missed { in_a_row: missed.in_a_row.saturating_add(1), until };
                }
                true => {}
                false => *missed = Missed::default(),
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_store_that_does_not_answer_is_not_waited_for_again_and_again() {
        run(async {
            let never = [Step::err(RefDbErrorKind::Unavailable).after(SECOND); 3];
            let store = Scripted::new(never.into_iter().chain([Step::ok(), Step::ok()]));
            let db = around(store.db.clone(), Patience::new(clock()));
            let start = clock().now();
            let takes = |seconds: u32| {
                let took = clock().now() - start;
                assert!((seconds * SECOND..seconds * SECOND + SECOND / 10).contains(&took), "{took:?}");
            };
            for _ in 0..100 {
                assert_eq!(sites(&*db, SECOND).await, Err(RefDbErrorKind::Unavailable));
            }
            takes(2);
            assert_eq!(store.calls(), 2);
            clock().sleep(SECOND + SECOND / 50).await;
            // One tries again and waits, and the pause begins anew.
            for _ in 0..100 {
                assert_eq!(sites(&*db, SECOND).await, Err(RefDbErrorKind::Unavailable));
            }
            takes(4);
            assert_eq!(store.calls(), 3);
            clock().sleep(SECOND + SECOND / 50).await;
            assert_eq!((sites(&*db, SECOND).await, sites(&*db, SECOND).await), (Ok(()), Ok(())));
            assert_eq!(store.calls(), 5);
        });
    }

    #[test]
    fn answers_and_short_deadlines_end_no_patience() {
        run(async {
            let quick = [Step::err(RefDbErrorKind::Unavailable); 5];
            let short = [Step::err(RefDbErrorKind::Unavailable).after(SECOND / 2); 5];
            let other = [Step::err(RefDbErrorKind::LockTimeout).after(SECOND); 5];
            for (steps, wait) in [(quick, SECOND), (short, SECOND / 2), (other, SECOND)] {
                let store = Scripted::new(steps);
                let db = around(store.db.clone(), Patience::new(clock()));
                for _ in 0..5 {
                    sites(&*db, wait).await.unwrap_err();
                }
                assert_eq!(store.calls(), 5);
            }
        });
    }
}
