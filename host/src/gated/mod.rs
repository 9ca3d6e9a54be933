//! Gated writes: the writes of this site's own clients go through the ref-db first, then to the local refs.
//!
//! [`receive`] is what git's hook `proc-receive` does with a push. What a write is about to do stands in a record
//! ([`journal`]) before the ref-db moves, so that a write whose process died is finished by the next
//! [catch-up](crate::replicate::catch_up_refs). [`observe`] is about those who write past the hook.

mod failpoint;
pub mod install;
pub mod journal;
mod judge;
mod judged;
pub mod observe;
pub mod onward;
mod policy;
mod push;
mod receive;
pub mod refused;
mod rows;
pub(crate) mod seal;
mod status;
mod why;
mod witness;
mod write;

pub use journal::{Journal, Record, RecordedRef};
pub use push::{Push, Received};
pub use receive::receive;
pub use status::{Replicating, Status, Unfinished, status};
pub use witness::{Doubt, Kind, Witness, doubt};

/// The push option that marks replication, with the name of the sending site behind it.
pub const REPLICATION: &str = "refgate.replication=";

/// The push option that says which ref-db the sending site uses, with its identity behind it.
pub const REFDB: &str = "refgate.refdb=";

/// The push option that shows that the mark is authentic, with the seal behind it: `site.secretFile`.
pub const SEAL: &str = "refgate.seal=";
