//! The one way in which anything is written: atomically, by version, and only while this client is known as a writer.

use std::collections::BTreeSet;
use std::sync::Arc;

use refgate_core::{RefDbError, RefDbErrorKind};
use zookeeper_client::{Client, CreateMode, Error, MultiWriteError};

use super::error::{Trouble, in_doubt, trouble};
use super::layout::{directories, shown};
use super::link::Link;
use super::plan::Change;
use super::read::{Ask, PACKET};
use super::store::{Doubt, Store};

/// How a write came out, when it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commit {
    Done,
    /// Something is not as it was read: read again.
    Raced,
}

/// A time in which no value is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Era(i32);

impl Era {
    /// One in which nothing can be written: no node has this version.
    const OVER: Era = Era(-2);
}

impl Store {
    /// Applies `changes`, all or none, if the nodes `checks` are there and no value was removed since `era`.
    ///
    /// # Errors
    /// `Indeterminate` when no answer came; the connection is killed then. `TooLarge` when it does not fit in a packet.
    pub(super) async fn commit(
        &self,
        link: &Arc<Link>,
        era: Era,
        checks: &BTreeSet<String>,
        changes: &[Change],
        doubt: &Doubt,
    ) -> Result<Commit, RefDbError> {
        if !fits(checks, changes) {
            let what =
                "more than the 1 MiB that ZooKeeper takes at once; split the call, or shorten the list";
            return Err(self.about(RefDbErrorKind::TooLarge, what));
        }
        let session = self.session(link).await?;
        let (acls, removals) = (self.settings.acls(), self.settings.layout.removals());
        let mut writer = link.client().new_multi_writer();
        let built = (|| {
            writer.add_check_version(&session, -1)?;
            // The versions of a node say nothing across its removal.
            match changes.iter().any(|change| self.removes_value(change)) {
                true => writer.add_set_data(&removals, b"", Some(era.0))?,
                false => writer.add_check_version(&removals, era.0)?,
            }
            for check in checks {
                writer.add_check_version(check, -1)?;
            }
            changes.iter().try_for_each(|change| match change {
                Change::Create { path, data } => {
                    writer.add_create(path, data, &CreateMode::Persistent.with_acls(acls))
                }
                Change::Set { path, data, version } => writer.add_set_data(path, data, Some(*version)),
                Change::Delete { path, version } => writer.add_delete(path, Some(*version)),
            })
        })();
        built.map_err(|e: Error| self.before_write(&e))?;
        if !link.is_usable() {
            // What is sent now would wait for the next connection.
            return Ok(Commit::Raced);
        }
        let in_flight = InFlight::new(self, link, doubt);
        let answer = writer.commit().await;
        let (index, e) = match answer {
            Ok(_) => {
                in_flight.landed();
                return Ok(Commit::Done);
            }
            Err(MultiWriteError::RequestFailed { source }) if trouble(&source) == Trouble::NoAnswer => {
                drop(in_flight);
                let why = format!("the connection broke ({source})");
                return Err(in_doubt(&self.settings.shown, &why));
            }
            Err(MultiWriteError::RequestFailed { source }) => (usize::MAX, source),
            Err(MultiWriteError::OperationFailed { index, source }) => (index, source),
        };
        in_flight.landed();
        match (&e, index.checked_sub(2 + checks.len()).and_then(|at| changes.get(at))) {
            (Error::NoNode, None) if index == 0 => {
                // Somebody shut this client out: it has to come back as another one.
                link.set_aside();
                Ok(Commit::Raced)
            }
            (Error::NoNode, Some(Change::Create { .. })) => {
                self.make_directories(link, changes).await?;
                Ok(Commit::Raced)
            }
            (Error::NoNode | Error::BadVersion | Error::NodeExists | Error::NotEmpty, _) => Ok(Commit::Raced),
            (_, change) => {
                let e = self.before_write(&e);
                let at = change.map(|change| format!(" (node `{}`)", shown(change.path())));
                Err(RefDbError::new(e.kind, e.message + &at.unwrap_or_default()))
            }
        }
    }

    fn removes_value(&self, change: &Change) -> bool {
        let root = &self.settings.layout.root;
        let below = |path: &str| path.strip_prefix(root.as_str()).is_some_and(|rest| rest.starts_with('/'));
        matches!(change, Change::Delete { path, .. } if below(path))
    }

    /// The era that begins at the latest now. What is asked after this is of that time or later.
    pub(super) async fn era(&self, link: &Arc<Link>, sync: bool) -> Result<Era, RefDbError> {
        let removals = self.settings.layout.removals();
        let found = self.ask(link, &[Ask::Data(&removals)], sync).await;
        let found = found.map_err(|e| self.set_aside(link, &e))?;
        match found.into_iter().find_map(|answer| answer.node()) {
            Some(node) => Ok(Era(node.version)),
            None => {
                self.make_roots(link.client()).await.map_err(|e| self.set_aside(link, &e))?;
                Ok(Era::OVER)
            }
        }
    }

    /// The node that says that this client may write, made when it is first needed.
    pub(super) async fn session(&self, link: &Link) -> Result<String, RefDbError> {
        let made = link.session.get_or_try_init(|| self.make_session(link.client()));
        made.await.cloned().map_err(|e| {
            if trouble(&e) == Trouble::NoAnswer {
                link.set_aside();
            }
            self.before_write(&e)
        })
    }

    async fn make_session(&self, client: &Client) -> Result<String, Error> {
        let path = format!("{}/{}", self.settings.layout.sessions(), uuid::Uuid::new_v4());
        let mode = CreateMode::Ephemeral.with_acls(self.settings.acls());
        let mut made = client.create(&path, b"", &mode).await;
        if made == Err(Error::NoNode) {
            self.make_roots(client).await?;
            made = client.create(&path, b"", &mode).await;
        }
        made.map(|_| path)
    }

    /// The roots of both trees. They are no containers: an empty store is still a store.
    pub(super) async fn make_roots(&self, client: &Client) -> Result<(), Error> {
        make_roots(&self.settings, client).await
    }

    /// The directories of everything that `changes` create.
    async fn make_directories(&self, link: &Link, changes: &[Change]) -> Result<(), RefDbError> {
        let (root, superseded) = (&self.settings.layout.root, self.settings.layout.superseded());
        let created = changes.iter().filter_map(|change| match change {
            Change::Create { path, .. } => Some(path.as_str()),
            _ => None,
        });
        let missing: BTreeSet<&str> = created
            .flat_map(|path| match path.strip_prefix(&superseded) {
                Some(_) => directories(&superseded, path),
                None => directories(root, path),
            })
            .collect();
        self.make_containers(link.client(), missing).await.map_err(|e| self.before_write(&e))
    }

    /// Makes those of `paths` that are not there, in order, as containers, which the server removes when they have
    /// become empty.
    pub(super) async fn make_containers(&self, client: &Client, paths: BTreeSet<&str>) -> Result<(), Error> {
        let mode = CreateMode::Container.with_acls(self.settings.acls());
        for _ in 0..2 {
            // All are sent before the first answer is awaited; a session's requests are served in order.
            let sent: Vec<_> = paths.iter().map(|path| client.create(path, b"", &mode)).collect();
            let mut result = Ok(());
            for made in sent {
                match made.await {
                    Ok(_) | Err(Error::NodeExists) => {}
                    Err(e) if result.is_ok() => result = Err(e),
                    Err(_) => {}
                }
            }
            match result {
                // A root that Gerrit made goes when it is empty.
                Err(Error::NoNode) => self.make_roots(client).await?,
                result => return result,
            }
        }
        Err(Error::NoNode)
    }
}

/// See [`Store::make_roots`].
pub(super) async fn make_roots(settings: &super::settings::Settings, client: &Client) -> Result<(), Error> {
    let mode = CreateMode::Persistent.with_acls(settings.acls());
    let layout = &settings.layout;
    for path in
        [layout.root.clone(), layout.sessions(), layout.sites(), layout.superseded(), layout.removals()]
    {
        client.mkdir(&path, &mode).await?;
    }
    Ok(())
}

/// Whether one packet holds this.
pub(super) fn fits(checks: &BTreeSet<String>, changes: &[Change]) -> bool {
    let checks: usize = checks.iter().map(|check| check.len() + super::read::FRAME).sum();
    checks + changes.iter().map(Change::bytes).sum::<usize>() <= PACKET
}

/// A write that is under way. When it goes away before the answer came, the connection is killed.
struct InFlight<'a> {
    store: &'a Store,
    link: &'a Link,
    doubt: &'a Doubt,
    landed: bool,
}

impl<'a> InFlight<'a> {
    fn new(store: &'a Store, link: &'a Link, doubt: &'a Doubt) -> InFlight<'a> {
        doubt.set(true);
        InFlight { store, link, doubt, landed: false }
    }

    /// The server said how it came out.
    fn landed(mut self) {
        self.landed = true;
        self.doubt.set(false);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.store.retire(self.link);
        }
    }
}
