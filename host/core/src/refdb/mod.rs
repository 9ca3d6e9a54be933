//! The contract of the global ref-db: the shared record of the newest value of every ref.
//!
//! [`RefDb`] is what callers have. A backend implements [`Store`], and where it can [`Locks`] and [`Administered`].

mod db;
mod error;
mod lines;
mod lock;
mod mark;
mod memory;
mod metrics;
mod noop;
mod operation;
#[cfg(test)]
mod testing;
mod value;
mod wait;
mod write;

use std::time::Duration;

pub use db::{RefDb, all_projects, scan_all};
pub use error::{RefDbError, RefDbErrorKind};
pub use lock::{LockToken, RefLock, lock_many, while_renewed};
pub use mark::{Mark, Seen};
pub use memory::MemoryRefDb;
pub use metrics::{BUCKETS, Metrics, MetricsSnapshot, OperationMetrics};
pub use noop::NoopRefDb;
pub use operation::{Operation, whole};
pub use value::{
    Atomicity, Cursor, Edit, Expected, Lookup, MAX_TEXT, Outcome, Page, Reach, TextOutcome, check_message,
    check_text, too_many_superseded,
};
pub use wait::{RetryPolicy, Waiting};
pub use write::{Evaluation, Guard, New, Stored, Unreadable, Write, Written, evaluate};

use crate::future::ready;
use crate::{BoxFuture, Deadline, Project, RefName};

/// What a decision asks of the ref-db: entries in bulk. All that can be asked is in [`RefDb`].
pub trait Entries: Send + Sync {
    /// The entries of `refs`, one per name in the same order; a name may occur twice.
    ///
    /// A ref that was never stored is [`GlobalRef::Untracked`](crate::GlobalRef::Untracked). What is wrong with one ref alone is in its
    /// [`Lookup`]; an error means that none could be read. What a writer was told is applied before this call began is
    /// seen when [`Capabilities::linearizable_reads`] says so.
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>>;
}

/// A backend: what is stored per project and ref, shared by all sites.
///
/// Batch first: a read takes many refs and costs a backend one round trip per chunk. A lost race is an outcome, not an error;
/// an error says that the store could not answer. A call answers by its deadline. [`RefDb`] refuses what no store takes before
/// it asks, and counts the answers.
pub trait Store: Send + Sync {
    /// What this backend promises.
    fn capabilities(&self) -> Capabilities;

    /// What messages call this store.
    fn location(&self) -> String {
        format!("{}:", self.capabilities().name)
    }

    /// What is stored for `refs`: see [`Entries::get_many`]. Callers ask for sorted names where they have many, so one pass
    /// over what is there can answer.
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>>;

    /// What is stored for names that start with `prefix`, in byte order, beginning after `cursor`.
    ///
    /// About `limit` of them; a store that has to read everything in order to sort it may give more. A page may be empty
    /// and still not the last one.
    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Page, RefDbError>>;

    /// Applies each write whose guard holds and whose lock is held, or with [`Atomicity::AllOrNothing`] all of them or none:
    /// what [`evaluate`] says, in one step with reading what is there. One outcome per write in the same order.
    ///
    /// All or nothing comes with no more writes than [`Capabilities::atomic_edits`], and a write that is a removal comes
    /// alone.
    ///
    /// # Errors
    /// [`RefDbErrorKind::Indeterminate`] means that the store may or may not have applied the writes, or some of them:
    /// [`settle`](Self::settle) tells. A store that writes in chunks answers so, too, when one fails after an earlier one was
    /// written. After any other error nothing was applied, and nothing will be later.
    fn write<'a>(
        &'a self,
        project: &'a Project,
        writes: &'a [Write],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Written>, RefDbError>>;

    /// Makes sure that none of this store's earlier writes can be applied from now on, and then reads `refs`, at least as new
    /// as that.
    ///
    /// # Errors
    /// It is still open whether an earlier write is applied; ask again.
    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>>;

    /// The locks of this store, if it has any.
    fn locks(&self) -> Option<&dyn Locks> {
        None
    }

    /// What operators need of this store, if it has that.
    fn admin(&self) -> Option<&dyn Administered> {
        None
    }
}

/// A store with locks on refs.
pub trait Locks: Send + Sync {
    /// See [`RefDb::lock`].
    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Box<dyn RefLock>, RefDbError>>;
}

/// A store that knows who uses it and which projects it holds, and perhaps has an identity and can be closed.
pub trait Administered: Store {
    /// The sites that ever used this store, in byte order.
    fn sites(&self, deadline: Deadline) -> BoxFuture<'_, Result<Vec<String>, RefDbError>>;

    /// Records that `site` uses this store.
    fn add_site<'a>(&'a self, site: &'a str, deadline: Deadline) -> BoxFuture<'a, Result<(), RefDbError>>;

    /// See [`RefDb::projects`].
    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Project>, RefDbError>>;

    /// See [`RefDb::remove_project`].
    fn remove_project<'a>(
        &'a self,
        project: &'a Project,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<u64, RefDbError>>;

    /// See [`RefDb::seen`].
    fn seen(&self) -> Option<Mark> {
        None
    }

    /// See [`RefDb::renew_identity`].
    fn renew_identity(&self, deadline: Deadline) -> BoxFuture<'_, Result<(), RefDbError>> {
        let _ = deadline;
        ready(Err(RefDbError::unsupported(self.capabilities().name, "identity")))
    }

    /// See [`RefDb::set_closed`].
    fn set_closed<'a>(
        &'a self,
        message: Option<&'a str>,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        let _ = (message, deadline);
        ready(Err(RefDbError::unsupported(self.capabilities().name, "way to close it")))
    }

    /// See [`RefDb::closed`].
    fn closed(&self, deadline: Deadline) -> BoxFuture<'_, Result<Option<String>, RefDbError>> {
        let _ = deadline;
        ready(Ok(None))
    }
}

/// What a backend promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The scheme of its URL: `sqlite`, `memory`, …
    pub name: &'static str,
    /// Who can use the store at the same time.
    pub reach: Reach,
    /// Whether what is written is there for the next process.
    pub durable: bool,
    /// Most edits in one all-or-nothing compare-and-put; 0 when it has none.
    pub atomic_edits: usize,
    /// Most refs that one round trip reads.
    pub read_batch: usize,
    /// Whether one `get_many` is one moment in time.
    pub snapshot_reads: bool,
    /// Whether a read sees everything that was applied before it began, by whomever.
    pub linearizable_reads: bool,
    /// Whether it keeps texts that are no object ids.
    pub texts: bool,
    /// Shortest and longest lease of a lock; `None` when there are no locks. Where there are, writes can be fenced.
    pub lease: Option<(Duration, Duration)>,
    /// Whether those who wait for a lock get it in the order in which they came.
    pub fair_locks: bool,
}

impl Capabilities {
    /// The least a store can promise; set the rest.
    pub fn least(name: &'static str) -> Capabilities {
        Capabilities {
            name,
            reach: Reach::Process,
            durable: false,
            atomic_edits: 0,
            read_batch: 1,
            snapshot_reads: false,
            linearizable_reads: false,
            texts: false,
            lease: None,
            fair_locks: false,
        }
    }

    /// The lease that a lock really gets when `lease` is asked for; `lease` itself when there are no locks.
    pub fn clamp_lease(&self, lease: Duration) -> Duration {
        self.lease.map_or(lease, |(shortest, longest)| lease.clamp(shortest, longest))
    }
}
