//! A site, a remote and a ref-db in memory, and a clock that only counts.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::batch::state;
use crate::decision::{Decision, Request, Sources, decide};
use crate::future::ready;
use crate::table::RemoteValue;
use crate::*;

pub fn oid(digit: &str) -> Oid {
    Oid::from_hex(digit.repeat(40).as_bytes()).unwrap()
}

pub fn name(text: &str) -> RefName {
    RefName::new(text).unwrap()
}

type Look = dyn Fn(&RefBatch) -> Result<Answer, FilterError> + Send + Sync;

/// A filter made of a function.
pub struct Custom {
    name: String,
    look: Box<Look>,
}

impl Custom {
    pub fn filter(
        name: &str,
        look: impl Fn(&RefBatch) -> Result<Answer, FilterError> + Send + Sync + 'static,
    ) -> Arc<dyn RefFilter> {
        Arc::new(Custom { name: name.into(), look: Box::new(look) })
    }
}

impl RefFilter for Custom {
    fn name(&self) -> &str {
        &self.name
    }
    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        ready((self.look)(&batch))
    }
}

/// Asks for a recheck where it may help and leaves the reasons to the host.
pub fn shipped() -> Arc<dyn RefFilter> {
    Custom::filter("push", |batch| {
        let rechecks = batch.select(state::RECHECK_HELPS, state::RECHECK_HELPS);
        Ok(Answer { discards: vec![], rechecks, ..Answer::default() })
    })
}

pub fn keep_all() -> Arc<dyn RefFilter> {
    Custom::filter("keep-all", |_| Ok(Answer::default()))
}

pub struct World {
    direction: Direction,
    updates: Vec<RefUpdate>,
    local: Mutex<BTreeMap<RefName, Oid>>,
    after: BTreeMap<RefName, Option<Oid>>,
    history: BTreeSet<(Oid, Oid)>,
    refdb: MemoryRefDb,
    reads: Mutex<usize>,
    slept: Mutex<Vec<u64>>,
    pub refdb_down: bool,
    /// A local ref that cannot be read.
    pub broken: Option<&'static str>,
    pub gate: bool,
    pub kind: SiteKind,
    pub source_of_truth: bool,
}

fn project() -> Project {
    Project::new("p").unwrap()
}

impl World {
    /// `NAME=new<old`: digits of oids, `-` is absent.
    pub fn push(offers: &[&str]) -> World {
        let mut world = World::new(Direction::Push);
        for offer in offers {
            let (ref_name, values) = offer.split_once('=').unwrap();
            let (new, old) = values.split_once('<').unwrap();
            let value = |text: &str| (text != "-").then(|| oid(text));
            world.local(ref_name, value(new));
            world.offer(ref_name, value(new), RemoteValue::Known(value(old)));
        }
        world
    }

    /// `NAME=new`: the remote's value, `?` is unknown.
    pub fn fetch(offers: &[&str]) -> World {
        let mut world = World::new(Direction::Fetch);
        for offer in offers {
            let (ref_name, new) = offer.split_once('=').unwrap();
            let remote = match new {
                "?" => RemoteValue::Unknown,
                digit => RemoteValue::Known(Some(oid(digit))),
            };
            world.offer(ref_name, None, remote);
        }
        world
    }

    fn new(direction: Direction) -> World {
        World {
            direction,
            updates: Vec::new(),
            local: Mutex::default(),
            after: BTreeMap::new(),
            // Everything at the remotes descends from c.
            history: ["a", "b"].into_iter().map(|d| (oid("c"), oid(d))).collect(),
            refdb: MemoryRefDb::new(),
            reads: Mutex::new(0),
            slept: Mutex::default(),
            refdb_down: false,
            broken: None,
            gate: true,
            kind: SiteKind::Gated,
            source_of_truth: false,
        }
    }

    pub fn offer(&mut self, ref_name: &str, local: Option<Oid>, remote: RemoteValue) {
        let name = name(ref_name);
        self.updates.push(RefUpdate {
            remote_name: name.clone(),
            name,
            local,
            remote,
            forced: true,
            force_ignored: false,
            meta_there: None,
        });
    }

    pub fn updates(&self) -> &[RefUpdate] {
        &self.updates
    }

    pub fn local(&mut self, ref_name: &str, value: Option<Oid>) {
        let mut local = self.local.lock().unwrap();
        match value {
            Some(value) => local.insert(name(ref_name), value),
            None => local.remove(&name(ref_name)),
        };
    }

    pub fn local_after_wait(&mut self, ref_name: &str, value: Option<Oid>) {
        self.after.insert(name(ref_name), value);
    }

    pub fn global(&mut self, ref_name: &str, value: GlobalRef) {
        self.refdb.set(&project(), &name(ref_name), Entry::new(value));
    }

    pub fn superseded(&mut self, ref_name: &str, value: Oid, superseded: &[Oid]) {
        let entry = Entry { value: GlobalRef::At(value), superseded: superseded.to_vec() };
        self.refdb.set(&project(), &name(ref_name), entry);
    }

    pub fn deleted(&mut self, ref_name: &str, superseded: &[Oid]) {
        let entry = Entry { value: GlobalRef::Deleted, superseded: superseded.to_vec() };
        self.refdb.set(&project(), &name(ref_name), entry);
    }

    pub fn keep_offers(&mut self, wanted: impl Fn(&RefUpdate) -> bool) {
        self.updates.retain(wanted);
    }

    pub fn meta_there(&mut self, there: Option<bool>) {
        self.updates.iter_mut().for_each(|update| update.meta_there = there);
    }

    pub fn ancestor(&mut self, ancestor: &str, descendant: &str) {
        self.history.insert((oid(ancestor), oid(descendant)));
    }

    pub fn decide(&mut self, filters: &[Arc<dyn RefFilter>]) -> Decision {
        let set = FilterSet { push: filters.to_vec(), fetch: filters.to_vec(), ..FilterSet::default() };
        let (project, rules) = (project(), Rules::default());
        let request = Request {
            direction: self.direction,
            project: &project,
            peer: "peer",
            format: ObjectFormat::Sha1,
            kind: self.kind,
            source_of_truth: self.source_of_truth,
            mirror: true,
            gate: self.gate,
            rules: &rules,
            wait: ReloadWait::default(),
            refdb_timeout: Duration::from_secs(1),
        };
        let rng: Mutex<SmallRng> = Mutex::new(SmallRng::seed_from_u64(1));
        let world: &World = self;
        let sources = Sources { refdb: world, local: world, remote: None, clock: world, rng: &rng };
        let moves = Moves::of(self.direction, self.updates.clone());
        let mut future = pin!(decide(request, moves, sources, &set));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(decision) = future.as_mut().poll(&mut context) {
                return decision;
            }
        }
    }

    pub fn reads(&self) -> usize {
        *self.reads.lock().unwrap()
    }

    pub fn slept(&self) -> Vec<u64> {
        self.slept.lock().unwrap().clone()
    }

    /// Name, and reason with its giver, of what is not kept.
    pub fn reasons(&self, decision: &Decision) -> Vec<(String, String)> {
        let discards = decision.moves.iter().filter_map(|one| {
            let held = one.held()?;
            Some((one.name().to_string(), format!("{} {}", held.reason, held.by)))
        });
        discards.collect()
    }
}

impl LocalRefs for World {
    fn values<'a>(
        &'a self,
        _: &'a Project,
        refs: &'a [RefName],
    ) -> BoxFuture<'a, Result<Vec<LocalValue>, LocalError>> {
        let local = self.local.lock().unwrap();
        let value = |name: &RefName| match self.broken {
            Some(broken) if name.to_string() == broken => Err(LocalError("it is damaged".into())),
            _ => Ok(local.get(name).copied()),
        };
        ready(Ok(refs.iter().map(value).collect()))
    }

    fn ancestry<'a>(
        &'a self,
        _: &'a Project,
        queries: &'a [AncestryQuery],
    ) -> BoxFuture<'a, Result<Vec<bool>, LocalError>> {
        let holds = |q: &AncestryQuery| q.descendant.is_some_and(|d| self.history.contains(&(q.ancestor, d)));
        ready(Ok(queries.iter().map(holds).collect()))
    }
}

impl Clock for World {
    fn now(&self) -> Instant {
        // The one place where a test needs some instant; nothing compares it with another.
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin for a virtual clock")]
        *START.get_or_init(Instant::now)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        self.slept.lock().unwrap().push(duration.as_millis() as u64);
        let mut local = self.local.lock().unwrap();
        for (name, value) in &self.after {
            match value {
                Some(value) => drop(local.insert(name.clone(), *value)),
                None => drop(local.remove(name)),
            }
        }
        ready(())
    }

    fn unix_time(&self) -> Duration {
        let slept: u64 = self.slept.lock().unwrap().iter().sum();
        Duration::from_secs(1_000) + Duration::from_millis(slept)
    }
}

/// Counts and may fail its reads; everything else is the memory backend.
impl Entries for World {
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        *self.reads.lock().unwrap() += 1;
        if self.refdb_down {
            return ready(Err(RefDbError::new(RefDbErrorKind::Unavailable, "the ref-db is down")));
        }
        self.refdb.get_many(project, refs, deadline)
    }
}
