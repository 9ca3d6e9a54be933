//! The reference model: one map behind one lock, for tests, case files and simulations.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{
    Atomicity, Capabilities, Cursor, Edit, Entries, GlobalRefDb, LockToken, Lookup, Mark, Outcome, Page,
    RefDbError, RefDbErrorKind, RefLock, TextOutcome, check_entry, check_message, check_text,
};
use crate::{BoxFuture, Clock, Deadline, Entry, GlobalRef, Project, RefName, future::ready};

/// How long a waiter for a lock waits before it looks again.
const PAUSE: Duration = Duration::from_millis(5);
/// Shortest and longest lease. The longest must be a length of time that can be added to an [`Instant`].
const LEASE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(24 * 3600));

/// Forgets everything with the process. Share it in an [`Arc`].
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

#[derive(Clone)]
enum Stored {
    Entry(Entry),
    Text(String),
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
        state.restore(project, name, entry);
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

impl Stored {
    fn lookup(&self) -> Lookup {
        match self {
            Stored::Entry(entry) => Lookup::Entry(entry.clone()),
            Stored::Text(text) => Lookup::Text(text.clone()),
        }
    }
}

impl State {
    fn get(&self, project: &Project, name: &RefName) -> Option<&Stored> {
        self.projects.get(project)?.get(name)
    }

    /// The entry to compare with. A text in its place is in the way of every edit.
    fn entry(&self, project: &Project, name: &RefName) -> Result<Entry, RefDbError> {
        match self.get(project, name) {
            None => Ok(Entry::default()),
            Some(Stored::Entry(entry)) => Ok(entry.clone()),
            Some(Stored::Text(_)) => Err(RefDbError::new(
                RefDbErrorKind::Corrupt,
                format!("ref-db `memory:`: the entry of `{name}` in `{project}` is a text, not an object id"),
            )),
        }
    }

    fn set(&mut self, project: &Project, name: &RefName, stored: Stored) {
        self.projects.entry(project.clone()).or_default().insert(name.clone(), stored);
    }

    fn is_held(&self, project: &Project, token: &LockToken, now: Instant) -> bool {
        let hold = self.locks.get(&(project.clone(), token.name.clone()));
        hold.is_some_and(|hold| hold.fence == token.fence && hold.until > now)
    }
}

/// What every backend refuses before it writes anything.
fn refuse_untracked(value: GlobalRef, name: &RefName) -> Result<(), RefDbError> {
    match value {
        GlobalRef::Untracked => Err(RefDbError::new(
            RefDbErrorKind::InvalidName,
            format!("`{name}`: a ref is forgotten by removing it, not by writing `untracked`"),
        )),
        _ => Ok(()),
    }
}

impl Entries for MemoryRefDb {
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        let state = self.state();
        let absent = || Lookup::Entry(Entry::default());
        ready(Ok(refs
            .iter()
            .map(|name| state.get(project, name).map_or_else(absent, Stored::lookup))
            .collect()))
    }
}

impl GlobalRefDb for MemoryRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            atomic_edits: usize::MAX,
            read_batch: usize::MAX,
            snapshot_reads: true,
            linearizable_reads: true,
            lease: self.clock.is_some().then_some(LEASE),
            ..Capabilities::least("memory")
        }
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Page, RefDbError>> {
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
            .map(|(name, stored)| (name.clone(), stored.lookup()))
            .take(limit.max(1))
            .collect();
        let more = rows.len() == limit.max(1);
        let next = rows.last().filter(|_| more).map(|(name, _)| Cursor { after: name.clone(), revision: 0 });
        ready(Ok(Page { rows, next }))
    }

    fn compare_and_put<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        atomicity: Atomicity,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        for edit in edits {
            if let Err(e) = refuse_untracked(edit.new, &edit.name) {
                return ready(Err(e));
            }
        }
        let mut state = match self.writing() {
            Ok(state) => state,
            Err(e) => return ready(Err(e)),
        };
        let now = self.clock.as_ref().map(|clock| clock.now());
        // In order, so that a name that occurs twice sees its first edit; taken back as a whole.
        let mut before: BTreeMap<RefName, Entry> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(edits.len());
        for edit in edits {
            let entry = match state.entry(project, &edit.name) {
                Ok(entry) => entry,
                Err(e) => {
                    for (name, entry) in before {
                        state.restore(project, &name, entry);
                    }
                    return ready(Err(e));
                }
            };
            let held = |token: &LockToken| now.is_some_and(|now| state.is_held(project, token, now));
            outcomes.push(if edit.fence.as_ref().is_some_and(|token| !held(token)) {
                Outcome::Fenced
            } else if edit.expected.holds(entry.value) {
                match entry.replaced_by(edit.new, edit.fast_forward) {
                    Some(after) => {
                        state.set(project, &edit.name, Stored::Entry(after));
                        Outcome::Applied
                    }
                    None => Outcome::Full,
                }
            } else {
                Outcome::Mismatch { actual: entry.value }
            });
            before.entry(edit.name.clone()).or_insert(entry);
        }
        if atomicity == Atomicity::AllOrNothing && outcomes.iter().any(|o| *o != Outcome::Applied) {
            for (edit, outcome) in edits.iter().zip(&mut outcomes) {
                if !matches!(outcome, Outcome::Fenced | Outcome::Full) {
                    *outcome = Outcome::Mismatch { actual: before[&edit.name].value };
                }
            }
            for (name, entry) in before {
                state.restore(project, &name, entry);
            }
        }
        ready(Ok(outcomes))
    }

    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        let state = self.state();
        let outcome = |edit: &Edit| {
            let actual = state.entry(project, &edit.name)?.value;
            Ok(if actual == edit.new { Outcome::Applied } else { Outcome::Mismatch { actual } })
        };
        ready(edits.iter().map(outcome).collect())
    }

    fn put<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        value: GlobalRef,
        _: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        let put = || {
            refuse_untracked(value, name)?;
            self.writing()?.restore(project, name, Entry::new(value));
            Ok(())
        };
        ready(put())
    }

    fn swap_entry<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        from: &'a Entry,
        to: &'a Entry,
        _: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        let swap = || {
            check_entry(name, to)?;
            let mut state = self.writing()?;
            let there = state.entry(project, name)? == *from;
            if there {
                state.restore(project, name, to.clone());
            }
            Ok(there)
        };
        ready(swap())
    }

    fn remove_ref<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        _: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        let remove = || {
            let mut state = self.writing()?;
            let refs = state.projects.get_mut(project);
            Ok(refs.is_some_and(|refs| refs.remove(name).is_some()))
        };
        ready(remove())
    }

    fn remove_project<'a>(
        &'a self,
        project: &'a Project,
        _: Deadline,
    ) -> BoxFuture<'a, Result<u64, RefDbError>> {
        let removed = self.writing().map(|mut state| state.projects.remove(project));
        ready(removed.map(|removed| removed.map_or(0, |refs| refs.len() as u64)))
    }

    fn get_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        ready(Ok(self.state().text(project, name)))
    }

    fn compare_and_put_text<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        expected: Option<&'a str>,
        new: &'a str,
        _: Deadline,
    ) -> BoxFuture<'a, Result<TextOutcome, RefDbError>> {
        if let Err(why) = check_text(new) {
            return ready(Err(RefDbError::new(RefDbErrorKind::InvalidName, format!("`{name}`: {why}"))));
        }
        let put = || {
            let mut state = self.writing()?;
            let actual = state.text(project, name);
            if actual.as_deref() != expected {
                return Ok(TextOutcome::Mismatch { actual });
            }
            state.set(project, name, Stored::Text(new.to_owned()));
            Ok(TextOutcome::Applied)
        };
        ready(put())
    }

    fn lock<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Box<dyn RefLock>, RefDbError>> {
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

    fn note_site<'a>(
        &'a self,
        site: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        match self.writing() {
            Ok(mut state) => drop(state.sites.insert(site.to_owned())),
            Err(e) => return ready(Err(e)),
        }
        self.sites(deadline)
    }

    fn sites<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        ready(Ok(self.state().sites.iter().cloned().collect()))
    }

    fn seen(&self) -> Option<Mark> {
        Some(self.state().mark.clone())
    }

    fn renew_identity<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Result<(), RefDbError>> {
        self.state().mark.identity = new_identity();
        ready(Ok(()))
    }

    fn set_closed<'a>(
        &'a self,
        message: Option<&'a str>,
        _: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        if let Some(Err(why)) = message.map(check_message) {
            return ready(Err(RefDbError::new(RefDbErrorKind::InvalidName, why)));
        }
        self.state().closed = message.map(str::to_owned);
        ready(Ok(()))
    }

    fn closed<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Result<Option<String>, RefDbError>> {
        ready(Ok(self.state().closed.clone()))
    }

    fn projects<'a>(
        &'a self,
        after: Option<&'a Project>,
        limit: usize,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Project>, RefDbError>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let stored = state.projects.range::<Project, _>((from, Bound::Unbounded));
        let stored = stored.filter(|(_, refs)| !refs.is_empty());
        ready(Ok(stored.map(|(project, _)| project.clone()).take(limit.max(1)).collect()))
    }
}

impl State {
    /// Puts an entry back; an untracked one is none.
    fn restore(&mut self, project: &Project, name: &RefName, entry: Entry) {
        if entry.value == GlobalRef::Untracked {
            if let Some(refs) = self.projects.get_mut(project) {
                refs.remove(name);
            }
        } else {
            self.set(project, name, Stored::Entry(entry));
        }
    }

    fn text(&self, project: &Project, name: &RefName) -> Option<String> {
        Some(match self.get(project, name)? {
            Stored::Text(text) => text.clone(),
            Stored::Entry(entry) => entry.value.oid().map_or_else(|| "0".repeat(40), |oid| oid.to_string()),
        })
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
