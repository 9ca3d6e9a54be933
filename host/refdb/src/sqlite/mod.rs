//! The embedded backend: one SQLite file, shared by all processes of one machine.
//!
//! Two threads own one connection each, so that reads go on while a write waits for another process. Names are bytes.

mod codec;
mod create;
mod error;
mod file;
mod network;
mod ops;
#[cfg(test)]
mod tests;
mod worker;

use std::path::Path;
use std::sync::Arc;

use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Clock, Cursor, Deadline, Edit, Entries, GlobalRef, GlobalRefDb,
    Lookup, Outcome, Page, Project, Reach, RefDbError, RefDbErrorKind, RefName, future::ready,
};

use crate::{OpenMode, Opened};
use file::StoreFile;
use worker::Worker;

/// A store in one file.
struct SqliteRefDb {
    reader: Worker,
    writer: Worker,
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
    let file = Arc::new(StoreFile::check(path, network)?);
    let worker = |role: &str| Worker::start(role, file.clone(), clock.clone());
    let db = SqliteRefDb { reader: worker("reader")?, writer: worker("writer")? };
    Ok(Opened { db: Arc::new(db), created })
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
        let (project, edits) = (project.clone(), edits.to_vec());
        self.writer.call(deadline, move |call| ops::compare_and_put(call, &project, &edits, atomicity))
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
}
