//! The contract of the global ref-db: the shared record of the newest value of every ref.

mod error;
mod layer;
mod lock;
mod mark;
mod memory;
mod noop;
#[cfg(test)]
mod testing;
mod value;

use std::time::Duration;

pub use error::{RefDbError, RefDbErrorKind};
pub use layer::{Layer, Layered, Operation, Plain, whole};
pub use lock::{LockToken, RefLock, lock_many, while_renewed};
pub use mark::{Mark, Seen};
pub use memory::MemoryRefDb;
pub use noop::NoopRefDb;
pub use value::{
    Atomicity, Cursor, Edit, Expected, Freshness, Lookup, MAX_TEXT, Outcome, Page, Reach, TextOutcome,
    check_entry, check_message, check_text, too_many_superseded,
};

use crate::future::ready;
use crate::{BoxFuture, Deadline, Entry, GlobalRef, Oid, Project, RefName};

/// What a decision asks of the ref-db: entries in bulk. The whole store is [`GlobalRefDb`].
pub trait Entries: Send + Sync {
    /// The entries of `refs`, one per name in the same order; a name may occur twice.
    ///
    /// A ref that was never stored is [`GlobalRef::Untracked`]. What is wrong with one ref alone is in its
    /// [`Lookup`]; an error means that none could be read. What a writer was told is applied before this call began is
    /// seen when [`Capabilities::linearizable_reads`] says so.
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>>;
}

/// A store of [`Entry`] per project and ref, shared by all sites.
///
/// Batch first: every read, [`get_many`](Entries::get_many) above all, takes many refs and costs a backend one round trip per chunk. A lost race is an
/// [`Outcome`], not an error; an error says that the store could not answer. A call answers by its deadline.
///
/// What has a default here can be left out by a store that only has to answer decisions; it then says
/// [`RefDbErrorKind::Unsupported`] and [`Capabilities`] must not promise it.
pub trait GlobalRefDb: Entries {
    /// What this backend promises.
    fn capabilities(&self) -> Capabilities;

    /// The entries whose name starts with `prefix`, in byte order, beginning after `cursor`.
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

    /// Applies each edit whose expectation holds and whose lock is held, or with [`Atomicity::AllOrNothing`] all of them
    /// or none.
    ///
    /// One outcome per edit in the same order. All or nothing above the limit in [`Capabilities`] is refused up front
    /// with [`RefDbErrorKind::TooLarge`]. [`RefDbErrorKind::Indeterminate`] means that the store may or may not have
    /// applied the edits, or some of them: [`resolve`](Self::resolve) tells. A store that writes in chunks answers so, too,
    /// when one fails after an earlier one was written. After any other error no edit was applied, and none will be later.
    ///
    /// [`RefDbErrorKind::Corrupt`] when what is there is no entry, a text for example; it takes the whole call with it.
    fn compare_and_put<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>>;

    /// What became of `edits` after [`RefDbErrorKind::Indeterminate`]: makes sure that none of this store's earlier writes
    /// can be applied from now on, and reads.
    ///
    /// `Applied` says that the new value is there. `Mismatch` says that it is not there now: it was not written, or
    /// somebody replaced it since. An error leaves it open; ask again.
    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>>;

    /// Writes `value` whatever is there and clears the list of superseded values: for administrators.
    fn put<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        value: GlobalRef,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>>;

    /// Puts the entry `to` in the place of exactly `from`, lists of superseded values included, and tells whether `from`
    /// was there. `to` may be untracked: that forgets the ref.
    ///
    /// # Errors
    /// [`RefDbErrorKind::Corrupt`] when what is there is no entry; [`RefDbErrorKind::TooLarge`] when `to` lists more than
    /// [`MAX_SUPERSEDED`](crate::MAX_SUPERSEDED) values.
    fn swap_entry<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        from: &'a Entry,
        to: &'a Entry,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        let _ = (project, name, from, to, deadline);
        lacks(self.capabilities(), "exchange of whole entries")
    }

    /// Forgets a ref, so that it is untracked again. Tells whether there was an entry. For administrators: recording
    /// that a branch was deleted is a compare-and-put to [`GlobalRef::Deleted`].
    fn remove_ref<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>>;

    /// Forgets every ref of `project`, and nothing of `project/sub`, nor any lock. Returns how many entries there were.
    ///
    /// Several writes where the store has no other way: one that fails half way is run again.
    fn remove_project<'a>(
        &'a self,
        project: &'a Project,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<u64, RefDbError>>;

    /// What is stored for a ref, as text: an object id in hexadecimal, a deletion as 40 zeros, any other text as it is.
    /// `None` when nothing is stored.
    fn get_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        let _ = (project, name, deadline);
        lacks(self.capabilities(), "texts")
    }

    /// Writes a text that is no object id (see [`check_text`]) if `expected` is there, as [`get_text`](Self::get_text)
    /// gives it; an object id is replaced, too, its list of superseded values with it.
    fn compare_and_put_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        expected: Option<&'a str>,
        new: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<TextOutcome, RefDbError>> {
        let _ = (project, name, expected, new, deadline);
        lacks(self.capabilities(), "texts")
    }

    /// Takes the lock of a ref, and waits for it until the deadline. It is given back when it is released or dropped, when
    /// the process dies, or when nobody renewed it for `lease` (clamped to [`Capabilities::lease`]).
    ///
    /// # Errors
    /// [`RefDbErrorKind::LockTimeout`] when another holder kept it; nothing of the attempt is left then.
    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Box<dyn RefLock>, RefDbError>> {
        let _ = (project, name, lease, deadline);
        lacks(self.capabilities(), "locks")
    }

    /// Records that `site` uses this store, and returns all sites that ever did, in byte order.
    fn note_site<'a>(
        &'a self,
        site: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        let _ = (site, deadline);
        lacks(self.capabilities(), "list of sites")
    }

    /// The sites that ever used this store, in byte order.
    fn sites<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        let _ = deadline;
        lacks(self.capabilities(), "list of sites")
    }

    /// The newest identity and revision that an answer to this handle carried, the one of its opening included; `None` when
    /// the store has no such thing. Asks nobody.
    fn seen(&self) -> Option<Mark> {
        None
    }

    /// Gives the store another identity: for whoever goes on with one that was put back. Its revision may pass what others
    /// saw before, and they are to notice all the same.
    fn renew_identity<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<(), RefDbError>> {
        let _ = deadline;
        lacks(self.capabilities(), "identity")
    }

    /// Refuses every write of an entry from now on, whoever asks, with [`RefDbErrorKind::Closed`] and `message` (see
    /// [`check_message`]); with `None` takes them again. None that began before is applied after this has returned. Locks
    /// go on.
    fn set_closed<'a>(
        &'a self,
        message: Option<&'a str>,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        let _ = (message, deadline);
        lacks(self.capabilities(), "way to close it")
    }

    /// The message of a store that is closed.
    fn closed<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        let _ = deadline;
        ready(Ok(None))
    }

    /// Projects of which something is stored, each once and in an order of the store's own, beginning after `after`. About
    /// `limit` of them; none is the end. There may be some of which nothing is stored any more.
    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Project>, RefDbError>> {
        let _ = (after, limit, deadline);
        lacks(self.capabilities(), "list of projects")
    }

    /// How each local value (`None`: no such ref) compares with the ref-db, in the same order.
    fn is_up_to_date_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [(RefName, Option<Oid>)],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Freshness>, RefDbError>> {
        Box::pin(async move {
            let names: Vec<RefName> = refs.iter().map(|(name, _)| name.clone()).collect();
            let found = self.get_many(project, &names, deadline).await?;
            Ok(found.iter().zip(refs).map(|(lookup, (_, local))| lookup.freshness(*local)).collect())
        })
    }

    /// Whether each ref has an entry, a deletion included, in the same order.
    fn exists_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<bool>, RefDbError>> {
        Box::pin(async move {
            Ok(self.get_many(project, refs, deadline).await?.iter().map(Lookup::exists).collect())
        })
    }
}

/// The answer of an operation that a store does not have.
fn lacks<'a, T: Send + 'a>(store: Capabilities, operation: &str) -> BoxFuture<'a, Result<T, RefDbError>> {
    ready(Err(RefDbError::unsupported(store.name, operation)))
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
            lease: None,
            fair_locks: false,
        }
    }

    /// The lease that a lock really gets when `lease` is asked for; `lease` itself when there are no locks.
    pub fn clamp_lease(&self, lease: Duration) -> Duration {
        self.lease.map_or(lease, |(shortest, longest)| lease.clamp(shortest, longest))
    }
}

/// Every entry of a project whose name starts with `prefix`, page by page.
pub async fn scan_all(
    db: &dyn GlobalRefDb,
    project: &Project,
    prefix: &[u8],
    deadline: impl Fn() -> Deadline + Send,
) -> Result<Vec<(RefName, Lookup)>, RefDbError> {
    const PAGE: usize = 10_000;
    let mut rows = Vec::new();
    let mut cursor = None;
    loop {
        let page = db.scan(project, prefix, cursor.as_ref(), PAGE, deadline()).await?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(rows),
        }
    }
}

/// Every project of which something is stored, page by page.
pub async fn all_projects(
    db: &dyn GlobalRefDb,
    deadline: impl Fn() -> Deadline + Send,
) -> Result<Vec<Project>, RefDbError> {
    const PAGE: usize = 1_000;
    let mut all: Vec<Project> = Vec::new();
    loop {
        let page = db.projects(all.last(), PAGE, deadline()).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}
