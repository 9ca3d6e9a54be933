//! How a case says what is wrong, and how it runs several clients at once.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use rand::RngExt;
use rand::rngs::SmallRng;
use refgate_core::{BoxFuture, RefDbError, RefDbErrorKind};

/// Why a case ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The store did something wrong.
    Failed(String),
    /// The store does not have what the case is about.
    NotPromised(String),
}

pub(super) type Checked<T = ()> = Result<T, Stop>;

impl From<RefDbError> for Stop {
    /// What a store can leave out says so by this error; every other one is a failure.
    fn from(e: RefDbError) -> Stop {
        match e.kind {
            RefDbErrorKind::Unsupported => Stop::NotPromised(e.message),
            kind => Stop::Failed(format!("an error, {kind:?}: {e}")),
        }
    }
}

pub(super) fn failed<T>(why: impl Into<String>) -> Checked<T> {
    Err(Stop::Failed(why.into()))
}

pub(super) fn not_promised<T>(why: impl Into<String>) -> Checked<T> {
    Err(Stop::NotPromised(why.into()))
}

/// Fails unless `seen` is what was expected.
pub(super) fn same<S, E>(what: impl Display, seen: S, expected: E) -> Checked
where
    S: PartialEq<E> + Debug,
    E: Debug,
{
    match seen == expected {
        true => Ok(()),
        false => failed(format!("{what}: expected {expected:?}, seen {seen:?}")),
    }
}

/// Fails with `what` unless `holds`.
pub(super) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { failed(what()) }
}

/// Fails unless `result` is an error of this kind.
pub(super) fn refused<T: Debug>(
    what: impl Display,
    result: Result<T, RefDbError>,
    kind: RefDbErrorKind,
) -> Checked {
    match result {
        Err(e) if e.kind == kind => Ok(()),
        Err(e) => failed(format!("{what}: expected an error {kind:?}, seen {:?}: {e}", e.kind)),
        Ok(value) => failed(format!("{what}: expected an error {kind:?}, seen {value:?}")),
    }
}

/// Drives all `jobs` and returns their results in the same order.
///
/// In each round they go on in an order that `rng` draws, so that a store whose calls never wait is interleaved, too.
pub async fn together<T>(jobs: Vec<BoxFuture<'_, T>>, mut rng: SmallRng) -> Vec<T> {
    let mut jobs: Vec<Option<BoxFuture<'_, T>>> = jobs.into_iter().map(Some).collect();
    let mut done: Vec<Option<T>> = jobs.iter().map(|_| None).collect();
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    poll_fn(|cx| {
        for last in (1..order.len()).rev() {
            order.swap(last, rng.random_range(0..=last));
        }
        for &i in &order {
            if let Some(job) = &mut jobs[i]
                && let Poll::Ready(value) = job.as_mut().poll(cx)
            {
                done[i] = Some(value);
                jobs[i] = None;
            }
        }
        if jobs.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Lets the other jobs of [`together`] go on.
pub async fn step() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What `future` gives, or the words of its panic.
pub(super) async fn caught<T>(mut future: BoxFuture<'_, T>) -> Result<T, String> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(words(&*panic))),
    })
    .await
}

fn words(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "it did not say why".to_owned(),
    }
}
