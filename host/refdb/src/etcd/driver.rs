//! Runs calls on threads of its own, and answers by the deadline whatever the servers do.
//!
//! The library's connections live on the runtime that makes them, and the callers' runtimes come and go and may have no
//! network at all. So there is one private runtime per store.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::Poll;
use std::time::Duration;

use refgate_core::{BoxFuture, Deadline, RefDbError, RefDbErrorKind};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::error::Failure;
use super::shared::{Call, Shared};
use super::ticket::Ticket;

/// How long closing a store waits until locks and the session are given back. What is not is freed by its lease.
const CLOSE: Duration = Duration::from_millis(300);

/// The runtime, and what the calls share. Tasks on the runtime hold only the latter.
pub(super) struct Driver {
    runtime: Option<Runtime>,
    pub(super) shared: Arc<Shared>,
}

/// A private runtime.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("refdb-etcd")
        .enable_all()
        .build()
}

impl Driver {
    pub(super) fn new(runtime: Runtime, shared: Arc<Shared>) -> Driver {
        Driver { runtime: Some(runtime), shared }
    }

    /// Runs `work`, and answers by `deadline`.
    pub(super) fn call<'a, T, W, F>(
        &'a self,
        deadline: Deadline,
        work: W,
    ) -> BoxFuture<'a, Result<T, RefDbError>>
    where
        T: Send + 'static,
        W: FnOnce(Call) -> F + Send + 'a,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        Box::pin(async move {
            let shared = &self.shared;
            let left = deadline.left(&*shared.clock);
            let Some(runtime) = self.runtime.as_ref().filter(|_| !left.is_zero()) else {
                return Err(shared.about(
                    RefDbErrorKind::Unavailable,
                    "the deadline passed before the call began, nothing was written; allow more time",
                ));
            };
            let ticket = Arc::new(Ticket::default());
            let call = Call { shared: shared.clone(), ticket: ticket.clone(), deadline };
            let mut task = runtime.spawn(work(call));
            let guard = GiveUp { shared, ticket: &ticket, task: &task.abort_handle() };
            let mut late = pin!(shared.clock.sleep(left));
            let answer = poll_fn(|cx| match Pin::new(&mut task).poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => late.as_mut().poll(cx).map(|()| None),
            })
            .await;
            let sent = guard.give_up();
            let mut e = match answer {
                Some(Ok(Ok(value))) => return Ok(value),
                Some(Ok(Err(failure))) => shared.told(failure, false),
                None => {
                    shared.servers.leave_current();
                    unanswered(shared, "no answer by the deadline", sent)
                }
                Some(Err(_)) => unanswered(shared, "the call died", sent),
            };
            if ticket.wrote() {
                // Of edits that stand each for itself, those of earlier transactions are there.
                e.message = e.message.replace("nothing was written", "only a part was written");
            }
            Err(e)
        })
    }

    /// Runs `work` and blocks this thread until it is done.
    pub(super) fn block<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, wait) = sync_channel(1);
        let _task: JoinHandle<()> = self.runtime.as_ref()?.spawn(async move {
            // Somebody is waiting below.
            let _ = done.send(work.await);
        });
        wait.recv().ok()
    }
}

/// What a caller hears of a call that did not answer. `sent` says that a write was on its way.
fn unanswered(shared: &Shared, why: &str, sent: bool) -> RefDbError {
    let failure = Failure::Broken(why.to_owned());
    shared.told(failure, sent)
}

impl Drop for Driver {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let shared = self.shared.clone();
        let (done, wait) = sync_channel(1);
        runtime.spawn(async move {
            let mut last = shared.take_background();
            if let Some(session) = shared.sessions.end() {
                let deadline = Deadline::after(&*shared.clock, CLOSE);
                let _ = shared.revoke(deadline, session).await;
            }
            while last.join_next().await.is_some() {}
            let _ = done.send(());
        });
        let _ = wait.recv_timeout(CLOSE);
        // Unlike dropping it, this may be done on a thread that drives futures.
        runtime.shutdown_background();
    }
}

/// Gives up when it goes away: at the deadline, and when the caller's future is dropped.
struct GiveUp<'a> {
    shared: &'a Shared,
    ticket: &'a Ticket,
    task: &'a tokio::task::AbortHandle,
}

impl GiveUp<'_> {
    /// Whether a write was on its way.
    fn give_up(&self) -> bool {
        let sent = self.ticket.give_up();
        if let Some(session) = sent {
            self.shared.sessions.doubt(session);
        }
        self.task.abort();
        sent.is_some()
    }
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}
