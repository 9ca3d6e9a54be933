//! What a decision asks of the repositories: local refs, ancestry, and on fetch the remote's listing once more.

use std::fmt;

use crate::{BoxFuture, Oid, Project, RefName};

/// The refs and the history of the repositories of this site.
///
/// A reader that fails is an error, never "no such ref", and an error of the ref that it concerns alone.
pub trait LocalRefs: Send + Sync {
    /// The values of `refs`, exactly by name, one per name in the same order; `None` is a ref that does not exist.
    ///
    /// A symbolic ref is not a value that replication may touch: `None` too. Whether the object exists is not looked at:
    /// a damaged ref must not look like one that is gone. A ref that cannot be read is an error in its place; the error
    /// of the whole call says that none could be read.
    fn values<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
    ) -> BoxFuture<'a, Result<Vec<LocalValue>, LocalError>>;

    /// Whether each query's `ancestor` is an ancestor of, or equal to, its `descendant`.
    ///
    /// Only between two commits whose history is here, read without replace refs and grafts; everything else is an
    /// ancestor of nothing but itself.
    fn ancestry<'a>(
        &'a self,
        project: &'a Project,
        queries: &'a [AncestryQuery],
    ) -> BoxFuture<'a, Result<Vec<bool>, LocalError>>;
}

/// The other side of a fetch, asked again after the wait.
pub trait RemoteRefs: Send + Sync {
    /// What the remote lists for `refs` now (its own names), one per name in the same order. The objects of the values
    /// are brought into the local object store before this returns, without moving a ref.
    fn relist<'a>(&'a self, refs: &'a [RefName]) -> BoxFuture<'a, Result<Vec<Option<Oid>>, LocalError>>;
}

/// One question about history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AncestryQuery {
    /// The ref that the question is about (its local name).
    pub name: RefName,
    /// The value that might be contained in the other.
    pub ancestor: Oid,
    /// The value that might contain it; `None` when nobody knows it yet (a fetch by names alone).
    pub descendant: Option<Oid>,
}

/// The value of one local ref, or why it cannot be read and what to do about it.
pub type LocalValue = Result<Option<Oid>, LocalError>;

/// A repository, or a ref of it, that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalError(pub String);

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LocalError {}
