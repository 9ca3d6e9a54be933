//! The reference model: one map behind one lock, for tests and case files.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use super::{Atomicity, Capabilities, Edit, GlobalRefDb, Lookup, Outcome, RefDbError, RefDbErrorKind};
use crate::{BoxFuture, Deadline, Entry, GlobalRef, Project, RefName, future::ready};

/// Forgets everything with the process.
#[derive(Debug, Default)]
pub struct MemoryRefDb {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    projects: BTreeMap<Project, BTreeMap<RefName, Entry>>,
    sites: BTreeSet<String>,
}

impl MemoryRefDb {
    /// An empty store.
    pub fn new() -> MemoryRefDb {
        MemoryRefDb::default()
    }

    /// Sets a whole entry, list of superseded values included: for tests.
    pub fn set(&self, project: &Project, name: &RefName, entry: Entry) {
        self.state().projects.entry(project.clone()).or_default().insert(name.clone(), entry);
    }

    /// No call panics while it holds the lock, so a poisoned one still holds a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn apply(refs: &mut BTreeMap<RefName, Entry>, edit: &Edit) {
    let entry = refs.entry(edit.name.clone()).or_default();
    *entry = entry.replaced_by(edit.new, edit.fast_forward);
}

fn check(refs: &BTreeMap<RefName, Entry>, edit: &Edit) -> Outcome {
    let actual = refs.get(&edit.name).map_or(GlobalRef::Untracked, |e| e.value);
    match edit.expected.holds(actual) {
        true => Outcome::Applied,
        false => Outcome::Mismatch { actual },
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

impl GlobalRefDb for MemoryRefDb {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "memory", durable: false, atomic_edits: usize::MAX, snapshot_reads: true }
    }

    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        let state = self.state();
        let known = state.projects.get(project);
        let found = refs
            .iter()
            .map(|name| Lookup::Entry(known.and_then(|refs| refs.get(name)).cloned().unwrap_or_default()));
        ready(Ok(found.collect()))
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        after: Option<&'a RefName>,
        limit: usize,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<(RefName, Entry)>, RefDbError>> {
        let state = self.state();
        let from = match after {
            Some(name) if name.as_bytes() >= prefix => Bound::Excluded(name.as_bytes()),
            _ => Bound::Included(prefix),
        };
        let page = state.projects.get(project).into_iter().flat_map(|refs| {
            refs.range::<[u8], _>((from, Bound::Unbounded))
                .take_while(|(name, _)| name.as_bytes().starts_with(prefix))
                .map(|(name, entry)| (name.clone(), entry.clone()))
        });
        ready(Ok(page.take(limit).collect()))
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
        let mut state = self.state();
        let refs = state.projects.entry(project.clone()).or_default();
        let outcomes = match atomicity {
            Atomicity::Each => edits
                .iter()
                .map(|edit| {
                    let outcome = check(refs, edit);
                    if outcome == Outcome::Applied {
                        apply(refs, edit);
                    }
                    outcome
                })
                .collect(),
            Atomicity::AllOrNothing => {
                // On a copy: a name that occurs twice must see its first edit.
                let mut after = refs.clone();
                let mut outcomes = Vec::with_capacity(edits.len());
                for edit in edits {
                    outcomes.push(check(&after, edit));
                    apply(&mut after, edit);
                }
                if outcomes.iter().all(|o| *o == Outcome::Applied) {
                    *refs = after;
                    outcomes
                } else {
                    let untouched =
                        |edit: &Edit| refs.get(&edit.name).map_or(GlobalRef::Untracked, |e| e.value);
                    edits.iter().map(|edit| Outcome::Mismatch { actual: untouched(edit) }).collect()
                }
            }
        };
        ready(Ok(outcomes))
    }

    fn put<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        value: GlobalRef,
        _: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        ready(refuse_untracked(value, name).map(|()| self.set(project, name, Entry::new(value))))
    }

    fn remove_ref<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        _: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        let mut state = self.state();
        let refs = state.projects.get_mut(project);
        ready(Ok(refs.is_some_and(|refs| refs.remove(name).is_some())))
    }

    fn remove_project<'a>(
        &'a self,
        project: &'a Project,
        _: Deadline,
    ) -> BoxFuture<'a, Result<u64, RefDbError>> {
        let removed = self.state().projects.remove(project);
        ready(Ok(removed.map_or(0, |refs| refs.len() as u64)))
    }

    fn note_site<'a>(
        &'a self,
        site: &'a str,
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        self.state().sites.insert(site.to_owned());
        self.sites(deadline)
    }

    fn sites<'a>(&'a self, _: Deadline) -> BoxFuture<'a, Result<Vec<String>, RefDbError>> {
        ready(Ok(self.state().sites.iter().cloned().collect()))
    }
}
