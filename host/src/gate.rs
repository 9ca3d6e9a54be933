//! [`Gate`]: what a replication tool embeds to ask which ref updates may go.

use std::sync::{Arc, Mutex};

use rand::Rng;
use refgate_core::decision::{Decision, Request, Sources, decide};
use refgate_core::{
    Clock, Direction, FilterSet, FilterSource, LocalRefs, Moves, Project, RefDb, RemoteRefs, SiteKind,
};

use crate::config::{Config, Remote};
use crate::{Error, did_you_mean, filters};

/// Decides which refs replicate. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Gate {
    parts: Arc<GateParts>,
}

/// What a [`Gate`] is made of.
pub struct GateParts {
    /// Switches, waits, rules and remotes.
    pub config: Config,
    /// The shared record.
    pub refdb: RefDb,
    /// The repositories of this site.
    pub local: Arc<dyn LocalRefs>,
    /// The filters.
    pub filters: Arc<dyn FilterSource>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for the wait.
    pub rng: Arc<Mutex<dyn Rng + Send>>,
}

impl Gate {
    /// From parts of your own: any ref-db, any repositories, any filters.
    pub fn new(parts: GateParts) -> Gate {
        Gate { parts: Arc::new(parts) }
    }

    /// The same gate on other local refs.
    pub(crate) fn with_local(&self, change: impl FnOnce(Arc<dyn LocalRefs>) -> Arc<dyn LocalRefs>) -> Gate {
        let parts = &*self.parts;
        Gate {
            parts: Arc::new(GateParts {
                config: parts.config.clone(),
                refdb: parts.refdb.clone(),
                local: change(parts.local.clone()),
                filters: parts.filters.clone(),
                clock: parts.clock.clone(),
                rng: parts.rng.clone(),
            }),
        }
    }

    /// The configuration that it was made with.
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// The ref-db that it asks.
    pub fn refdb(&self) -> &RefDb {
        &self.parts.refdb
    }

    /// The clock that it waits by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// The filters that decide now.
    pub fn filters(&self) -> Arc<FilterSet> {
        self.parts.filters.current()
    }

    /// Decides which of `moves` may go to `remote`. Offer the value that the remote advertised as
    /// [`RefUpdate::remote`](refgate_core::RefUpdate::remote); send each ref that is open afterwards with
    /// [`Move::old`](refgate_core::Move::old) as the expected old value and [`Move::new`](refgate_core::Move::new) as the
    /// new one.
    ///
    /// # Errors
    /// A remote that the configuration does not name. Everything else is a reason in the decision.
    pub async fn push(&self, project: &Project, remote: &str, moves: Moves) -> Result<Decision, Error> {
        let kind = self.remote(remote)?.writes;
        self.push_to(project, remote, kind, moves).await
    }

    /// The same to a remote of that kind.
    pub(crate) async fn push_to(
        &self,
        project: &Project,
        remote: &str,
        kind: SiteKind,
        moves: Moves,
    ) -> Result<Decision, Error> {
        self.remote(remote)?;
        Ok(self.decide(Direction::Push, project, remote, moves, kind, None).await)
    }

    /// Decides which of `moves` may be taken from `remote`. The objects of the offered values must be in the local
    /// object store already: ancestry is read there. What kind of site this is (`site.writes`) is taken from the
    /// configuration; [`Site::kind`](crate::Site::kind) tells whether that is true of a repository.
    ///
    /// # Errors
    /// A remote that the configuration does not name. Everything else is a reason in the decision.
    pub async fn fetch(&self, project: &Project, remote: &str, moves: Moves) -> Result<Decision, Error> {
        self.remote(remote)?;
        Ok(self.decide(Direction::Fetch, project, remote, moves, self.config().site.writes, None).await)
    }

    /// The same for a repository of that kind, listing the remote again after the wait.
    pub(crate) async fn fetch_relisting(
        &self,
        project: &Project,
        remote: &str,
        kind: SiteKind,
        moves: Moves,
        listing: &dyn RemoteRefs,
    ) -> Result<Decision, Error> {
        self.remote(remote)?;
        Ok(self.decide(Direction::Fetch, project, remote, moves, kind, Some(listing)).await)
    }

    /// Whether `project` replicates: every matcher has to select it.
    ///
    /// # Errors
    /// A matcher that fails; then nothing of the project replicates.
    pub async fn matches(&self, project: &Project) -> Result<bool, Error> {
        filters::matches(&self.filters(), project).await
    }

    /// The configuration of a remote.
    ///
    /// # Errors
    /// An unknown name, with the names there are.
    pub fn remote(&self, name: &str) -> Result<&Remote, Error> {
        let remotes = &self.config().remotes;
        remotes.get(name).ok_or_else(|| {
            let hint = match did_you_mean(name, remotes.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if remotes.is_empty() => format!("add a section [remote \"{name}\"] with a url"),
                None => format!("the configuration names {}", listed(remotes.keys())),
            };
            Error::usage(format!("unknown remote `{name}`")).hint(hint)
        })
    }

    /// Whether the gate is on for a direction.
    pub fn is_on(&self, direction: Direction) -> bool {
        let refdb = &self.config().ref_database;
        refdb.enabled
            && match direction {
                Direction::Push => refdb.push_gate,
                Direction::Fetch => refdb.fetch_gate,
            }
    }

    async fn decide(
        &self,
        direction: Direction,
        project: &Project,
        remote: &str,
        moves: Moves,
        kind: SiteKind,
        listing: Option<&dyn RemoteRefs>,
    ) -> Decision {
        let config = self.config();
        let request = Request {
            direction,
            project,
            peer: remote,
            format: moves.format(),
            kind,
            source_of_truth: config.remotes.get(remote).is_some_and(|r| r.source_of_truth),
            mirror: config.remotes.get(remote).is_none_or(|r| r.mirror),
            gate: self.is_on(direction),
            rules: &config.rules,
            wait: match direction {
                Direction::Push => config.push_wait,
                Direction::Fetch => config.fetch_wait,
            },
            refdb_timeout: config.ref_database.timeout,
        };
        // One generation from the first look to the last.
        let filters = self.filters();
        decide(request, moves, self.sources(listing), &filters).await
    }

    /// Where a decision gets its facts.
    pub(crate) fn sources<'a>(&'a self, remote: Option<&'a dyn RemoteRefs>) -> Sources<'a> {
        let parts = &*self.parts;
        Sources {
            refdb: &parts.refdb,
            local: parts.local.as_ref(),
            remote,
            clock: parts.clock.as_ref(),
            rng: parts.rng.as_ref(),
        }
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n String>) -> String {
    names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}
