//! A decision: which of the offered ref updates go, with the value that was judged, and why the others do not.
//!
//! The first pass judges the offers; if a filter asks for it, one wait and one reload follow, then a second pass. The host's
//! own table and the group rule come last (the floor), so that a filter can only be stricter. See `docs/concepts.md`.

mod facts;
mod history;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::Duration;

use rand::Rng;

pub use run::decide;

use crate::{
    Clock, Direction, Entries, Held, LocalRefs, Moves, ObjectFormat, PluginId, Project, Reason, ReloadWait,
    RemoteRefs, Rules, SiteKind,
};

/// What is to be decided.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Push or fetch.
    pub direction: Direction,
    /// The project.
    pub project: &'a Project,
    /// The remote's name.
    pub peer: &'a str,
    /// The object format of the repository.
    pub format: ObjectFormat,
    /// Who writes at the destination: the remote on push, this site on fetch.
    pub kind: SiteKind,
    /// Fetch: the remote may be ahead of the ref-db.
    pub source_of_truth: bool,
    /// `false` when the remote gets no deletions, whatever the ref-db records.
    pub mirror: bool,
    /// `false` when the gate is switched off for this direction.
    pub gate: bool,
    /// Which refs are IGNORED.
    pub rules: &'a Rules,
    /// The pause before the reload.
    pub wait: ReloadWait,
    /// How long one call of the ref-db may take.
    pub refdb_timeout: Duration,
}

/// Where the facts come from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The global ref-db.
    pub refdb: &'a dyn Entries,
    /// The local repositories.
    pub local: &'a dyn LocalRefs,
    /// Fetch: the remote, to be listed again after the wait. Without it the first listing stands.
    pub remote: Option<&'a dyn RemoteRefs>,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Randomness for the wait.
    pub rng: &'a Mutex<dyn Rng + Send>,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The generation of the filters that decided.
    pub generation: u64,
    /// The plugins that took part.
    pub plugins: Vec<PluginId>,
    /// The gate was switched off: nothing was read, everything but deletions goes.
    pub gate_off: bool,
    /// The waits that were taken: none or one.
    pub waits: Vec<Wait>,
    /// What was offered, in the same order: open when it goes, else held back.
    pub moves: Moves,
    /// What failed on the way, for the log: the ref-db, the repository, a filter.
    pub problems: Vec<String>,
}

impl Decision {
    /// What the reason means for which a ref is held back: for one of a filter's own, what its manifest says, if it says
    /// anything.
    pub fn meaning<'a>(&'a self, held: &'a Held) -> Option<&'a str> {
        match &held.reason {
            Reason::Own(own) => self
                .plugins
                .iter()
                .filter(|p| *p.name == *held.by)
                .find_map(|p| p.reasons.get(own))
                .map(String::as_str),
            ours => Some(ours.meaning()),
        }
    }
}

/// A pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How long, in milliseconds.
    pub ms: u64,
    /// How many refs it was for.
    pub refs: usize,
}

/// The name under which the host itself discards.
pub const HOST: &str = "host";
