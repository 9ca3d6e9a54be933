//! What a decision costs, with and without WebAssembly, over 10 and over 500,000 refs: `cargo bench --bench decision`.

mod common;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{BenchClock, line, median, title};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::decision::{Request, Sources, decide};
use refgate_core::future::ready;
use refgate_core::table::RemoteValue;
use refgate_core::{
    AncestryQuery, Answer, BoxFuture, Direction, Entry, FilterError, FilterSet, GlobalRef, LocalError,
    LocalRefs, LocalValue, MemoryRefDb, Moves, ObjectFormat, Oid, Project, RefBatch, RefDb, RefFilter,
    RefName, RefUpdate, ReloadWait, Rules, SiteKind,
};
use refgate_filter_push::Answer as Shipped;
use refgate_host::filters::{Loader, Source};
use refgate_host::{Config, System};

/// The shipped policy as plain Rust.
struct Native;

impl RefFilter for Native {
    fn name(&self) -> &str {
        "native"
    }

    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        let mut answer = Answer::default();
        for i in batch.select(1, 0) {
            match refgate_filter_push::decide(batch.states[i as usize], batch.attempt) {
                Some(Shipped::Recheck) => answer.rechecks.push(i),
                Some(Shipped::Discard(reason)) => answer.discards.push((vec![i], reason.to_owned())),
                None => {}
            }
        }
        ready(Ok(answer))
    }
}

/// Local refs in memory; every value contains every other.
struct Local(HashMap<RefName, Oid>);

impl LocalRefs for Local {
    fn values<'a>(
        &'a self,
        _: &'a Project,
        refs: &'a [RefName],
    ) -> BoxFuture<'a, Result<Vec<LocalValue>, LocalError>> {
        ready(Ok(refs.iter().map(|name| Ok(self.0.get(name).copied())).collect()))
    }

    fn ancestry<'a>(
        &'a self,
        _: &'a Project,
        queries: &'a [AncestryQuery],
    ) -> BoxFuture<'a, Result<Vec<bool>, LocalError>> {
        ready(Ok(vec![true; queries.len()]))
    }
}

fn oid(i: u32) -> Oid {
    let mut raw = [7; 20];
    raw[..4].copy_from_slice(&i.to_be_bytes());
    Oid::from_bytes(&raw).expect("not zero")
}

/// `refs` branches, of which one in `stale` is behind the ref-db (none when it is 0).
struct World {
    project: Project,
    updates: Vec<RefUpdate>,
    local: Local,
    refdb: RefDb,
}

impl World {
    fn new(refs: u32, stale: u32) -> World {
        let project = Project::new("p").expect("legal");
        let memory = MemoryRefDb::new();
        let mut local = HashMap::new();
        let mut updates = Vec::new();
        for i in 0..refs {
            let name = RefName::new(format!("refs/heads/team-{}/feature-{i:06}", i % 97)).expect("legal");
            let newest = if stale > 0 && i % stale == 0 { oid(i + 1_000_000) } else { oid(i) };
            memory.set(&project, &name, Entry::new(GlobalRef::At(newest)));
            local.insert(name.clone(), oid(i));
            updates.push(
                RefUpdate::new(name, Some(oid(i)), RemoteValue::Known(Some(oid(i + 2_000_000)))).forced(),
            );
        }
        World { project, updates, local: Local(local), refdb: RefDb::new(memory) }
    }

    fn decide(&self, runtime: &tokio::runtime::Runtime, filters: &FilterSet) {
        let rules = Rules::default();
        let request = Request {
            direction: Direction::Push,
            project: &self.project,
            peer: "site-b",
            format: ObjectFormat::Sha1,
            kind: SiteKind::Gated,
            source_of_truth: false,
            mirror: true,
            gate: true,
            rules: &rules,
            wait: ReloadWait { min_ms: 0, max_random_ms: 0 },
            refdb_timeout: Duration::from_secs(60),
        };
        let rng: Mutex<SmallRng> = Mutex::new(SmallRng::seed_from_u64(1));
        let sources =
            Sources { refdb: &self.refdb, local: &self.local, remote: None, clock: &BenchClock, rng: &rng };
        let moves = Moves::of(Direction::Push, self.updates.clone());
        black_box(runtime.block_on(decide(request, moves, sources, filters)));
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let system = System {
        clock: Arc::new(BenchClock),
        rng: Arc::new(Mutex::new(SmallRng::seed_from_u64(1))),
        secret: Arc::new(|_| Err("there is no randomness here".to_owned())),
        #[expect(clippy::disallowed_methods, reason = "the ticker of the engine")]
        pause: Arc::new(std::thread::sleep),
        compiler: None,
        log: Arc::new(|_, _, _| {}),
    };
    let loader = Loader::new(&system).expect("an engine");
    let config = Config::from_items(&[], ".".as_ref()).expect("an empty configuration");
    let wasm = loader.load_from(&Source::Shipped, &config).expect("the shipped filters");
    let native = FilterSet { push: vec![Arc::new(Native)], ..FilterSet::default() };
    let none = FilterSet::default();
    for (refs, stale, rounds) in [(10, 0, 2001), (10, 2, 2001), (500_000, 0, 7), (500_000, 100, 7)] {
        let world = World::new(refs, stale);
        let share = if stale == 0 { "none stale".to_owned() } else { format!("1 in {stale} stale") };
        title(&format!("{refs} refs, {share}"));
        let base = median(rounds, || world.decide(&runtime, &none));
        line("the host's own table, no filter", base, base);
        line("the shipped policy, native", median(rounds, || world.decide(&runtime, &native)), base);
        line("the shipped policy, WebAssembly", median(rounds, || world.decide(&runtime, &wasm)), base);
    }
}
