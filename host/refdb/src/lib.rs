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
//! How long a store is waited for and how often it is asked again is [`Waiting`].

mod access;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "sqlite")]
mod sqlite;
mod url;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::refdb::{RetryPolicy, Waiting};
use refgate_core::{Clock, MemoryRefDb, NoopRefDb, RefDb, RefDbError, RefDbErrorKind};

pub use access::{Access, PasswordFrom, Secret, Tls};
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
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub db: RefDb,
    /// Whether it did not exist before; never for `noop:` and `memory:`.
    pub created: bool,
}

/// The longest that a call of a shared store may take, whatever its deadline says: for callers that mean "as long as it
/// takes", not for decisions.
const LONGEST_CALL: Duration = Duration::from_secs(600);

/// Opens the store that `location` names.
///
/// A store that other processes use is waited for with all that [`Waiting`] has: every call ends by its deadline, and one
/// that certainly did nothing is repeated while there is time. For counters see [`RefDb::counted`].
///
/// Blocks: for a file milliseconds, at most 5 s when another process holds it; for a server as long as connecting takes,
/// at most 10 s; 15 s when a disk or a look-up of a name hangs, which then goes on without anybody waiting for it. Do not
/// call it on a thread that drives futures.
///
/// # Errors
/// [`Config`](refgate_core::RefDbErrorKind::Config) when the URL or what it names cannot be a ref-db,
/// [`Unavailable`](refgate_core::RefDbErrorKind::Unavailable) when the store is missing or cannot be opened now,
/// [`Corrupt`](refgate_core::RefDbErrorKind::Corrupt) when it is damaged. Nothing is written then.
pub fn open(location: &Location, mode: OpenMode, clock: Arc<dyn Clock>) -> Result<Opened, RefDbError> {
    let target = url::parse(&location.url, &location.base_dir, &location.access)?;
    let (shown, for_store) = (redacted(&location.url), clock.clone());
    let opened = match target {
        Target::Noop => return Ok(Opened { db: RefDb::new(NoopRefDb), created: false }),
        Target::Memory => {
            return Ok(Opened { db: RefDb::new(MemoryRefDb::with_clock(clock)), created: false });
        }
        target => bounded(&shown, OPENING, move || open_shared(target, mode, for_store))?,
    };
    let rng = Arc::new(Mutex::new(SmallRng::seed_from_u64(seed(&*clock))));
    let waiting = Waiting::new(clock, LONGEST_CALL).with_retries(RetryPolicy::default(), rng).with_patience();
    Ok(Opened { db: opened.db.waiting(waiting), ..opened })
}

/// The longest that opening may take. Every store has a shorter limit of its own, for what it can interrupt.
const OPENING: Duration = Duration::from_secs(15);

/// Does `work` on a thread of its own and waits for it no longer than `at_most`: a disk that hangs must not keep a process
/// from ending.
fn bounded<T: Send + 'static>(
    shown: &str,
    at_most: Duration,
    work: impl FnOnce() -> Result<T, RefDbError> + Send + 'static,
) -> Result<T, RefDbError> {
    let failed =
        |what: String| RefDbError::new(RefDbErrorKind::Unavailable, format!("ref-db `{shown}`: {what}"));
    let (answer, answered) = std::sync::mpsc::channel();
    let started = std::thread::Builder::new().name("refdb-open".to_owned()).spawn(move || {
        // Nobody listens when it took too long.
        drop(answer.send(work()));
    });
    started.map_err(|e| failed(format!("cannot start a thread: {e}")))?;
    // Real time, not the clock's: what is waited for is a real thread.
    answered.recv_timeout(at_most).unwrap_or_else(|e| {
        Err(failed(match e {
            RecvTimeoutError::Timeout => format!(
                "it could not be opened within {} s; look whether its disk or its server hangs",
                at_most.as_secs()
            ),
            RecvTimeoutError::Disconnected => "the thread that opens it died".to_owned(),
        }))
    })
}

/// Opens a store that other processes use.
fn open_shared(target: Target, mode: OpenMode, clock: Arc<dyn Clock>) -> Result<Opened, RefDbError> {
    // Which of them is used depends on the features.
    let _ = (mode, &clock);
    match target {
        Target::Noop | Target::Memory => Ok(Opened { db: RefDb::new(NoopRefDb), created: false }),
        #[cfg(feature = "sqlite")]
        Target::Sqlite { path, network } => sqlite::open(&path, network, mode, clock),
        #[cfg(not(feature = "sqlite"))]
        Target::Sqlite { .. } => Err(url::not_built_in("sqlite")),
        #[cfg(feature = "zookeeper")]
        Target::ZooKeeper(remote) => zookeeper::open(&remote, mode, clock),
        #[cfg(not(feature = "zookeeper"))]
        Target::ZooKeeper(_) => Err(url::not_built_in("zookeeper")),
        #[cfg(feature = "etcd")]
        Target::Etcd(remote) => etcd::open(&remote, mode, clock),
        #[cfg(not(feature = "etcd"))]
        Target::Etcd(_) => Err(url::not_built_in("etcd")),
    }
}

/// Lets SQLite use at most `bytes` of memory in this process, all files together, and fails what would take more: a row that
/// somebody else wrote may be as large as the file. For a program that uses SQLite for nothing else; it can only be lowered
/// later. What refgate itself does takes a few MiB.
///
/// # Errors
/// What SQLite says.
pub fn bound_sqlite_memory(bytes: u32) -> Result<(), String> {
    #[cfg(feature = "sqlite")]
    sqlite::bound_memory(bytes).map_err(|e| e.to_string())?;
    let _ = bytes;
    Ok(())
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

/// What others than its owner and group can do with the file of `location`, and how to stop that; `None` when nothing, and
/// for a store that is no file. Shared by a group is how several accounts use one.
pub fn exposed(location: &Location) -> Option<String> {
    match url::parse(&location.url, &location.base_dir, &location.access).ok()? {
        #[cfg(feature = "sqlite")]
        Target::Sqlite { path, .. } => sqlite::exposed(&path),
        _ => None,
    }
}

/// Where the jitter of one store begins. It only has to differ between processes that start at the same time.
fn seed(clock: &dyn Clock) -> u64 {
    let mut hasher = DefaultHasher::new();
    (std::process::id(), clock.now()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_ends_although_the_disk_hangs() {
        // Stands for a read that the kernel never answers: the thread is still in it when the test ends.
        let (never, stuck) = std::sync::mpsc::channel::<()>();
        let opened = bounded("sqlite:x", Duration::from_millis(50), move || {
            let _ = stuck.recv();
            Ok(())
        });
        let e = opened.unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Unavailable);
        assert!(e.message.contains("`sqlite:x`: it could not be opened within"), "{e}");
        drop(never);
        assert_eq!(bounded("x", Duration::from_secs(60), || Ok(7)), Ok(7));
        let died =
            bounded("x", Duration::from_secs(60), || -> Result<(), RefDbError> { panic!("on purpose") });
        assert!(died.unwrap_err().message.contains("died"));
    }
}
