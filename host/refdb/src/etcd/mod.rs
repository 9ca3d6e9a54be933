//! The etcd backend: any number of sites on one cluster, every write one transaction.
//!
//! Building it needs `protoc` and the well-known protobuf files (Debian: `protobuf-compiler libprotobuf-dev`).

mod codec;
mod driver;
mod error;
mod keys;
mod lock;
mod open;
mod read;
mod servers;
mod session;
mod shared;
mod ticket;
mod write;

use std::sync::Arc;
use std::time::Duration;

use refgate_core::refdb::{Mark, check_message};
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Clock, Cursor, Deadline, Edit, Entries, Entry, GlobalRef,
    GlobalRefDb, Lookup, Outcome, Page, Project, Reach, RefDbError, RefDbErrorKind, RefLock, RefName,
    TextOutcome, future::ready,
};

use crate::url::Remote;
use crate::{OpenMode, Opened};
use driver::Driver;

/// A store on etcd.
struct EtcdRefDb {
    driver: Arc<Driver>,
}

/// Connects to the servers of `remote`, with [`OpenMode::Create`] making the ref-db when there is none.
pub(crate) fn open(remote: &Remote, mode: OpenMode, clock: Arc<dyn Clock>) -> Result<Opened, RefDbError> {
    let (driver, created) = open::open(remote, mode, clock)?;
    Ok(Opened { db: Arc::new(EtcdRefDb { driver: Arc::new(driver) }), created })
}

impl Entries for EtcdRefDb {
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        if refs.is_empty() {
            return ready(Ok(Vec::new()));
        }
        let (project, refs) = (project.clone(), refs.to_vec());
        self.driver.call(deadline, |call| async move { read::get_many(&call, &project, &refs).await })
    }
}

impl GlobalRefDb for EtcdRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reach: Reach::Network,
            durable: true,
            atomic_edits: write::ATOMIC_EDITS,
            read_batch: shared::TXN_OPS,
            snapshot_reads: true,
            linearizable_reads: true,
            lease: Some((lock::SHORTEST, lock::LONGEST)),
            fair_locks: true,
            ..Capabilities::least("etcd")
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
        let (project, prefix, cursor) = (project.clone(), prefix.to_vec(), cursor.cloned());
        self.driver.call(deadline, move |call| async move {
            read::scan(&call, &project, &prefix, cursor.as_ref(), limit).await
        })
    }

    fn compare_and_put<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        if let Err(e) = edits.iter().try_for_each(|edit| write::refuse_untracked(edit.new, &edit.name)) {
            return ready(Err(e));
        }
        let (project, edits) = (project.clone(), edits.to_vec());
        self.driver.call(deadline, move |call| async move {
            write::compare_and_put(&call, &project, &edits, atomicity).await
        })
    }

    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        let (project, edits) = (project.clone(), edits.to_vec());
        self.driver.call(deadline, |call| async move { write::resolve(&call, &project, &edits).await })
    }

    fn put<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        value: GlobalRef,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        if let Err(e) = write::refuse_untracked(value, name) {
            return ready(Err(e));
        }
        let (project, name) = (project.clone(), name.clone());
        self.driver.call(deadline, move |call| async move { write::put(&call, &project, &name, value).await })
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
        self.driver
            .call(deadline, |call| async move { write::swap_entry(&call, &project, &name, &from, &to).await })
    }

    fn remove_ref<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        let (project, name) = (project.clone(), name.clone());
        self.driver.call(deadline, |call| async move { write::remove_ref(&call, &project, &name).await })
    }

    fn remove_project<'a>(
        &'a self,
        project: &'a Project,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<u64, RefDbError>> {
        let project = project.clone();
        self.driver.call(deadline, |call| async move { write::remove_project(&call, &project).await })
    }

    fn get_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        let (project, name) = (project.clone(), name.clone());
        self.driver.call(deadline, |call| async move { write::get_text(&call, &project, &name).await })
    }

    fn compare_and_put_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        expected: Option<&'a str>,
        new: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<TextOutcome, RefDbError>> {
        let (project, name) = (project.clone(), name.clone());
        let (expected, new) = (expected.map(str::to_owned), new.to_owned());
        self.driver.call(deadline, |call| async move {
            write::compare_and_put_text(&call, &project, &name, expected.as_deref(), &new).await
        })
    }

    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Box<dyn RefLock>, RefDbError>> {
        let (project, name) = (project.clone(), name.clone());
        let taken = self
            .driver
            .call(deadline, move |call| async move { lock::take(&call, &project, &name, lease).await });
        Box::pin(async move {
            let (lease, token) = taken.await?;
            Ok(Box::new(lock::EtcdLock::new(lease, token, self.driver.clone())) as Box<dyn RefLock>)
        })
    }

    fn note_site<'a>(
        &'a self,
        site: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        let site = site.to_owned();
        self.driver.call(deadline, |call| async move {
            // Every start of every process comes by here: the usual case must not write.
            let known = read::sites(&call).await?;
            if known.contains(&site) {
                return Ok(known);
            }
            write::note_site(&call, &site).await?;
            read::sites(&call).await
        })
    }

    fn sites<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        self.driver.call(deadline, |call| async move { read::sites(&call).await })
    }

    fn seen(&self) -> Option<Mark> {
        self.driver.shared.seen.newest()
    }

    fn renew_identity<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<(), RefDbError>> {
        self.driver.call(deadline, |call| async move { write::renew_identity(&call).await })
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
        self.driver.call(deadline, |call| async move { write::set_closed(&call, message.as_deref()).await })
    }

    fn closed<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        self.driver.call(deadline, |call| async move { read::closed(&call).await })
    }

    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Project>, RefDbError>> {
        let after = after.cloned();
        self.driver
            .call(deadline, move |call| async move { read::projects(&call, after.as_ref(), limit).await })
    }
}
