//! Stores that do what a test says, and time that passes when everybody waits.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use refgate_core::refdb::{Layer, Layered, Operation};
use refgate_core::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// The paused time of the runtime in [`run`].
struct PausedClock;

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

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(PausedClock)
}

pub(super) fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

pub(super) fn around(inner: Arc<dyn GlobalRefDb>, layer: impl Layer + 'static) -> Arc<dyn GlobalRefDb> {
    Arc::new(Layered::new(inner, layer))
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

/// The layer at the bottom: answers from a script, or from the store below where the script says so.
pub(super) struct Script {
    steps: Mutex<VecDeque<Step>>,
    seen: Mutex<Vec<(Instant, Duration)>>,
}

impl Layer for Script {
    fn around<'a, T: Send + 'a>(
        &'a self,
        _: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> BoxFuture<'a, Result<T, RefDbError>> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RefDbError>> {
        self.seen.lock().unwrap().push((PausedClock.now(), deadline.left(&PausedClock)));
        let step = self.steps.lock().unwrap().pop_front().expect("more calls than the script has");
        Box::pin(async move {
            PausedClock.sleep(step.delay).await;
            match step.kind {
                Some(kind) => Err(RefDbError::new(kind, "as the script says")),
                None => call(deadline).await,
            }
        })
    }
}

/// A store in memory that fails as a script says.
pub(super) struct Scripted {
    pub(super) db: Arc<dyn GlobalRefDb>,
    script: Arc<Script>,
}

impl Scripted {
    pub(super) fn new(steps: impl IntoIterator<Item = Step>) -> Scripted {
        let script =
            Arc::new(Script { steps: Mutex::new(steps.into_iter().collect()), seen: Mutex::default() });
        Scripted { db: around(memory(), script.clone()), script }
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

pub(super) fn memory() -> Arc<dyn GlobalRefDb> {
    Arc::new(MemoryRefDb::with_clock(clock()))
}

/// The cheapest call.
pub(super) async fn sites(db: &dyn GlobalRefDb, wait: Duration) -> Result<(), RefDbErrorKind> {
    db.sites(Deadline::after(&PausedClock, wait)).await.map(drop).map_err(|e| e.kind)
}

pub(super) fn project() -> Project {
    Project::new("p").unwrap()
}

pub(super) fn name(name: &str) -> RefName {
    RefName::new(name).unwrap()
}

pub(super) fn at(n: u8) -> GlobalRef {
    GlobalRef::At(Oid::from_bytes(&[n; 20]).unwrap())
}

/// Writes `to` to `refs/a` if nothing is there.
pub(super) async fn create(db: &dyn GlobalRefDb, to: u8) -> Result<Outcome, RefDbErrorKind> {
    let edit = Edit::new(name("refs/a"), Expected::Absent, at(to));
    let deadline = Deadline::after(&PausedClock, SECOND);
    let put = db.compare_and_put(&project(), &[edit], Atomicity::Each, deadline).await;
    put.map(|outcomes| outcomes[0]).map_err(|e| e.kind)
}

/// What is at `refs/a`.
pub(super) async fn value(db: &dyn GlobalRefDb) -> GlobalRef {
    let deadline = Deadline::after(&PausedClock, SECOND);
    let found = db.get_many(&project(), &[name("refs/a")], deadline).await.unwrap();
    found[0].entry().unwrap().value
}

/// Calls each operation once with `wait` as its time: how it failed and how long it took.
pub(super) async fn each_operation(
    db: &dyn GlobalRefDb,
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
