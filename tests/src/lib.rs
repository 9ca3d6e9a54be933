//! The laboratory of the end-to-end tests: sites with real bare repositories, a shared ref-db, a clock that only counts,
//! and the interpreter of scenarios.

mod clock;
mod daemon;
mod far;
mod git;
mod hostile;
mod lab;
mod records;
pub mod scenario;

pub use clock::TestClock;
pub use daemon::Daemon;
pub use git::{Repo, full_name, reftable_is_known};
pub use hostile::{Harm, Hostile};
pub use lab::{Lab, PROJECT, Setup, outcomes, run};
