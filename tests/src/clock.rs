//! A clock that only counts, and that lets a test act while somebody waits; and the real one, for time limits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use refgate_core::{BoxFuture, Clock};

type Hook = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Sleeps in no time.
pub struct TestClock {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slept: Vec<Duration>,
    hooks: VecDeque<Hook>,
}

impl TestClock {
    /// A clock at which nobody has slept.
    #[expect(
        clippy::disallowed_methods,
        reason = "an instant can be had from nowhere else; it is never read again"
    )]
    pub fn new() -> TestClock {
        TestClock { start: Instant::now(), state: Mutex::default() }
    }

    /// Does `hook` during the next sleep that has no hook yet.
    pub fn during_sleep(&self, hook: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static) {
        self.state().hooks.push_back(Box::new(hook));
    }

    /// How long each sleep would have been.
    pub fn slept(&self) -> Vec<Duration> {
        self.state().slept.clone()
    }

    /// Whether something is still waiting for a sleep.
    pub fn has_hooks(&self) -> bool {
        !self.state().hooks.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Default for TestClock {
    fn default() -> Self {
        TestClock::new()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.start + self.state().slept.iter().sum::<Duration>()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let hook = {
                let mut state = self.state();
                state.slept.push(duration);
                state.hooks.pop_front()
            };
            if let Some(hook) = hook {
                hook().await;
            }
        })
    }

    fn unix_time(&self) -> Duration {
        self.state().slept.iter().sum()
    }
}

/// The real time, for the ref-db alone: it gives up when its file does not answer in time, and this file is real.
pub(crate) struct RealClock;

#[expect(clippy::disallowed_methods, reason = "a limit that nothing reaches; no test sleeps")]
impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}
