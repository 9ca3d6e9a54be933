//! Layers that stand around any store: see [`refgate_core::refdb::Layer`].
//!
//! The order matters. What [`open`](crate::open) gives for a store that other processes use is [`Patience`] around
//! [`Retry`] around [`Timeout`] around the store: a call that does not answer ends by its deadline, one that certainly did
//! nothing is repeated while there is time, and a store that does not answer at all is not waited for again and again. [`Metrics`] goes outermost and counts what callers see; [`Faults`] goes innermost and stands for a bad store.

mod faults;
mod metrics;
mod patience;
mod retry;
mod timeout;

#[cfg(test)]
mod testing;

use std::pin::{Pin, pin};
use std::task::Poll;

use refgate_core::Clock;

pub use faults::{Fault, Faults, Injected};
pub use metrics::{BUCKETS, Metrics, MetricsSnapshot, OperationMetrics};
pub use patience::Patience;
pub use retry::{Retry, RetryPolicy};
pub use timeout::Timeout;

/// What `work` gives, or `None` when `time` passes first. Work that is ready goes before time that is up.
async fn within<T>(
    clock: &dyn Clock,
    time: std::time::Duration,
    mut work: Pin<&mut (impl Future<Output = T> + ?Sized)>,
) -> Option<T> {
    let mut late = pin!(clock.sleep(time));
    std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}
