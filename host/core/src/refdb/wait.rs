//! How long a store is waited for: time limits, repetitions, and when it is not asked any more.

#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::{Operation, RefDbError, RefDbErrorKind};
use crate::{Clock, Deadline};

/// How long after the deadline a store may still answer by itself: its own answer says more.
const GRACE: Duration = Duration::from_millis(50);
/// The number of calls in a row that were not answered after which the store is not asked for a while.
const MAX_MISSES: u32 = 2;
/// A call that had less time than this says nothing about the store.
const FAIR: Duration = Duration::from_secs(1);
/// The longest time without asking.
const LONGEST: Duration = Duration::from_secs(10);

/// How often a call is tried, and with which pauses.
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

/// How a [`RefDb`](super::RefDb) waits for its store.
///
/// **Time limit.** A call that did not answer 50 ms after its deadline is ended and dropped. For a write that is
/// [`Indeterminate`](RefDbErrorKind::Indeterminate), for a read and a lock [`Unavailable`](RefDbErrorKind::Unavailable). No
/// attempt takes longer than an upper bound, whatever its deadline says.
///
/// **Repetition.** A call that failed as [`Unavailable`](RefDbErrorKind::Unavailable), which says that nothing was written,
/// is repeated until its attempts or its time are used up; the last error is what the caller gets. A pause is between half
/// of its longest and all of it, so that those who failed together do not come back together. No other error is repeated:
/// after [`Indeterminate`](RefDbErrorKind::Indeterminate) a repetition could meet its own value, and the rest would fail the
/// same way again.
///
/// **Patience.** After two calls in a row that were not answered by their deadlines, further ones are refused at once, as
/// [`Unavailable`](RefDbErrorKind::Unavailable), until as much time has passed as the last one was waited for, at most 10 s;
/// then one may try again. So a command that calls the store for each of many refs or projects does not pay the deadline for
/// each of them. Reads, writes and locks each count on their own: a process that is stuck while it writes stops no read.
pub struct Waiting {
    clock: Arc<dyn Clock>,
    at_most: Duration,
    retry: Option<(RetryPolicy, Arc<Mutex<dyn Rng + Send>>)>,
    missed: Option<[Mutex<Missed>; 3]>,
}

/// Calls that were not answered.
#[derive(Clone, Copy, Default)]
struct Missed {
    in_a_row: u32,
    until: Option<Instant>,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("at_most", &self.at_most).finish_non_exhaustive()
    }
}

impl Waiting {
    /// With a time limit alone: deadlines by `clock`, none of them further away than `at_most`.
    pub fn new(clock: Arc<dyn Clock>, at_most: Duration) -> Waiting {
        Waiting { clock, at_most, retry: None, missed: None }
    }

    /// With repetitions, too, whose pauses are drawn by `rng`.
    #[must_use]
    pub fn with_retries(mut self, policy: RetryPolicy, rng: Arc<Mutex<dyn Rng + Send>>) -> Waiting {
        self.retry = Some((policy, rng));
        self
    }

    /// With patience, too.
    #[must_use]
    pub fn with_patience(mut self) -> Waiting {
        self.missed = Some(Default::default());
        self
    }

    /// Does one call; `call` runs it, any number of times.
    pub(super) async fn wait<T, F>(
        &self,
        operation: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> F,
    ) -> Result<T, RefDbError>
    where
        F: Future<Output = Result<T, RefDbError>>,
    {
        let clock = &*self.clock;
        let Some(missed) = self.missed(operation) else {
            return self.repeat(operation, deadline, call).await;
        };
        self.allows(missed, operation, deadline)?;
        let (begin, given) = (clock.now(), deadline.left(clock));
        let answer = self.repeat(operation, deadline, call).await;
        let unanswered = answer.as_ref().is_err_and(|e| {
            matches!(e.kind, RefDbErrorKind::Unavailable | RefDbErrorKind::Indeterminate)
                && deadline.left(clock).is_zero()
        });
        let mut missed = missed.lock().unwrap_or_else(PoisonError::into_inner);
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
    }

    fn missed(&self, operation: Operation) -> Option<&Mutex<Missed>> {
        let [locks, writes, reads] = self.missed.as_ref()?;
        Some(match operation {
            Operation::Lock => locks,
            _ if operation.is_write() => writes,
            _ => reads,
        })
    }

    /// Whether `operation` may be tried now.
    fn allows(
        &self,
        missed: &Mutex<Missed>,
        operation: Operation,
        deadline: Deadline,
    ) -> Result<(), RefDbError> {
        let mut missed = missed.lock().unwrap_or_else(PoisonError::into_inner);
        if missed.in_a_row >= MAX_MISSES && missed.until.is_some_and(|until| self.clock.now() < until) {
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

    async fn repeat<T, F>(
        &self,
        operation: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> F,
    ) -> Result<T, RefDbError>
    where
        F: Future<Output = Result<T, RefDbError>>,
    {
        let clock = &*self.clock;
        let mut attempt = 1;
        loop {
            let answer = self.limited(operation, deadline, &call).await;
            match (&self.retry, &answer) {
                (Some((policy, rng)), Err(e))
                    if e.kind == RefDbErrorKind::Unavailable && attempt < policy.attempts =>
                {
                    let pause = policy.pause(attempt, rng);
                    // An attempt without time could only hide why this one failed.
                    if deadline.left(clock) <= pause {
                        return answer;
                    }
                    clock.sleep(pause).await;
                    attempt += 1;
                }
                _ => return answer,
            }
        }
    }

    async fn limited<T, F>(
        &self,
        operation: Operation,
        deadline: Deadline,
        call: &impl Fn(Deadline) -> F,
    ) -> Result<T, RefDbError>
    where
        F: Future<Output = Result<T, RefDbError>>,
    {
        let clock = &*self.clock;
        let deadline = deadline.min(Deadline::after(clock, self.at_most));
        let mut answer = pin!(call(deadline));
        let mut late = pin!(clock.sleep(deadline.left(clock) + GRACE));
        // An answer that is ready goes before time that is up.
        std::future::poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => late.as_mut().poll(cx).map(|()| Err(unanswered(operation))),
        })
        .await
    }
}

impl RetryPolicy {
    /// The pause before attempt number `attempt`, the second being 1.
    fn pause(&self, attempt: u32, rng: &Mutex<dyn Rng + Send>) -> Duration {
        let doubled = self.first_pause.saturating_mul(2u32.saturating_pow(attempt - 1));
        let longest = doubled.min(self.longest_pause);
        let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
        longest.mul_f64(rng.random_range(0.5..=1.0))
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
