//! A ref-db that knows nothing: every ref is untracked, so only fast-forwards replicate.

use super::{
    Atomicity, Capabilities, Cursor, Edit, Entries, GlobalRefDb, Lookup, Outcome, Page, Reach, RefDbError,
    TextOutcome,
};
use crate::{BoxFuture, Deadline, Entry, GlobalRef, Project, RefName, future::ready};

/// Remembers nothing and refuses no write.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopRefDb;

impl Entries for NoopRefDb {
    fn get_many<'a>(
        &'a self,
        _: &'a Project,
        refs: &'a [RefName],
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        ready(Ok(vec![Lookup::Entry(Entry::default()); refs.len()]))
    }
}

impl GlobalRefDb for NoopRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reach: Reach::Network,
            atomic_edits: usize::MAX,
            read_batch: usize::MAX,
            snapshot_reads: true,
            linearizable_reads: true,
            ..Capabilities::least("noop")
        }
    }

    fn scan<'a>(
        &'a self,
        _: &'a Project,
        _: &'a [u8],
        _: Option<&'a Cursor>,
        _: usize,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Page, RefDbError>> {
        ready(Ok(Page::default()))
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

    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        self.compare_and_put(project, edits, Atomicity::Each, deadline)
    }

    fn swap_entry<'a>(
        &'a self,
        _: &'a Project,
        _: &'a RefName,
        _: &'a Entry,
        _: &'a Entry,
        _: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        ready(Ok(true))
    }

    fn get_text<'a>(
        &'a self,
        _: &'a Project,
        _: &'a RefName,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        ready(Ok(None))
    }

    fn compare_and_put_text<'a>(
        &'a self,
        _: &'a Project,
        _: &'a RefName,
        _: Option<&'a str>,
        _: &'a str,
        _: Deadline,
    ) -> BoxFuture<'a, Result<TextOutcome, RefDbError>> {
        ready(Ok(TextOutcome::Applied))
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

    fn projects<'a>(
        &'a self,
        _: Option<&'a Project>,
        _: usize,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Project>, RefDbError>> {
        ready(Ok(Vec::new()))
    }
}
