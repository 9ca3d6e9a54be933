//! A thread that owns one connection, and the rule of who decides what a late write becomes.
//!
//! A call and its caller share a [`Ticket`]. The caller may give up, the thread may start its commit, and only one of
//! the two happens first: a write whose caller was told "nothing was written" is never applied later.
//!
//! What the caller gave up ends soon (see [`Watch`]), unless the disk hangs or the file makes SQLite do something that it
//! does not interrupt. Nobody waits for that: neither a call nor whoever drops the store, so a process can always end.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread::ThreadId;
use std::time::Duration;

use refgate_core::{BoxFuture, Clock, Deadline, RefDbError, RefDbErrorKind};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::error;
use super::file::{StoreFile, mark};
use super::harden::Watch;

/// What is left of the deadline for the answer to travel back when another process holds the file.
const ANSWER_MARGIN: Duration = Duration::from_millis(250);

/// How long work that nobody waits for waits for another process.
const POSTED_WAIT: Duration = Duration::from_secs(1);

/// How long dropping a worker waits for its thread to close the file, which takes milliseconds. Whatever is not closed by
/// then is closed later, or by the end of the process; SQLite takes care of that.
const CLOSING: Duration = Duration::from_secs(1);

/// How long opening may take at most.
const OPENING: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A thread with one connection. Dropping it ends the thread once everything that it was given is done.
pub(super) struct Worker {
    jobs: Option<Sender<Job>>,
    thread: ThreadId,
    /// Disconnected when the thread has closed the file.
    closed: Mutex<Receiver<()>>,
    watch: Watch,
    file: Arc<StoreFile>,
    clock: Arc<dyn Clock>,
}

/// What a call works with.
pub(super) struct Call<'a> {
    connection: &'a mut Connection,
    ticket: &'a Ticket,
    file: &'a StoreFile,
}

impl Worker {
    /// Connects, and starts the thread.
    pub(super) fn start(
        role: &str,
        file: Arc<StoreFile>,
        clock: Arc<dyn Clock>,
    ) -> Result<Worker, RefDbError> {
        let watch = Watch::new(clock.clone());
        watch.works_for(Some((Arc::default(), Deadline::after(&*clock, OPENING))));
        let connection = file.connect(&watch)?;
        watch.works_for(None);
        let (jobs, queue) = channel();
        let (open, closed) = channel();
        let thread = std::thread::Builder::new()
            .name(format!("refdb-{role}"))
            .spawn(move || {
                run(connection, &queue);
                drop(open);
            })
            .map_err(|e| {
                error::about(RefDbErrorKind::Unavailable, file.path(), &format!("cannot start a thread: {e}"))
            })?;
        let (thread, closed) = (thread.thread().id(), Mutex::new(closed));
        Ok(Worker { jobs: Some(jobs), thread, closed, watch, file, clock })
    }

    /// The file, for messages.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Runs `work` on the thread, after what it has to do already, with nobody waiting for it.
    pub(super) fn post(&self, work: impl FnOnce(&mut Call<'_>) + Send + 'static) {
        let (file, watch, clock) = (self.file.clone(), self.watch.clone(), self.clock.clone());
        let job = move |connection: &mut Connection| {
            let ticket = Arc::<Ticket>::default();
            watch.works_for(Some((ticket.clone(), Deadline::after(&*clock, 2 * POSTED_WAIT))));
            if connection.busy_timeout(POSTED_WAIT).is_ok() && file.still_there().is_ok() {
                work(&mut Call { connection, ticket: &ticket, file: &file });
            }
            watch.works_for(None);
        };
        if let Some(jobs) = &self.jobs {
            // A thread that ended does nothing any more, and whoever calls it is told.
            let _ = jobs.send(Box::new(job));
        }
    }

    /// Runs `work` on the thread and answers by `deadline`, whatever the thread is doing.
    pub(super) fn call<'a, T, W>(
        &'a self,
        deadline: Deadline,
        work: W,
    ) -> BoxFuture<'a, Result<T, RefDbError>>
    where
        T: Send + 'static,
        W: FnOnce(&mut Call<'_>) -> Result<T, RefDbError> + Send + 'static,
    {
        Box::pin(async move {
            let ticket = Arc::new(Ticket::default());
            let (answer, mut answered) = oneshot::channel();
            let job = {
                let (ticket, file, clock) = (ticket.clone(), self.file.clone(), self.clock.clone());
                let watch = self.watch.clone();
                move |connection: &mut Connection| {
                    let left = deadline.left(&*clock);
                    if left.is_zero() || ticket.given_up() {
                        return;
                    }
                    watch.works_for(Some((ticket.clone(), deadline)));
                    let result = connection
                        .busy_timeout(left.saturating_sub(ANSWER_MARGIN.min(left / 4)))
                        .map_err(|e| error::before_commit(file.path(), &e))
                        .and_then(|()| file.still_there())
                        .and_then(|()| work(&mut Call { connection, ticket: &ticket, file: &file }));
                    watch.works_for(None);
                    // Nobody listens when the caller gave up.
                    let _ = answer.send(result);
                }
            };
            // A closed queue drops the job and with it `answer`, which is handled below.
            if let Some(jobs) = &self.jobs {
                let _ = jobs.send(Box::new(job));
            }
            let gone = GiveUp(&ticket);
            let mut late = pin!(self.clock.sleep(deadline.left(&*self.clock)));
            let why = poll_fn(|cx| {
                if let Poll::Ready(result) = pin!(&mut answered).poll(cx) {
                    return Poll::Ready(match result {
                        Ok(result) => Ok(result),
                        Err(_) if deadline.left(&*self.clock).is_zero() => Err("no answer by the deadline"),
                        Err(_) => Err("its thread ended"),
                    });
                }
                late.as_mut().poll(cx).map(|()| Err("no answer by the deadline"))
            })
            .await;
            drop(gone);
            match why {
                Ok(result) => result,
                Err(why) => Err(self.unanswered(&ticket, why)),
            }
        })
    }

    fn unanswered(&self, ticket: &Ticket, why: &str) -> RefDbError {
        let path = self.file.path();
        if ticket.given_up() {
            error::about(RefDbErrorKind::Unavailable, path, &format!("{why}, nothing was written; try again"))
        } else {
            let what =
                format!("{why}, and the write may or may not have happened; read the refs again first");
            error::about(RefDbErrorKind::Indeterminate, path, &what)
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        // Work that came too late may hold the last reference: a thread does not wait for itself.
        if self.thread != std::thread::current().id() {
            // Real time, not the clock's: what is waited for is a real thread. A panic was reported when it happened, and
            // the calls that met it failed.
            let closed = self.closed.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _ = closed.recv_timeout(CLOSING);
        }
    }
}

fn run(mut connection: Connection, queue: &Receiver<Job>) {
    for job in queue {
        job(&mut connection);
    }
}

impl<'a> Call<'a> {
    /// The file, for messages.
    pub(super) fn file(&self) -> &'a StoreFile {
        self.file
    }

    /// Runs `read` in one transaction: one moment in time.
    pub(super) fn read<T>(
        &mut self,
        read: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, RefDbError> {
        self.in_transaction(TransactionBehavior::Deferred, |tx| read(tx).map(|value| (value, false)))
    }

    /// Runs `write` in one transaction and commits when it says that it changed something, unless the store is closed; what
    /// sites compare counts with it.
    pub(super) fn record<T>(
        &mut self,
        write: impl FnOnce(&Transaction<'_>) -> Result<(T, bool), Failure>,
    ) -> Result<T, RefDbError> {
        let path = self.file.path();
        self.write(|tx| {
            if let Some(message) = closed(tx)? {
                return Err(Failure::Told(RefDbError::closed(
                    &format!("sqlite:{}", path.display()),
                    &message,
                )));
            }
            let (value, changed) = write(tx)?;
            if changed {
                count(tx)?;
            }
            Ok((value, changed))
        })
    }

    /// The same for what is no entry, also while the store is closed.
    pub(super) fn write<T>(
        &mut self,
        write: impl FnOnce(&Transaction<'_>) -> Result<(T, bool), Failure>,
    ) -> Result<T, RefDbError> {
        self.in_transaction(TransactionBehavior::Immediate, write)
    }

    fn in_transaction<T>(
        &mut self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<(T, bool), Failure>,
    ) -> Result<T, RefDbError> {
        let path = self.file.path();
        let before = self.file.seen.newest();
        let tx = self
            .connection
            .transaction_with_behavior(behavior)
            .map_err(|e| error::before_commit(path, &e))?;
        self.file.still_has_its_tables(&tx)?;
        let (value, changed) = work(&tx).map_err(|failure| match failure {
            Failure::Sqlite(e) => error::before_commit(path, &e),
            Failure::Told(e) => e,
        })?;
        let now = mark(&tx).map_err(|e| error::before_commit(path, &e))?;
        if changed {
            if !self.ticket.begin_commit() {
                // Rolled back; nobody listens to this.
                return Err(error::about(RefDbErrorKind::Unavailable, path, "the caller gave up"));
            }
            tx.commit().map_err(|e| error::at_commit(path, &e))?;
        } else {
            drop(tx);
        }
        self.file.seen.note(before.as_ref(), now);
        Ok(value)
    }
}

/// The message of a store that is closed.
pub(super) fn closed(tx: &Transaction<'_>) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT value FROM meta WHERE name = 'closed'";
    tx.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
}

/// One more write.
pub(super) fn count(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "UPDATE counter SET value = value + 1 WHERE name = 'revision'";
    one(tx.prepare_cached(sql)?.execute([])?)
}

/// Fails unless a statement changed the one row that it was to change: what the file did not take is not called applied.
pub(super) fn one(changed: usize) -> rusqlite::Result<()> {
    match changed {
        1 => Ok(()),
        n => Err(rusqlite::Error::StatementChangedRows(n)),
    }
}

/// Why a transaction is rolled back.
pub(super) enum Failure {
    /// SQLite refused a step.
    Sqlite(rusqlite::Error),
    /// An entry that is in the way cannot be read, or the store is closed.
    Told(RefDbError),
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Failure {
        Failure::Sqlite(e)
    }
}

const OPEN: u8 = 0;
const COMMITTING: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Where a call stands.
#[derive(Default)]
pub(super) struct Ticket(AtomicU8);

impl Ticket {
    fn leave_open(&self, to: u8) -> bool {
        self.0.compare_exchange(OPEN, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether the commit may start: not when the caller gave up first.
    fn begin_commit(&self) -> bool {
        self.leave_open(COMMITTING)
    }

    pub(super) fn given_up(&self) -> bool {
        self.0.load(Ordering::Acquire) == GIVEN_UP
    }

    /// Neither given up nor about to be written.
    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) == OPEN
    }
}

/// Gives up when it goes away: at the deadline, and when the caller's future is dropped.
struct GiveUp<'a>(&'a Ticket);

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.0.leave_open(GIVEN_UP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_the_caller_gives_up_or_the_commit_starts() {
        let ticket = Ticket::default();
        drop(GiveUp(&ticket));
        assert!(ticket.given_up() && !ticket.begin_commit());
        let ticket = Ticket::default();
        assert!(ticket.begin_commit());
        drop(GiveUp(&ticket));
        assert!(!ticket.given_up());
    }
}
