//! Git for refgate: local refs in bulk, ancestry, ref transactions, and transfers in which every ref is decided
//! between the remote's listing and the update.
//!
//! Refs are read by our own code where the format is known (the files backend), and by git's plumbing everywhere else.
//! Objects are always packed, unpacked and walked by real git.

mod ancestry;
mod child;
mod command;
mod files;
mod limits;
mod local;
mod lock;
mod notes;
mod objects;
mod policy;
mod ports;
pub mod receive;
mod ref_locks;
mod refs;
mod repository;
mod transaction;
pub mod transport;

pub use command::{OWN_WRITE, withhold};
pub use files::Files;
pub use files::access::{Obstacle, Obstacles};
pub use files::durable::ON_DISK;
pub use files::settings::not_on_disk;
pub use limits::set_local_limit;
pub use local::GitRepositories;
pub use lock::{SessionLock, file_name as file_name_of_remote, utc};
pub use policy::LocalPolicy;
pub use ref_locks::RefLocks;
pub use repository::{Repository, looks_like_repository};
pub use transaction::RefWriter;
pub use transport::{
    Progress, PushSession, RemoteUrl, create_remote, fetch_objects, list, list_whole, remote_head,
};

pub use refgate_core::ports::{
    EditOutcome, FetchedObjects, GitError, GitErrorKind, Limits, ListedRef, PushCommand, PushStatus, RefEdit,
    RefList, Refusal, Seal, Target, WholeListing,
};
