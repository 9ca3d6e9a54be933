//! A ref-db that looks as if it were on the network: for what depends on where a store is, not on what it holds.

use std::sync::Arc;

use refgate_core::refdb::{Cursor, Page, Reach, Store, Write, Written};
use refgate_core::{Atomicity, BoxFuture, Capabilities, Deadline, Lookup, Project, RefDbError, RefName};

pub(crate) struct FarRefDb(pub Arc<dyn Store>);

type Answer<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl Store for FarRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities { reach: Reach::Network, ..self.0.capabilities() }
    }

    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        self.0.get_many(project, refs, deadline)
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        deadline: Deadline,
    ) -> Answer<'a, Page> {
        self.0.scan(project, prefix, cursor, limit, deadline)
    }

    fn write<'a>(
        &'a self,
        project: &'a Project,
        writes: &'a [Write],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Written>> {
        self.0.write(project, writes, atomicity, deadline)
    }

    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        self.0.settle(project, refs, deadline)
    }
}
