//! One plugin: its code, its settings, and the instances that answer its calls.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;
use refgate_core::{Answer, FilterError, Matched, Project, RefBatch};

use crate::engine::{From, Shared};
use crate::imports::{Call, HostState};
use crate::inspect::{self, World, exported};
use crate::instance::{Code, Failure, Function, Instance, NoStart};
use crate::limits::{ERROR_BYTES, IDLE_INSTANCES};
use crate::log::{PluginLog, cut};
use crate::meter::Meter;
use crate::usage::{Budget, Usage};
use crate::verdicts::{Gathered, Selected};
use crate::{Fault, Limits, LoadError, Manifest, digest};

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is part of the program.
    Embedded,
    /// A file.
    File(PathBuf),
}

/// Whether calls of a plugin may share an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// An instance serves many calls, one after the other. What a guest keeps in its memory is still there at the next.
    #[default]
    Reuse,
    /// Every call gets an instance of its own, started and configured for it.
    Fresh,
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
    /// Its own limits; without them those of the runtime hold.
    pub limits: Option<Limits>,
    /// Whether its calls may share an instance.
    pub isolation: Isolation,
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
        Manifest::admit(&self.bytes, &mut self.settings).map_err(|(settings, cause)| match settings {
            true => LoadError::settings(&self.shown(), cause),
            false => LoadError::plugin(&self.shown(), cause),
        })
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
    /// Compiles and starts it, as long as it is not given up.
    pub(crate) fn load(
        shared: &Arc<Shared>,
        mut source: PluginSource,
        given_up: &dyn Fn() -> bool,
    ) -> Result<LoadedPlugin, LoadError> {
        let manifest = source.admit()?.map(Arc::new);
        let plugin = Plugin::new(shared.clone(), source);
        let code = plugin.compile(given_up)?;
        let worlds = plugin.code.get_or_init(|| Ok(code)).as_ref().map_err(LoadError::clone)?.worlds.clone();
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
        self.plugin.look(world, batch).map_err(|e| e.error)
    }

    /// A look, and what it used. Nothing was used when no instance could be started.
    pub fn look_measured(&self, world: World, batch: Arc<RefBatch>) -> (Result<Answer, FilterError>, Usage) {
        let mut usage = Usage::default();
        (self.plugin.look_measured(world, batch, &mut usage).map_err(|e| e.error), usage)
    }

    /// One answer per project, on this thread.
    pub fn matches(&self, projects: Arc<[Project]>) -> Result<Matched, FilterError> {
        self.plugin.matches(projects).map_err(|e| e.error)
    }

    /// One answer per project, and what the call used. Nothing was used when no instance could be started.
    pub fn matches_measured(&self, projects: Arc<[Project]>) -> (Result<Matched, FilterError>, Usage) {
        let mut usage = Usage::default();
        (self.plugin.matches_measured(projects, &mut usage).map_err(|e| e.error), usage)
    }
}

/// A call that failed.
pub(crate) struct CallError {
    /// In words.
    pub(crate) error: FilterError,
    /// The machine or the host is at fault: it says nothing about the plugin.
    pub(crate) ours: bool,
}

pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    digest: String,
    shown: String,
    from: From,
    settings: String,
    bytes: Cow<'static, [u8]>,
    shared: Arc<Shared>,
    code: OnceLock<Result<Code, LoadError>>,
    limits: Limits,
    isolation: Isolation,
    /// Instances that wait for the next call; taken and put back without a lock.
    idle: ArrayQueue<Instance>,
}

impl Plugin {
    fn new(shared: Arc<Shared>, source: PluginSource) -> Plugin {
        Plugin {
            name: source.name.as_str().into(),
            digest: digest(&source.bytes),
            shown: source.shown(),
            from: match source.origin {
                Origin::Embedded => From::Program,
                Origin::File(_) => From::Elsewhere,
            },
            settings: serde_json::Value::Object(source.settings).to_string(),
            bytes: source.bytes,
            limits: source.limits.unwrap_or(shared.limits),
            isolation: source.isolation,
            shared,
            code: OnceLock::new(),
            idle: ArrayQueue::new(IDLE_INSTANCES),
        }
    }

    /// `sha256:…` of the component.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    fn code(&self) -> Result<&Code, LoadError> {
        self.code.get_or_init(|| self.compile(&|| false)).as_ref().map_err(LoadError::clone)
    }

    fn compile(&self, given_up: &dyn Fn() -> bool) -> Result<Code, LoadError> {
        let refuse = |cause: String| LoadError::plugin(&self.shown, cause);
        let component = self.shared.compile(&self.shown, &self.bytes, self.from, given_up)?;
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
        // After the compiler, which takes longer than the proof.
        self.shared.check()?;
        let (shared, limits) = (&self.shared, self.limits);
        let state = HostState {
            call: Call::None,
            name: self.name.clone(),
            meter: Meter::new(limits),
            budget: Budget::new(&limits),
            log: PluginLog::new(shared.log.clone(), shared.log_level, self.name.clone(), limits.log),
            limits,
        };
        Instance::start(shared, code, &self.settings, state).map_err(|no_start| match no_start {
            NoStart::Settings(problems) => {
                let problems = refgate_core::in_one_line(&problems.to_string());
                LoadError::settings(&self.shown, format!("it refuses its settings: {problems}"))
            }
            NoStart::Failed(Failure::Plugin(why)) => {
                LoadError::plugin(&self.shown, format!("it does not start: {why}"))
            }
            NoStart::Failed(Failure::Host(why)) => LoadError::machine(why),
        })
    }

    /// An idle instance, or else a fresh one.
    fn take(&self, usage: &mut Usage) -> Result<Instance, CallError> {
        if let Some(instance) = self.idle.pop() {
            return Ok(instance);
        }
        usage.fresh = true;
        self.start()
            .map_err(|e| CallError { ours: e.fault == Fault::Machine, error: FilterError(e.to_string()) })
    }

    /// Keeps an instance for the next call, if it may serve one; else its memory is given back here.
    fn put_back(&self, instance: Instance) {
        if self.isolation == Isolation::Reuse && instance.is_good() {
            // With as many idle ones as there may be, this one is dropped.
            let _one_too_many = self.idle.push(instance);
        }
    }

    pub(crate) fn look(&self, world: World, batch: Arc<RefBatch>) -> Result<Answer, CallError> {
        self.look_measured(world, batch, &mut Usage::default())
    }

    fn look_measured(
        &self,
        world: World,
        batch: Arc<RefBatch>,
        usage: &mut Usage,
    ) -> Result<Answer, CallError> {
        let len = batch.len();
        let call = Call::Look(batch, Gathered::new(len, &self.limits));
        let filter = |instance: &Instance| instance.filter(world).ok_or_else(|| format!("it is no {world}"));
        match self.call(filter, call, len, usage)? {
            Call::Look(_, gathered) => Ok(gathered.into_answer()),
            _ => Err(self.failed("its call went astray")),
        }
    }

    pub(crate) fn matches(&self, projects: Arc<[Project]>) -> Result<Matched, CallError> {
        self.matches_measured(projects, &mut Usage::default())
    }

    fn matches_measured(&self, projects: Arc<[Project]>, usage: &mut Usage) -> Result<Matched, CallError> {
        let len = projects.len();
        let call = Call::Match(projects, Selected::new(len, &self.limits));
        let matcher =
            |instance: &Instance| instance.matcher().ok_or_else(|| "it is no project-matcher".to_owned());
        match self.call(matcher, call, len, usage)? {
            Call::Match(_, selected) => {
                Ok(Matched { selected: selected.into_answer(), problems: Vec::new() })
            }
            _ => Err(self.failed("its call went astray")),
        }
    }

    /// Runs one call; the instance is kept unless it trapped or reached a limit.
    fn call<A: 'static, B: 'static>(
        &self,
        function: impl FnOnce(&Instance) -> Result<Function<A, B>, String>,
        call: Call,
        items: usize,
        usage: &mut Usage,
    ) -> Result<Call, CallError> {
        let mut instance = self.take(usage)?;
        let function = match function(&instance) {
            Ok(function) => function,
            Err(why) => {
                self.put_back(instance);
                return Err(self.failed(&why));
            }
        };
        let answer =
            instance.call(function, call, items, &self.shared.proof, usage).map_err(
                |failure| match failure {
                    Failure::Plugin(why) => self.failed(&why),
                    Failure::Host(why) => {
                        CallError { error: FilterError(LoadError::machine(why).to_string()), ours: true }
                    }
                },
            )?;
        self.put_back(instance);
        answer.map_err(|text| self.failed(&format!("it reports an error: {}", cut(&text, ERROR_BYTES))))
    }

    fn failed(&self, why: &str) -> CallError {
        CallError { error: FilterError(format!("plugin `{}`: {why}", self.shown)), ours: false }
    }
}
