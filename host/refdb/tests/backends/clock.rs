//! Time that passes only while somebody waits for it.

use std::future::poll_fn;
use std::sync::Mutex;
use std::task::Poll;
use std::time::{Duration, Instant};

use refgate_core::{BoxFuture, Clock};

/// Each look of a sleeper at the clock moves it on by one millisecond, so that several sleepers wake in their order.
pub struct VirtualClock(Mutex<Instant>);

impl Default for VirtualClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "an instant can be had from nowhere else; it is never read again"
    )]
    fn default() -> VirtualClock {
        VirtualClock(Mutex::new(Instant::now()))
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        let end = self.now() + duration;
        Box::pin(poll_fn(move |cx| {
            let mut now = self.0.lock().unwrap();
            if *now >= end {
                return Poll::Ready(());
            }
            *now += Duration::from_millis(1);
            cx.waker().wake_by_ref();
            Poll::Pending
        }))
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}
