//! The bits of a ref's state, as the host's tables see the ref for the direction at hand.
//!
//! Bits that have no name here are 0 today; mask them out.

/// May go as it stands: the host's table says keep.
pub const MAY_GO: u32 = 1 << 0;
/// There is no local ref.
pub const NO_LOCAL: u32 = 1 << 1;
/// Untracked by the global ref-db.
pub const UNTRACKED: u32 = 1 << 2;
/// The global ref-db could not be read.
pub const REFDB_UNAVAILABLE: u32 = 1 << 3;
/// The update deletes the ref.
pub const DELETION: u32 = 1 << 4;
/// The refspec has a `+`.
pub const FORCED: u32 = 1 << 5;
/// The meta ref of a change: `refs/changes/NN/NNNN/meta`.
pub const CHANGE_META: u32 = 1 << 6;
/// Exempt from every check: `refs/multi-site/version`.
pub const EXEMPT: u32 = 1 << 7;
/// The global ref-db records the ref as deleted.
pub const DELETED: u32 = 1 << 8;
/// The other side's value is known.
pub const REMOTE_KNOWN: u32 = 1 << 9;
/// The other side holds the global ref-db's value.
pub const REMOTE_AT_GLOBAL: u32 = 1 << 10;
/// The value to be overwritten is not accounted for.
pub const NOT_ACCOUNTED: u32 = 1 << 11;
/// Waiting and looking again may help.
pub const RECHECK_HELPS: u32 = 1 << 12;
/// Nothing to do: both sides agree already.
pub const NOTHING_TO_DO: u32 = 1 << 13;
/// Locked in the global ref-db.
pub const LOCKED: u32 = 1 << 14;
/// Not checked: a rule puts the ref under IGNORED.
pub const IGNORED: u32 = 1 << 15;
/// The update would overwrite a value that the new one does not contain: it is no fast-forward. Never set for a deletion.
/// Clear before version 0.1.1 of the contract.
pub const NOT_FAST_FORWARD: u32 = 1 << 16;
/// What is on offer is not what the global ref-db records, or it turned from an update into a deletion, or the other way
/// round, between the passes. Clear before version 0.1.1 of the contract.
pub const NOT_UP_TO_DATE: u32 = 1 << 17;
