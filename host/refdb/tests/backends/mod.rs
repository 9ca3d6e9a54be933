//! The backends of this build: how each is started, and what it does not promise.

mod clock;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(any(feature = "zookeeper", feature = "etcd"))]
mod server;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libtest_mimic::{Failed, Trial};
use refgate_core::{Clock, MemoryRefDb, NoopRefDb, RefDb, RefDbError};
use refgate_refdb::conformance::{Bench, Connect};
use refgate_refdb::{Location, OpenMode, open};

use crate::common::RealClock;
use clock::VirtualClock;
#[cfg(any(feature = "zookeeper", feature = "etcd"))]
pub use server::{Server, ServerBackend};

/// One kind of store.
#[derive(Clone)]
pub struct Backend {
    /// How its tests are called.
    pub name: &'static str,
    /// Why it cannot be started here.
    pub missing: Option<String>,
    /// Numbers of the cases that it does not promise.
    pub lacks: &'static [u16],
    /// A store that nobody else uses.
    pub start: fn() -> Place,
}

/// A store that was started for one test.
pub struct Place {
    connect: Arc<Connect>,
    clock: Arc<dyn Clock>,
    /// What the store is reached by from other processes; empty for one that lives in this process.
    pub url: String,
    /// What is drawn at random follows from it.
    pub seed: u64,
    _alive: Box<dyn Any>,
}

/// Every backend of this build.
pub fn all() -> Vec<Backend> {
    vec![
        Backend { name: "memory", missing: None, lacks: &[40, 106], start: memory },
        #[cfg(feature = "sqlite")]
        Backend { name: "sqlite", missing: None, lacks: SQLITE_LACKS, start: sqlite },
        #[cfg(feature = "zookeeper")]
        zookeeper::backend(),
        #[cfg(feature = "etcd")]
        etcd::backend(),
    ]
}

/// Those whose server a test can break.
#[cfg(any(feature = "zookeeper", feature = "etcd"))]
pub fn servers() -> Vec<ServerBackend> {
    vec![
        #[cfg(feature = "zookeeper")]
        zookeeper::server(),
        #[cfg(feature = "etcd")]
        etcd::server(),
    ]
}

/// Texts, a limit of edits, locks, and entries that are exchanged whole.
#[cfg(feature = "sqlite")]
const SQLITE_LACKS: &[u16] = &[40, 106];

/// A test that shows as ignored, with the reason in its name's place, where the server is not installed.
pub fn trial(
    missing: &Option<String>,
    name: String,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    match missing {
        None => Trial::test(name, run),
        Some(why) => Trial::test(format!("{name} [{why}]"), run).with_ignored_flag(true),
    }
}

impl Place {
    /// The store behind a URL, connected anew for every client. It is kept as long as `alive`.
    pub fn at_url(url: &str, alive: impl Any) -> Place {
        let location = Location::new(url, "/");
        let connect = move || Ok(open(&location, OpenMode::Create, Arc::new(RealClock))?.db);
        Place {
            connect: Arc::new(connect),
            clock: Arc::new(RealClock),
            url: url.to_owned(),
            seed: seed(),
            _alive: Box::new(alive),
        }
    }

    /// A store in this process that all clients share.
    fn shared(db: RefDb, clock: Arc<dyn Clock>) -> Place {
        let connect = move || Ok(db.clone());
        Place { connect: Arc::new(connect), clock, url: String::new(), seed: seed(), _alive: Box::new(()) }
    }

    /// Where the suite runs: nobody else uses it.
    pub fn bench(&self) -> Bench {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = u64::from(std::process::id()) << 32 | RUNS.fetch_add(1, Ordering::Relaxed);
        Bench::new(self.connect.clone(), self.clock.clone(), run, self.seed).disposable()
    }

    /// One more client.
    pub fn connect(&self) -> Result<RefDb, RefDbError> {
        (self.connect)()
    }
}

/// The same every time, unless somebody wants another one.
pub fn seed() -> u64 {
    match std::env::var("REFGATE_SEED") {
        Ok(text) => text.parse().expect("REFGATE_SEED is a number"),
        Err(_) => 1,
    }
}

pub fn memory() -> Place {
    // In virtual time: nothing of it needs the real one, and nobody waits for leases.
    let clock = Arc::new(VirtualClock::default());
    Place::shared(RefDb::new(MemoryRefDb::with_clock(clock.clone())), clock)
}

pub fn noop() -> Place {
    Place::shared(RefDb::new(NoopRefDb), Arc::new(VirtualClock::default()))
}

#[cfg(feature = "sqlite")]
pub fn sqlite() -> Place {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let url = format!("sqlite:{}", dir.path().join("r.sqlite").display());
    Place::at_url(&url, dir)
}
