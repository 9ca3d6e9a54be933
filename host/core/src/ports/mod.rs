//! What a session needs of the world: the repositories of this site ([`Repositories`], [`Repo`]) and the other sites
//! ([`Remote`], [`RemotePush`]). Push, fetch, gated writes, catch-up and forgetting touch nothing else, so that whatever
//! implements these traits can be driven through them.
//!
//! Everything is asynchronous, and a future may be dropped at any moment. An implementation that has begun to write goes on
//! to its end then, and keeps the [`Guard`] it was given for so long.

mod error;
mod local;
mod moves;
mod notes;
mod refs;
mod remote;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

pub use error::{GitError, GitErrorKind};
pub use local::{Repo, Repositories};
pub use moves::{EditOutcome, RefEdit, Refusal, WorkTree};
pub use notes::{Note, Notes};
pub use refs::{RefList, Target};
pub use remote::{
    Address, FetchedObjects, Limits, Lines, ListedRef, PushCommand, PushOptions, PushStatus, Remote,
    RemotePush, Seal, WholeListing,
};

/// Something that is held, like locks, until the last clone of this is dropped.
#[derive(Clone, Default)]
pub struct Guard(Option<Arc<dyn Any + Send + Sync>>);

impl Guard {
    /// Holds nothing.
    pub const NOTHING: Guard = Guard(None);

    /// Holds `held`.
    pub fn of(held: impl Send + Sync + 'static) -> Guard {
        Guard(Some(Arc::new(held)))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Guard(..)" } else { "Guard(nothing)" })
    }
}
