//! Runs filters that are WebAssembly components: loads them, keeps them within limits, checks every answer.
//!
//! The only crate that names wasmtime. [`Runtime::filter_set`] turns a plugin directory and the embedded filters into the
//! [`refgate_core::FilterSet`] that decisions use. A filter that loops, hoards memory, traps or answers nonsense fails its
//! own call with a [`refgate_core::FilterError`] and nothing else; the next call finds a fresh instance.

#![deny(unsafe_code)]

mod bindings;
mod cache;
mod compile;
mod directory;
mod engine;
mod error;
mod file;
mod filter;
mod imports;
mod inspect;
mod instance;
mod limits;
mod log;
mod machine;
mod manifest;
mod meter;
mod place;
mod plugin;
mod policy;
mod proof;
mod read;
mod scan;
mod schema;
mod sections;
mod set;
mod signature;
mod state;
mod swap;
mod usage;
mod verdicts;

pub use cache::Cache;
pub use compile::{CompileLimits, Compiler, compile_child};
pub use engine::{Runtime, RuntimeConfig};
pub use error::{Fault, LoadError};
pub use file::Build;
pub use filter::FailureSink;
pub use inspect::{Interface, PluginInfo, WIT_VERSION, World, digest};
pub use limits::Limits;
pub use log::{LogLevel, LogSink};
pub use machine::{no_thread, room_for_threads};
pub use manifest::Manifest;
pub use place::{Exposed, check as check_place, check_file as check_file_place};
pub use plugin::{Isolation, LoadedPlugin, Origin, PluginSource};
pub use policy::{GLOB_BYTES, LimitOverrides, OnFailure, Policy, Scope};
pub use read::{open_file, read_component, read_file, read_side_file};
pub use scan::check_amounts;
pub use set::{EmbeddedPlugin, Settings, Unused};
pub use signature::{NAMESPACE, Provenance, Require, SignError, Signer, Signers, sign, signed_by, verify};
pub use state::{Generation, Quarantined, Saved, SavedMember, State, StateLock};
pub use swap::{
    Candidate, Event, NewBuild, PluginStatus, Prove, RolledBack, Shadow, ShadowCounts, Standing, Survey,
    SwapOptions, Swapper, release, roll_back, roll_back_to, rolled_back,
};
pub use usage::Usage;
