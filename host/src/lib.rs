//! What an embedder depends on: [`Gate`] decides which ref updates may go to another site or come from one, and
//! [`replicate`] does the whole job, transfer included.
//!
//! ```no_run
//! # async fn example(system: refgate_host::System) -> Result<(), refgate_host::Error> {
//! use refgate_host::{Config, Project, Site};
//!
//! let site = Site::open(Config::load("refgate.config".as_ref())?, &system).await?;
//! let project = Project::new("team/app")?;
//! println!("{}", site.gate.matches(&project).await?);
//! # Ok(())
//! # }
//! ```

pub mod anew;
pub mod cases;
pub mod config;
pub mod copy;
mod error;
pub mod explain;
pub mod filters;
pub mod forget;
mod gate;
pub mod gated;
pub mod heal;
pub mod known;
pub mod live;
pub mod names;
mod open;
pub mod projects;
mod queue;
pub mod record;
pub mod replicate;
mod report;
mod suggest;

pub use config::Config;
pub use error::{Error, ErrorKind};
pub use gate::{Gate, GateParts};
pub use open::{CompilerProgram, Secret, System, exposed_refdb, open_refdb, utc};
pub use replicate::Site;
pub use report::{Counts, Report};
pub use suggest::did_you_mean;

pub use refgate_core::decision::Decision;
pub use refgate_core::table::RemoteValue;
pub use refgate_core::{
    Direction, Held, Move, Moves, ObjectFormat, Oid, Project, Reason, RefName, RefUpdate, Refusal, State,
};
