//! One plugin: its code, its settings, and the instances that answer its calls.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use refgate_core::{Answer, FilterError, Matched, Project, RefBatch};
use wasmtime::component::{ComponentNamedList, InstancePre, Lift, Lower, Resource, TypedFunc};
use wasmtime::{Store, Trap};

use crate::bindings::refgate::filter::batches::{RefBatch as RefBatchHandle, Verdicts};
use crate::bindings::refgate::filter::project_batches::{ProjectBatch, Selection};
use crate::engine::Shared;
use crate::imports::{Call, HostState};
use crate::inspect::{self, World, exported};
use crate::limits::{
    CALLS_PER_INSTANCE, ERROR_BYTES, HOST_CALL_BYTES, IDLE_INSTANCES, IDLE_MEMORY, Meter, ticks,
};
use crate::log::{PluginLog, cut};
use crate::verdicts::{Gathered, Selected};
use crate::{LoadError, Manifest, digest};

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is part of the program.
    Embedded,
    /// A file.
    File(PathBuf),
}

/// A plugin to load.
#[derive(Clone, Debug)]
pub struct PluginSource {
    /// Its name: the stem of its file.
    pub name: String,
    /// Where it comes from, for errors.
    pub origin: Origin,
    /// The component.
    pub bytes: Cow<'static, [u8]>,
    /// Strings, or arrays of strings, by key.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl PluginSource {
    /// How errors name it.
    fn shown(&self) -> String {
        match &self.origin {
            Origin::Embedded => self.name.clone(),
            Origin::File(path) => path.display().to_string(),
        }
    }

    /// What can refuse it before it is compiled; its settings become what its manifest says.
    fn admit(&mut self) -> Result<Option<Manifest>, LoadError> {
        Manifest::admit(&self.bytes, &mut self.settings)
            .map_err(|(settings, cause)| LoadError { settings, ..LoadError::plugin(&self.shown(), cause) })
    }
}

/// A plugin that is ready for calls, or will be at its first one.
#[derive(Clone)]
pub struct LoadedPlugin {
    plugin: Arc<Plugin>,
    worlds: Vec<World>,
    manifest: Option<Arc<Manifest>>,
}

impl LoadedPlugin {
    pub(crate) fn load(shared: &Arc<Shared>, mut source: PluginSource) -> Result<LoadedPlugin, LoadError> {
        let manifest = source.admit()?.map(Arc::new);
        let plugin = Plugin::new(shared.clone(), source);
        let worlds = plugin.code()?.worlds.clone();
        let first = plugin.start()?;
        plugin.put_back(first);
        Ok(LoadedPlugin { plugin: Arc::new(plugin), worlds, manifest })
    }

    /// A plugin known to be of `world`, which is compiled when it is first called.
    pub(crate) fn later(shared: &Arc<Shared>, source: PluginSource, world: World) -> LoadedPlugin {
        let manifest = Manifest::read(&source.bytes).ok().flatten().map(Arc::new);
        LoadedPlugin { plugin: Arc::new(Plugin::new(shared.clone(), source)), worlds: vec![world], manifest }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.plugin.name
    }

    /// The worlds that it implements.
    pub fn worlds(&self) -> &[World] {
        &self.worlds
    }

    /// `sha256:` and 64 hex digits of the component.
    pub fn digest(&self) -> &str {
        &self.plugin.digest
    }

    /// What its author wrote down about it.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_deref()
    }

    pub(crate) fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// One look of the push or fetch filter, on this thread.
    pub fn look(&self, world: World, batch: Arc<RefBatch>) -> Result<Answer, FilterError> {
        self.plugin.look(world, batch)
    }

    /// One answer per project, on this thread.
    pub fn matches(&self, projects: Arc<[Project]>) -> Result<Matched, FilterError> {
        self.plugin.matches(projects)
    }
}

pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    digest: String,
    shown: String,
    settings: String,
    bytes: Cow<'static, [u8]>,
    shared: Arc<Shared>,
    code: OnceLock<Result<Code, LoadError>>,
    idle: Mutex<Vec<Instance>>,
}

/// A compiled component whose imports are all there.
struct Code {
    pre: InstancePre<HostState>,
    worlds: Vec<World>,
    /// Full names of the exported interfaces: lifecycle, then those of `worlds`.
    lifecycle: String,
    interfaces: Vec<String>,
}

type Filter = TypedFunc<(Resource<RefBatchHandle>, Resource<Verdicts>), (Result<(), String>,)>;
type Matcher = TypedFunc<(Resource<ProjectBatch>, Resource<Selection>), (Result<(), String>,)>;

/// A started and configured component. It serves one call at a time, and none after a trap.
struct Instance {
    store: Store<HostState>,
    filters: Vec<(World, Filter)>,
    matcher: Option<Matcher>,
    calls: u32,
}

impl Plugin {
    fn new(shared: Arc<Shared>, source: PluginSource) -> Plugin {
        Plugin {
            name: source.name.as_str().into(),
            digest: digest(&source.bytes),
            shown: source.shown(),
            settings: serde_json::Value::Object(source.settings).to_string(),
            bytes: source.bytes,
            shared,
            code: OnceLock::new(),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// `sha256:…` of the component.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    fn code(&self) -> Result<&Code, LoadError> {
        self.code.get_or_init(|| self.compile()).as_ref().map_err(LoadError::clone)
    }

    fn compile(&self) -> Result<Code, LoadError> {
        let refuse = |cause: String| LoadError::plugin(&self.shown, cause);
        let component = self.shared.compile(&self.shown, &self.bytes)?;
        let info = inspect::info(&self.shared.engine, &component, &self.bytes, None);
        info.check().map_err(refuse)?;
        let pre = self.shared.linker.instantiate_pre(&component).map_err(|e| {
            refuse(format!("it imports a function that this version of refgate does not have: {e:#}"))
        })?;
        let interface = |name: &str| exported(&info.exports, name).unwrap_or_default().to_owned();
        Ok(Code {
            pre,
            lifecycle: interface("lifecycle"),
            interfaces: info.worlds.iter().map(|world| interface(world.export().0)).collect(),
            worlds: info.worlds,
        })
    }

    /// A fresh instance that took its settings.
    fn start(&self) -> Result<Instance, LoadError> {
        let code = self.code()?;
        let limits = &self.shared.limits;
        let log = PluginLog::new(self.shared.log.clone(), self.shared.log_level, self.name.clone());
        let state = HostState { call: Call::None, meter: Meter::new(limits.memory), log };
        let mut store = Store::new(&self.shared.engine, state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(HOST_CALL_BYTES);
        store.data_mut().log.begin_call(limits.log);
        store.set_epoch_deadline(ticks(limits.start));
        match self.configure(code, &mut store) {
            Ok(Ok((filters, matcher))) => Ok(Instance { store, filters, matcher, calls: 0 }),
            Ok(Err(problems)) => {
                let cause = format!("it refuses its settings: {}", cut(&problems, ERROR_BYTES));
                Err(LoadError::settings(&self.shown, cause))
            }
            Err(e) => {
                let cause = explain(&e, store.data(), limits.start, limits.memory);
                Err(LoadError::plugin(&self.shown, format!("it does not start: {cause}")))
            }
        }
    }

    #[allow(clippy::type_complexity)]
    fn configure(
        &self,
        code: &Code,
        store: &mut Store<HostState>,
    ) -> wasmtime::Result<Result<(Vec<(World, Filter)>, Option<Matcher>), String>> {
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
        let (mut filters, mut matcher) = (Vec::new(), None);
        for (world, function) in found {
            match world {
                World::PushFilter | World::FetchFilter => {
                    filters.push((world, instance.get_typed_func(&mut *store, function)?));
                }
                World::ProjectMatcher => matcher = Some(instance.get_typed_func(&mut *store, function)?),
            }
        }
        let (answer,) = configure.call(store, (&self.settings,))?;
        Ok(answer.map(|()| (filters, matcher)))
    }

    fn take(&self) -> Result<Instance, FilterError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.start().map_err(|e| FilterError(e.to_string())), Ok)
    }

    fn put_back(&self, instance: Instance) {
        if instance.calls < CALLS_PER_INSTANCE && instance.store.data().meter.used <= IDLE_MEMORY {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_INSTANCES {
                idle.push(instance);
            }
        }
    }

    pub(crate) fn look(&self, world: World, batch: Arc<RefBatch>) -> Result<Answer, FilterError> {
        let instance = self.take()?;
        let filter = instance.filters.iter().find(|(of, _)| *of == world).map(|(_, filter)| *filter);
        let filter = filter.ok_or_else(|| self.failed(&format!("it is no {world}")))?;
        let len = batch.len();
        // Handles that the host can revoke: an owned one would stay in the store's table for ever.
        let handles = (Resource::new_borrow(0), Resource::new_borrow(1));
        match self.call(instance, filter, handles, Call::Look(batch, Gathered::new(len)), len)? {
            Call::Look(_, gathered) => Ok(gathered.into_answer()),
            _ => Err(self.failed("its call went astray")),
        }
    }

    pub(crate) fn matches(&self, projects: Arc<[Project]>) -> Result<Matched, FilterError> {
        let instance = self.take()?;
        let matcher = instance.matcher.ok_or_else(|| self.failed("it is no project-matcher"))?;
        let len = projects.len();
        let handles = (Resource::new_borrow(0), Resource::new_borrow(1));
        match self.call(instance, matcher, handles, Call::Match(projects, Selected::new(len)), len)? {
            Call::Match(_, selected) => {
                Ok(Matched { selected: selected.into_answer(), problems: Vec::new() })
            }
            _ => Err(self.failed("its call went astray")),
        }
    }

    /// Runs one call within its limits; the instance is kept unless it trapped.
    fn call<P: ComponentNamedList + Lower>(
        &self,
        mut instance: Instance,
        function: TypedFunc<P, (Result<(), String>,)>,
        params: P,
        call: Call,
        items: usize,
    ) -> Result<Call, FilterError>
    where
        (Result<(), String>,): ComponentNamedList + Lift,
    {
        let limits = &self.shared.limits;
        let time = limits.for_items(items);
        instance.calls += 1;
        instance.store.set_epoch_deadline(ticks(time));
        let state = instance.store.data_mut();
        state.call = call;
        state.log.begin_call(limits.log);
        let result = function.call(&mut instance.store, params);
        let call = instance.store.data_mut().take_call();
        match result {
            Ok((answer,)) => {
                self.put_back(instance);
                match answer {
                    Ok(()) => Ok(call),
                    Err(text) => {
                        Err(self.failed(&format!("it reports an error: {}", cut(&text, ERROR_BYTES))))
                    }
                }
            }
            Err(e) => Err(self.failed(&explain(&e, instance.store.data(), time, limits.memory))),
        }
    }

    fn failed(&self, why: &str) -> FilterError {
        FilterError(format!("plugin `{}`: {why}", self.shown))
    }
}

/// A failed call in words.
fn explain(error: &wasmtime::Error, state: &HostState, time: Duration, memory: usize) -> String {
    let mut text = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => format!("it did not answer within {} ms", time.as_millis()),
        Some(trap) => format!("it trapped: {trap}"),
        None => error.root_cause().to_string(),
    };
    if state.meter.refused {
        text.push_str(&format!(" (it asked for more than {} MiB of memory)", memory >> 20));
    }
    if let Some(line) = &state.log.last_error {
        text.push_str(&format!("; it said: {line}"));
    }
    text
}
