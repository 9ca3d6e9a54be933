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
use refgate_core::refdb::{Administered, Locks, Mark, Write, Written};
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Clock, Cursor, Deadline, Lookup, Page, Project, Reach, RefDb,
    RefDbError, RefDbErrorKind, RefLock, RefName, Store,
};

use crate::{OpenMode, Opened};
pub(crate) use create::make_place;
pub(crate) use exposed::exposed;
use file::StoreFile;
use lock::LockTable;
use machine::Machine;
use worker::Worker;

/// A store in one file.
struct SqliteRefDb {
    file: Arc<StoreFile>,
    reader: Arc<Worker>,
    writer: Arc<Worker>,
    machine: Arc<Machine>,
    locks: LockTable,
}

impl SqliteRefDb {
    fn start(file: StoreFile, machine: Machine, clock: Arc<dyn Clock>) -> Result<SqliteRefDb, RefDbError> {
        let file = Arc::new(file);
        let worker = |role: &str| Worker::start(role, file.clone(), clock.clone()).map(Arc::new);
        let (reader, writer, machine) = (worker("reader")?, worker("writer")?, Arc::new(machine));
        let rng = Mutex::new(SmallRng::seed_from_u64(crate::seed(&*clock)));
        let locks = LockTable {
            reader: reader.clone(),
            writer: writer.clone(),
            machine: machine.clone(),
            clock,
            rng,
        };
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
    Ok(Opened { db: RefDb::new(db), created })
}

/// See [`bound_sqlite_memory`](crate::bound_sqlite_memory).
pub(crate) fn bound_memory(bytes: u32) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open_in_memory()?;
    connection.query_row(&format!("PRAGMA hard_heap_limit = {bytes}"), [], |_| Ok(()))
}

type Answer<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl Store for SqliteRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reach: Reach::Machine,
            durable: true,
            atomic_edits: usize::MAX,
            read_batch: usize::MAX,
            snapshot_reads: true,
            linearizable_reads: true,
            texts: true,
            lease: Some(lock::LEASE),
            ..Capabilities::least("sqlite")
        }
    }

    fn location(&self) -> String {
        self.file.path().display().to_string()
    }

    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        let (project, refs) = (project.clone(), refs.to_vec());
        self.reader.call(deadline, move |call| ops::get_many(call, &project, &refs))
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        deadline: Deadline,
    ) -> Answer<'a, Page> {
        let (project, prefix) = (project.clone(), prefix.to_vec());
        let after = cursor.map(|cursor| cursor.after.clone());
        self.reader.call(deadline, move |call| ops::scan(call, &project, &prefix, after.as_ref(), limit))
    }

    fn write<'a>(
        &'a self,
        project: &'a Project,
        writes: &'a [Write],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Written>> {
        let (project, writes, machine) = (project.clone(), writes.to_vec(), self.machine.clone());
        let shown = self.location();
        self.writer
            .call(deadline, move |call| ops::write(call, &shown, &project, &writes, atomicity, &machine))
    }

    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        let (project, refs) = (project.clone(), refs.to_vec());
        // Behind everything that the writer still has to do.
        self.writer.call(deadline, move |call| ops::get_many(call, &project, &refs))
    }

    fn locks(&self) -> Option<&dyn Locks> {
        Some(self)
    }

    fn admin(&self) -> Option<&dyn Administered> {
        Some(self)
    }
}

impl Locks for SqliteRefDb {
    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> Answer<'a, Box<dyn RefLock>> {
        Box::pin(self.locks.lock(project, name, lease, deadline))
    }
}

impl Administered for SqliteRefDb {
    fn sites(&self, deadline: Deadline) -> Answer<'_, Vec<String>> {
        self.reader.call(deadline, ops::sites)
    }

    fn add_site<'a>(&'a self, site: &'a str, deadline: Deadline) -> Answer<'a, ()> {
        let site = site.to_owned();
        self.writer.call(deadline, move |call| ops::add_site(call, &site))
    }

    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        limit: usize,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Project>> {
        let after = after.cloned();
        self.reader.call(deadline, move |call| ops::projects(call, after.as_ref(), limit))
    }

    fn remove_project<'a>(&'a self, project: &'a Project, deadline: Deadline) -> Answer<'a, u64> {
        let project = project.clone();
        self.writer.call(deadline, move |call| ops::remove_project(call, &project))
    }

    fn seen(&self) -> Option<Mark> {
        self.file.seen.newest()
    }

    fn renew_identity(&self, deadline: Deadline) -> Answer<'_, ()> {
        self.writer.call(deadline, ops::renew_identity)
    }

    fn set_closed<'a>(&'a self, message: Option<&'a str>, deadline: Deadline) -> Answer<'a, ()> {
        let message = message.map(str::to_owned);
        self.writer.call(deadline, move |call| ops::set_closed(call, message.as_deref()))
    }

    fn closed(&self, deadline: Deadline) -> Answer<'_, Option<String>> {
        self.reader.call(deadline, ops::closed)
    }
}
