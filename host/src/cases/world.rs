//! The world of one case: everything a decision asks, answered from the case, with a clock that only counts.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use refgate_core::future::ready;
use refgate_core::table::RemoteValue;
use refgate_core::{
    AncestryQuery, BoxFuture, Clock, Deadline, Direction, Entries, Entry, GlobalRef, LocalError, LocalRefs,
    LocalValue, Lookup, Oid, Project, RefDbError, RefName, RefUpdate, Refspecs, RemoteRefs, meta_of,
};

use super::format::{Case, EntryAnswer, Offer, RepositoryState, Value};

/// Answers as the case says; reads are counted to tell the looks apart.
pub(super) struct World<'c> {
    case: &'c Case,
    direction: Direction,
    offers: BTreeMap<&'c RefName, &'c Offer>,
    updates: Vec<RefUpdate>,
    local_reads: AtomicUsize,
    refdb_reads: AtomicUsize,
    start: Instant,
    slept: Mutex<Duration>,
}

impl<'c> World<'c> {
    /// `start` is any moment: only differences are looked at.
    pub fn new(case: &'c Case, direction: Direction, refspecs: &Refspecs, start: Instant) -> World<'c> {
        let updates = (0..).zip(&case.offer).map(|(i, offer)| update(case, direction, refspecs, offer, i));
        World {
            case,
            direction,
            offers: case.offer.iter().map(|o| (&o.name.0, o)).collect(),
            updates: updates.collect(),
            local_reads: AtomicUsize::new(0),
            refdb_reads: AtomicUsize::new(0),
            start,
            slept: Mutex::default(),
        }
    }

    pub fn updates(&self) -> Vec<RefUpdate> {
        self.updates.clone()
    }

    fn local(&self, name: &RefName, look: usize) -> Option<Oid> {
        let find = |map: &BTreeMap<super::format::Name, Option<Value>>| {
            map.get(&super::format::Name(name.clone())).map(|v| v.and_then(|v| v.0))
        };
        let after = if look > 0 { find(&self.case.local_after_wait) } else { None };
        after.or_else(|| find(&self.case.local)).flatten()
    }

    /// What the ref-db lists as superseded: the values that the case says are accounted for by the list alone.
    fn superseded(&self, name: &RefName) -> Vec<Oid> {
        let Some(offer) = self.offers.get(name) else {
            return Vec::new();
        };
        let deletion = offer.new == Some(None) || offer.new == Some(Some(Value(None)));
        if offer.diverged || !(offer.superseded || deletion) {
            return Vec::new();
        }
        let mut listed: Vec<Oid> = match self.direction {
            Direction::Fetch => [self.local(name, 0), self.local(name, 1)].into_iter().flatten().collect(),
            Direction::Push => self
                .updates
                .iter()
                .filter(|u| u.name == *name)
                .filter_map(|u| match u.remote {
                    RemoteValue::Known(remote) => remote,
                    RemoteValue::Unknown => None,
                })
                .collect(),
        };
        listed.dedup();
        listed
    }
}

fn update(case: &Case, direction: Direction, refspecs: &Refspecs, offer: &Offer, index: u32) -> RefUpdate {
    let flat = |value: Option<Option<Value>>| value.map(|v| v.and_then(|v| v.0));
    let name = &offer.name.0;
    let remote_name = offer.remote_ref.as_ref().map_or(name, |n| &n.0).clone();
    let local = case.local.get(&offer.name).copied().flatten().and_then(|v| v.0);
    let mapped = match direction {
        Direction::Push => refspecs.destination(name),
        Direction::Fetch => refspecs.source(name),
    };
    let (local, remote) = match direction {
        Direction::Push => {
            let new = flat(offer.new).unwrap_or(local);
            // A deletion overwrites something, and so does an offer that says what its old value is like.
            let some_value = new.is_none() || offer.diverged || offer.superseded;
            let old = flat(offer.old).unwrap_or_else(|| some_value.then(|| made_up(index, new)).flatten());
            (new, RemoteValue::Known(old))
        }
        Direction::Fetch => (local, flat(offer.new).map_or(RemoteValue::Unknown, RemoteValue::Known)),
    };
    RefUpdate {
        name: name.clone(),
        remote_name,
        local,
        remote,
        forced: offer.force.unwrap_or_else(|| mapped.as_ref().is_none_or(|m| m.forced)),
        force_ignored: offer.force != Some(false) && mapped.is_some_and(|m| m.force_ignored),
        meta_there: meta_of(name).map(|meta| is_there(case, direction, meta)),
    }
}

/// Whether a `/meta` is at the destination: what differs is on offer, so what is not on offer is as it is here.
fn is_there(case: &Case, direction: Direction, meta: RefName) -> bool {
    let local = case.local.get(&super::format::Name(meta.clone())).copied().flatten();
    let offered = case.offer.iter().any(|offer| offer.name.0 == meta);
    match direction {
        Direction::Push => offered || local.is_some(),
        Direction::Fetch => local.is_some(),
    }
}

/// An oid that no case writes, of the same length as `like`.
fn made_up(index: u32, like: Option<Oid>) -> Option<Oid> {
    let len = like.map_or(20, |o| o.as_bytes().len());
    let mut raw = vec![0xf1; len];
    raw[..4].copy_from_slice(&index.to_be_bytes());
    Oid::from_bytes(&raw).ok()
}

impl LocalRefs for World<'_> {
    fn values<'a>(
        &'a self,
        _: &'a Project,
        refs: &'a [RefName],
    ) -> BoxFuture<'a, Result<Vec<LocalValue>, LocalError>> {
        if self.case.repository == Some(RepositoryState::Missing) {
            return ready(Err(LocalError("the case has no repository".into())));
        }
        let look = self.local_reads.fetch_add(1, Ordering::Relaxed);
        ready(Ok(refs.iter().map(|name| Ok(self.local(name, look))).collect()))
    }

    fn ancestry<'a>(
        &'a self,
        _: &'a Project,
        queries: &'a [AncestryQuery],
    ) -> BoxFuture<'a, Result<Vec<bool>, LocalError>> {
        let contained = |q: &AncestryQuery| {
            let offer = self.offers.get(&q.name);
            // A superseded value is no ancestor of what replaces it; the ref-db's own value still may be.
            let global = self.case.refdb.values().any(|e| e.first == EntryAnswer::At(q.ancestor));
            offer.is_some_and(|o| !o.diverged && (!o.superseded || global))
        };
        ready(Ok(queries.iter().map(contained).collect()))
    }
}

impl RemoteRefs for World<'_> {
    fn relist<'a>(&'a self, refs: &'a [RefName]) -> BoxFuture<'a, Result<Vec<Option<Oid>>, LocalError>> {
        let values = refs.iter().map(|name| {
            let at = self.updates.iter().position(|u| u.remote_name == *name)?;
            match (self.case.offer[at].new_after_wait, self.updates[at].remote) {
                (Some(value), _) => value.and_then(|v| v.0),
                (None, RemoteValue::Known(value)) => value,
                (None, RemoteValue::Unknown) => None,
            }
        });
        ready(Ok(values.collect()))
    }
}

impl Clock for World<'_> {
    fn now(&self) -> Instant {
        self.start + *self.slept.lock().unwrap_or_else(|p| p.into_inner())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        *self.slept.lock().unwrap_or_else(|p| p.into_inner()) += duration;
        ready(())
    }

    fn unix_time(&self) -> Duration {
        self.case.now.0 + *self.slept.lock().unwrap_or_else(|p| p.into_inner())
    }
}

impl Entries for World<'_> {
    fn get_many<'a>(
        &'a self,
        _: &'a Project,
        refs: &'a [RefName],
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        let look = self.refdb_reads.fetch_add(1, Ordering::Relaxed);
        let answers = refs.iter().map(|name| {
            let entry = self.case.refdb.get(&super::format::Name(name.clone()));
            let answer = entry.map_or(EntryAnswer::Untracked, |e| if look == 0 { e.first } else { e.second });
            let value = match answer {
                EntryAnswer::Untracked => GlobalRef::Untracked,
                EntryAnswer::Deleted => GlobalRef::Deleted,
                EntryAnswer::At(oid) => GlobalRef::At(oid),
                EntryAnswer::Locked => return Lookup::Locked,
                EntryAnswer::Unavailable => return Lookup::Unreadable("the case says so".into()),
            };
            Lookup::Entry(Entry { value, superseded: self.superseded(name) })
        });
        ready(Ok(answers.collect()))
    }
}
