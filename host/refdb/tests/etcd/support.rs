//! What the tests of this backend share.

use std::sync::Arc;
use std::time::Duration;

use refgate_core::{Atomicity, Edit, Outcome, RefDbError, RefDbErrorKind, RefLock};
use refgate_refdb::{Location, OpenMode, Opened, open};
use refgate_servers::Etcd;

use crate::common::*;

/// Tests by name.
pub type Tests = &'static [(&'static str, fn())];

/// A table of the functions of a module.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: crate::support::Tests = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use tests;

pub fn url(server: &Etcd, rest: &str) -> String {
    format!("etcd://{}/{rest}", server.address())
}

pub fn open_url(url: &str, mode: OpenMode) -> Result<Opened, RefDbError> {
    open(&Location::new(url, "/"), mode, Arc::new(RealClock))
}

/// A store below `refs` at `server`.
pub fn store(server: &Etcd) -> Store {
    Store(open_url(&url(server, "refs"), OpenMode::Create).unwrap().db)
}

/// Every key that is there, in order.
pub fn all_keys(server: &Etcd, prefix: &str) -> Vec<Vec<u8>> {
    let out = server.control(["get", "--prefix", "--keys-only", prefix]);
    out.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The same as text.
pub fn keys(server: &Etcd, prefix: &str) -> Vec<String> {
    all_keys(server, prefix).iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
}

pub fn value_at(server: &Etcd, key: &str) -> String {
    let out = server.control(["get", "--print-value-only", key]);
    String::from_utf8(out).unwrap().trim_end_matches('\n').to_owned()
}

pub fn cas_within(store: &Store, ms: u64, edits: &[Edit]) -> Result<Vec<Outcome>, RefDbError> {
    block_on(store.0.compare_and_put(&project("p"), edits, Atomicity::Each, within(ms)))
}

pub fn resolve(store: &Store, edits: &[Edit]) -> Vec<Outcome> {
    block_on(store.0.resolve(&project("p"), edits, within(10_000))).unwrap()
}

pub fn lock(store: &Store, name_: &str, lease: u64, ms: u64) -> Result<Box<dyn RefLock>, RefDbError> {
    let lease = Duration::from_secs(lease);
    block_on(store.0.lock(&project("p"), &name(name_), lease, within(ms)))
}

pub fn release(lock: Box<dyn RefLock>) {
    block_on(lock.release(within(5_000))).unwrap();
}

/// Runs `call`, which must answer within `ms` and 50 ms more; the rest is for a machine that is busy with other tests.
pub fn answers_within<T>(ms: u64, call: impl FnOnce() -> T) -> T {
    let start = now();
    let answer = call();
    let took = start.elapsed();
    assert!(took < Duration::from_millis(ms + 50 + 150), "took {took:?} instead of {ms} ms");
    answer
}

#[track_caller]
pub fn fails<T>(answer: Result<T, RefDbError>, kind: RefDbErrorKind, part: &str) -> RefDbError {
    let Err(e) = answer else { panic!("it did not fail") };
    assert_eq!(e.kind, kind, "{e}");
    assert!(e.message.contains(part), "{e}");
    assert!(e.message.starts_with("ref-db `etcd://"), "{e}");
    assert!(!e.message.contains("secret"), "{e}");
    e
}
