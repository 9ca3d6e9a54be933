//! Time as something that is handed in, so that tests never sleep.

use std::time::{Duration, Instant};

use crate::BoxFuture;

/// The source of time. The real one lives in the binary; tests use a virtual one.
pub trait Clock: Send + Sync {
    /// A point in monotonic time.
    fn now(&self) -> Instant;
    /// Resolves after `duration`; dropping the future cancels it.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
    /// The time of day: since 1970 (UTC), zero for a clock that is set before. People set it, so it can go back; measure
    /// with [`now`](Clock::now).
    fn unix_time(&self) -> Duration;
}

/// The moment by which a call must have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `timeout` from now.
    pub fn after(clock: &dyn Clock, timeout: Duration) -> Deadline {
        Deadline(clock.now() + timeout)
    }

    /// Time left, zero when it has passed.
    pub fn left(self, clock: &dyn Clock) -> Duration {
        self.0.saturating_duration_since(clock.now())
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.0
    }
}
