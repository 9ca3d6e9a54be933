//! A ref-db that looks as if it were on the network: for what depends on where a store is, not on what it holds.

use std::sync::Arc;

use refgate_core::refdb::{Cursor, Page, Reach};
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Deadline, Edit, Entries, GlobalRef, GlobalRefDb, Lookup, Outcome,
    Project, RefDbError, RefName,
};

pub(crate) struct FarRefDb(pub Arc<dyn GlobalRefDb>);

type Answer<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl Entries for FarRefDb {
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        self.0.get_many(project, refs, deadline)
    }
}

impl GlobalRefDb for FarRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities { reach: Reach::Network, ..self.0.capabilities() }
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

    fn compare_and_put<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Outcome>> {
        self.0.compare_and_put(project, edits, atomicity, deadline)
    }

    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Outcome>> {
        self.0.resolve(project, edits, deadline)
    }

    fn put<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        value: GlobalRef,
        deadline: Deadline,
    ) -> Answer<'a, ()> {
        self.0.put(project, name, value, deadline)
    }

    fn remove_ref<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> Answer<'a, bool> {
        self.0.remove_ref(project, name, deadline)
    }

    fn remove_project<'a>(&'a self, project: &'a Project, deadline: Deadline) -> Answer<'a, u64> {
        self.0.remove_project(project, deadline)
    }
}
