//! The measurements: real time, and what each call used.

use std::sync::Arc;
use std::time::Duration;

use refgate_core::Clock;
use refgate_host::{Error, System};
use refgate_runtime::{
    CompileLimits, Limits, LoadError, LoadedPlugin, LogLevel, PluginSource, Runtime, RuntimeConfig, Usage,
    World,
};
use serde_json::{Value, json};

use super::input::{Batch, Input};

/// One batch, measured.
pub struct Measurement {
    pub refs: usize,
    pub from: &'static str,
    pub stale: Option<bool>,
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
    pub rows: Vec<Measurement>,
}

/// Measures a component.
pub fn measure(
    source: &PluginSource,
    world: Option<World>,
    input: &Input,
    system: &System,
) -> Result<Measured, Error> {
    let refused = |e: LoadError| Error::usage(e.to_string());
    let clock = system.clock.as_ref();
    let limits = source.limits.unwrap_or_default();
    let runtime = |fuel| {
        Runtime::new(RuntimeConfig {
            limits,
            log: Arc::new(|_, _, _| {}),
            log_level: LogLevel::Error,
            pause: system.pause.clone(),
            fuel,
            cache: None,
            compiler: system.compiler(CompileLimits::default()),
        })
        .map_err(refused)
    };
    let plain = runtime(false)?;
    let (first, both) = timed(clock, || plain.load(source.clone()));
    let plugin = first.map_err(refused)?;
    // What is compiled is kept, so the second one only starts.
    let (second, start) = timed(clock, || plain.load(source.clone()));
    second.map_err(refused)?;
    let counting = runtime(true)?.load(source.clone()).map_err(refused)?;
    let world = chosen(&plugin, world)?;
    let batches = input.batches(world)?;
    let rows = batches.iter().map(|batch| row(&plugin, &counting, world, batch, &limits, clock));
    let rows = rows.collect::<Result<_, Error>>()?;
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
    batch: &Batch,
    limits: &Limits,
    clock: &dyn Clock,
) -> Result<Measurement, Error> {
    let Batch { refs, from, stale, calls } = batch;
    let (refs, from, stale) = (*refs, *from, *stale);
    let failed = |e: String| Error::failed(format!("the call on {refs} refs failed: {e}"));
    let mut all = Usage::default();
    for call in calls {
        let used = call.run(plugin, world).map_err(failed)?;
        all.host_calls = all.host_calls.max(used.host_calls);
        all.to_guest = all.to_guest.max(used.to_guest);
        all.to_host = all.to_host.max(used.to_host);
        all.memory = all.memory.max(used.memory);
    }
    let mut fuel = 0;
    for call in calls {
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
    Ok(Measurement {
        refs,
        from,
        stale,
        calls: calls.len(),
        time: times[rounds / 2],
        may_take,
        fuel,
        usage: all,
    })
}

fn timed<T>(clock: &dyn Clock, work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = clock.now();
    let done = work();
    (done, clock.now().saturating_duration_since(begin))
}

impl Measured {
    /// The document of `--json` and `--save`, with every number as it was measured: who compares must not compare what was
    /// rounded.
    pub fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| row.to_json(&self.limits)).collect();
        json!({
            "command": "bench",
            "world": self.world.name(),
            "digest": self.digest,
            "compile_ms": self.compile.as_secs_f64() * 1e3,
            "start_ms": self.start.as_secs_f64() * 1e3,
            "start_percent": percent(self.start.as_secs_f64(), self.limits.start.as_secs_f64()),
            "batches": rows,
        })
    }
}

impl Measurement {
    fn to_json(&self, limits: &Limits) -> Value {
        let bytes = self.usage.to_guest + self.usage.to_host;
        json!({
            "refs": self.refs,
            "from": self.from,
            "stale": self.stale,
            "calls": self.calls,
            "ns_per_ref": self.time.as_secs_f64() * 1e9 / self.refs as f64,
            "calls_per_s": self.calls as f64 / self.time.as_secs_f64().max(1e-9),
            "time_percent": percent(self.time.as_secs_f64(), self.may_take.as_secs_f64()),
            "fuel_per_ref": self.fuel as f64 / self.refs as f64,
            "host_calls": self.usage.host_calls,
            "host_calls_percent": percent(self.usage.host_calls as f64, limits.host_calls as f64),
            "bytes": bytes,
            "bytes_percent": percent(bytes as f64, limits.host_bytes as f64),
            "memory": self.usage.memory,
            "memory_percent": percent(self.usage.memory as f64, limits.memory as f64),
        })
    }
}

fn percent(used: f64, limit: f64) -> f64 {
    used * 100.0 / limit
}
