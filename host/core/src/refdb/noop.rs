//! A ref-db that knows nothing: every ref is untracked, so only fast-forwards replicate.

use super::{
    Administered, Atomicity, Capabilities, Cursor, Guard, Lookup, Page, Reach, RefDbError, Store, Write,
    Written,
};
use crate::{BoxFuture, Deadline, Project, RefName, future::ready};

/// Remembers nothing and refuses no write.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopRefDb;

type Answer<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl Store for NoopRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reach: Reach::Network,
            atomic_edits: usize::MAX,
            read_batch: usize::MAX,
            snapshot_reads: true,
            linearizable_reads: true,
            texts: true,
            ..Capabilities::least("noop")
        }
    }

    fn get_many<'a>(&'a self, _: &'a Project, refs: &'a [RefName], _: Deadline) -> Answer<'a, Vec<Lookup>> {
        ready(Ok(vec![Lookup::UNTRACKED; refs.len()]))
    }

    fn scan<'a>(
        &'a self,
        _: &'a Project,
        _: &'a [u8],
        _: Option<&'a Cursor>,
        _: usize,
        _: Deadline,
    ) -> Answer<'a, Page> {
        ready(Ok(Page::default()))
    }

    fn write<'a>(
        &'a self,
        _: &'a Project,
        writes: &'a [Write],
        _: Atomicity,
        _: Deadline,
    ) -> Answer<'a, Vec<Written>> {
        let outcome = |write: &Write| match write.guard {
            Guard::Something => Written::Mismatch(Lookup::UNTRACKED),
            _ => Written::Applied,
        };
        ready(Ok(writes.iter().map(outcome).collect()))
    }

    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        self.get_many(project, refs, deadline)
    }

    fn admin(&self) -> Option<&dyn Administered> {
        Some(self)
    }
}

impl Administered for NoopRefDb {
    fn sites(&self, _: Deadline) -> Answer<'_, Vec<String>> {
        ready(Ok(Vec::new()))
    }

    fn add_site<'a>(&'a self, _: &'a str, _: Deadline) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    fn projects<'a>(&'a self, _: Option<&'a Project>, _: usize, _: Deadline) -> Answer<'a, Vec<Project>> {
        ready(Ok(Vec::new()))
    }

    fn remove_project<'a>(&'a self, _: &'a Project, _: Deadline) -> Answer<'a, u64> {
        ready(Ok(0))
    }
}
