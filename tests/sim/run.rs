//! One run: the start, the scheduler, crashes and other faults, then the closing rounds.

use std::sync::Arc;

use rand::RngExt;
use refgate_core::{Entry, FilterSet, GlobalRef, SiteKind};

use crate::clients::{self, one_of, pick};
use crate::config::{Config, Op, Rule, Start};
use crate::dag::{Set, Value};
use crate::forget::forget;
use crate::ledger::{Violation, global};
use crate::refs::{self, COUNT, DEV, MAIN, META, SCRATCH};
use crate::replicate::{fetch, push};
use crate::say;
use crate::task::{Work, advance};
use crate::world::{Shared, Sim, Site, TaskId, World};
use crate::write::{forge, seed as seed_refdb, write};
use crate::{close, ledger};

/// How a run ended.
pub struct Outcome {
    /// The first property that did not hold.
    pub broken: Option<Violation>,
    /// Every step in words, when asked for.
    pub trace: Vec<String>,
    /// What happened how often.
    pub counts: std::collections::BTreeMap<&'static str, u32>,
}

struct Task {
    id: TaskId,
    /// How often it gets its turn.
    pace: u32,
    /// Whether a crash may end it. Operators try again, which is the same as not crashing.
    mortal: bool,
    work: Work,
}

/// One run of a family.
pub fn run(
    config: &'static Config,
    without: Option<Rule>,
    filters: &FilterSet,
    seed: u64,
    tracing: bool,
) -> Outcome {
    let sim = Arc::new(Sim::new(config, without, filters.clone(), seed, tracing));
    start(&sim);
    let mut scheduler = Scheduler::new(&sim);
    while scheduler.turn() {
        let mut world = sim.world();
        world.check();
        if world.ledger.broken.is_some() {
            break;
        }
    }
    drop(scheduler);
    if sim.world().ledger.broken.is_none() {
        close::rounds(&sim);
    }
    let mut world = sim.world();
    if let Some(broken) = world.ledger.broken.clone() {
        say!(world, "{} does not hold: {}", broken.property, broken.text);
    }
    Outcome {
        broken: world.ledger.broken.clone(),
        trace: std::mem::take(&mut world.trace),
        counts: std::mem::take(&mut world.counts),
    }
}

/// Sites and what they hold at the beginning.
fn start(sim: &Shared) {
    let config = sim.config;
    let mut world = sim.world();
    let sites = world.rng.random_range(config.sites.0..=config.sites.1);
    for site in 0..sites {
        let kind = if site == 0 { SiteKind::Gated } else { one_of(&mut world, config.kinds).expect("some") };
        say!(world, "site {} is {}", World::site_name(site), kind.name());
        let mut holds = [false; COUNT];
        if config.policies {
            for name in [META, DEV, MAIN] {
                holds[name] = world.rng.random_range(0..3) == 0;
            }
            say!(world, "site {} holds back {}", World::site_name(site), refs::listed(&holds));
        }
        world.sites.push(Site {
            kind,
            refs: [None; COUNT],
            objects: 0,
            journal: Vec::new(),
            locks: [None; COUNT],
            sessions: vec![None; sites],
            holds,
            ungated_writes: [false; COUNT],
        });
    }
    let root = world.dag.commit(&[]);
    let next = world.dag.commit(&[root]);
    let other = world.dag.commit(&[root]);
    let alone = world.dag.commit(&[]);
    drop(world);
    for name in [DEV, MAIN, SCRATCH, META] {
        let mut world = sim.world();
        let how = match name {
            SCRATCH => *[Start::Equal, Start::Nothing, Start::Different]
                .get(world.rng.random_range(0..3))
                .expect("3"),
            // Changes are made by uploads.
            META => Start::Nothing,
            _ => one_of(&mut world, config.starts).expect("some"),
        };
        let values: Vec<Value> = match how {
            Start::Nothing | Start::Deleted => vec![None; sites],
            Start::Tracked | Start::Equal => vec![Some(next); sites],
            Start::Different => (0..sites)
                .map(|_| {
                    one_of(&mut world, &[None, Some(root), Some(next), Some(next), Some(other), Some(alone)])
                        .flatten()
                })
                .collect(),
        };
        for (site, value) in values.iter().enumerate() {
            if let Some(commit) = value {
                world.bring(site, *commit);
                world.set(site, name, *value);
                world.takes_effect(name, None, *value);
                world.told(name, *value);
            }
        }
        say!(world, "{}: {how:?} {values:?}", refs::short(name));
        drop(world);
        match how {
            Start::Tracked => sim.start_at(name, Entry::new(global(Some(next)))),
            Start::Deleted => {
                let superseded = vec![next.oid()];
                sim.start_at(name, Entry { value: GlobalRef::Deleted, superseded });
                let mut world = sim.world();
                let deleted: Set = world.dag.history(next);
                world.ledger.gone[name] |= deleted;
            }
            Start::Nothing | Start::Equal | Start::Different => {}
        }
    }
}

/// Chooses who goes next.
struct Scheduler<'s> {
    sim: &'s Shared,
    tasks: Vec<Task>,
    next: TaskId,
    ops: u32,
    sessions: u32,
    crashes: u32,
    turns: u32,
}

/// More turns than any run needs: whoever waits for ever is found out.
const MOST_TURNS: u32 = 20_000;

impl<'s> Scheduler<'s> {
    fn new(sim: &'s Shared) -> Scheduler<'s> {
        let (config, mut world) = (sim.config, sim.world());
        let ops = world.rng.random_range(config.ops.0..=config.ops.1);
        let sessions = world.rng.random_range(config.sessions.0..=config.sessions.1);
        let crashes = world.rng.random_range(0..=config.crashes);
        drop(world);
        Scheduler { sim, tasks: Vec::new(), next: 1, ops, sessions, crashes, turns: 0 }
    }

    /// One step of anybody. `false` when nothing is left to do.
    fn turn(&mut self) -> bool {
        self.turns += 1;
        let config = self.sim.config;
        let mut world = self.sim.world();
        if self.turns > MOST_TURNS {
            world.ledger.breaks("P4", "some task waits for ever".to_owned());
            return true;
        }
        world.time += 1;
        world.current = 0;
        if config.faults && !world.refdb_down && world.fault(120) {
            say!(world, "the ref-db goes down");
            world.refdb_down = true;
        } else if world.refdb_down && world.fault(15) {
            say!(world, "the ref-db is back");
            world.refdb_down = false;
        }
        let left = self.ops + self.sessions;
        if left == 0 && self.tasks.is_empty() && world.late.is_empty() {
            return false;
        }
        if !world.late.is_empty() && world.rng.random_range(0..20) == 0 {
            let late = world.late.len();
            let which = world.rng.random_range(0..late);
            drop(world);
            self.sim.late_arrives(which);
            return true;
        }
        if self.crashes > 0 && !self.tasks.is_empty() && world.rng.random_range(0..25) == 0 {
            drop(world);
            self.crash();
            return true;
        }
        let begins = self.tasks.is_empty() || (self.tasks.len() < 5 && world.rng.random_range(0..8) == 0);
        if left > 0 && begins {
            let op = world.rng.random_range(0..left) < self.ops;
            drop(world);
            if op {
                self.begin_operation()
            } else {
                self.begin_session()
            }
            return true;
        }
        drop(world);
        self.advance_one();
        true
    }

    fn spawn(&mut self, mortal: bool, work: impl Future<Output = ()> + 'static) {
        let mut world = self.sim.world();
        let pace = pick(&mut world, &[(1, 1), (4, 2), (16, 2)]);
        world.alive.insert(self.next);
        self.tasks.push(Task { id: self.next, pace, mortal, work: Box::pin(work) });
        self.next += 1;
    }

    fn begin_operation(&mut self) {
        self.ops -= 1;
        let sim = self.sim.clone();
        let mut world = self.sim.world();
        world.current = self.next;
        let op = pick(&mut world, sim.config.mix);
        let site = clients::writable(&mut world);
        let changes = clients::changes(&mut world, sim.config.branches, site, op);
        drop(world);
        match op {
            Op::Seed => self.spawn(false, seed_refdb(sim, site)),
            Op::Forget => self.spawn(false, forget(sim)),
            _ if changes.is_empty() => {}
            Op::Forge => self.spawn(true, forge(sim, site, changes)),
            _ => self.spawn(true, write(sim, site, changes)),
        }
    }

    fn begin_session(&mut self) {
        self.sessions -= 1;
        let sim = self.sim.clone();
        let (from, to, pushes) = {
            let mut world = sim.world();
            let sites = world.sites.len();
            let from = world.rng.random_range(0..sites);
            let to = (from + world.rng.random_range(1..sites)) % sites;
            let pushes = sim.config.push && (!sim.config.fetch || world.rng.random_range(0..2) == 0);
            world.current = self.next;
            say!(
                world,
                "{} begins to {} {}",
                World::site_name(from),
                if pushes { "push to" } else { "fetch from" },
                World::site_name(to)
            );
            (from, to, pushes)
        };
        if pushes { self.spawn(true, push(sim, from, to)) } else { self.spawn(true, fetch(sim, from, to)) }
    }

    fn crash(&mut self) {
        let mut world = self.sim.world();
        let which = world.rng.random_range(0..self.tasks.len());
        if !self.tasks[which].mortal {
            return;
        }
        self.crashes -= 1;
        let dead = self.tasks.swap_remove(which);
        world.current = dead.id;
        say!(world, "killed");
        world.count("killed");
        world.release(dead.id);
        drop(world);
        drop(dead);
    }

    fn advance_one(&mut self) {
        let mut world = self.sim.world();
        let awake =
            |world: &World, id: TaskId| world.asleep.get(&id).is_none_or(|until| *until <= world.time);
        let mut ready: Vec<(usize, u32)> = Vec::with_capacity(self.tasks.len());
        for (i, task) in self.tasks.iter().enumerate() {
            if awake(&world, task.id) {
                ready.push((i, task.pace));
            }
        }
        if ready.is_empty() {
            // Everybody sleeps: time jumps to the first who wakes.
            world.time = world.asleep.values().min().copied().unwrap_or(world.time).max(world.time);
            return;
        }
        let which = pick(&mut world, &ready);
        let id = self.tasks[which].id;
        world.asleep.remove(&id);
        world.current = id;
        if world.fault(20) {
            // A slow network or a busy machine: others do a lot meanwhile.
            let until = world.time + world.rng.random_range(10..80);
            world.asleep.insert(id, until);
            return;
        }
        drop(world);
        if advance(&mut self.tasks[which].work) {
            let done = self.tasks.swap_remove(which);
            self.sim.world().release(done.id);
        }
    }
}

/// What the ledger and the ref-db say of every tracked ref must be the same, or the checks check nothing.
pub fn audit(sim: &Sim) {
    let tracked: Vec<refs::Ref> = (0..COUNT).filter(|r| refs::is_checked(*r)).collect();
    let entries = sim.entries_now(&tracked);
    let world = sim.world();
    for (name, entry) in tracked.iter().zip(entries) {
        assert_eq!(
            world.ledger.global[*name],
            entry.value,
            "the ledger lost track of {}",
            refs::short(*name)
        );
        assert!(ledger::commit(entry.value).is_none_or(|c| world.dag.members(c.bit()).len() == 1));
    }
}
