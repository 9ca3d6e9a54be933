//! The backend on an ensemble of ZooKeeper servers, in the layout of Gerrit's plugin, so that both can share one.
//!
//! The layout and the value format are those of the plugin's Apache-licensed line (up to October 2025); see
//! [`layout`] for the nodes. Where that plugin errs this one differs: a node without data is no value, removing a
//! project leaves the projects below it alone, and a name that ZooKeeper refuses is told before anything is asked.

mod changes;
mod codec;
mod commit;
mod diagnose;
mod ensemble;
mod error;
mod layout;
mod link;
mod lock;
mod read;
mod settings;
#[cfg(feature = "zookeeper-tls")]
mod tls;
mod walk;
mod write;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use refgate_core::refdb::{Administered, Locks, Mark, Write, Written};
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Clock, Cursor, Deadline, Lookup, Page, Project, Reach, RefDb,
    RefDbError, RefDbErrorKind, RefLock, RefName, Store,
};

use crate::url::Remote;
use crate::{OpenMode, Opened};
use ensemble::{Ensemble, WriteInFlight, connect, timeout_at};
use layout::Place;
use link::Link;
use settings::Settings;
use write::{EDITS, Target};

/// Longest time that opening takes.
const OPENING: Duration = Duration::from_secs(10);

struct ZooKeeperRefDb {
    ensemble: Ensemble,
    lease: Duration,
}

/// Connects to the ensemble of `remote`, with [`OpenMode::Create`] making the root when it is missing.
pub(crate) fn open(remote: &Remote, mode: OpenMode, clock: Arc<dyn Clock>) -> Result<Opened, RefDbError> {
    let settings = Settings::new(remote)?;
    let shown = settings.shown.clone();
    let failed = |what: String| error::about(RefDbErrorKind::Unavailable, &shown, &what);
    // On a thread of its own, because the caller's may be one that drives futures, where nothing may block.
    let opening = std::thread::Builder::new().name("refdb-zookeeper".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime
            .map_err(|e| error::about(RefDbErrorKind::Unavailable, &settings.shown, &e.to_string()))?;
        let deadline = Deadline::after(&*clock, OPENING);
        runtime.block_on(open_by(settings, mode, clock, deadline))
    });
    let opening = opening.map_err(|e| failed(format!("cannot start a thread: {e}")))?;
    opening.join().unwrap_or_else(|_| Err(failed("the thread that connects died".to_owned())))
}

async fn open_by(
    settings: Settings,
    mode: OpenMode,
    clock: Arc<dyn Clock>,
    deadline: Deadline,
) -> Result<Opened, RefDbError> {
    let shown = settings.shown.clone();
    let ready = timeout_at(&*clock, deadline, async {
        let link = connect(&settings).await?;
        let failed = |e: zookeeper_client::Error| error::before_write(&settings.shown, &e);
        let mut mark = commit::known(&settings, link.client()).await.map_err(failed)?;
        let found = mark.is_some() || found(&settings, &link).await.map_err(failed)?;
        if !found && mode == OpenMode::Existing {
            let what = format!(
                "the node `{}` does not exist; correct the root in `ref-database.url`, or make it with \
                 `refgate refdb seed PROJECT`",
                settings.layout.root
            );
            return Err(error::about(RefDbErrorKind::Unavailable, &settings.shown, &what));
        }
        // Gerrit, or an older refgate, makes no identity.
        if mark.is_none() {
            commit::make_roots(&settings, link.client()).await.map_err(failed)?;
            mark = commit::known(&settings, link.client()).await.map_err(failed)?;
        }
        Ok((link, mark, !found))
    });
    let (link, mark, created) = ready.await.unwrap_or_else(|| Err(error::too_late(&shown)))?;
    let lease = link.lease;
    let address = own_address(&settings.servers);
    let ensemble = Ensemble::new(settings, clock, link, address);
    if let Some(mark) = mark {
        ensemble.seen.note(None, mark);
    }
    Ok(Opened { db: RefDb::new(ZooKeeperRefDb { ensemble, lease }), created })
}

/// Whether there is a store. Gerrit's root alone goes away when it is empty; ours stays.
async fn found(settings: &Settings, link: &Link) -> Result<bool, zookeeper_client::Error> {
    for root in [&settings.layout.root, &settings.layout.own] {
        match link.client().get_data(root).await {
            Ok(_) => return Ok(true),
            Err(zookeeper_client::Error::NoNode) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// The address of this machine as the servers see it, which Curator writes into locks for people to read.
fn own_address(servers: &[String]) -> String {
    let seen = |server: &String| {
        // Nothing is sent: connecting a datagram socket only chooses the way.
        let any = if server.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(server).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    servers.iter().find_map(seen).unwrap_or_else(|| "127.0.0.1".to_owned())
}

fn invalid(why: String) -> RefDbError {
    RefDbError::new(RefDbErrorKind::InvalidName, why)
}

type Answer<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl ZooKeeperRefDb {
    fn place(&self, project: &Project) -> Result<Place, RefDbError> {
        self.ensemble.settings.layout.project(project).map_err(invalid)
    }

    /// Reads by `deadline`.
    fn read<'a, T, F>(
        &'a self,
        deadline: Deadline,
        read: impl Fn(Arc<Link>) -> F + Send + Sync + 'a,
    ) -> Answer<'a, T>
    where
        T: Send + 'a,
        F: Future<Output = Result<T, zookeeper_client::Error>> + Send + 'a,
    {
        Box::pin(async move { self.ensemble.read(deadline, |link| Box::pin(read(link))).await })
    }
}

impl Store for ZooKeeperRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reach: Reach::Network,
            durable: true,
            atomic_edits: EDITS,
            read_batch: read::BATCH / 2,
            linearizable_reads: self.ensemble.settings.sync,
            texts: true,
            lease: Some((self.lease, self.lease)),
            fair_locks: true,
            ..Capabilities::least("zookeeper")
        }
    }

    fn location(&self) -> String {
        self.ensemble.settings.shown.clone()
    }

    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        Box::pin(async move {
            let place = self.place(project)?;
            // A name that cannot be stored is the trouble of that ref alone.
            let places: Vec<Result<(String, String), String>> =
                refs.iter().map(|name| place.nodes(name)).collect();
            let nodes: Arc<Vec<(String, String)>> = Arc::new(places.iter().flatten().cloned().collect());
            let mut records = Vec::new();
            if !nodes.is_empty() {
                let read = |link: Arc<Link>| {
                    let nodes = nodes.clone();
                    async move { self.ensemble.records(&link, &nodes, self.ensemble.settings.sync).await }
                };
                records = self.read(deadline, read).await?;
            }
            let mut records = records.iter().map(|record| record.lookup());
            Ok(places
                .into_iter()
                .map(|place| match place {
                    Ok(_) => records.next().unwrap_or_else(|| Lookup::Unreadable("it was not read".into())),
                    Err(why) => Lookup::Unreadable(why),
                })
                .collect())
        })
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        _limit: usize,
        deadline: Deadline,
    ) -> Answer<'a, Page> {
        Box::pin(async move {
            let place = Arc::new(self.place(project)?);
            let read = |link: Arc<Link>| {
                let place = place.clone();
                async move { self.ensemble.scan(&link, &place, prefix, cursor).await }
            };
            self.read(deadline, read).await
        })
    }

    fn write<'a>(
        &'a self,
        project: &'a Project,
        writes: &'a [Write],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Written>> {
        Box::pin(async move {
            let place = &self.place(project)?;
            let nodes = writes.iter().map(|write| place.nodes(&write.name).map_err(invalid));
            let nodes: Vec<_> = nodes.collect::<Result<_, _>>()?;
            let in_flight = &WriteInFlight::default();
            let target = Target { project, place, atomicity, in_flight };
            self.ensemble.write(deadline, in_flight, self.ensemble.apply(&target, writes, &nodes)).await
        })
    }

    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        Box::pin(async move {
            let place = self.place(project)?;
            let nodes = refs.iter().map(|name| place.nodes(name).map_err(invalid));
            let nodes: Vec<_> = nodes.collect::<Result<_, _>>()?;
            let settled = self.ensemble.settled(&nodes);
            self.ensemble.write(deadline, &WriteInFlight::default(), settled).await
        })
    }

    fn locks(&self) -> Option<&dyn Locks> {
        Some(self)
    }

    fn admin(&self) -> Option<&dyn Administered> {
        Some(self)
    }
}

impl Locks for ZooKeeperRefDb {
    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        _lease: Duration,
        deadline: Deadline,
    ) -> Answer<'a, Box<dyn RefLock>> {
        Box::pin(async move {
            let dir = self.place(project)?.lock(name).map_err(invalid)?;
            self.ensemble.lock(name, dir, deadline).await
        })
    }
}

impl Administered for ZooKeeperRefDb {
    fn sites(&self, deadline: Deadline) -> Answer<'_, Vec<String>> {
        self.read(deadline, move |link| async move { self.ensemble.sites(&link).await })
    }

    fn add_site<'a>(&'a self, site: &'a str, deadline: Deadline) -> Answer<'a, ()> {
        Box::pin(async move {
            let node = self.ensemble.settings.layout.site(site);
            let in_flight = WriteInFlight::default();
            self.ensemble.write(deadline, &in_flight, self.ensemble.add(&node, &in_flight)).await
        })
    }

    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        _limit: usize,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Project>> {
        Box::pin(async move {
            let after = after.map(|project| self.place(project)).transpose()?.map(|place| place.values);
            let read = |link: Arc<Link>| {
                let after = after.clone();
                async move { self.ensemble.projects(&link, after.as_deref()).await }
            };
            self.read(deadline, read).await
        })
    }

    fn remove_project<'a>(&'a self, project: &'a Project, deadline: Deadline) -> Answer<'a, u64> {
        Box::pin(async move {
            let place = self.place(project)?;
            let in_flight = WriteInFlight::default();
            self.ensemble.write(deadline, &in_flight, self.ensemble.remove(&place, &in_flight)).await
        })
    }

    fn seen(&self) -> Option<Mark> {
        self.ensemble.seen.newest()
    }

    fn renew_identity(&self, deadline: Deadline) -> Answer<'_, ()> {
        Box::pin(async move {
            let in_flight = WriteInFlight::default();
            self.ensemble.write(deadline, &in_flight, self.ensemble.renew_identity(&in_flight)).await
        })
    }

    fn set_closed<'a>(&'a self, message: Option<&'a str>, deadline: Deadline) -> Answer<'a, ()> {
        Box::pin(async move {
            let in_flight = WriteInFlight::default();
            self.ensemble.write(deadline, &in_flight, self.ensemble.set_closed(message, &in_flight)).await
        })
    }

    fn closed(&self, deadline: Deadline) -> Answer<'_, Option<String>> {
        self.read(deadline, move |link| async move { self.ensemble.closed(&link).await })
    }
}
