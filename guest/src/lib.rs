//! Write filters for refgate in Rust: implement one trait, export it with one macro, test it without wasm.
//!
//! A filter decides which refs of a batch may travel between sites. It sees what the host knows about every ref and
//! can only hold refs back; what it does not name goes on. A crate with a filter depends on this crate alone (and on
//! serde for its settings), has `crate-type = ["cdylib", "rlib"]`, and reads like this:
//!
//! ```
//! use refgate_guest::{Batch, NoSettings, Problems, PushFilter, Verdicts, export_push_filter};
//!
//! /// Keeps work in progress at home.
//! pub struct NoDrafts;
//!
//! impl PushFilter for NoDrafts {
//!     type Settings = NoSettings;
//!
//!     fn new(_settings: NoSettings) -> Result<Self, Problems> {
//!         Ok(NoDrafts)
//!     }
//!
//!     fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
//!         verdicts.discard(batch.select_prefix(b"refs/heads/wip/"), "work-in-progress");
//!         Ok(())
//!     }
//! }
//!
//! export_push_filter!(NoDrafts);
//! ```
//!
//! On `wasm32` the macro makes the crate a component; everywhere else it expands to nothing, and [`testing`] runs the
//! filter as plain Rust. [`native`] does the same for a host that links a filter in instead of loading it.

mod batch;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
pub mod clock;
mod export;
mod filter;
mod glob;
mod json;
pub mod log;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
mod problem;
pub mod settings;
mod source;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod verdicts;

pub use batch::{Batch, Ref, Refs};
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use export::{Slot, match_all, run_filter};
pub use filter::{FetchFilter, ProjectMatcher, PushFilter, RefFilter};
pub use glob::Glob;
pub use problem::{Problem, Problems};
pub use settings::NoSettings;
pub use source::{Column, OidColumn, RefSource};
pub use verdicts::Verdicts;

/// The examples of the guide are compiled and run with the documentation tests of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-a-filter.md")]
struct Guide;
