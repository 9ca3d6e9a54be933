//! The backend on an ensemble of ZooKeeper servers, in the layout of Gerrit's plugin, so that both can share one.
//!
//! The layout and the value format are those of the plugin's Apache-licensed line (up to October 2025); see
//! [`layout`] for the nodes. Where that plugin errs this one differs: a node without data is no value, removing a
//! project leaves the projects below it alone, and a name that ZooKeeper refuses is told before anything is asked.

mod codec;
mod commit;
mod diagnose;
mod error;
mod layout;
mod link;
mod lock;
mod plan;
mod read;
mod settings;
mod store;
#[cfg(feature = "zookeeper-tls")]
mod tls;
mod walk;
mod write;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use refgate_core::refdb::{Mark, check_entry, check_message, check_text};
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Clock, Cursor, Deadline, Edit, Entries, Entry, GlobalRef,
    GlobalRefDb, Lookup, Outcome, Page, Project, Reach, RefDbError, RefDbErrorKind, RefLock, RefName,
    TextOutcome,
};

use crate::url::Remote;
use crate::{OpenMode, Opened};
use layout::Place;
use plan::Wanted;
use settings::Settings;
use store::{Doubt, Store, by, connect};
use write::{EDITS, Step};

/// Longest time that opening takes.
const OPENING: Duration = Duration::from_secs(10);

struct ZooKeeperRefDb {
    store: Store,
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
    let ready = by(&*clock, deadline, async {
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
    let store = Store::new(settings, clock, link, address);
    if let Some(mark) = mark {
        store.seen.note(None, mark);
    }
    Ok(Opened { db: Arc::new(ZooKeeperRefDb { store, lease }), created })
}

/// Whether there is a store. Gerrit's root alone goes away when it is empty; ours stays.
async fn found(settings: &Settings, link: &link::Link) -> Result<bool, zookeeper_client::Error> {
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

fn refuse_untracked(edit: &Edit) -> Result<(), RefDbError> {
    match edit.new {
        GlobalRef::Untracked => Err(invalid(format!(
            "`{}`: a ref is forgotten by removing it, not by writing `untracked`",
            edit.name
        ))),
        GlobalRef::Deleted | GlobalRef::At(_) => Ok(()),
    }
}

impl ZooKeeperRefDb {
    fn place(&self, project: &Project) -> Result<Place, RefDbError> {
        self.store.settings.layout.project(project).map_err(invalid)
    }

    /// Where a ref is, in its project.
    fn spot(&self, project: &Project, name: &RefName) -> Result<(Place, (String, String)), RefDbError> {
        let place = self.place(project)?;
        let nodes = place.nodes(name).map_err(invalid)?;
        Ok((place, nodes))
    }

    fn nodes(&self, place: &Place, edits: &[Edit]) -> Result<Vec<(String, String)>, RefDbError> {
        edits.iter().map(|edit| place.nodes(&edit.name).map_err(invalid)).collect()
    }

    /// Rewrites one ref by `deadline`.
    async fn rewrite<T>(
        &self,
        project: &Project,
        name: &RefName,
        deadline: Deadline,
        step: impl Fn(Lookup) -> Result<Step<T>, RefDbError>,
    ) -> Result<T, RefDbError> {
        let (place, nodes) = self.spot(project, name)?;
        let doubt = Doubt::default();
        self.store.write(deadline, &doubt, self.store.rewrite(&place, name, &nodes, &doubt, step)).await
    }

    fn entry(&self, name: &RefName, found: Lookup) -> Result<Entry, RefDbError> {
        plan::entry(name, found).map_err(|(name, why)| self.store.in_the_way(&name, &why))
    }

    /// The text of what was found.
    fn text(&self, name: &RefName, found: Lookup) -> Result<Option<String>, RefDbError> {
        match found {
            Lookup::Text(text) => Ok(Some(text)),
            found => Ok(codec::value(self.entry(name, found)?.value)),
        }
    }
}

impl Entries for ZooKeeperRefDb {
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        Box::pin(async move {
            let place = self.place(project)?;
            // A name that cannot be stored is the trouble of that ref alone.
            let places: Vec<Result<(String, String), String>> =
                refs.iter().map(|name| place.nodes(name)).collect();
            let nodes: Arc<Vec<(String, String)>> = Arc::new(places.iter().flatten().cloned().collect());
            let mut records = Vec::new();
            if !nodes.is_empty() {
                let read = |link: Arc<link::Link>| -> BoxFuture<'a, _> {
                    let nodes = nodes.clone();
                    Box::pin(async move { self.store.records(&link, &nodes, self.store.settings.sync).await })
                };
                records = self.store.read(deadline, read).await?;
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
}

impl GlobalRefDb for ZooKeeperRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reach: Reach::Network,
            durable: true,
            atomic_edits: EDITS,
            read_batch: read::BATCH / 2,
            linearizable_reads: self.store.settings.sync,
            lease: Some((self.lease, self.lease)),
            fair_locks: true,
            ..Capabilities::least("zookeeper")
        }
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        _limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Page, RefDbError>> {
        Box::pin(async move {
            let place = Arc::new(self.place(project)?);
            let read = |link: Arc<link::Link>| -> BoxFuture<'a, _> {
                let place = place.clone();
                Box::pin(async move { self.store.scan(&link, &place, prefix, cursor).await })
            };
            self.store.read(deadline, read).await
        })
    }

    fn compare_and_put<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        Box::pin(async move {
            edits.iter().try_for_each(refuse_untracked)?;
            let place = self.place(project)?;
            let nodes = self.nodes(&place, edits)?;
            if atomicity == Atomicity::AllOrNothing && edits.len() > EDITS {
                let what = format!("at most {EDITS} edits are possible at once, not {}", edits.len());
                return Err(self.store.about(RefDbErrorKind::TooLarge, &what));
            }
            let doubt = Doubt::default();
            let applied = self.store.apply(&place, edits, &nodes, atomicity, &doubt);
            self.store.write(deadline, &doubt, applied).await
        })
    }

    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        Box::pin(async move {
            let place = self.place(project)?;
            let nodes = self.nodes(&place, edits)?;
            self.store.write(deadline, &Doubt::default(), self.store.outcomes(edits, &nodes)).await
        })
    }

    fn put<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        value: GlobalRef,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        Box::pin(async move {
            refuse_untracked(&Edit::new(name.clone(), refgate_core::Expected::Absent, value))?;
            self.rewrite(project, name, deadline, |_| Ok(Step::Write(value.into(), ()))).await
        })
    }

    fn swap_entry<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        from: &'a Entry,
        to: &'a Entry,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        Box::pin(async move {
            check_entry(name, to)?;
            self.rewrite(project, name, deadline, |found| {
                Ok(match self.entry(name, found)? == *from {
                    true => Step::Write(Wanted::Entry(to.clone()), true),
                    false => Step::Leave(false),
                })
            })
            .await
        })
    }

    fn remove_ref<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        Box::pin(async move {
            self.rewrite(project, name, deadline, |found| {
                Ok(match found.exists() {
                    true => Step::Write(GlobalRef::Untracked.into(), true),
                    false => Step::Leave(false),
                })
            })
            .await
        })
    }

    fn remove_project<'a>(
        &'a self,
        project: &'a Project,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<u64, RefDbError>> {
        Box::pin(async move {
            let place = self.place(project)?;
            let doubt = Doubt::default();
            self.store.write(deadline, &doubt, self.store.remove(&place, &doubt)).await
        })
    }

    fn get_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        Box::pin(async move {
            self.spot(project, name)?;
            let found = self.get_many(project, std::slice::from_ref(name), deadline).await?;
            found.into_iter().next().map_or(Ok(None), |found| self.text(name, found))
        })
    }

    fn compare_and_put_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        expected: Option<&'a str>,
        new: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<TextOutcome, RefDbError>> {
        Box::pin(async move {
            check_text(new).map_err(|why| invalid(format!("`{name}`: {why}")))?;
            self.rewrite(project, name, deadline, |found| {
                let actual = self.text(name, found)?;
                Ok(match actual.as_deref() == expected {
                    true => Step::Write(Wanted::Text(new.to_owned()), TextOutcome::Applied),
                    false => Step::Leave(TextOutcome::Mismatch { actual }),
                })
            })
            .await
        })
    }

    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        _lease: Duration,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Box<dyn RefLock>, RefDbError>> {
        Box::pin(async move {
            let dir = self.place(project)?.lock(name).map_err(invalid)?;
            self.store.lock(name, dir, deadline).await
        })
    }

    fn note_site<'a>(
        &'a self,
        site: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        Box::pin(async move {
            // Every start of every process comes by here: the usual case makes no session for writing.
            let known = self.sites(deadline).await?;
            if known.iter().any(|s| s == site) {
                return Ok(known);
            }
            let node = self.store.settings.layout.site(site);
            let doubt = Doubt::default();
            self.store.write(deadline, &doubt, self.store.add(&node, &doubt)).await?;
            self.sites(deadline).await
        })
    }

    fn sites<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        let read = move |link: Arc<link::Link>| -> BoxFuture<'a, _> {
            Box::pin(async move { self.store.sites(&link).await })
        };
        Box::pin(async move { self.store.read(deadline, read).await })
    }

    fn seen(&self) -> Option<Mark> {
        self.store.seen.newest()
    }

    fn renew_identity<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<(), RefDbError>> {
        Box::pin(async move {
            let doubt = Doubt::default();
            self.store.write(deadline, &doubt, self.store.renew_identity(&doubt)).await
        })
    }

    fn set_closed<'a>(
        &'a self,
        message: Option<&'a str>,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        Box::pin(async move {
            message.map_or(Ok(()), check_message).map_err(|why| invalid(why.to_owned()))?;
            let doubt = Doubt::default();
            self.store.write(deadline, &doubt, self.store.set_closed(message, &doubt)).await
        })
    }

    fn closed<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        let read = move |link: Arc<link::Link>| -> BoxFuture<'a, _> {
            Box::pin(async move { self.store.closed(&link).await })
        };
        Box::pin(async move { self.store.read(deadline, read).await })
    }

    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        _limit: usize,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Project>, RefDbError>> {
        Box::pin(async move {
            let after = after.map(|project| self.place(project)).transpose()?.map(|place| place.values);
            let read = |link: Arc<link::Link>| -> BoxFuture<'a, _> {
                let after = after.clone();
                Box::pin(async move { self.store.projects(&link, after.as_deref()).await })
            };
            self.store.read(deadline, read).await
        })
    }
}
