//! A decision: which of the offered ref updates go, with the value that was judged, and why the others do not.
//!
//! Look 0 judges the offers; if a filter asks for it, one wait and one reload follow, then look 1. The host's own table
//! and the group rule come last (the floor), so that a filter can only be stricter. See `docs/concepts.md`.

mod groups;
mod look;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::Duration;

use rand::Rng;

pub use groups::metas_after;
pub use run::decide;

use crate::table::{RemoteValue, Seen};
use crate::{
    Clock, Direction, Entries, LocalRefs, ObjectFormat, Oid, PluginId, Project, Reason, RefName, ReloadWait,
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
    /// The offers, in the order of the result.
    pub updates: Vec<RefUpdate>,
    /// Who writes at the destination: the remote on push, this site on fetch.
    pub kind: SiteKind,
    /// Fetch: the remote may be ahead of the ref-db.
    pub source_of_truth: bool,
    /// `false` when the remote gets no deletions, whatever the ref-db records.
    pub mirror: bool,
    /// `false` when the gate is switched off for this direction.
    pub gate: bool,
    /// `true` but in tests that show what the floor is for: without it a filter could keep what the table refuses.
    pub floor: bool,
    /// Which refs are IGNORED.
    pub rules: &'a Rules,
    /// The pause before the reload.
    pub wait: ReloadWait,
    /// How long one call of the ref-db may take.
    pub refdb_timeout: Duration,
}

/// One offered ref update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// The local name; the ref-db knows the ref by it.
    pub name: RefName,
    /// The name at the remote.
    pub remote_name: RefName,
    /// Push: the value on offer, `None` to delete. Fetch: the local value at the listing; it is read again unless the
    /// ref is exempt.
    pub local: Option<Oid>,
    /// The remote's value. On fetch `Known(None)` offers a deletion.
    pub remote: RemoteValue,
    /// The refspec has a `+`.
    pub forced: bool,
    /// The refspec has a `+` and names more than `refs/*`.
    pub force_ignored: bool,
    /// For the deletion of another ref of a change than its `/meta`: whether the `/meta` is at the destination. Then it has
    /// to go, too, or nothing of the change goes. `None`: nobody looked.
    pub meta_there: Option<bool>,
}

impl RefUpdate {
    /// An update of a ref that has one name on both sides, under a refspec with `+`.
    pub fn new(name: RefName, local: Option<Oid>, remote: RemoteValue) -> RefUpdate {
        let remote_name = name.clone();
        RefUpdate { remote_name, name, local, remote, forced: true, force_ignored: false, meta_there: None }
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The generation of the filters that decided.
    pub generation: u64,
    /// The plugins that took part.
    pub plugins: Vec<PluginId>,
    /// The gate was switched off: nothing was read, everything but deletions goes.
    pub gate_off: bool,
    /// The waits that were taken: none or one.
    pub waits: Vec<Wait>,
    /// One per offer, in the same order.
    pub refs: Vec<RefDecision>,
    /// What failed on the way, for the log: the ref-db, the repository, a filter.
    pub problems: Vec<String>,
}

impl Decision {
    /// What a reason means that the filter `by` gave: for one of its own, what its manifest says, if it says anything.
    pub fn meaning(&self, reason: &Reason, by: &str) -> Option<&str> {
        match reason {
            Reason::Own(own) => self
                .plugins
                .iter()
                .filter(|p| p.name == by)
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

/// The verdict about one offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefDecision {
    /// The local name.
    pub name: RefName,
    /// The name at the remote.
    pub remote_name: RefName,
    /// The value to be overwritten at the destination, as judged.
    pub old: Option<Oid>,
    /// What would replace it, as judged: the pinned value.
    pub new: Option<Oid>,
    /// Whether the offer is a deletion.
    pub deletion: bool,
    /// Judged after the reload.
    pub reloaded: bool,
    /// Whether it goes.
    pub verdict: Verdict,
    /// The local value.
    pub local: Option<Oid>,
    /// What the ref-db holds; `None` when it was not read.
    pub global: Option<Seen>,
    /// On a fetch from a source of truth: the ref-db has to move from this value before the local ref does.
    pub advances: Option<Oid>,
    /// It goes although what it overwrites is not contained in it: the ref-db lists that as superseded. True only where all
    /// client writes go through the ref-db.
    pub over_superseded: bool,
    /// What an operator can do about a discard.
    pub hint: Option<String>,
}

impl RefDecision {
    /// A verdict that rests on nothing but the offer.
    pub fn of_offer(direction: Direction, update: &RefUpdate, verdict: Verdict) -> RefDecision {
        let remote = match update.remote {
            RemoteValue::Known(remote) => remote,
            RemoteValue::Unknown => None,
        };
        let (old, new) = match direction {
            Direction::Push => (remote, update.local),
            Direction::Fetch => (update.local, remote),
        };
        RefDecision {
            name: update.name.clone(),
            remote_name: update.remote_name.clone(),
            old,
            new,
            deletion: new.is_none(),
            reloaded: false,
            verdict,
            local: update.local,
            global: None,
            advances: None,
            over_superseded: false,
            hint: None,
        }
    }
}

/// Whether an update goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Keep,
    /// It does not.
    Discard {
        /// Why.
        reason: Reason,
        /// The filter that said so first, or `host`.
        by: String,
    },
}

impl Verdict {
    /// Why the update does not go.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Verdict::Keep => None,
            Verdict::Discard { reason, .. } => Some(reason),
        }
    }

    /// Whether it goes.
    pub fn is_keep(&self) -> bool {
        *self == Verdict::Keep
    }
}

/// The name under which the host itself discards.
pub const HOST: &str = "host";
