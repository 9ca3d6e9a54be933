//! The etcd backend: any number of sites on one cluster, every write one transaction.
//!
//! Building it needs `protoc` and the well-known protobuf files (Debian: `protobuf-compiler libprotobuf-dev`).

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

use refgate_core::refdb::{Administered, Locks, Mark, Write, Written};
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Clock, Cursor, Deadline, Lookup, Page, Project, Reach, RefDb,
    RefDbError, RefLock, RefName, Store, future::ready,
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
    Ok(Opened { db: RefDb::new(EtcdRefDb { driver: Arc::new(driver) }), created })
}

type Answer<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl Store for EtcdRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reach: Reach::Network,
            durable: true,
            atomic_edits: write::ATOMIC_EDITS,
            read_batch: shared::TXN_OPS,
            snapshot_reads: true,
            linearizable_reads: true,
            texts: true,
            lease: Some((lock::SHORTEST, lock::LONGEST)),
            fair_locks: true,
            ..Capabilities::least("etcd")
        }
    }

    fn location(&self) -> String {
        self.driver.shared.shown.clone()
    }

    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        if refs.is_empty() {
            return ready(Ok(Vec::new()));
        }
        let (project, refs) = (project.clone(), refs.to_vec());
        self.driver.call(deadline, |call| async move { read::get_many(&call, &project, &refs).await })
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        deadline: Deadline,
    ) -> Answer<'a, Page> {
        let (project, prefix, cursor) = (project.clone(), prefix.to_vec(), cursor.cloned());
        self.driver.call(deadline, move |call| async move {
            read::scan(&call, &project, &prefix, cursor.as_ref(), limit).await
        })
    }

    fn write<'a>(
        &'a self,
        project: &'a Project,
        writes: &'a [Write],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Written>> {
        let (project, writes) = (project.clone(), writes.to_vec());
        self.driver.call(deadline, move |call| async move {
            write::write(&call, &project, &writes, atomicity).await
        })
    }

    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        let (project, refs) = (project.clone(), refs.to_vec());
        self.driver.call(deadline, |call| async move {
            // Nothing can be applied any more once all sessions are closed.
            session::close_all(&call).await?;
            read::get_many(&call, &project, &refs).await
        })
    }

    fn locks(&self) -> Option<&dyn Locks> {
        Some(self)
    }

    fn admin(&self) -> Option<&dyn Administered> {
        Some(self)
    }
}

impl Locks for EtcdRefDb {
    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> Answer<'a, Box<dyn RefLock>> {
        let (project, name) = (project.clone(), name.clone());
        let taken = self
            .driver
            .call(deadline, move |call| async move { lock::take(&call, &project, &name, lease).await });
        Box::pin(async move {
            let (lease, token) = taken.await?;
            Ok(Box::new(lock::EtcdLock::new(lease, token, self.driver.clone())) as Box<dyn RefLock>)
        })
    }
}

impl Administered for EtcdRefDb {
    fn sites(&self, deadline: Deadline) -> Answer<'_, Vec<String>> {
        self.driver.call(deadline, |call| async move { read::sites(&call).await })
    }

    fn add_site<'a>(&'a self, site: &'a str, deadline: Deadline) -> Answer<'a, ()> {
        let site = site.to_owned();
        self.driver.call(deadline, |call| async move { write::add_site(&call, &site).await })
    }

    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        limit: usize,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Project>> {
        let after = after.cloned();
        self.driver
            .call(deadline, move |call| async move { read::projects(&call, after.as_ref(), limit).await })
    }

    fn remove_project<'a>(&'a self, project: &'a Project, deadline: Deadline) -> Answer<'a, u64> {
        let project = project.clone();
        self.driver.call(deadline, |call| async move { write::remove_project(&call, &project).await })
    }

    fn seen(&self) -> Option<Mark> {
        self.driver.shared.seen.newest()
    }

    fn renew_identity(&self, deadline: Deadline) -> Answer<'_, ()> {
        self.driver.call(deadline, |call| async move { write::renew_identity(&call).await })
    }

    fn set_closed<'a>(&'a self, message: Option<&'a str>, deadline: Deadline) -> Answer<'a, ()> {
        let message = message.map(str::to_owned);
        self.driver.call(deadline, |call| async move { write::set_closed(&call, message.as_deref()).await })
    }

    fn closed(&self, deadline: Deadline) -> Answer<'_, Option<String>> {
        self.driver.call(deadline, |call| async move { read::closed(&call).await })
    }
}
