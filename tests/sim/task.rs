//! Tasks: futures that stop after every step, so that the scheduler can put any other step in between, or kill them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use refgate_core::{BoxFuture, Clock};

use crate::world::Sim;

/// The rest of a task.
pub type Work = Pin<Box<dyn Future<Output = ()>>>;

/// The end of a step: any other task may go first.
pub async fn step() {
    let mut stopped = false;
    poll_fn(|_| {
        if stopped {
            return Poll::Ready(());
        }
        stopped = true;
        Poll::Pending
    })
    .await;
}

/// One step. Tells whether it was the last.
pub fn advance(work: &mut Work) -> bool {
    work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// The answer of a call that waits for nobody.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the memory ref-db answers at once"),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an instant can be had from nowhere else; it is never read again"
)]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The virtual clock: time passes with the steps of the scheduler.
impl Clock for Sim {
    fn now(&self) -> Instant {
        *START + Duration::from_millis(self.world().time)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        let until = self.world().time + duration.as_millis() as u64;
        Box::pin(poll_fn(move |_| {
            let mut world = self.world();
            if world.time >= until {
                return Poll::Ready(());
            }
            let current = world.current;
            world.asleep.insert(current, until);
            Poll::Pending
        }))
    }

    fn unix_time(&self) -> Duration {
        Duration::from_millis(self.world().time)
    }
}
