//! What the tests of this module share: time that passes when everybody waits, names and values.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::MemoryRefDb;
use crate::{BoxFuture, Clock, Deadline, GlobalRef, Oid, Project, RefName};

/// The paused time of the runtime in [`run`].
pub(super) struct PausedClock;

#[expect(clippy::disallowed_methods, reason = "the runtime is paused: this time is virtual")]
impl Clock for PausedClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

pub(super) fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

pub(super) async fn pass(duration: Duration) {
    PausedClock.sleep(duration).await;
}

pub(super) fn store() -> Arc<MemoryRefDb> {
    Arc::new(MemoryRefDb::with_clock(Arc::new(PausedClock)))
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn within(time: Duration) -> Deadline {
    Deadline::after(&PausedClock, time)
}

pub(super) fn project() -> Project {
    Project::new("p").unwrap()
}

pub(super) fn name(name: &str) -> RefName {
    RefName::new(name).unwrap()
}

pub(super) fn oid(n: u8) -> Oid {
    Oid::from_bytes(&[n; 20]).unwrap()
}

pub(super) fn at(n: u8) -> GlobalRef {
    GlobalRef::At(oid(n))
}
