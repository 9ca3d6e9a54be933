//! The measurements: batches as a host would hand them out, real time, and what each call used.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use refgate_core::{Clock, Direction, Project, RefBatch, state};
use refgate_host::{Error, System};
use refgate_runtime::{
    Isolation, Limits, LoadError, LoadedPlugin, LogLevel, Origin, PluginSource, Runtime, RuntimeConfig,
    Usage, World,
};
use serde_json::{Map, Value, json};

/// Refs of one call at most: a decision splits larger batches the same way.
const CALL: usize = 262_144;

/// One batch, measured.
pub struct Row {
    pub refs: usize,
    pub stale: bool,
    pub calls: usize,
    /// The median time of the whole batch, all its calls together.
    pub time: Duration,
    /// The time that its calls may take.
    pub may_take: Duration,
    pub fuel: u64,
    /// The most that one of its calls used.
    pub usage: Usage,
}

/// Everything that is measured of a component.
pub struct Measured {
    pub world: World,
    pub digest: String,
    pub compile: Duration,
    pub start: Duration,
    pub limits: Limits,
    pub rows: Vec<Row>,
}

/// What to measure.
pub struct Subject {
    pub name: String,
    pub file: std::path::PathBuf,
    pub bytes: Vec<u8>,
    pub settings: Map<String, Value>,
}

/// Measures a component on batches of these sizes.
pub fn measure(
    subject: &Subject,
    world: Option<World>,
    sizes: &[usize],
    system: &System,
) -> Result<Measured, Error> {
    let refused = |e: LoadError| Error::usage(e.to_string());
    let clock = system.clock.as_ref();
    let limits = Limits::default();
    let runtime = |fuel| {
        Runtime::new(RuntimeConfig {
            limits,
            log: Arc::new(|_, _, _| {}),
            log_level: LogLevel::Error,
            pause: system.pause.clone(),
            fuel,
            cache: None,
        })
        .map_err(refused)
    };
    let source = || PluginSource {
        name: subject.name.clone(),
        origin: Origin::File(subject.file.clone()),
        bytes: Cow::Owned(subject.bytes.clone()),
        settings: subject.settings.clone(),
        limits: None,
        isolation: Isolation::default(),
    };
    let plain = runtime(false)?;
    let (first, both) = timed(clock, || plain.load(source()));
    let plugin = first.map_err(refused)?;
    // What is compiled is kept, so the second one only starts.
    let (second, start) = timed(clock, || plain.load(source()));
    second.map_err(refused)?;
    let counting = runtime(true)?.load(source()).map_err(refused)?;
    let world = chosen(&plugin, world)?;
    let mut rows = Vec::new();
    for refs in sizes {
        let kinds: &[bool] = if world == World::ProjectMatcher { &[false] } else { &[false, true] };
        for stale in kinds {
            rows.push(row(&plugin, &counting, world, *refs, *stale, &limits, clock)?);
        }
    }
    let digest = plugin.digest().to_owned();
    Ok(Measured { world, digest, compile: both.saturating_sub(start), start, limits, rows })
}

fn chosen(plugin: &LoadedPlugin, world: Option<World>) -> Result<World, Error> {
    let names = || plugin.worlds().iter().map(|w| w.name()).collect::<Vec<_>>().join(" and ");
    match (world, plugin.worlds()) {
        (Some(world), worlds) if worlds.contains(&world) => Ok(world),
        (Some(world), _) => Err(Error::usage(format!("the component is no {world}, but {}", names()))),
        (None, [world, ..]) => Ok(*world),
        (None, []) => Err(Error::usage("the component is no filter")),
    }
}

fn row(
    plugin: &LoadedPlugin,
    counting: &LoadedPlugin,
    world: World,
    refs: usize,
    stale: bool,
    limits: &Limits,
    clock: &dyn Clock,
) -> Result<Row, Error> {
    let calls = calls(world, refs, stale);
    let failed = |e: String| Error::failed(format!("the call on {refs} refs failed: {e}"));
    let mut all = Usage::default();
    for call in &calls {
        let used = call.run(plugin, world).map_err(failed)?;
        all.host_calls = all.host_calls.max(used.host_calls);
        all.to_guest = all.to_guest.max(used.to_guest);
        all.to_host = all.to_host.max(used.to_host);
        all.memory = all.memory.max(used.memory);
    }
    let mut fuel = 0;
    for call in &calls {
        fuel += call.run(counting, world).map_err(failed)?.fuel.unwrap_or_default();
    }
    let rounds = (1_000_000 / refs.max(1)).clamp(5, 300);
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let (done, time) =
            timed(clock, || calls.iter().try_for_each(|call| call.run(plugin, world).map(drop)));
        done.map_err(failed)?;
        times.push(time);
    }
    times.sort_unstable();
    let per_item = limits.per_item.saturating_mul(u32::try_from(refs).unwrap_or(u32::MAX));
    let may_take = limits.call.saturating_mul(calls.len() as u32).saturating_add(per_item);
    Ok(Row { refs, stale, calls: calls.len(), time: times[rounds / 2], may_take, fuel, usage: all })
}

enum Call {
    Look(Arc<RefBatch>),
    Match(Arc<[Project]>),
}

impl Call {
    fn run(&self, plugin: &LoadedPlugin, world: World) -> Result<Usage, String> {
        let (failed, usage) = match self {
            Call::Look(batch) => {
                let (answer, usage) = plugin.look_measured(world, batch.clone());
                (answer.err(), usage)
            }
            Call::Match(projects) => {
                let (answer, usage) = plugin.matches_measured(projects.clone());
                (answer.err(), usage)
            }
        };
        failed.map_or(Ok(usage), |e| Err(e.to_string()))
    }
}

fn calls(world: World, refs: usize, stale: bool) -> Vec<Call> {
    let numbers: Vec<usize> = (0..refs).collect();
    let chunks = numbers.chunks(CALL);
    let direction = match world {
        World::PushFilter => Direction::Push,
        World::FetchFilter => Direction::Fetch,
        World::ProjectMatcher => {
            let name = |i: &usize| Project::new(format!("team/app-{i:07}")).ok();
            return chunks.map(|chunk| Call::Match(chunk.iter().filter_map(name).collect())).collect();
        }
    };
    chunks.map(|chunk| Call::Look(Arc::new(batch(direction, chunk, stale)))).collect()
}

/// Branches that move on; stale ones may catch up.
fn batch(direction: Direction, numbers: &[usize], stale: bool) -> RefBatch {
    let word =
        if stale { state::REMOTE_KNOWN | state::RECHECK_HELPS } else { state::REMOTE_KNOWN | state::MAY_GO };
    let (mut names, mut name_ends) = (Vec::new(), Vec::with_capacity(numbers.len()));
    for number in numbers {
        names.extend_from_slice(format!("refs/heads/topic-{number:07}").as_bytes());
        name_ends.push(names.len() as u32);
    }
    let oids = |byte: u8| vec![byte; numbers.len() * 20];
    RefBatch {
        direction,
        // A legal name, always.
        project: Project::new("team/app").unwrap_or_else(|e| unreachable!("{e}")),
        peer: "site-b".to_owned(),
        oid_len: 20,
        attempt: 0,
        now_ms: 1_700_000_000_000,
        states: vec![word; numbers.len()],
        names,
        name_ends,
        new_oids: oids(0xaa),
        old_oids: oids(0xbb),
        local_oids: oids(0xaa),
        global_oids: oids(if stale { 0xcc } else { 0xaa }),
        groups: (0..numbers.len() as u32).collect(),
    }
}

fn timed<T>(clock: &dyn Clock, work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = clock.now();
    let done = work();
    (done, clock.now().saturating_duration_since(begin))
}

impl Measured {
    /// The document of `--json` and `--save`.
    pub fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| row.to_json(&self.limits)).collect();
        json!({
            "command": "bench",
            "world": self.world.name(),
            "digest": self.digest,
            "compile_ms": round(self.compile.as_secs_f64() * 1e3),
            "start_ms": round(self.start.as_secs_f64() * 1e3),
            "start_percent": percent(self.start.as_secs_f64(), self.limits.start.as_secs_f64()),
            "batches": rows,
        })
    }
}

impl Row {
    fn to_json(&self, limits: &Limits) -> Value {
        let bytes = self.usage.to_guest + self.usage.to_host;
        json!({
            "refs": self.refs,
            "stale": self.stale,
            "calls": self.calls,
            "ns_per_ref": round(self.time.as_secs_f64() * 1e9 / self.refs as f64),
            "calls_per_s": round(self.calls as f64 / self.time.as_secs_f64().max(1e-9)),
            "time_percent": percent(self.time.as_secs_f64(), self.may_take.as_secs_f64()),
            "fuel_per_ref": round(self.fuel as f64 / self.refs as f64),
            "host_calls": self.usage.host_calls,
            "host_calls_percent": percent(self.usage.host_calls as f64, limits.host_calls as f64),
            "bytes": bytes,
            "bytes_percent": percent(bytes as f64, limits.host_bytes as f64),
            "memory": self.usage.memory,
            "memory_percent": percent(self.usage.memory as f64, limits.memory as f64),
        })
    }
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn percent(used: f64, limit: f64) -> f64 {
    round(used * 100.0 / limit)
}
