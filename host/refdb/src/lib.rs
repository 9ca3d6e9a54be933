//! The global ref-db backends, and how a URL names one.
//!
//! | URL | what it is |
//! |---|---|
//! | `noop:` | knows nothing, refuses nothing: only fast-forwards replicate |
//! | `memory:` | forgets everything with the process: for tests |
//! | `sqlite:PATH` | one file for all processes of one machine; `PATH` may be relative to the configuration file |
//! | `zookeeper://HOST:PORT[,HOST:PORT]/ROOT` | an ensemble of ZooKeeper servers, in the layout of Gerrit's plugin |
//! | `etcd://HOST:PORT[,HOST:PORT]/PREFIX` | an etcd cluster, below that prefix; in builds with the feature `etcd` |
//!
//! A path on a network file system is refused unless the URL ends with `?network=allow`.
//!
//! What stands around a store, time limits and repetitions above all, is in [`layers`].

mod access;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "etcd")]
mod etcd;
pub mod layers;
#[cfg(feature = "sqlite")]
mod sqlite;
mod url;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::refdb::Layered;
use refgate_core::{Clock, GlobalRefDb, MemoryRefDb, NoopRefDb, RefDbError};

pub use access::{Access, PasswordFrom, Secret, Tls};
use layers::{Retry, RetryPolicy, Timeout};
use url::Target;
pub use url::{password_variable, redacted};

/// Which store to open.
#[derive(Clone, Debug)]
pub struct Location {
    /// The URL.
    pub url: String,
    /// What a relative path in the URL is relative to.
    pub base_dir: PathBuf,
    /// Who we are, as far as the URL does not say.
    pub access: Access,
}

impl Location {
    /// A URL, and what relative paths in it are relative to.
    pub fn new(url: impl Into<String>, base_dir: impl Into<PathBuf>) -> Location {
        Location { url: url.into(), base_dir: base_dir.into(), access: Access::default() }
    }
}

/// Whether a store that does not exist may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// A missing store is an error: a mistyped path must not open the gate.
    Existing,
    /// A missing store is made, empty; [`Opened::created`] says so.
    Create,
}

/// A store that is ready, and whether it was made by this call.
pub struct Opened {
    /// The store.
    pub db: Arc<dyn GlobalRefDb>,
    /// Whether it did not exist before; never for `noop:` and `memory:`.
    pub created: bool,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("backend", &self.db.capabilities().name)
            .field("created", &self.created)
            .finish()
    }
}

/// The longest that a call of a shared store may take, whatever its deadline says: for callers that mean "as long as it
/// takes", not for decisions.
const LONGEST_CALL: Duration = Duration::from_secs(600);

/// Opens the store that `location` names.
///
/// A store that other processes use comes in [layers]: every call ends by its deadline, and one that certainly did nothing
/// is repeated while there is time. For counters put [`layers::Metrics::around`] it.
///
/// Blocks: for a file milliseconds, at most 5 s when another process holds it; for a server as long as connecting takes,
/// at most 10 s. Do not call it on a thread that drives futures.
///
/// # Errors
/// [`Config`](refgate_core::RefDbErrorKind::Config) when the URL or what it names cannot be a ref-db,
/// [`Unavailable`](refgate_core::RefDbErrorKind::Unavailable) when the store is missing or cannot be opened now,
/// [`Corrupt`](refgate_core::RefDbErrorKind::Corrupt) when it is damaged. Nothing is written then.
pub fn open(location: &Location, mode: OpenMode, clock: Arc<dyn Clock>) -> Result<Opened, RefDbError> {
    // Which of them is used depends on the features.
    let _ = (mode, &clock);
    let target = url::parse(&location.url, &location.base_dir, &location.access)?;
    let kept = |db: Arc<dyn GlobalRefDb>| Opened { db, created: false };
    let opened: Opened = match target {
        Target::Noop => return Ok(kept(Arc::new(NoopRefDb))),
        Target::Memory => return Ok(kept(Arc::new(MemoryRefDb::with_clock(clock)))),
        #[cfg(feature = "sqlite")]
        Target::Sqlite { path, network } => sqlite::open(&path, network, mode, clock.clone()),
        #[cfg(not(feature = "sqlite"))]
        Target::Sqlite { .. } => Err(url::not_built_in("sqlite")),
        #[cfg(feature = "zookeeper")]
        Target::ZooKeeper(remote) => zookeeper::open(&remote, mode, clock.clone()),
        #[cfg(not(feature = "zookeeper"))]
        Target::ZooKeeper(_) => Err(url::not_built_in("zookeeper")),
        #[cfg(feature = "etcd")]
        Target::Etcd(remote) => etcd::open(&remote, mode, clock.clone()),
        #[cfg(not(feature = "etcd"))]
        Target::Etcd(_) => Err(url::not_built_in("etcd")),
    }?;
    Ok(Opened { db: shared(opened.db, clock), created: opened.created })
}

/// Puts around a store what every one that other processes use has.
fn shared(db: Arc<dyn GlobalRefDb>, clock: Arc<dyn Clock>) -> Arc<dyn GlobalRefDb> {
    let rng = Arc::new(Mutex::new(SmallRng::seed_from_u64(seed(&*clock))));
    let in_time: Arc<dyn GlobalRefDb> = Arc::new(Layered::new(db, Timeout::new(clock.clone(), LONGEST_CALL)));
    Arc::new(Layered::new(in_time, Retry::new(RetryPolicy::default(), clock, rng)))
}

/// Makes the directory that a file of `location` belongs into, for whoever is setting up a place. What needs no directory
/// is left alone. [`open`] makes none: above a mistyped path, or where a disk is not mounted, a store must not come about.
///
/// # Errors
/// A wrong URL, or a directory that cannot be made.
pub fn make_place(location: &Location) -> Result<(), RefDbError> {
    match url::parse(&location.url, &location.base_dir, &location.access)? {
        #[cfg(feature = "sqlite")]
        Target::Sqlite { path, .. } => sqlite::make_place(&path),
        _ => Ok(()),
    }
}

/// Where the jitter of one store begins. It only has to differ between processes that start at the same time.
fn seed(clock: &dyn Clock) -> u64 {
    let mut hasher = DefaultHasher::new();
    (std::process::id(), clock.now()).hash(&mut hasher);
    hasher.finish()
}
