//! The vocabulary of refgate and its decision: which ref updates may go to, or come from, another site.
//!
//! Nothing here does I/O, reads a clock or knows wasm. What a decision needs from outside comes through the traits
//! [`Store`], [`LocalRefs`], [`RemoteRefs`], [`RefFilter`], [`ProjectMatcher`] and [`Clock`].

pub mod ablation;
mod batch;
pub mod chain;
pub mod decision;
mod entry;
mod filter;
pub mod future;
mod group;
mod local;
pub mod moves;
mod name;
mod oid;
mod policy;
pub mod ports;
mod private;
mod reason;
pub mod refdb;
mod refspec;
pub mod table;
mod text;
mod time;
mod wait;

pub use batch::{RefBatch, state};
pub use entry::{Entry, GlobalRef, MAX_SUPERSEDED};
pub use filter::{
    Answer, FilterError, FilterSet, FilterSource, Matched, Observer, PluginId, ProjectMatcher, RefFilter,
};
pub use future::BoxFuture;
pub use group::{ChangePart, ChangeRef, is_meta, is_patch_set, meta_of};
pub use local::{AncestryQuery, LocalError, LocalRefs, LocalValue, RemoteRefs};
pub use moves::{Held, Move, Moves, RefUpdate, Refusal, State};
pub use name::{NameError, Project, RefName, RefNames, escape, unescape};
pub use oid::{ObjectFormat, Oid, OidError};
pub use policy::{Enforcement, RuleError, Rules, SiteKind, VERSION_REF, is_excluded};
pub use private::{is_one_component, is_own, is_private, is_rescued, offerable};
pub use reason::Reason;
pub use refdb::{
    Atomicity, Capabilities, Cursor, Edit, Entries, Expected, LockToken, Lookup, MemoryRefDb, NoopRefDb,
    Outcome, Page, Reach, RefDb, RefDbError, RefDbErrorKind, RefLock, Store, TextOutcome,
};
pub use refspec::{Mapped, Refspec, RefspecError, Refspecs};
pub use table::Class;
pub use text::{in_one_line, is_unseen, password_before_host, shown, shown_address, told, without_userinfo};
pub use time::{Clock, Deadline};
pub use wait::ReloadWait;

/// Which way refs travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From this site to a remote.
    Push,
    /// From a remote to this site.
    Fetch,
}

impl Direction {
    /// `push` or `fetch`.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Push => "push",
            Direction::Fetch => "fetch",
        }
    }
}
