//! What stands around every call of a ref-db, written once: retries, time limits, counters and faults are layers, and
//! whatever the layer, a list of answers that is not as long as the list of questions is an error.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Atomicity, Capabilities, Cursor, Edit, Entries, GlobalRefDb, Lookup, Mark, Outcome, Page, RefDbError,
    RefDbErrorKind, RefLock, TextOutcome,
};
use crate::{BoxFuture, Deadline, Entry, GlobalRef, Project, RefName};

/// The operations of [`GlobalRefDb`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// [`Entries::get_many`]
    GetMany,
    /// [`GlobalRefDb::scan`]
    Scan,
    /// [`GlobalRefDb::compare_and_put`]
    CompareAndPut,
    /// [`GlobalRefDb::resolve`]
    Resolve,
    /// [`GlobalRefDb::put`]
    Put,
    /// [`GlobalRefDb::swap_entry`]
    SwapEntry,
    /// [`GlobalRefDb::remove_ref`]
    RemoveRef,
    /// [`GlobalRefDb::remove_project`]
    RemoveProject,
    /// [`GlobalRefDb::get_text`]
    GetText,
    /// [`GlobalRefDb::compare_and_put_text`]
    CompareAndPutText,
    /// [`GlobalRefDb::lock`]
    Lock,
    /// [`GlobalRefDb::note_site`]
    NoteSite,
    /// [`GlobalRefDb::sites`]
    Sites,
    /// [`GlobalRefDb::renew_identity`]
    RenewIdentity,
    /// [`GlobalRefDb::set_closed`]
    SetClosed,
    /// [`GlobalRefDb::closed`]
    Closed,
    /// [`GlobalRefDb::projects`]
    Projects,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 17] = [
        Operation::GetMany,
        Operation::Scan,
        Operation::CompareAndPut,
        Operation::Resolve,
        Operation::Put,
        Operation::SwapEntry,
        Operation::RemoveRef,
        Operation::RemoveProject,
        Operation::GetText,
        Operation::CompareAndPutText,
        Operation::Lock,
        Operation::NoteSite,
        Operation::Sites,
        Operation::RenewIdentity,
        Operation::SetClosed,
        Operation::Closed,
        Operation::Projects,
    ];

    /// The name of the method.
    pub fn name(self) -> &'static str {
        match self {
            Operation::GetMany => "get_many",
            Operation::Scan => "scan",
            Operation::CompareAndPut => "compare_and_put",
            Operation::Resolve => "resolve",
            Operation::Put => "put",
            Operation::SwapEntry => "swap_entry",
            Operation::RemoveRef => "remove_ref",
            Operation::RemoveProject => "remove_project",
            Operation::GetText => "get_text",
            Operation::CompareAndPutText => "compare_and_put_text",
            Operation::Lock => "lock",
            Operation::NoteSite => "note_site",
            Operation::Sites => "sites",
            Operation::RenewIdentity => "renew_identity",
            Operation::SetClosed => "set_closed",
            Operation::Closed => "closed",
            Operation::Projects => "projects",
        }
    }

    /// Whether it changes nothing, so that repeating it is harmless whatever became of the first attempt.
    pub fn is_read(self) -> bool {
        matches!(
            self,
            Operation::GetMany
                | Operation::Scan
                | Operation::Resolve
                | Operation::GetText
                | Operation::Sites
                | Operation::Closed
                | Operation::Projects
        )
    }
}

impl Operation {
    /// Whether a call that did not answer may have changed what the store holds. Not so for a lock: one that nobody got is
    /// given back.
    pub fn is_write(self) -> bool {
        !self.is_read() && self != Operation::Lock
    }
}

/// Something that stands around every call: it may look at it, repeat it, refuse it or shorten its deadline.
pub trait Layer: Send + Sync {
    /// Does one call; `call` runs it, any number of times.
    fn around<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> BoxFuture<'a, Result<T, RefDbError>> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RefDbError>>;
}

/// For a layer that somebody else looks at, too: counters, faults.
impl<L: Layer> Layer for Arc<L> {
    fn around<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> BoxFuture<'a, Result<T, RefDbError>> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RefDbError>> {
        L::around(self, operation, deadline, call)
    }
}

/// A layer that does nothing: [`Layered`] around a store then only checks how many answers it gives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Layer for Plain {
    fn around<'a, T: Send + 'a>(
        &'a self,
        _: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> BoxFuture<'a, Result<T, RefDbError>> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RefDbError>> {
        call(deadline)
    }
}

/// The answers of one call, if there are as many as it has `asked` for: callers lay them beside their questions, and one
/// answer too few would leave the last question without any.
///
/// # Errors
/// [`RefDbErrorKind::Indeterminate`] after a compare-and-put, which may have been applied; else
/// [`RefDbErrorKind::Corrupt`].
pub fn whole<T>(
    operation: Operation,
    asked: usize,
    answers: Result<Vec<T>, RefDbError>,
) -> Result<Vec<T>, RefDbError> {
    let answers = answers?;
    if answers.len() == asked {
        return Ok(answers);
    }
    let kind = match operation.is_write() {
        true => RefDbErrorKind::Indeterminate,
        false => RefDbErrorKind::Corrupt,
    };
    let what = format!(
        "the ref-db gave {} answers to `{}` of {asked} refs: none of them counts; the store is faulty, report it to its \
         maintainer",
        answers.len(),
        operation.name()
    );
    Err(RefDbError::new(kind, what))
}

/// A store with a layer around it. The number of its answers is checked below the layer, so that the layer sees an error
/// as callers see it.
pub struct Layered<D, L> {
    inner: D,
    layer: L,
}

impl<D, L> Layered<D, L> {
    /// Puts `layer` around `inner`.
    pub fn new(inner: D, layer: L) -> Layered<D, L> {
        Layered { inner, layer }
    }

    /// What stands around.
    pub fn layer(&self) -> &L {
        &self.layer
    }
}

impl<D, L: Layer> Entries for Layered<D, L>
where
    D: std::ops::Deref<Target = dyn GlobalRefDb> + Send + Sync,
{
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        self.layer.around(Operation::GetMany, deadline, move |deadline| {
            let answers = self.inner.get_many(project, refs, deadline);
            Box::pin(async move { whole(Operation::GetMany, refs.len(), answers.await) })
        })
    }
}

impl<D, L: Layer> GlobalRefDb for Layered<D, L>
where
    D: std::ops::Deref<Target = dyn GlobalRefDb> + Send + Sync,
{
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Page, RefDbError>> {
        self.layer.around(Operation::Scan, deadline, move |deadline| {
            self.inner.scan(project, prefix, cursor, limit, deadline)
        })
    }

    fn compare_and_put<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        self.layer.around(Operation::CompareAndPut, deadline, move |deadline| {
            let answers = self.inner.compare_and_put(project, edits, atomicity, deadline);
            Box::pin(async move { whole(Operation::CompareAndPut, edits.len(), answers.await) })
        })
    }

    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        self.layer.around(Operation::Resolve, deadline, move |deadline| {
            let answers = self.inner.resolve(project, edits, deadline);
            Box::pin(async move { whole(Operation::Resolve, edits.len(), answers.await) })
        })
    }

    fn put<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        value: GlobalRef,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        self.layer
            .around(Operation::Put, deadline, move |deadline| self.inner.put(project, name, value, deadline))
    }

    fn swap_entry<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        from: &'a Entry,
        to: &'a Entry,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        self.layer.around(Operation::SwapEntry, deadline, move |deadline| {
            self.inner.swap_entry(project, name, from, to, deadline)
        })
    }

    fn remove_ref<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        self.layer.around(Operation::RemoveRef, deadline, move |deadline| {
            self.inner.remove_ref(project, name, deadline)
        })
    }

    fn remove_project<'a>(
        &'a self,
        project: &'a Project,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<u64, RefDbError>> {
        self.layer.around(Operation::RemoveProject, deadline, move |deadline| {
            self.inner.remove_project(project, deadline)
        })
    }

    fn get_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        self.layer.around(Operation::GetText, deadline, move |deadline| {
            self.inner.get_text(project, name, deadline)
        })
    }

    fn compare_and_put_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        expected: Option<&'a str>,
        new: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<TextOutcome, RefDbError>> {
        self.layer.around(Operation::CompareAndPutText, deadline, move |deadline| {
            self.inner.compare_and_put_text(project, name, expected, new, deadline)
        })
    }

    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Box<dyn RefLock>, RefDbError>> {
        self.layer.around(Operation::Lock, deadline, move |deadline| {
            self.inner.lock(project, name, lease, deadline)
        })
    }

    fn note_site<'a>(
        &'a self,
        site: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        self.layer.around(Operation::NoteSite, deadline, move |deadline| self.inner.note_site(site, deadline))
    }

    fn sites<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        self.layer.around(Operation::Sites, deadline, move |deadline| self.inner.sites(deadline))
    }

    fn seen(&self) -> Option<Mark> {
        self.inner.seen()
    }

    fn renew_identity<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<(), RefDbError>> {
        self.layer
            .around(Operation::RenewIdentity, deadline, move |deadline| self.inner.renew_identity(deadline))
    }

    fn set_closed<'a>(
        &'a self,
        message: Option<&'a str>,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        self.layer
            .around(Operation::SetClosed, deadline, move |deadline| self.inner.set_closed(message, deadline))
    }

    fn closed<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        self.layer.around(Operation::Closed, deadline, move |deadline| self.inner.closed(deadline))
    }

    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Project>, RefDbError>> {
        self.layer.around(Operation::Projects, deadline, move |deadline| {
            self.inner.projects(after, limit, deadline)
        })
    }
}
