//! The contract of the global ref-db: the shared record of the newest value of every ref.

mod error;
mod memory;
mod noop;

pub use error::{RefDbError, RefDbErrorKind};
pub use memory::MemoryRefDb;
pub use noop::NoopRefDb;

use crate::{BoxFuture, Deadline, Entry, GlobalRef, Project, RefName};

/// A store of [`Entry`] per project and ref, shared by all sites.
///
/// Batch first: every read takes many refs and costs a backend one round trip per chunk. A lost race is an
/// [`Outcome`], not an error; an error says that the store could not answer. A call answers by its deadline.
pub trait GlobalRefDb: Send + Sync {
    /// What this backend promises.
    fn capabilities(&self) -> Capabilities;

    /// The entries of `refs`, one per name in the same order; a name may occur twice.
    ///
    /// A ref that was never stored is [`GlobalRef::Untracked`]. What is wrong with one ref alone is in its
    /// [`Lookup`]; an error means that none could be read.
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>>;

    /// At most `limit` entries whose name starts with `prefix` and sorts after `after`, in byte order.
    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        after: Option<&'a RefName>,
        limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<(RefName, Entry)>, RefDbError>>;

    /// Applies each edit whose expectation holds, or with [`Atomicity::AllOrNothing`] all of them or none.
    ///
    /// One outcome per edit in the same order. All or nothing above the limit in [`Capabilities`] is refused up front
    /// with [`RefDbErrorKind::TooLarge`]. [`RefDbErrorKind::Indeterminate`] means that the store may or may not have
    /// applied the edits.
    fn compare_and_put<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        atomicity: Atomicity,
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

    /// Forgets a ref, so that it is untracked again. Tells whether there was an entry. For administrators: recording
    /// that a branch was deleted is a compare-and-put to [`GlobalRef::Deleted`].
    fn remove_ref<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>>;

    /// Forgets every ref of `project` and nothing of `project/sub`. Returns how many entries there were.
    fn remove_project<'a>(
        &'a self,
        project: &'a Project,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<u64, RefDbError>>;

    /// Records that `site` uses this store, and returns all sites that ever did, in byte order.
    fn note_site<'a>(
        &'a self,
        site: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<String>, RefDbError>>;

    /// The sites that ever used this store, in byte order.
    fn sites<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Vec<String>, RefDbError>>;
}

/// What a backend promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The scheme of its URL: `sqlite`, `memory`, …
    pub name: &'static str,
    /// Whether what is written is there for the next process.
    pub durable: bool,
    /// Most edits in one all-or-nothing compare-and-put; 0 when it has none.
    pub atomic_edits: usize,
    /// Whether one `get_many` is one moment in time.
    pub snapshot_reads: bool,
}

/// What a read found for one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The record.
    Entry(Entry),
    /// Another writer holds the ref; its value may be about to change.
    Locked,
    /// There is something, but it cannot be read as an entry; the text says why.
    Unreadable(String),
}

/// What must hold for an [`Edit`] to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Never stored.
    Absent,
    /// Exactly this value; `Exactly(Untracked)` is the same as `Absent`.
    Exactly(GlobalRef),
    /// Never stored, or recorded as deleted: what creating a ref means.
    AbsentOrDeleted,
    /// Never stored, or this value: Gerrit's rule for adopting a ref.
    AbsentOr(GlobalRef),
}

impl Expected {
    /// Whether `actual` meets the expectation.
    pub fn holds(self, actual: GlobalRef) -> bool {
        match self {
            Expected::Absent => actual == GlobalRef::Untracked,
            Expected::Exactly(value) => actual == value,
            Expected::AbsentOrDeleted => actual.oid().is_none(),
            Expected::AbsentOr(value) => actual == GlobalRef::Untracked || actual == value,
        }
    }
}

/// One conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The ref.
    pub name: RefName,
    /// What must be there.
    pub expected: Expected,
    /// What to write: an object or [`GlobalRef::Deleted`]. `Untracked` is refused.
    pub new: GlobalRef,
    /// Whether the value that is replaced is an ancestor of the new one. When it is not, or the writer cannot tell, the
    /// replaced value is listed as superseded in the same write.
    pub fast_forward: bool,
}

/// Whether edits stand or fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomicity {
    /// Each edit on its own.
    Each,
    /// All edits or none. When one does not match, the outcome of the others is `Mismatch` with their actual value.
    AllOrNothing,
}

/// How a conditional write came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Written.
    Applied,
    /// Not written, because this is there. In an all-or-nothing call, an edit that would have matched carries the value
    /// that it expected.
    Mismatch {
        /// The value in the store.
        actual: GlobalRef,
    },
}
