//! Answers for a store that does not.

use std::sync::Arc;
use std::time::Duration;

use refgate_core::refdb::{Layer, Operation};
use refgate_core::{BoxFuture, Clock, Deadline, RefDbError, RefDbErrorKind};

use super::within;

/// How long after the deadline a store may still answer by itself: its own answer says more.
const GRACE: Duration = Duration::from_millis(50);

/// Ends a call that did not answer 50 ms after its deadline, and drops it. For a write that is
/// [`Indeterminate`](RefDbErrorKind::Indeterminate), for a read and a lock [`Unavailable`](RefDbErrorKind::Unavailable).
///
/// No call takes longer than an upper bound, whatever its deadline says.
pub struct Timeout {
    clock: Arc<dyn Clock>,
    at_most: Duration,
}

impl Timeout {
    /// Deadlines by `clock`, none of them further away than `at_most`.
    pub fn new(clock: Arc<dyn Clock>, at_most: Duration) -> Timeout {
        Timeout { clock, at_most }
    }
}

impl Layer for Timeout {
    fn around<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> BoxFuture<'a, Result<T, RefDbError>> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RefDbError>> {
        Box::pin(async move {
            let clock = &*self.clock;
            let deadline = deadline.min(Deadline::after(clock, self.at_most));
            let mut answer = call(deadline);
            match within(clock, deadline.left(clock) + GRACE, answer.as_mut()).await {
                Some(answer) => answer,
                None => Err(unanswered(operation)),
            }
        })
    }
}

fn unanswered(operation: Operation) -> RefDbError {
    let (kind, what) = match operation.is_write() {
        true => (
            RefDbErrorKind::Indeterminate,
            "the write may or may not have happened; read the refs again before anything else",
        ),
        false => (RefDbErrorKind::Unavailable, "look whether its server answers, and try again"),
    };
    RefDbError::new(kind, format!("the ref-db did not answer `{}` by the deadline: {what}", operation.name()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const BOUND: Duration = Duration::from_secs(60);

    #[test]
    fn a_store_that_never_answers_is_answered_for() {
        run(async {
            let store = Scripted::new([Step::never(); 3 * Operation::ALL.len()]);
            let db = around(store.db.clone(), Timeout::new(clock(), BOUND));
            for (wait, takes) in [(SECOND, SECOND), (Duration::ZERO, Duration::ZERO), (10 * BOUND, BOUND)] {
                for (operation, kind) in each_operation(&*db, wait).await {
                    let expected = match operation.is_write() {
                        true => RefDbErrorKind::Indeterminate,
                        false => RefDbErrorKind::Unavailable,
                    };
                    assert_eq!(kind.0, Some(expected), "{operation:?}");
                    assert_eq!(kind.1, takes + GRACE, "{operation:?}");
                }
            }
        });
    }

    #[test]
    fn an_answer_in_time_goes_through_and_one_at_the_deadline_is_the_stores_own() {
        run(async {
            let late = RefDbErrorKind::LockTimeout;
            let store = Scripted::new([Step::ok(), Step::err(late).after(SECOND)]);
            let db = around(store.db.clone(), Timeout::new(clock(), BOUND));
            assert_eq!(sites(&*db, SECOND).await, Ok(()));
            assert_eq!(sites(&*db, SECOND).await, Err(late));
            assert_eq!(store.calls(), 2);
        });
    }

    #[test]
    fn the_store_is_told_the_bound_and_never_a_later_deadline() {
        run(async {
            let store = Scripted::new([Step::ok(), Step::ok()]);
            let db = around(store.db.clone(), Timeout::new(clock(), BOUND));
            sites(&*db, SECOND).await.unwrap();
            sites(&*db, 10 * BOUND).await.unwrap();
            assert_eq!(store.time_left(), [SECOND, BOUND]);
            assert_eq!(db.capabilities().name, "memory");
        });
    }
}
