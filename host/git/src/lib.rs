//! Git for refgate: local refs in bulk, ancestry, ref transactions, and transfers in which every ref is decided
//! between the remote's listing and the update.
//!
//! Refs are read by our own code where the format is known (the files backend), and by git's plumbing everywhere else.
//! Objects are always packed, unpacked and walked by real git.

mod command;
mod error;
pub mod transport;

pub use error::{GitError, GitErrorKind};
