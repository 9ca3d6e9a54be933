//! What the tests of this module share: time that passes when everybody waits, names and values, and stores that do what a
//! test says.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::{Clock, Entry, GlobalRef, Oid};

/// The paused time of the runtime in [`run`].
pub(super) struct PausedClock;

#[expect(clippy::disallowed_methods, reason = "the runtime is paused: this time is virtual")]
impl Clock for PausedClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

pub(super) fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

pub(super) async fn pass(duration: Duration) {
    PausedClock.sleep(duration).await;
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(PausedClock)
}

pub(super) fn store() -> MemoryRefDb {
    MemoryRefDb::with_clock(clock())
}

pub(super) fn db() -> RefDb {
    RefDb::new(store())
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn within(time: Duration) -> Deadline {
    Deadline::after(&PausedClock, time)
}

pub(super) fn project() -> Project {
    Project::new("p").unwrap()
}

pub(super) fn name(name: &str) -> RefName {
    RefName::new(name).unwrap()
}

pub(super) fn oid(n: u8) -> Oid {
    Oid::from_bytes(&[n; 20]).unwrap()
}

pub(super) fn at(n: u8) -> GlobalRef {
    GlobalRef::At(oid(n))
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    delay: Duration,
    kind: Option<RefDbErrorKind>,
}

impl Step {
    pub(super) fn ok() -> Step {
        Step { delay: Duration::ZERO, kind: None }
    }
    pub(super) fn err(kind: RefDbErrorKind) -> Step {
        Step { delay: Duration::ZERO, kind: Some(kind) }
    }
    pub(super) fn never() -> Step {
        Step::ok().after(Duration::from_secs(1_000_000))
    }
    pub(super) fn after(self, delay: Duration) -> Step {
        Step { delay, ..self }
    }
}

/// Answers from a script, or from the store below where the script says so.
struct Script {
    store: MemoryRefDb,
    steps: Mutex<VecDeque<Step>>,
    seen: Mutex<Vec<(Instant, Duration)>>,
}

impl Script {
    async fn step<T>(
        &self,
        deadline: Deadline,
        call: BoxFuture<'_, Result<T, RefDbError>>,
    ) -> Result<T, RefDbError> {
        self.seen.lock().unwrap().push((PausedClock.now(), deadline.left(&PausedClock)));
        let step = self.steps.lock().unwrap().pop_front().expect("more calls than the script has");
        PausedClock.sleep(step.delay).await;
        match step.kind {
            Some(kind) => Err(RefDbError::new(kind, "as the script says")),
            None => call.await,
        }
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl Store for Script {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        Box::pin(self.step(deadline, self.store.get_many(project, refs, deadline)))
    }
    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        deadline: Deadline,
    ) -> Answer<'a, Page> {
        Box::pin(self.step(deadline, self.store.scan(project, prefix, cursor, limit, deadline)))
    }
    fn write<'a>(
        &'a self,
        project: &'a Project,
        writes: &'a [Write],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Written>> {
        // Only when its turn has come: this store writes while it is called.
        let call = Box::pin(async move { self.store.write(project, writes, atomicity, deadline).await });
        Box::pin(self.step(deadline, call))
    }
    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        Box::pin(self.step(deadline, self.store.settle(project, refs, deadline)))
    }
    fn locks(&self) -> Option<&dyn Locks> {
        Some(self)
    }
    fn admin(&self) -> Option<&dyn Administered> {
        Some(self)
    }
}

impl Locks for Script {
    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> Answer<'a, Box<dyn RefLock>> {
        Box::pin(self.step(deadline, Locks::lock(&self.store, project, name, lease, deadline)))
    }
}

impl Administered for Script {
    fn sites(&self, deadline: Deadline) -> Answer<'_, Vec<String>> {
        Box::pin(self.step(deadline, self.store.sites(deadline)))
    }
    fn add_site<'a>(&'a self, site: &'a str, deadline: Deadline) -> Answer<'a, ()> {
        Box::pin(self.step(deadline, self.store.add_site(site, deadline)))
    }
    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        limit: usize,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Project>> {
        Box::pin(self.step(deadline, self.store.projects(after, limit, deadline)))
    }
    fn remove_project<'a>(&'a self, project: &'a Project, deadline: Deadline) -> Answer<'a, u64> {
        Box::pin(self.step(deadline, self.store.remove_project(project, deadline)))
    }
    fn renew_identity(&self, deadline: Deadline) -> Answer<'_, ()> {
        Box::pin(self.step(deadline, self.store.renew_identity(deadline)))
    }
    fn set_closed<'a>(&'a self, message: Option<&'a str>, deadline: Deadline) -> Answer<'a, ()> {
        Box::pin(self.step(deadline, self.store.set_closed(message, deadline)))
    }
    fn closed(&self, deadline: Deadline) -> Answer<'_, Option<String>> {
        Box::pin(self.step(deadline, self.store.closed(deadline)))
    }
}

/// A store in memory that fails as a script says.
pub(super) struct Scripted {
    pub(super) db: RefDb,
    script: Arc<Script>,
}

impl Scripted {
    pub(super) fn new(steps: impl IntoIterator<Item = Step>) -> Scripted {
        let (steps, seen) = (Mutex::new(steps.into_iter().collect()), Mutex::default());
        let script = Arc::new(Script { store: MemoryRefDb::with_clock(clock()), steps, seen });
        Scripted { db: script.clone().into(), script }
    }
    fn seen(&self) -> Vec<(Instant, Duration)> {
        self.script.seen.lock().unwrap().clone()
    }
    pub(super) fn calls(&self) -> usize {
        self.seen().len()
    }
    pub(super) fn times(&self) -> Vec<Instant> {
        self.seen().into_iter().map(|(at, _)| at).collect()
    }
    pub(super) fn time_left(&self) -> Vec<Duration> {
        self.seen().into_iter().map(|(_, left)| left).collect()
    }
}

/// The cheapest call.
pub(super) async fn sites(db: &RefDb, wait: Duration) -> Result<(), RefDbErrorKind> {
    db.sites(Deadline::after(&PausedClock, wait)).await.map(drop).map_err(|e| e.kind)
}

/// Writes `to` to `refs/a` if nothing is there.
pub(super) async fn create(db: &RefDb, to: u8) -> Result<Outcome, RefDbErrorKind> {
    let edit = Edit::new(name("refs/a"), Expected::Absent, at(to));
    let deadline = Deadline::after(&PausedClock, SECOND);
    let put = db.compare_and_put(&project(), &[edit], Atomicity::Each, deadline).await;
    put.map(|outcomes| outcomes[0]).map_err(|e| e.kind)
}

/// Calls each operation once with `wait` as its time: how it failed and how long it took.
pub(super) async fn each_operation(
    db: &RefDb,
    wait: Duration,
) -> Vec<(Operation, (Option<RefDbErrorKind>, Duration))> {
    let (p, a, t) = (project(), name("refs/a"), name("refs/t"));
    let (names, edits) = ([a.clone()], [Edit::new(a.clone(), Expected::Absent, at(1))]);
    let (none, some) = (Entry::default(), Entry::new(at(1)));
    let mut all = Vec::new();
    for operation in Operation::ALL {
        let start = PausedClock.now();
        let deadline = Deadline::after(&PausedClock, wait);
        let answer = match operation {
            Operation::GetMany => db.get_many(&p, &names, deadline).await.map(drop),
            Operation::Scan => db.scan(&p, b"", None, 9, deadline).await.map(drop),
            Operation::CompareAndPut => {
                db.compare_and_put(&p, &edits, Atomicity::Each, deadline).await.map(drop)
            }
            Operation::Resolve => db.resolve(&p, &edits, deadline).await.map(drop),
            Operation::Put => db.put(&p, &a, at(2), deadline).await.map(drop),
            Operation::SwapEntry => db.swap_entry(&p, &a, &none, &some, deadline).await.map(drop),
            Operation::RemoveRef => db.remove_ref(&p, &a, deadline).await.map(drop),
            Operation::RemoveProject => db.remove_project(&p, deadline).await.map(drop),
            Operation::GetText => db.get_text(&p, &t, deadline).await.map(drop),
            Operation::CompareAndPutText => {
                db.compare_and_put_text(&p, &t, None, "1", deadline).await.map(drop)
            }
            Operation::Lock => db.lock(&p, &a, SECOND, deadline).await.map(drop),
            Operation::NoteSite => db.note_site("here", deadline).await.map(drop),
            Operation::Sites => db.sites(deadline).await.map(drop),
            Operation::RenewIdentity => db.renew_identity(deadline).await,
            Operation::SetClosed => db.set_closed(None, deadline).await,
            Operation::Closed => db.closed(deadline).await.map(drop),
            Operation::Projects => db.projects(None, 9, deadline).await.map(drop),
        };
        all.push((operation, (answer.err().map(|e| e.kind), PausedClock.now() - start)));
    }
    all
}
