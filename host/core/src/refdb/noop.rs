//! A ref-db that knows nothing: every ref is untracked, so only fast-forwards replicate.

use super::{Atomicity, Capabilities, Edit, GlobalRefDb, Lookup, Outcome, RefDbError};
use crate::{BoxFuture, Deadline, Entry, GlobalRef, Project, RefName, future::ready};

/// Remembers nothing and refuses no write.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopRefDb;

impl GlobalRefDb for NoopRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "noop", durable: false, atomic_edits: usize::MAX, snapshot_reads: true }
    }

    fn get_many<'a>(
        &'a self,
        _: &'a Project,
        refs: &'a [RefName],
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        ready(Ok(vec![Lookup::Entry(Entry::default()); refs.len()]))
    }

    fn scan<'a>(
        &'a self,
        _: &'a Project,
        _: &'a [u8],
        _: Option<&'a RefName>,
        _: usize,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<(RefName, Entry)>, RefDbError>> {
        ready(Ok(Vec::new()))
    }

    fn compare_and_put<'a>(
        &'a self,
        _: &'a Project,
        edits: &'a [Edit],
        _: Atomicity,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        ready(Ok(vec![Outcome::Applied; edits.len()]))
    }

    fn put<'a>(
        &'a self,
        _: &'a Project,
        _: &'a RefName,
        _: GlobalRef,
        _: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        ready(Ok(()))
    }

    fn remove_ref<'a>(
        &'a self,
        _: &'a Project,
        _: &'a RefName,
        _: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        ready(Ok(false))
    }

    fn remove_project<'a>(&'a self, _: &'a Project, _: Deadline) -> BoxFuture<'a, Result<u64, RefDbError>> {
        ready(Ok(0))
    }

    fn note_site<'a>(&'a self, site: &'a str, _: Deadline) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        ready(Ok(vec![site.to_owned()]))
    }

    fn sites<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        ready(Ok(Vec::new()))
    }
}
