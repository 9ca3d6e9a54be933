//! Batches built by hand, so that a policy is tested as plain Rust:
//!
//! ```
//! use refgate_guest::testing::{TestBatch, run_push};
//! use refgate_guest::{Batch, NoSettings, Problems, PushFilter, Verdicts, state};
//!
//! struct HoldStale;
//! impl PushFilter for HoldStale {
//!     type Settings = NoSettings;
//!     fn new(_: NoSettings) -> Result<Self, Problems> {
//!         Ok(HoldStale)
//!     }
//!     fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
//!         verdicts.discard(batch.stale(), "not-up-to-date");
//!         Ok(())
//!     }
//! }
//!
//! let batch = TestBatch::push("app").with("refs/heads/a", state::MAY_GO).with("refs/heads/b", 0);
//! let answer = run_push(&HoldStale, &batch).unwrap();
//! assert_eq!(answer.reason(0), None);
//! assert_eq!(answer.reason(1), Some("not-up-to-date"));
//! ```
//!
//! A filter that asks the [`clock`](crate::clock) runs within [`at`]: `at(1_766_000_000_000, || run_push(…))`.

use serde::de::DeserializeOwned;

pub use crate::native::{Answer, at, run_fetch, run_matcher, run_push};
use crate::{Column, OidColumn, Problems, RefSource, settings};

/// A batch in memory.
#[derive(Clone, Debug)]
pub struct TestBatch {
    project: String,
    peer: String,
    attempt: u32,
    oid_len: usize,
    refs: Vec<TestRef>,
}

#[derive(Clone, Debug, Default)]
struct TestRef {
    name: Vec<u8>,
    state: u32,
    /// New, old, local, global; empty for none.
    oids: [Vec<u8>; 4],
    group: u32,
}

impl TestBatch {
    /// An empty batch of `project`, first pass, SHA-1. Push and fetch differ in nothing but the filter that runs.
    pub fn push(project: &str) -> TestBatch {
        TestBatch {
            project: project.to_owned(),
            peer: String::new(),
            attempt: 0,
            oid_len: 20,
            refs: Vec::new(),
        }
    }

    /// The same as [`push`](TestBatch::push), for tests that read better with it.
    pub fn fetch(project: &str) -> TestBatch {
        TestBatch::push(project)
    }

    /// Names the site at the other end.
    pub fn peer(mut self, peer: &str) -> TestBatch {
        self.peer = peer.to_owned();
        self
    }

    /// 0 for the first pass, 1 for the second.
    pub fn attempt(mut self, attempt: u32) -> TestBatch {
        self.attempt = attempt;
        self
    }

    /// Adds a ref with its [`state`](crate::state).
    pub fn with(mut self, name: impl AsRef<[u8]>, state: u32) -> TestBatch {
        // Without a group given every ref stands for itself.
        let group = u32::MAX - self.refs.len() as u32;
        let name = name.as_ref().to_vec();
        self.refs.push(TestRef { name, state, group, ..TestRef::default() });
        self
    }

    /// Sets the new object id of the ref added last: 20 or 32 bytes, the same length in the whole batch.
    pub fn new_oid(self, oid: &[u8]) -> TestBatch {
        self.oid(OidColumn::New, oid)
    }

    /// Sets the object id that the ref added last overwrites.
    pub fn old_oid(self, oid: &[u8]) -> TestBatch {
        self.oid(OidColumn::Old, oid)
    }

    /// Sets the local object id of the ref added last.
    pub fn local_oid(self, oid: &[u8]) -> TestBatch {
        self.oid(OidColumn::Local, oid)
    }

    /// Sets the global ref-db's object id of the ref added last.
    pub fn global_oid(self, oid: &[u8]) -> TestBatch {
        self.oid(OidColumn::Global, oid)
    }

    /// Sets the group of the ref added last.
    pub fn group(mut self, group: u32) -> TestBatch {
        self.last().group = group;
        self
    }

    fn oid(mut self, which: OidColumn, oid: &[u8]) -> TestBatch {
        assert!(
            oid.len() == 20 || oid.len() == 32,
            "an object id has 20 or 32 bytes, this has {}",
            oid.len()
        );
        self.oid_len = oid.len();
        self.last().oids[which as usize] = oid.to_vec();
        self
    }

    fn last(&mut self) -> &mut TestRef {
        self.refs.last_mut().expect("add a ref first, with `with`")
    }

    fn range(&self, start: u32, end: u32) -> &[TestRef] {
        &self.refs[start as usize..end as usize]
    }

    fn pick(&self, wanted: impl Fn(&TestRef) -> bool) -> Vec<u32> {
        (0..).zip(&self.refs).filter(|(_, r)| wanted(r)).map(|(i, _)| i).collect()
    }
}

fn column<'a>(names: impl Iterator<Item = &'a Vec<u8>>) -> Column {
    let mut column = Column::default();
    for name in names {
        column.bytes.extend_from_slice(name);
        column.ends.push(column.bytes.len() as u32);
    }
    column
}

impl RefSource for TestBatch {
    fn project(&self) -> String {
        self.project.clone()
    }
    fn peer(&self) -> String {
        self.peer.clone()
    }
    fn len(&self) -> u32 {
        self.refs.len() as u32
    }
    fn oid_len(&self) -> u32 {
        self.oid_len as u32
    }
    fn attempt(&self) -> u32 {
        self.attempt
    }
    fn select(&self, mask: u32, value: u32) -> Vec<u32> {
        self.pick(|r| r.state & mask == value)
    }
    fn select_prefix(&self, prefix: &[u8]) -> Vec<u32> {
        self.pick(|r| r.name.starts_with(prefix))
    }
    fn states(&self, start: u32, end: u32) -> Vec<u32> {
        self.range(start, end).iter().map(|r| r.state).collect()
    }
    fn names(&self, start: u32, end: u32) -> Column {
        column(self.range(start, end).iter().map(|r| &r.name))
    }
    fn names_at(&self, indices: &[u32]) -> Column {
        column(indices.iter().map(|i| &self.refs[*i as usize].name))
    }
    fn oids(&self, which: OidColumn, start: u32, end: u32) -> Vec<u8> {
        let zero = vec![0; self.oid_len];
        let oids = self.range(start, end).iter().map(|r| &r.oids[which as usize]);
        oids.flat_map(|oid| if oid.is_empty() { &zero } else { oid }).copied().collect()
    }
    fn groups(&self, start: u32, end: u32) -> Vec<u32> {
        self.range(start, end).iter().map(|r| r.group).collect()
    }
}

/// Settings as the host would hand them over: `settings("{\"limit\": \"3\"}")`.
pub fn settings<S: DeserializeOwned>(json: &str) -> Result<S, Problems> {
    settings::read(json)
}
