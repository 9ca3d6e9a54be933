//! One started and configured component: how it starts, answers a call within its limits, and fails.

use std::time::Duration;

use wasmtime::component::{InstancePre, Resource, TypedFunc};
use wasmtime::{Store, Trap};

use crate::bindings::refgate::filter::batches::{RefBatch as RefBatchHandle, Verdicts};
use crate::bindings::refgate::filter::project_batches::{ProjectBatch, Selection};
use crate::engine::Shared;
use crate::imports::{Call, HostState};
use crate::inspect::World;
use crate::limits::{ERROR_BYTES, Limits, Over, ticks};
use crate::log::cut;
use crate::machine;
use crate::proof::Proof;
use crate::usage::{Usage, too_many_bytes};

/// A compiled component whose imports are all there.
pub(crate) struct Code {
    pub(crate) pre: InstancePre<HostState>,
    pub(crate) worlds: Vec<World>,
    /// Full names of the exported interfaces: lifecycle, then those of `worlds`.
    pub(crate) lifecycle: String,
    pub(crate) interfaces: Vec<String>,
}

/// A function of a guest that is handed a batch and a place for its verdicts.
pub(crate) type Function<A, B> = TypedFunc<(Resource<A>, Resource<B>), (Result<(), String>,)>;
type Filter = Function<RefBatchHandle, Verdicts>;
type Matcher = Function<ProjectBatch, Selection>;

/// The functions of an instance, by world.
#[derive(Default)]
struct Functions {
    filters: Vec<(World, Filter)>,
    matcher: Option<Matcher>,
}

/// A started and configured component. It serves one call at a time, and none after a trap.
pub(crate) struct Instance {
    store: Store<HostState>,
    functions: Functions,
    calls: u32,
    /// Bytes of memory that it had when it was configured.
    memory_at_start: usize,
}

/// Why an instance did not start.
pub(crate) enum NoStart {
    /// It refuses its settings, and says why.
    Settings(String),
    /// It failed.
    Failed(Failure),
}

/// Why an instance failed, in words.
pub(crate) enum Failure {
    /// It did what it may not.
    Plugin(String),
    /// The machine, or the host, could not do its part.
    Host(String),
}

impl Instance {
    /// Starts `code` and hands it its settings.
    pub(crate) fn start(
        shared: &Shared,
        code: &Code,
        settings: &str,
        state: HostState,
    ) -> Result<Instance, NoStart> {
        let limits = state.limits;
        let mut store = Store::new(&shared.engine, state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(limits.host_bytes);
        store.set_epoch_deadline(ticks(limits.start));
        shared.proof.check().map_err(|why| NoStart::Failed(Failure::Host(why)))?;
        if shared.fuel {
            fill_up(&mut store);
        }
        match configure(code, settings, &mut store) {
            Ok(Ok(functions)) => {
                let memory_at_start = store.data().meter.used;
                Ok(Instance { store, functions, calls: 0, memory_at_start })
            }
            Ok(Err(problems)) => Err(NoStart::Settings(cut(&problems, ERROR_BYTES).to_owned())),
            Err(e) => Err(NoStart::Failed(match shared.proof.check() {
                Err(why) => Failure::Host(why),
                Ok(()) => explain(&e, store.data(), limits.start, "`start-ms`"),
            })),
        }
    }

    /// Its filter of `world`.
    pub(crate) fn filter(&self, world: World) -> Option<Filter> {
        self.functions.filters.iter().find(|(of, _)| *of == world).map(|(_, filter)| *filter)
    }

    /// Its project matcher.
    pub(crate) fn matcher(&self) -> Option<Matcher> {
        self.functions.matcher
    }

    /// Whether it may serve another call: it is neither worn out nor grown too large.
    pub(crate) fn is_good(&self) -> bool {
        let state = self.store.data();
        self.calls < state.limits.calls_per_instance
            && state.meter.used.saturating_sub(self.memory_at_start) <= state.limits.idle_memory
    }

    /// Runs one call on `items` within the limits, and counts what it uses. The outer error is a trap or a reached limit:
    /// the instance is of no use after it. The inner one is the guest's own.
    pub(crate) fn call<A: 'static, B: 'static>(
        &mut self,
        function: Function<A, B>,
        call: Call,
        items: usize,
        proof: &Proof,
        usage: &mut Usage,
    ) -> Result<Result<Call, String>, Failure> {
        let time = self.store.data().limits.for_items(items);
        self.calls += 1;
        self.store.data_mut().begin_call(call);
        let fuel = self.store.get_fuel().is_ok().then(|| fill_up(&mut self.store));
        self.store.set_epoch_deadline(ticks(time));
        proof.check().map_err(Failure::Host)?;
        // Handles that the host can revoke: an owned one would stay in the store's table for ever.
        let handles = (Resource::new_borrow(0), Resource::new_borrow(1));
        let result = function.call(&mut self.store, handles);
        let left = self.store.get_fuel().unwrap_or_default();
        let state = self.store.data_mut();
        let call = state.take_call();
        *usage = Usage {
            memory: state.meter.used,
            log: state.log.used(),
            fuel: fuel.map(|full| full - left),
            fresh: usage.fresh,
            ..state.budget.used
        };
        match result {
            Ok((Ok(()),)) => Ok(Ok(call)),
            Ok((Err(text),)) => {
                usage.to_host += text.len() as u64;
                Ok(Err(text))
            }
            // A ticker that dies stops what runs: that is not the plugin's failure.
            Err(e) => Err(match proof.check() {
                Err(why) => Failure::Host(why),
                Ok(()) => explain(&e, self.store.data(), time, "`call-ms` or `per-item-us`"),
            }),
        }
    }
}

/// Gives the store all the fuel there is, for it is counted and not limited.
fn fill_up(store: &mut Store<HostState>) -> u64 {
    // Fails only in an engine that does not count, which nobody asks here.
    let filled = store.set_fuel(u64::MAX);
    debug_assert!(filled.is_ok());
    u64::MAX
}

fn configure(
    code: &Code,
    settings: &str,
    store: &mut Store<HostState>,
) -> wasmtime::Result<Result<Functions, String>> {
    let instance = code.pre.instantiate(&mut *store)?;
    let mut find = |interface: &str, function: &str| {
        let found = instance.get_export_index(&mut *store, None, interface);
        found
            .and_then(|found| instance.get_export_index(&mut *store, Some(&found), function))
            .ok_or_else(|| wasmtime::format_err!("it exports no function `{function}` in `{interface}`"))
    };
    let configure = find(&code.lifecycle, "configure")?;
    let mut found = Vec::new();
    for (world, interface) in code.worlds.iter().zip(&code.interfaces) {
        found.push((*world, find(interface, world.export().1)?));
    }
    let configure = instance.get_typed_func::<(&str,), (Result<(), String>,)>(&mut *store, configure)?;
    let mut functions = Functions::default();
    for (world, function) in found {
        match world {
            World::PushFilter | World::FetchFilter => {
                functions.filters.push((world, instance.get_typed_func(&mut *store, function)?));
            }
            World::ProjectMatcher => {
                functions.matcher = Some(instance.get_typed_func(&mut *store, function)?);
            }
        }
    }
    let (answer,) = configure.call(store, (settings,))?;
    Ok(answer.map(|()| functions))
}

/// A failed call in words; `keys` raise its time limit.
fn explain(error: &wasmtime::Error, state: &HostState, time: Duration, keys: &str) -> Failure {
    // A guest whose memory does not grow usually ends in a trap.
    if let Some(why) = machine::refusal(error).or_else(|| state.meter.no_room.clone()) {
        return Failure::Host(why);
    }
    let mut text = match (error.downcast_ref::<Over>(), error.downcast_ref::<Trap>()) {
        (Some(over), _) => over.explain(&state.name),
        (None, Some(Trap::Interrupt)) => {
            format!(
                "it did not answer within {} ms (if it needs longer, raise {keys} under `[limits]` in `{}.toml`)",
                time.as_millis(),
                state.name
            )
        }
        (None, Some(trap)) => format!("it trapped: {trap}"),
        (None, None) => {
            let text = error.root_cause().to_string();
            match engine_limit(&text, &state.limits) {
                Some(over) => over.explain(&state.name),
                // What the host functions say is a sentence about the plugin already.
                None if text.starts_with("it ") => text,
                None => format!("it broke the rules of components: {text}"),
            }
        }
    };
    if let Some(over) = &state.meter.refused {
        text.push_str(&format!("; {}", over.explain(&state.name)));
    }
    if let Some(line) = &state.log.last_error {
        text.push_str(&format!("; it said: {line}"));
    }
    Failure::Plugin(text)
}

/// The limits that the engine enforces, which it tells by words alone.
fn engine_limit(text: &str, limits: &Limits) -> Option<Over> {
    let counted = [
        ("instance", "instances", "core instances", limits.instances),
        ("table", "tables", "tables", limits.tables),
        ("memory", "memories", "memories", limits.memories),
    ];
    for (word, key, what, limit) in counted {
        if text.starts_with(&format!("resource limit exceeded: {word} count")) {
            return Some(Over::new(key, format!("it has more than {limit} {what}")));
        }
    }
    text.contains("fuel allocated for hostcalls").then(|| too_many_bytes(limits.host_bytes))
}
