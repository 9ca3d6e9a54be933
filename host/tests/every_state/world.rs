//! A site, a remote and a ref-db that answer from a list of states, and a clock that only counts.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::decision::{Decision, Request, Sources, decide};
use refgate_core::future::ready;
use refgate_core::table::RemoteValue;
use refgate_core::{
    AncestryQuery, BoxFuture, Clock, Deadline, Direction, Entries, Entry, FilterSet, GlobalRef, LocalError,
    LocalRefs, LocalValue, Lookup, Moves, ObjectFormat, Oid, Project, RefDbError, RefName, RefUpdate,
    ReloadWait, RemoteRefs, Rules, SiteKind,
};

use crate::native::NoClock;

/// What the ref-db answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum G {
    Untracked,
    Deleted,
    At(char),
    Locked,
    Unreadable,
}

/// What the local repository answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L {
    Absent,
    At(char),
    Damaged,
}

/// Which value contains which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Nobody contains anybody.
    Apart,
    /// a, then b, then c.
    Forward,
    /// c, then b, then a.
    Backward,
}

/// Everything that a verdict about one ref can rest on, at both looks.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Push: the value on offer.
    pub offered: Option<char>,
    /// Fetch: what is on offer; push: what would be overwritten. `None` within is an absent ref.
    pub remote: Option<Option<char>>,
    /// Fetch: the second listing.
    pub remote_after: Option<char>,
    pub local: [L; 2],
    pub global: [G; 2],
    pub superseded: bool,
    pub history: History,
    pub forced: bool,
    pub force_ignored: bool,
    pub meta_there: Option<bool>,
}

/// A ref with its state.
#[derive(Clone, Debug)]
pub struct Ref {
    pub name: RefName,
    pub state: State,
}

/// What holds for all refs of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub direction: Direction,
    pub kind: SiteKind,
    pub mirror: bool,
    pub source_of_truth: bool,
    /// Which question about history fails, counted from 0.
    pub history_fails: Option<usize>,
}

pub struct World<'r> {
    setting: Setting,
    refs: &'r [Ref],
    /// Entries of names that are not on offer.
    others: &'r HashMap<RefName, [G; 2]>,
    places: HashMap<&'r RefName, usize>,
    reloading: AtomicBool,
    asked: AtomicUsize,
}

pub fn oid(letter: char) -> Oid {
    Oid::from_hex(letter.to_string().repeat(40).as_bytes()).unwrap()
}

impl<'r> World<'r> {
    pub fn new(setting: Setting, refs: &'r [Ref], others: &'r HashMap<RefName, [G; 2]>) -> World<'r> {
        let places = refs.iter().enumerate().map(|(i, one)| (&one.name, i)).collect();
        World { setting, refs, others, places, reloading: AtomicBool::new(false), asked: AtomicUsize::new(0) }
    }

    /// What a chain of filters makes of it.
    pub async fn decide(&self, rules: &Rules, filters: &FilterSet) -> Decision {
        self.reloading.store(false, Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
        let project = Project::new("p").unwrap();
        let fetch = self.setting.direction == Direction::Fetch;
        let update = |one: &Ref| {
            let State { offered, remote, local, .. } = one.state;
            let here = match local[0] {
                L::At(letter) => Some(letter),
                L::Absent | L::Damaged => None,
            };
            let remote = remote.map_or(RemoteValue::Unknown, |value| RemoteValue::Known(value.map(oid)));
            let mine = if fetch { here } else { offered };
            RefUpdate {
                forced: one.state.forced,
                force_ignored: one.state.force_ignored,
                meta_there: one.state.meta_there,
                ..RefUpdate::new(one.name.clone(), mine.map(oid), remote)
            }
        };
        let request = Request {
            direction: self.setting.direction,
            project: &project,
            peer: "peer",
            format: ObjectFormat::Sha1,
            kind: self.setting.kind,
            source_of_truth: self.setting.source_of_truth,
            mirror: self.setting.mirror,
            gate: true,
            rules,
            wait: ReloadWait::default(),
            refdb_timeout: Duration::from_secs(1),
        };
        let rng: Mutex<SmallRng> = Mutex::new(SmallRng::seed_from_u64(1));
        let sources =
            Sources { refdb: self, local: self, remote: fetch.then_some(self as _), clock: self, rng: &rng };
        let moves = Moves::of(self.setting.direction, self.refs.iter().map(update));
        decide(request, moves, sources, filters).await
    }

    fn state(&self, name: &RefName) -> &State {
        &self.refs[self.places[name]].state
    }

    fn look(&self) -> usize {
        usize::from(self.reloading.load(Ordering::Relaxed))
    }
}

impl LocalRefs for World<'_> {
    fn values<'a>(
        &'a self,
        _: &'a Project,
        refs: &'a [RefName],
    ) -> BoxFuture<'a, Result<Vec<LocalValue>, LocalError>> {
        let value = |name| match self.state(name).local[self.look()] {
            L::Absent => Ok(None),
            L::At(letter) => Ok(Some(oid(letter))),
            L::Damaged => Err(LocalError("it is damaged".into())),
        };
        ready(Ok(refs.iter().map(value).collect()))
    }

    fn ancestry<'a>(
        &'a self,
        _: &'a Project,
        queries: &'a [AncestryQuery],
    ) -> BoxFuture<'a, Result<Vec<bool>, LocalError>> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        if self.setting.history_fails == Some(asked) {
            return ready(Err(LocalError("the history cannot be read".into())));
        }
        let contains = |query: &AncestryQuery| {
            let Some(descendant) = query.descendant else { return false };
            match self.state(&query.name).history {
                History::Apart => false,
                // The letters are in the order of their oids.
                History::Forward => query.ancestor.as_bytes() < descendant.as_bytes(),
                History::Backward => query.ancestor.as_bytes() > descendant.as_bytes(),
            }
        };
        ready(Ok(queries.iter().map(contains).collect()))
    }
}

impl RemoteRefs for World<'_> {
    fn relist<'a>(&'a self, refs: &'a [RefName]) -> BoxFuture<'a, Result<Vec<Option<Oid>>, LocalError>> {
        ready(Ok(refs.iter().map(|name| self.state(name).remote_after.map(oid)).collect()))
    }
}

impl Clock for World<'_> {
    fn now(&self) -> Instant {
        NoClock.now()
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        self.reloading.store(true, Ordering::Relaxed);
        ready(())
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

impl Entries for World<'_> {
    fn get_many<'a>(
        &'a self,
        _: &'a Project,
        refs: &'a [RefName],
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        let lookup = |name: &RefName| {
            let state = self.places.get(name).map(|i| &self.refs[*i].state);
            let listed = if state.is_some_and(|s| s.superseded) { vec![oid('c')] } else { Vec::new() };
            let answers = state.map_or(self.others.get(name).copied(), |state| Some(state.global));
            let value = match answers.map_or(G::Untracked, |answers| answers[self.look()]) {
                G::Locked => return Lookup::Locked,
                G::Unreadable => return Lookup::Unreadable("it is damaged".into()),
                G::Untracked => GlobalRef::Untracked,
                G::Deleted => GlobalRef::Deleted,
                G::At(letter) => GlobalRef::At(oid(letter)),
            };
            Lookup::Entry(Entry { value, superseded: listed })
        };
        ready(Ok(refs.iter().map(lookup).collect()))
    }
}
