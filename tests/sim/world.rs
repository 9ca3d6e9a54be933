//! The state of one run: sites with refs, objects and journals, local locks, faults, time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use refgate_core::{FilterSet, GlobalRef, MemoryRefDb, RefDb, SiteKind};

use crate::config::{Config, Rule};
use crate::dag::{Commit, Dag, Set, Value};
use crate::ledger::Ledger;
use crate::refs::{self, Ref};

/// A running piece of work: a client's write, a session, an operator's command.
pub type TaskId = u32;

/// One ref of a write: what the client saw and what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub name: Ref,
    pub old: Value,
    pub new: Value,
}

/// What a gated write noted before it moved the ref-db; it also keeps the new objects alive.
#[derive(Clone, Debug)]
pub struct Record {
    pub id: u32,
    pub changes: Vec<Change>,
    /// The writer, for as long as it lives.
    pub writer: Option<TaskId>,
}

/// A site.
pub struct Site {
    pub kind: SiteKind,
    pub refs: [Value; refs::COUNT],
    /// Commits whose whole history is here.
    pub objects: Set,
    pub journal: Vec<Record>,
    /// Local locks, per ref.
    pub locks: [Option<TaskId>; refs::COUNT],
    /// Session locks, per remote.
    pub sessions: Vec<Option<TaskId>>,
    /// What its fetch filter holds back.
    pub holds: [bool; refs::COUNT],
    /// A client wrote here without the ref-db.
    pub ungated_writes: [bool; refs::COUNT],
}

/// A compare-and-put whose answer was lost and that may still come.
pub struct Late {
    pub record: u32,
    pub changes: Vec<(Ref, GlobalRef, GlobalRef, bool)>,
}

/// Everything that steps read and write.
pub struct World {
    pub dag: Dag,
    pub sites: Vec<Site>,
    pub ledger: Ledger,
    pub late: Vec<Late>,
    pub refdb_down: bool,
    /// Faults are over: the closing rounds.
    pub quiet: bool,
    pub rng: SmallRng,
    /// Milliseconds.
    pub time: u64,
    /// Everybody who runs.
    pub alive: BTreeSet<TaskId>,
    /// Who is being polled.
    pub current: TaskId,
    /// When a task that sleeps goes on.
    pub asleep: BTreeMap<TaskId, u64>,
    pub next_record: u32,
    tracing: bool,
    pub trace: Vec<String>,
    pub counts: BTreeMap<&'static str, u32>,
    /// Set by every change of a ref, for the closing rounds.
    pub moved: bool,
}

/// One run.
pub struct Sim {
    pub config: &'static Config,
    /// The rule that this run does without.
    pub without: Option<Rule>,
    pub filters: FilterSet,
    pub refdb: RefDb,
    /// What is behind it.
    pub memory: MemoryRefDb,
    /// The randomness of waits.
    pub rng: Mutex<SmallRng>,
    world: Mutex<World>,
}

/// What tasks share.
pub type Shared = Arc<Sim>;

impl Sim {
    /// An empty run.
    pub fn new(
        config: &'static Config,
        without: Option<Rule>,
        filters: FilterSet,
        seed: u64,
        tracing: bool,
    ) -> Sim {
        let world = World {
            dag: Dag::default(),
            sites: Vec::new(),
            ledger: Ledger::default(),
            late: Vec::new(),
            refdb_down: false,
            quiet: false,
            rng: SmallRng::seed_from_u64(seed),
            time: 0,
            alive: BTreeSet::new(),
            current: 0,
            asleep: BTreeMap::new(),
            next_record: 0,
            tracing,
            trace: Vec::new(),
            counts: BTreeMap::new(),
            moved: false,
        };
        let rng = Mutex::new(SmallRng::seed_from_u64(seed ^ 1));
        let memory = MemoryRefDb::new();
        let refdb = RefDb::new(memory.clone());
        Sim { config, without, filters, refdb, memory, rng, world: Mutex::new(world) }
    }

    /// The state. Never held across a step.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a rule is on in this run.
    pub fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule) && !self.config.without.contains(&rule)
    }

    /// Whether local locks are taken and replicated updates checked under them.
    pub fn is_locked(&self) -> bool {
        self.config.locked && self.has(Rule::Receiver)
    }
}

/// Writes a line of the trace; the text is made only when somebody wants it.
#[macro_export]
macro_rules! say {
    ($world:expr, $($text:tt)*) => {
        if $world.is_traced() {
            let line = format!($($text)*);
            $world.line(line);
        }
    };
}

impl World {
    /// Whether traces are wanted.
    pub fn is_traced(&self) -> bool {
        self.tracing
    }

    /// Adds a line to the trace.
    pub fn line(&mut self, text: String) {
        let (task, time) = (self.current, self.time);
        self.trace.push(format!("{:>4} {time:>5} ms  task {task:>2}  {text}", self.trace.len() + 1));
    }

    /// Notes that something happened, so that a test can tell that it does.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// True once in `n` times, and never in the closing rounds.
    pub fn fault(&mut self, n: u32) -> bool {
        !self.quiet && self.rng.random_range(0..n) == 0
    }

    /// A local ref.
    pub fn value(&self, site: usize, name: Ref) -> Value {
        self.sites[site].refs[name]
    }

    /// Sets a local ref. Its objects must be there.
    pub fn set(&mut self, site: usize, name: Ref, new: Value) {
        let missing = self.dag.reach(new) & !self.sites[site].objects;
        assert!(missing == 0, "a ref was set to a commit that is not here");
        self.moved |= self.sites[site].refs[name] != new;
        self.sites[site].refs[name] = new;
    }

    /// Brings a commit with its history to a site.
    pub fn bring(&mut self, site: usize, commit: Commit) {
        self.sites[site].objects |= self.dag.history(commit);
    }

    /// Whether a commit is at a site with its whole history.
    pub fn is_here(&self, site: usize, commit: Commit) -> bool {
        let history = self.dag.history(commit);
        self.sites[site].objects & history == history
    }

    /// One local transaction: all refs or none. Tells whether it went through.
    pub fn transaction(&mut self, site: usize, changes: &[Change], expect: bool) -> bool {
        if expect && changes.iter().any(|c| self.value(site, c.name) != c.old) {
            return false;
        }
        changes.iter().for_each(|c| self.set(site, c.name, c.new));
        true
    }

    /// Takes a local lock unless another task has it.
    pub fn try_lock(&mut self, site: usize, name: Ref) -> bool {
        let current = self.current;
        let free = self.sites[site].locks[name].is_none_or(|task| task == current);
        if free {
            self.sites[site].locks[name] = Some(current);
        }
        free
    }

    /// Gives back the locks of the current task on `names`.
    pub fn unlock(&mut self, site: usize, names: &[Ref]) {
        let current = self.current;
        for name in names {
            let lock = &mut self.sites[site].locks[*name];
            lock.take_if(|task| *task == current);
        }
    }

    /// What the death of a task releases. Its records stay.
    pub fn release(&mut self, task: TaskId) {
        for site in &mut self.sites {
            site.locks.iter_mut().chain(&mut site.sessions).for_each(|lock| {
                lock.take_if(|holder| *holder == task);
            });
            for record in &mut site.journal {
                record.writer.take_if(|writer| *writer == task);
            }
        }
        self.asleep.remove(&task);
        self.alive.remove(&task);
    }

    /// Removes a record of a write.
    pub fn drop_record(&mut self, site: usize, id: u32) {
        self.sites[site].journal.retain(|record| record.id != id);
    }

    /// `A`, `B`, …
    pub fn site_name(site: usize) -> char {
        (b'A' + site as u8) as char
    }
}
