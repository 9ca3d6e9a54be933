//! Records what several clients did to a few refs at once, for [`linear::check`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use refgate_core::{
    Atomicity, BoxFuture, Deadline, Edit, Expected, GlobalRef, Lookup, Outcome, Project, RefDb, RefDbError,
    RefDbErrorKind, RefName,
};

use super::bench::at;
use super::check::{step, together};
use super::linear::{self, OneRef, RefCall, Timed};

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Everything that is drawn follows from it.
    pub seed: u64,
    /// How many refs.
    pub refs: usize,
    /// How many different values; a recorded deletion is one more.
    pub values: u64,
    /// How many calls each client makes.
    pub calls: usize,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload { seed: 0, refs: 3, values: 5, calls: 40 }
    }
}

/// What the clients did, per ref.
#[derive(Debug)]
pub struct Recording {
    /// In the order in which calls ended, except those whose outcome is not known.
    pub calls: BTreeMap<RefName, Vec<Timed<RefCall>>>,
    /// How many writes were applied.
    pub applied: usize,
    /// How many writes ended without an outcome.
    pub doubtful: usize,
    /// How many of those [`RefDb::resolve`] told about.
    pub resolved: usize,
    /// The first error of any call.
    pub first_error: Option<RefDbError>,
}

impl Recording {
    /// Whether one order explains the calls of each ref.
    ///
    /// # Errors
    /// The ref, the calls that do not fit, and what was known before them.
    pub fn check(&self) -> Result<(), String> {
        for (name, calls) in &self.calls {
            if let Err(why) = linear::check(&OneRef, calls) {
                let lines: Vec<String> = why.stuck.iter().map(line).collect();
                return Err(format!(
                    "the {} calls on `{name}` have no order: {} can be placed, then it holds {} and one of these must follow\n{}",
                    calls.len(),
                    why.placed,
                    why.state,
                    lines.join("\n")
                ));
            }
        }
        Ok(())
    }
}

fn line(timed: &Timed<RefCall>) -> String {
    let end = timed.ended.map_or("open".to_owned(), |end| end.to_string());
    let doubt = if timed.doubtful { ", perhaps" } else { "" };
    format!("  client {} [{}, {end}]{doubt}: {:?}", timed.client, timed.began, timed.call)
}

/// Lets each of `stores` be one client that does what `workload` says, all at once.
///
/// Writes that were refused for good leave no trace. After an indeterminate one the client asks `resolve` in half of the
/// cases: what that tells is a read, and ends the time in which the write can take effect. Otherwise it stays open.
pub async fn record(
    stores: &[RefDb],
    project: &Project,
    workload: &Workload,
    deadline: impl Fn() -> Deadline + Send + Sync,
) -> Recording {
    let names: Vec<RefName> =
        (0..workload.refs).map(|n| RefName::new(format!("refs/heads/h{n}")).expect("a legal name")).collect();
    let time = AtomicU64::new(1);
    let shared = Shared { names: &names, project, workload, deadline: &deadline, time: &time };
    let jobs: Vec<BoxFuture<'_, Client>> = stores
        .iter()
        .enumerate()
        .map(|(id, store)| -> BoxFuture<'_, Client> { Box::pin(shared.client(id, store)) })
        .collect();
    let order = SmallRng::seed_from_u64(workload.seed);
    let clients = together(jobs, order).await;
    let mut recording = Recording {
        calls: names.iter().map(|name| (name.clone(), Vec::new())).collect(),
        applied: 0,
        doubtful: 0,
        resolved: 0,
        first_error: None,
    };
    for client in clients {
        for (name, call) in client.calls {
            let outcome = match call.call {
                RefCall::Cas { outcome, .. } => outcome,
                RefCall::Get(_) => None,
            };
            recording.applied += usize::from(outcome == Some(Outcome::Applied));
            recording.doubtful += usize::from(call.doubtful);
            recording.resolved += usize::from(call.doubtful && call.ended.is_some());
            recording.calls.entry(names[name].clone()).or_default().push(call);
        }
        recording.first_error = recording.first_error.or(client.first_error);
    }
    for calls in recording.calls.values_mut() {
        calls.sort_by_key(|call| (call.doubtful, call.ended));
    }
    recording
}

struct Shared<'a, D> {
    names: &'a [RefName],
    project: &'a Project,
    workload: &'a Workload,
    deadline: &'a D,
    time: &'a AtomicU64,
}

/// One client: what it did and what it last saw of each ref.
struct Client {
    id: usize,
    calls: Vec<(usize, Timed<RefCall>)>,
    known: Vec<GlobalRef>,
    first_error: Option<RefDbError>,
}

impl Client {
    fn add(&mut self, name: usize, call: RefCall, began: u64, ended: u64) {
        let timed = Timed { client: self.id, call, began, ended: Some(ended), doubtful: false };
        self.calls.push((name, timed));
    }
}

impl<D: Fn() -> Deadline + Send + Sync> Shared<'_, D> {
    fn now(&self) -> u64 {
        self.time.fetch_add(1, Ordering::SeqCst)
    }

    async fn client(&self, id: usize, store: &RefDb) -> Client {
        let mut rng = SmallRng::seed_from_u64(self.workload.seed.wrapping_mul(31).wrapping_add(id as u64));
        let known = vec![GlobalRef::Untracked; self.names.len()];
        let mut client = Client { id, calls: Vec::new(), known, first_error: None };
        for _ in 0..self.workload.calls {
            step().await;
            let name = rng.random_range(0..self.names.len());
            let result = match rng.random_ratio(3, 10) {
                true => self.read(&mut client, store, name).await,
                false => self.write(&mut client, store, name, &mut rng).await,
            };
            if let Err(e) = result {
                client.first_error.get_or_insert(e);
            }
        }
        client
    }

    async fn read(&self, client: &mut Client, store: &RefDb, name: usize) -> Result<(), RefDbError> {
        let began = self.now();
        let names = std::slice::from_ref(&self.names[name]);
        let found = store.get_many(self.project, names, (self.deadline)()).await?;
        let ended = self.now();
        match found.first() {
            Some(Lookup::Entry(entry)) => {
                client.add(name, RefCall::Get(entry.value), began, ended);
                client.known[name] = entry.value;
                Ok(())
            }
            other => {
                Err(RefDbError::new(RefDbErrorKind::Corrupt, format!("a read of one ref gave {other:?}")))
            }
        }
    }

    async fn write(
        &self,
        client: &mut Client,
        store: &RefDb,
        name: usize,
        rng: &mut SmallRng,
    ) -> Result<(), RefDbError> {
        let any = |rng: &mut SmallRng| match rng.random_range(0..=self.workload.values) {
            0 => GlobalRef::Deleted,
            n => at(n),
        };
        let new = any(rng);
        // Mostly what it saw last, so that writes come through; now and then anything.
        let expected = match rng.random_range(0..10) {
            0 => Expected::Absent,
            1 => Expected::AbsentOrDeleted,
            2 => Expected::AbsentOr(any(rng)),
            3 => Expected::Exactly(any(rng)),
            _ => Expected::Exactly(client.known[name]),
        };
        let edit = Edit::new(self.names[name].clone(), expected, new).fast_forward(true);
        let edits = std::slice::from_ref(&edit);
        let resolves = rng.random_bool(0.5);
        let began = self.now();
        let result = store.compare_and_put(self.project, edits, Atomicity::Each, (self.deadline)()).await;
        let ended = self.now();
        let call = |outcome| RefCall::Cas { expected, new, outcome };
        let e = match result {
            Ok(outcomes) => {
                let outcome = outcomes.first().copied();
                client.add(name, call(outcome), began, ended);
                client.known[name] = match outcome {
                    Some(Outcome::Mismatch { actual }) => actual,
                    _ => new,
                };
                return Ok(());
            }
            Err(e) => e,
        };
        if e.kind != RefDbErrorKind::Indeterminate {
            // Surely not written: as if it had never been called.
            return Err(e);
        }
        let mut doubtful = Timed { client: client.id, call: call(None), began, ended: None, doubtful: true };
        if resolves {
            let asked = self.now();
            let told = store.resolve(self.project, edits, (self.deadline)()).await;
            let ended = self.now();
            if let Some(outcome) = told.ok().and_then(|outcomes| outcomes.first().copied()) {
                let seen = match outcome {
                    Outcome::Mismatch { actual } => actual,
                    _ => new,
                };
                client.add(name, RefCall::Get(seen), asked, ended);
                client.known[name] = seen;
                // From now on the write cannot come any more.
                doubtful.ended = Some(ended);
            }
        }
        client.calls.push((name, doubtful));
        Err(e)
    }
}
