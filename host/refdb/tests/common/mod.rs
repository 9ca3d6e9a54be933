//! What the tests of this crate share: a real clock, names and values, and a store with calls that block.
#![allow(dead_code, clippy::redundant_async_block)]

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use refgate_core::{
    Atomicity, BoxFuture, Clock, Cursor, Deadline, Edit, Entry, Expected, GlobalRef, Lookup, Oid, Outcome,
    Project, RefDb, RefDbError, RefName,
};
use refgate_refdb::{Location, OpenMode, Opened, open};

/// The real time: these tests are about real files and other processes.
pub struct RealClock;

impl Clock for RealClock {
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Instant {
        Instant::now()
    }
    #[allow(clippy::disallowed_methods)]
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

pub fn now() -> Instant {
    RealClock.now()
}

pub fn pause(ms: u64) {
    block_on(async { RealClock.sleep(Duration::from_millis(ms)).await });
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

pub fn within(ms: u64) -> Deadline {
    Deadline::after(&RealClock, Duration::from_millis(ms))
}

pub fn project(name: &str) -> Project {
    Project::new(name).unwrap()
}

pub fn name(name: &str) -> RefName {
    RefName::from_escaped(name).unwrap()
}

/// An object id whose last bytes are `n`.
pub fn oid(n: u64) -> Oid {
    let mut raw = [0xee; 20];
    raw[12..].copy_from_slice(&n.to_be_bytes());
    Oid::from_bytes(&raw).unwrap()
}

pub fn at(n: u64) -> GlobalRef {
    GlobalRef::At(oid(n))
}

pub fn edit(name_: &str, expected: Expected, new: GlobalRef) -> Edit {
    Edit::new(name(name_), expected, new)
}

pub fn mismatch(actual: GlobalRef) -> Outcome {
    Outcome::Mismatch { actual }
}

pub fn open_sqlite(path: &Path, mode: OpenMode) -> Result<Opened, RefDbError> {
    let url = format!("sqlite:{}", path.file_name().unwrap().to_str().unwrap());
    open(&Location::new(url, path.parent().unwrap()), mode, Arc::new(RealClock))
}

/// A store whose calls block, wait at most 10 s and panic on errors.
#[derive(Clone)]
pub struct Store(pub RefDb);

impl Store {
    pub fn get(&self, p: &str, refs: &[&str]) -> Vec<Entry> {
        self.lookups(p, refs)
            .into_iter()
            .map(|found| match found {
                Lookup::Entry(entry) => entry,
                other => panic!("{other:?}"),
            })
            .collect()
    }
    pub fn lookups(&self, p: &str, refs: &[&str]) -> Vec<Lookup> {
        let refs: Vec<RefName> = refs.iter().map(|r| name(r)).collect();
        block_on(self.0.get_many(&project(p), &refs, within(10_000))).unwrap()
    }
    pub fn value(&self, p: &str, r: &str) -> GlobalRef {
        self.get(p, &[r])[0].value
    }
    pub fn superseded(&self, p: &str, r: &str) -> Vec<Oid> {
        self.get(p, &[r]).remove(0).superseded
    }
    pub fn edits(&self, p: &str, edits: &[Edit], atomicity: Atomicity) -> Result<Vec<Outcome>, RefDbError> {
        block_on(self.0.compare_and_put(&project(p), edits, atomicity, within(10_000)))
    }
    pub fn cas(&self, p: &str, r: &str, expected: Expected, new: GlobalRef) -> Outcome {
        self.edits(p, &[edit(r, expected, new)], Atomicity::Each).unwrap()[0]
    }
    pub fn put(&self, p: &str, r: &str, value: GlobalRef) {
        block_on(self.0.put(&project(p), &name(r), value, within(10_000))).unwrap();
    }
    pub fn scan(&self, p: &str, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let cursor = after.map(|after| Cursor { after: name(after), revision: 0 });
        block_on(self.0.scan(&project(p), prefix.as_bytes(), cursor.as_ref(), limit, within(10_000)))
            .unwrap()
            .rows
            .into_iter()
            .map(|(name, _)| name.to_string())
            .collect()
    }
    pub fn remove_ref(&self, p: &str, r: &str) -> bool {
        block_on(self.0.remove_ref(&project(p), &name(r), within(10_000))).unwrap()
    }
    pub fn remove_project(&self, p: &str) -> u64 {
        block_on(self.0.remove_project(&project(p), within(10_000))).unwrap()
    }
}
