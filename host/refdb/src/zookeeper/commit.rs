//! The one way in which anything is written: atomically, by version, and only while this client is known as a writer.

use std::collections::BTreeSet;
use std::sync::Arc;

use refgate_core::refdb::Mark;
use refgate_core::{RefDbError, RefDbErrorKind};
use zookeeper_client::{Client, CreateMode, Error, MultiWriteError, MultiWriteResult};

use super::changes::Change;
use super::ensemble::{Ensemble, WriteInFlight};
use super::error::{Trouble, in_doubt, trouble};
use super::layout::{directories, shown};
use super::link::Link;
use super::read::{Ask, Node, PACKET};

/// How a write came out, when it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commit {
    Done,
    /// Something is not as it was read: read again.
    Raced,
}

/// A time in which no value is removed and the store is neither closed nor opened: the versions of the two nodes that
/// say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Era {
    removals: i32,
    identity: i32,
}

impl Era {
    /// One in which nothing can be written: no node has this version.
    const OVER: Era = Era { removals: -2, identity: -2 };
}

/// Operations of every write before those that it is about; the one of the revision is the last.
const COMMON: usize = 4;

impl Ensemble {
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
        in_flight: &WriteInFlight,
    ) -> Result<Commit, RefDbError> {
        self.commit_as(link, era, None, checks, changes, in_flight).await
    }

    /// The same, and `identity` becomes what its node holds.
    async fn commit_as(
        &self,
        link: &Arc<Link>,
        era: Era,
        identity: Option<&str>,
        checks: &BTreeSet<String>,
        changes: &[Change],
        in_flight: &WriteInFlight,
    ) -> Result<Commit, RefDbError> {
        if !fits(checks, changes) {
            let what =
                "more than the 1 MiB that ZooKeeper takes at once; split the call, or shorten the list";
            return Err(self.about(RefDbErrorKind::TooLarge, what));
        }
        let session = self.session(link).await?;
        let (acls, layout) = (self.settings.acls(), &self.settings.layout);
        let removals = layout.removals();
        let mut writer = link.client().new_multi_writer();
        let built = (|| {
            writer.add_check_version(&session, -1)?;
            // The versions of a node say nothing across its removal.
            match changes.iter().any(|change| self.removes_value(change)) {
                true => writer.add_set_data(&removals, b"", Some(era.removals))?,
                false => writer.add_check_version(&removals, era.removals)?,
            }
            match identity {
                Some(data) => writer.add_set_data(&layout.identity(), data.as_bytes(), Some(era.identity))?,
                None => writer.add_check_version(&layout.identity(), era.identity)?,
            }
            writer.add_set_data(&layout.revision(), b"", None)?;
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
        let sent = Sent::new(self, link, in_flight);
        let answer = writer.commit().await;
        let (index, e) = match answer {
            // What is called applied was confirmed, operation by operation.
            Ok(results) if results.len() != COMMON + checks.len() + changes.len() => {
                drop(sent);
                let why = format!(
                    "{} answers to {} operations",
                    results.len(),
                    COMMON + checks.len() + changes.len()
                );
                return Err(in_doubt(&self.settings.shown, &why));
            }
            Ok(results) => {
                sent.landed();
                if let Some(MultiWriteResult::SetData { stat }) = results.get(COMMON - 1) {
                    self.advance(stat.mzxid);
                }
                return Ok(Commit::Done);
            }
            Err(MultiWriteError::RequestFailed { source }) if trouble(&source) == Trouble::NoAnswer => {
                drop(sent);
                let why = format!("the connection broke ({source})");
                return Err(in_doubt(&self.settings.shown, &why));
            }
            Err(MultiWriteError::RequestFailed { source }) => (usize::MAX, source),
            Err(MultiWriteError::OperationFailed { index, source }) => (index, source),
        };
        sent.landed();
        match (&e, index.checked_sub(COMMON + checks.len()).and_then(|at| changes.get(at))) {
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
    ///
    /// # Errors
    /// The store is closed.
    pub(super) async fn era(&self, link: &Arc<Link>, sync: bool) -> Result<Era, RefDbError> {
        match self.state(link, sync).await? {
            (era, _, None) => Ok(era),
            // It may have been opened since: a member of the ensemble can be behind.
            (_, _, Some(_)) if !sync => Box::pin(self.era(link, true)).await,
            (_, _, Some(message)) => Err(RefDbError::closed(&self.settings.shown, &message)),
        }
    }

    /// The era, the identity, and the message of a store that is closed.
    async fn state(&self, link: &Arc<Link>, sync: bool) -> Result<(Era, String, Option<String>), RefDbError> {
        let layout = &self.settings.layout;
        let (removals, identity, revision) = (layout.removals(), layout.identity(), layout.revision());
        let asks = [Ask::Data(&removals), Ask::Data(&identity), Ask::Data(&revision)];
        let found = self.ask(link, &asks, sync).await.map_err(|e| self.set_aside(link, &e))?;
        let mut nodes = found.into_iter().map(|answer| answer.node());
        let mut node = || nodes.next().flatten();
        let (Some(removals), Some(identity), Some(revision)) = (node(), node(), node()) else {
            self.make_roots(link.client()).await.map_err(|e| self.set_aside(link, &e))?;
            return Ok((Era::OVER, String::new(), None));
        };
        self.note(Some(&identity), Some(&revision));
        let (name, message) = state_of(&identity);
        Ok((Era { removals: removals.version, identity: identity.version }, name, message))
    }

    /// Takes the mark that the nodes of identity and revision make.
    pub(super) fn note(&self, identity: Option<&Node>, revision: Option<&Node>) {
        let identity = identity.map_or("none".to_owned(), |node| state_of(node).0);
        let revision = revision.and_then(|node| u64::try_from(node.changed).ok()).unwrap_or(0);
        // Two connections may ask two members of the ensemble, so an older answer says nothing. A client never goes to a
        // member that is behind what it saw.
        self.seen.note(None, Mark { identity, revision });
    }

    /// A write of this client was the transaction `zxid`.
    fn advance(&self, zxid: i64) {
        if let (Some(mark), Ok(revision)) = (self.seen.newest(), u64::try_from(zxid)) {
            self.seen.note(None, Mark { revision, ..mark });
        }
    }

    /// Gives the store another identity.
    pub(super) async fn renew_identity(&self, in_flight: &WriteInFlight) -> Result<(), RefDbError> {
        let new = new_identity();
        self.set_state(in_flight, |_, message| format!("{new}{}", line(message.as_deref()))).await?;
        self.seen.note(None, Mark { identity: new, revision: self.seen.newest().map_or(0, |m| m.revision) });
        Ok(())
    }

    /// Closes the store, or opens it: a write that is under way finds another version.
    pub(super) async fn set_closed(
        &self,
        message: Option<&str>,
        in_flight: &WriteInFlight,
    ) -> Result<(), RefDbError> {
        self.set_state(in_flight, |name, _| format!("{name}{}", line(message))).await
    }

    async fn set_state(
        &self,
        in_flight: &WriteInFlight,
        change: impl Fn(&str, Option<String>) -> String,
    ) -> Result<(), RefDbError> {
        loop {
            let link = self.writer().await?;
            self.session(&link).await?;
            let (era, name, message) = self.state(&link, true).await?;
            let data = change(&name, message);
            let none = BTreeSet::new();
            if self.commit_as(&link, era, Some(&data), &none, &[], in_flight).await? == Commit::Done {
                return Ok(());
            }
        }
    }

    /// The message of a store that is closed.
    pub(super) async fn closed(&self, link: &Link) -> Result<Option<String>, Error> {
        let identity = self.settings.layout.identity();
        let found = self.ask(link, &[Ask::Data(&identity)], true).await?;
        Ok(found.into_iter().find_map(|answer| answer.node()).and_then(|node| state_of(&node).1))
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
        // What is above a guard is its value, which is no directory.
        let is_guard = |path: &str| path.ends_with("/:") && !path.starts_with(&superseded);
        let created = created.filter(|path| !is_guard(path));
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

/// See [`Ensemble::make_roots`].
pub(super) async fn make_roots(settings: &super::settings::Settings, client: &Client) -> Result<(), Error> {
    let mode = CreateMode::Persistent.with_acls(settings.acls());
    let layout = &settings.layout;
    for path in
        [layout.root.clone(), layout.sessions(), layout.sites(), layout.superseded(), layout.removals()]
    {
        client.mkdir(&path, &mode).await?;
    }
    let identity = new_identity();
    for (path, data) in [(layout.identity(), identity.as_str()), (layout.revision(), "")] {
        match client.create(&path, data.as_bytes(), &mode).await {
            Ok(_) | Err(Error::NodeExists) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn new_identity() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// What the node of the identity says: the identity, and the message of a store that is closed.
fn state_of(node: &Node) -> (String, Option<String>) {
    let text = String::from_utf8_lossy(&node.data);
    match text.split_once('\n') {
        Some((name, message)) => (name.to_owned(), Some(message.to_owned())),
        None => (text.into_owned(), None),
    }
}

fn line(message: Option<&str>) -> String {
    message.map(|message| format!("\n{message}")).unwrap_or_default()
}

/// The mark of a store, and whether there is one: read when it is opened.
pub(super) async fn known(
    settings: &super::settings::Settings,
    client: &Client,
) -> Result<Option<Mark>, Error> {
    let layout = &settings.layout;
    // All are sent before the first answer is awaited; a session's requests are served in order.
    let caught_up = client.sync(&layout.root);
    let (identity, revision) = (layout.identity(), layout.revision());
    let (identity, revision) = (client.get_data(&identity), client.get_data(&revision));
    caught_up.await?;
    match (identity.await, revision.await) {
        (Ok((data, stat)), Ok((_, changed))) => Ok(Some(Mark {
            identity: state_of(&Node::new(data, &stat)).0,
            revision: u64::try_from(changed.mzxid).unwrap_or(0),
        })),
        (Err(Error::NoNode), _) | (_, Err(Error::NoNode)) => Ok(None),
        (Err(e), _) | (_, Err(e)) => Err(e),
    }
}

/// Whether one packet holds this.
pub(super) fn fits(checks: &BTreeSet<String>, changes: &[Change]) -> bool {
    let checks: usize = checks.iter().map(|check| check.len() + super::read::FRAME).sum();
    checks + changes.iter().map(Change::bytes).sum::<usize>() <= PACKET
}

/// A write that is under way. When it goes away before the answer came, the connection is killed.
struct Sent<'a> {
    store: &'a Ensemble,
    link: &'a Link,
    in_flight: &'a WriteInFlight,
    landed: bool,
}

impl<'a> Sent<'a> {
    fn new(store: &'a Ensemble, link: &'a Link, in_flight: &'a WriteInFlight) -> Sent<'a> {
        in_flight.set(true);
        Sent { store, link, in_flight, landed: false }
    }

    /// The server said how it came out.
    fn landed(mut self) {
        self.landed = true;
        self.in_flight.set(false);
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.store.retire(self.link);
        }
    }
}
