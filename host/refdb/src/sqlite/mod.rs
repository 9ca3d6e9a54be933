//! The embedded backend: one SQLite file, shared by all processes of one machine.
//!
//! Two threads own one connection each, so that reads go on while a write waits for another process. Names are bytes.
//! Locks are rows, and a fenced edit looks at them in its own transaction: [`lock`].

mod codec;
mod create;
mod error;
mod exposed;
mod file;
mod harden;
mod lock;
mod machine;
mod network;
mod ops;
mod schema;
#[cfg(test)]
mod tests;
mod worker;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::refdb::{Mark, check_message, check_text};
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Clock, Cursor, Deadline, Edit, Entries, Entry, GlobalRef,
    GlobalRefDb, Lookup, Outcome, Page, Project, Reach, RefDbError, RefDbErrorKind, RefLock, RefName,
    TextOutcome, future::ready,
};

use crate::{OpenMode, Opened};
pub(crate) use create::make_place;
pub(crate) use exposed::exposed;
use file::StoreFile;
use lock::Locks;
use machine::Machine;
use worker::Worker;

/// A store in one file.
struct SqliteRefDb {
    file: Arc<StoreFile>,
    reader: Arc<Worker>,
    writer: Arc<Worker>,
    machine: Arc<Machine>,
    locks: Locks,
}

impl SqliteRefDb {
    fn start(file: StoreFile, machine: Machine, clock: Arc<dyn Clock>) -> Result<SqliteRefDb, RefDbError> {
        let file = Arc::new(file);
        let worker = |role: &str| Worker::start(role, file.clone(), clock.clone()).map(Arc::new);
        let (reader, writer, machine) = (worker("reader")?, worker("writer")?, Arc::new(machine));
        let rng = Mutex::new(SmallRng::seed_from_u64(crate::seed(&*clock)));
        let locks =
            Locks { reader: reader.clone(), writer: writer.clone(), machine: machine.clone(), clock, rng };
        Ok(SqliteRefDb { file, reader, writer, machine, locks })
    }
}

/// Opens the file at `path`, with [`OpenMode::Create`] making it when it is missing.
pub(crate) fn open(
    path: &Path,
    network: bool,
    mode: OpenMode,
    clock: Arc<dyn Clock>,
) -> Result<Opened, RefDbError> {
    // The directory of the process may change while the file is open; and `x` alone has no parent to look at.
    let path = &std::path::absolute(path)
        .map_err(|e| error::about(RefDbErrorKind::Config, path, &format!("this is not a path: {e}")))?;
    let created = mode == OpenMode::Create && create::create_if_missing(path, network)?;
    let db = SqliteRefDb::start(StoreFile::check(path, network)?, Machine::this(), clock)?;
    Ok(Opened { db: Arc::new(db), created })
}

/// See [`bound_sqlite_memory`](crate::bound_sqlite_memory).
pub(crate) fn bound_memory(bytes: u32) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open_in_memory()?;
    connection.query_row(&format!("PRAGMA hard_heap_limit = {bytes}"), [], |_| Ok(()))
}

/// What every backend refuses before it writes anything.
fn refuse_untracked(value: GlobalRef, name: &RefName) -> Result<(), RefDbError> {
    match value {
        GlobalRef::Untracked => Err(RefDbError::new(
            RefDbErrorKind::InvalidName,
            format!("`{name}`: a ref is forgotten by removing it, not by writing `untracked`"),
        )),
        GlobalRef::Deleted | GlobalRef::At(_) => Ok(()),
    }
}

impl Entries for SqliteRefDb {
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        let (project, refs) = (project.clone(), refs.to_vec());
        self.reader.call(deadline, move |call| ops::get_many(call, &project, &refs))
    }
}

impl GlobalRefDb for SqliteRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reach: Reach::Machine,
            durable: true,
            atomic_edits: usize::MAX,
            read_batch: usize::MAX,
            snapshot_reads: true,
            linearizable_reads: true,
            lease: Some(lock::LEASE),
            ..Capabilities::least("sqlite")
        }
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Page, RefDbError>> {
        let (project, prefix) = (project.clone(), prefix.to_vec());
        let after = cursor.map(|cursor| cursor.after.clone());
        self.reader
            .call(deadline, move |call| ops::scan(call, &project, &prefix, after.as_ref(), limit.max(1)))
    }

    fn compare_and_put<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        if let Err(e) = edits.iter().try_for_each(|edit| refuse_untracked(edit.new, &edit.name)) {
            return ready(Err(e));
        }
        let (project, edits, machine) = (project.clone(), edits.to_vec(), self.machine.clone());
        self.writer
            .call(deadline, move |call| ops::compare_and_put(call, &project, &edits, atomicity, &machine))
    }

    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        let (project, edits) = (project.clone(), edits.to_vec());
        // Behind everything that the writer still has to do.
        self.writer.call(deadline, move |call| ops::resolve(call, &project, &edits))
    }

    fn put<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        value: GlobalRef,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        if let Err(e) = refuse_untracked(value, name) {
            return ready(Err(e));
        }
        let (project, name) = (project.clone(), name.clone());
        self.writer.call(deadline, move |call| ops::put(call, &project, &name, value))
    }

    fn swap_entry<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        from: &'a Entry,
        to: &'a Entry,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        let (project, name, from, to) = (project.clone(), name.clone(), from.clone(), to.clone());
        self.writer.call(deadline, move |call| ops::swap_entry(call, &project, &name, &from, &to))
    }

    fn remove_ref<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        let (project, name) = (project.clone(), name.clone());
        self.writer.call(deadline, move |call| ops::remove_ref(call, &project, &name))
    }

    fn remove_project<'a>(
        &'a self,
        project: &'a Project,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<u64, RefDbError>> {
        let project = project.clone();
        self.writer.call(deadline, move |call| ops::remove_project(call, &project))
    }

    fn get_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        let (project, name) = (project.clone(), name.clone());
        self.reader.call(deadline, move |call| ops::get_text(call, &project, &name))
    }

    fn compare_and_put_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        expected: Option<&'a str>,
        new: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<TextOutcome, RefDbError>> {
        if let Err(why) = check_text(new) {
            return ready(Err(RefDbError::new(RefDbErrorKind::InvalidName, format!("`{name}`: {why}"))));
        }
        let (project, name) = (project.clone(), name.clone());
        let (expected, new) = (expected.map(str::to_owned), new.to_owned());
        self.writer.call(deadline, move |call| {
            ops::compare_and_put_text(call, &project, &name, expected.as_deref(), &new)
        })
    }

    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Box<dyn RefLock>, RefDbError>> {
        Box::pin(self.locks.lock(project, name, lease, deadline))
    }

    fn note_site<'a>(
        &'a self,
        site: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        Box::pin(async move {
            // Every start of every process comes by here: the usual case must not wait for a writer.
            let known = self.sites(deadline).await?;
            if known.iter().any(|s| s == site) {
                return Ok(known);
            }
            let site = site.to_owned();
            self.writer.call(deadline, move |call| ops::add_site(call, &site)).await?;
            self.sites(deadline).await
        })
    }

    fn sites<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        self.reader.call(deadline, ops::sites)
    }

    fn seen(&self) -> Option<Mark> {
        self.file.seen.newest()
    }

    fn renew_identity<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<(), RefDbError>> {
        self.writer.call(deadline, ops::renew_identity)
    }

    fn set_closed<'a>(
        &'a self,
        message: Option<&'a str>,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        if let Some(Err(why)) = message.map(check_message) {
            return ready(Err(RefDbError::new(RefDbErrorKind::InvalidName, why)));
        }
        let message = message.map(str::to_owned);
        self.writer.call(deadline, move |call| ops::set_closed(call, message.as_deref()))
    }

    fn closed<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        self.reader.call(deadline, ops::closed)
    }

    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Project>, RefDbError>> {
        let after = after.cloned();
        self.reader.call(deadline, move |call| ops::projects(call, after.as_ref(), limit.max(1)))
    }
}
