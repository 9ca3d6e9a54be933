//! The reference model: one map behind one lock, for tests, case files and simulations.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{
    Administered, Atomicity, Capabilities, Cursor, LockToken, Locks, Lookup, Mark, Page, RefDbError,
    RefDbErrorKind, RefLock, Store, Stored, Write, Written, evaluate,
};
use crate::{BoxFuture, Clock, Deadline, Entry, GlobalRef, Project, RefName, future::ready};

/// How long a waiter for a lock waits before it looks again.
const PAUSE: Duration = Duration::from_millis(5);
/// Shortest and longest lease. The longest must be a length of time that can be added to an [`Instant`].
const LEASE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(24 * 3600));

/// Forgets everything with the process. A clone is the same store.
#[derive(Clone)]
pub struct MemoryRefDb {
    state: Arc<Mutex<State>>,
    /// Leases need time; without it there are no locks.
    clock: Option<Arc<dyn Clock>>,
}

struct State {
    projects: BTreeMap<Project, BTreeMap<RefName, Stored>>,
    sites: BTreeSet<String>,
    locks: HashMap<(Project, RefName), Hold>,
    /// The last fence that was handed out.
    fence: u64,
    mark: Mark,
    /// Why nothing is written, while that is so.
    closed: Option<String>,
}

impl Default for State {
    fn default() -> State {
        State {
            projects: BTreeMap::new(),
            sites: BTreeSet::new(),
            locks: HashMap::new(),
            fence: 0,
            mark: Mark { identity: new_identity(), revision: 0 },
            closed: None,
        }
    }
}

/// Nothing outlives the process, so a number that is its own within it will do.
fn new_identity() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("memory-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Who has a lock, and until when.
struct Hold {
    fence: u64,
    until: Instant,
}

impl Default for MemoryRefDb {
    fn default() -> MemoryRefDb {
        MemoryRefDb::new()
    }
}

impl std::fmt::Debug for MemoryRefDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryRefDb")
    }
}

impl MemoryRefDb {
    /// An empty store without locks.
    pub fn new() -> MemoryRefDb {
        MemoryRefDb { state: Arc::default(), clock: None }
    }

    /// An empty store whose locks expire by `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> MemoryRefDb {
        MemoryRefDb { state: Arc::default(), clock: Some(clock) }
    }

    /// Sets a whole entry, list of superseded values included: for tests. An untracked one forgets the ref.
    pub fn set(&self, project: &Project, name: &RefName, entry: Entry) {
        let mut state = self.state();
        state.mark.revision += 1;
        let stored = (entry.value != GlobalRef::Untracked).then_some(Stored::Entry(entry));
        state.set(project, name.clone(), stored);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// The state to write to, if the store is open.
    fn writing(&self) -> Result<MutexGuard<'_, State>, RefDbError> {
        let mut state = self.state();
        match &state.closed {
            Some(message) => Err(RefDbError::closed("memory:", message)),
            None => {
                state.mark.revision += 1;
                Ok(state)
            }
        }
    }
}

/// No call panics while it holds the mutex, so a poisoned one still holds a whole state.
fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl State {
    fn lookup(&self, project: &Project, name: &RefName) -> Lookup {
        let stored = self.projects.get(project).and_then(|refs| refs.get(name));
        stored.map_or(Lookup::UNTRACKED, |stored| stored.clone().into())
    }

    fn set(&mut self, project: &Project, name: RefName, stored: Option<Stored>) {
        if let Some(stored) = stored {
            self.projects.entry(project.clone()).or_default().insert(name, stored);
        } else if let Some(refs) = self.projects.get_mut(project) {
            refs.remove(&name);
        }
    }

    fn is_held(&self, project: &Project, token: &LockToken, now: Instant) -> bool {
        let hold = self.locks.get(&(project.clone(), token.name.clone()));
        hold.is_some_and(|hold| hold.fence == token.fence && hold.until > now)
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl Store for MemoryRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            atomic_edits: usize::MAX,
            read_batch: usize::MAX,
            snapshot_reads: true,
            linearizable_reads: true,
            texts: true,
            lease: self.clock.is_some().then_some(LEASE),
            ..Capabilities::least("memory")
        }
    }

    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        _: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        let state = self.state();
        ready(Ok(refs.iter().map(|name| state.lookup(project, name)).collect()))
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        _: Deadline,
    ) -> Answer<'a, Page> {
        let state = self.state();
        let from = match cursor {
            Some(Cursor { after, .. }) if after.as_bytes() >= prefix => Bound::Excluded(after.as_bytes()),
            _ => Bound::Included(prefix),
        };
        let rows: Vec<(RefName, Lookup)> = state
            .projects
            .get(project)
            .into_iter()
            .flat_map(|refs| refs.range::<[u8], _>((from, Bound::Unbounded)))
            .take_while(|(name, _)| name.as_bytes().starts_with(prefix))
            .map(|(name, stored)| (name.clone(), stored.clone().into()))
            .take(limit)
            .collect();
        let more = rows.len() == limit;
        let next = rows.last().filter(|_| more).map(|(name, _)| Cursor { after: name.clone(), revision: 0 });
        ready(Ok(Page { rows, next }))
    }

    fn write<'a>(
        &'a self,
        project: &'a Project,
        writes: &'a [Write],
        atomicity: Atomicity,
        _: Deadline,
    ) -> Answer<'a, Vec<Written>> {
        let write = || {
            let mut state = self.writing()?;
            let now = self.clock.as_ref().map(|clock| clock.now());
            let held = |token: &LockToken| now.is_some_and(|now| state.is_held(project, token, now));
            let evaluation = evaluate(writes, atomicity, |name| state.lookup(project, name), held)
                .map_err(|e| e.error(&self.location(), project))?;
            for (name, stored) in evaluation.changes {
                state.set(project, name, stored);
            }
            Ok(evaluation.outcomes)
        };
        ready(write())
    }

    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        self.get_many(project, refs, deadline)
    }

    fn locks(&self) -> Option<&dyn Locks> {
        self.clock.as_ref().map(|_| self as &dyn Locks)
    }

    fn admin(&self) -> Option<&dyn Administered> {
        Some(self)
    }
}

impl Locks for MemoryRefDb {
    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> Answer<'a, Box<dyn RefLock>> {
        let Some(clock) = &self.clock else {
            return ready(Err(RefDbError::unsupported("memory", "locks without a clock")));
        };
        let lease = lease.clamp(LEASE.0, LEASE.1);
        Box::pin(async move {
            let key = (project.clone(), name.clone());
            loop {
                {
                    let now = clock.now();
                    let mut state = self.state();
                    if state.locks.get(&key).is_none_or(|hold| hold.until <= now) {
                        state.fence += 1;
                        let fence = state.fence;
                        state.locks.insert(key.clone(), Hold { fence, until: now + lease });
                        let holder = format!("hold {fence}");
                        let token = LockToken { name: name.clone(), fence, holder };
                        let (state, clock) = (self.state.clone(), clock.clone());
                        return Ok(
                            Box::new(MemoryLock { state, clock, key, token, lease }) as Box<dyn RefLock>
                        );
                    }
                }
                let left = deadline.left(&**clock);
                if left.is_zero() {
                    let what = format!("`{name}` in `{project}` is locked by somebody else; try again");
                    return Err(RefDbError::new(RefDbErrorKind::LockTimeout, what));
                }
                clock.sleep(left.min(PAUSE)).await;
            }
        })
    }
}

impl Administered for MemoryRefDb {
    fn sites(&self, _: Deadline) -> Answer<'_, Vec<String>> {
        ready(Ok(self.state().sites.iter().cloned().collect()))
    }

    fn add_site<'a>(&'a self, site: &'a str, _: Deadline) -> Answer<'a, ()> {
        ready(self.writing().map(|mut state| {
            state.sites.insert(site.to_owned());
        }))
    }

    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        limit: usize,
        _: Deadline,
    ) -> Answer<'a, Vec<Project>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let stored = state.projects.range::<Project, _>((from, Bound::Unbounded));
        let stored = stored.filter(|(_, refs)| !refs.is_empty());
        ready(Ok(stored.map(|(project, _)| project.clone()).take(limit).collect()))
    }

    fn remove_project<'a>(&'a self, project: &'a Project, _: Deadline) -> Answer<'a, u64> {
        let removed = self.writing().map(|mut state| state.projects.remove(project));
        ready(removed.map(|removed| removed.map_or(0, |refs| refs.len() as u64)))
    }

    fn seen(&self) -> Option<Mark> {
        Some(self.state().mark.clone())
    }

    fn renew_identity(&self, _: Deadline) -> Answer<'_, ()> {
        self.state().mark.identity = new_identity();
        ready(Ok(()))
    }

    fn set_closed<'a>(&'a self, message: Option<&'a str>, _: Deadline) -> Answer<'a, ()> {
        self.state().closed = message.map(str::to_owned);
        ready(Ok(()))
    }

    fn closed(&self, _: Deadline) -> Answer<'_, Option<String>> {
        ready(Ok(self.state().closed.clone()))
    }
}

/// One hold.
struct MemoryLock {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    key: (Project, RefName),
    token: LockToken,
    lease: Duration,
}

impl RefLock for MemoryLock {
    fn token(&self) -> &LockToken {
        &self.token
    }

    fn is_valid(&self) -> bool {
        locked(&self.state).is_held(&self.key.0, &self.token, self.clock.now())
    }

    fn renew(&self, _: Deadline) -> BoxFuture<'_, Result<(), RefDbError>> {
        let mut state = locked(&self.state);
        let now = self.clock.now();
        if !state.is_held(&self.key.0, &self.token, now) {
            let what = format!("the lock of `{}` ran out; take it again", self.token.name);
            return ready(Err(RefDbError::new(RefDbErrorKind::LeaseLost, what)));
        }
        state.locks.insert(self.key.clone(), Hold { fence: self.token.fence, until: now + self.lease });
        ready(Ok(()))
    }

    fn release(self: Box<Self>, _: Deadline) -> BoxFuture<'static, Result<(), RefDbError>> {
        drop(self);
        ready(Ok(()))
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = locked(&self.state);
        if state.locks.get(&self.key).is_some_and(|hold| hold.fence == self.token.fence) {
            state.locks.remove(&self.key);
        }
    }
}
