//! The engine that all plugins of a process share, and the thread that makes its deadlines pass.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use refgate_core::FilterSet;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::bindings::Imports;
use crate::compile::{self, Compiler, Job, Shape, Space};
use crate::directory::{self, Found, Listing, Staged};
use crate::imports::HostState;
use crate::inspect::{self, PluginInfo};
use crate::limits::COMPONENT_BYTES;
use crate::log::printable;
use crate::plugin::{LoadedPlugin, PluginSource};
use crate::proof::Proof;
use crate::set::{EmbeddedPlugin, Loaded, Plan, first};
use crate::{Cache, Limits, LoadError, LogLevel, LogSink, Manifest, Policy, Provenance, Settings};
use crate::{machine, scan};

/// What a runtime needs from its host.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Limits of every plugin.
    pub limits: Limits,
    /// Where log lines of plugins go.
    pub log: LogSink,
    /// The last level that is written.
    pub log_level: LogLevel,
    /// Blocks the calling thread for a real length of time: the deadlines of plugins rest on it. It is called from one
    /// thread of the runtime's own, for as long as the runtime exists.
    pub pause: Arc<dyn Fn(Duration) + Send + Sync>,
    /// Counts what guests execute, see [`crate::Usage::fuel`]. Calls take up to three times as long: for tests and
    /// benches of plugins only.
    pub fuel: bool,
    /// Where compiled components are kept from one process to the next.
    pub cache: Option<Cache>,
    /// Where components of others are compiled.
    pub compiler: Compiler,
}

/// Loads and runs plugins. Cheap to clone; a process needs one.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

/// What every plugin of a runtime refers to.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    shape: Shape,
    compiler: Compiler,
    pub(crate) linker: Linker<HostState>,
    pub(crate) limits: Limits,
    pub(crate) log: LogSink,
    pub(crate) log_level: LogLevel,
    pub(crate) fuel: bool,
    /// Whether deadlines pass. Asked before any guest runs.
    pub(crate) proof: Arc<Proof>,
    cache: Option<Cache>,
    generations: AtomicU64,
    /// Compiled components by digest. A cell each, so that two plugins compile side by side; of two that
    /// compile one file at the same moment, the first result is kept.
    compiled: Mutex<HashMap<String, Arc<OnceLock<Component>>>>,
}

/// Components that are kept compiled; more than a host has plugins, so that only a stream of new ones starts over.
const COMPILED: usize = 64;

impl Runtime {
    /// Starts the engine, its ticking thread, and a proof that a guest without an end is stopped. The first guest to be
    /// started waits for that proof and is refused without it.
    ///
    /// # Errors
    /// This machine cannot run compiled wasm, or gives it no thread or no memory: [`Fault::Machine`](crate::Fault).
    pub fn new(config: RuntimeConfig) -> Result<Runtime, LoadError> {
        // A machine may refuse the large memories without a limit that could be asked for.
        let spaces = if machine::is_tight() { &[Space::Fitted][..] } else { &[Space::Ample, Space::Fitted] };
        let memory = u64::try_from(config.limits.memory).unwrap_or(u64::MAX);
        let mut shape = Shape { memory, fuel: config.fuel, space: Space::Fitted };
        let mut tried = Err(LoadError::machine("nothing was tried"));
        for space in spaces {
            shape.space = *space;
            tried = start(&config, shape);
            if tried.is_ok() {
                break;
            }
        }
        let (engine, linker, proof) = tried?;
        let shared = Shared {
            engine,
            shape,
            compiler: config.compiler,
            linker,
            limits: config.limits,
            log: config.log,
            log_level: config.log_level,
            fuel: config.fuel,
            proof,
            cache: config.cache,
            generations: AtomicU64::new(0),
            compiled: Mutex::default(),
        };
        Ok(Runtime { shared: Arc::new(shared) })
    }

    /// Compiles a plugin, starts it and hands it its settings.
    ///
    /// Fails on everything that is not a component with a world of refgate, imports something else than refgate offers,
    /// or refuses its settings.
    pub fn load(&self, source: PluginSource) -> Result<LoadedPlugin, LoadError> {
        LoadedPlugin::load(&self.shared, source, &|| false)
    }

    /// The set of one generation: the embedded plugins, those of `plugins_dir`, and their settings by plugin name.
    ///
    /// A file `NAME.wasm` takes the place of the embedded plugin of the same name; other files than `*.wasm` are ignored.
    /// Refused as a whole when any of it cannot be used: a `.wasm` that does not load or has no world of refgate, one that
    /// has the name of an embedded plugin but not its world, a directory or file that other users can write.
    ///
    /// Embedded plugins without settings are compiled when they are first used; see
    /// [`EmbeddedPlugin::inert_without_settings`] for those that are then not run at all.
    pub fn filter_set(
        &self,
        plugins_dir: Option<&Path>,
        settings: &Settings,
        embedded: &[EmbeddedPlugin],
        provenance: &Provenance,
    ) -> Result<FilterSet, LoadError> {
        let listing = plugins_dir.map_or_else(|| Ok(Listing::default()), directory::list)?;
        let plan = Plan::new(listing, settings, embedded, provenance).map_err(first)?;
        let loaded = plan.load(&self.shared, &Loaded::default(), &|| false).map_err(first)?;
        Ok(loaded.set(self.next_generation(), None))
    }

    /// The same for a case, which sets what it is about: where it has settings for a plugin, those of `NAME.toml` are left
    /// aside. Settings for a plugin that is not there are a mistake.
    pub fn filter_set_for_case(
        &self,
        plugins_dir: Option<&Path>,
        settings: &Settings,
        embedded: &[EmbeddedPlugin],
    ) -> Result<FilterSet, LoadError> {
        let mut listing = plugins_dir.map_or_else(|| Ok(Listing::default()), directory::list)?;
        listing.found.iter_mut().for_each(|(name, found)| found.give_way(settings.contains_key(name)));
        let plan = Plan::new(listing, settings, embedded, &Provenance::default()).map_err(first)?;
        if let Some(unused) = plan.unused.first() {
            // Nobody prepares for a plugin to come in a case: the name is mistyped.
            return Err(LoadError::plugin(&unused.name, unused.to_string()));
        }
        let loaded = plan.load(&self.shared, &Loaded::default(), &|| false).map_err(first)?;
        Ok(loaded.set(self.next_generation(), None))
    }

    /// A set of one plugin file alone, without the embedded ones. Settings of other plugins are left aside.
    pub fn filter_set_of_file(
        &self,
        file: &Path,
        settings: &Settings,
        provenance: &Provenance,
    ) -> Result<FilterSet, LoadError> {
        let (name, found) = directory::file(file)?;
        self.alone(name, found, settings, provenance)
    }

    /// The same for a case, see [`filter_set_for_case`](Self::filter_set_for_case).
    pub fn filter_set_of_file_for_case(
        &self,
        file: &Path,
        settings: &Settings,
    ) -> Result<FilterSet, LoadError> {
        let (name, mut found) = directory::file(file)?;
        found.give_way(settings.contains_key(&name));
        self.alone(name, found, settings, &Provenance::default())
    }

    /// A set of one component alone, as the cases that it carries are run: with their settings, and of what is said about
    /// it only [how it runs](crate::Policy::for_own_cases).
    pub fn filter_set_for_own_case(
        &self,
        name: &str,
        wasm: &[u8],
        policy: &Policy,
        settings: &Settings,
    ) -> Result<FilterSet, LoadError> {
        if !directory::legal_name(name) {
            return Err(LoadError::plugin(name, directory::NAME_RULE));
        }
        let staged =
            Staged { path: name.into(), digest: inspect::digest(wasm), wasm: wasm.to_vec(), signature: None };
        let found = Found { wasm: Some(staged), policy: Some((String::new(), policy.for_own_cases())) };
        self.alone(name.to_owned(), found, settings, &Provenance::default())
    }

    fn alone(
        &self,
        name: String,
        found: Found,
        settings: &Settings,
        provenance: &Provenance,
    ) -> Result<FilterSet, LoadError> {
        let own = settings.get(&name).map(|own| (name.clone(), own.clone())).into_iter().collect();
        let listing = Listing { found: [(name, found)].into(), refused: Vec::new() };
        let plan = Plan::new(listing, &own, &[], provenance).map_err(first)?;
        let loaded = plan.load(&self.shared, &Loaded::default(), &|| false).map_err(first)?;
        Ok(loaded.set(self.next_generation(), None))
    }

    /// A number for a generation that nothing keeps after this process.
    pub(crate) fn next_generation(&self) -> u64 {
        self.shared.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What a component is and could do, without running it. `name` is for the error.
    pub fn inspect(&self, name: &str, bytes: &[u8]) -> Result<PluginInfo, LoadError> {
        let manifest = Manifest::read(bytes).map_err(|cause| LoadError::plugin(name, cause))?;
        let component = self.shared.compile(name, bytes, From::Elsewhere, &|| false)?;
        Ok(inspect::info(&self.shared.engine, &component, bytes, manifest))
    }
}

impl Shared {
    /// Refuses to run guests when nothing would stop them.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        self.proof.check().map_err(LoadError::machine)
    }

    /// Compiles `bytes` if they are a component, once for all settings that it is started with, as long as it is not given
    /// up.
    pub(crate) fn compile(
        &self,
        name: &str,
        bytes: &[u8],
        from: From,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Component, LoadError> {
        let refuse = |cause: String| LoadError::plugin(name, cause);
        inspect::check_header(bytes).map_err(refuse)?;
        if bytes.len() as u64 > COMPONENT_BYTES {
            return Err(refuse(format!("it is larger than {} MiB: build it smaller", COMPONENT_BYTES >> 20)));
        }
        let digest = inspect::digest(bytes);
        let cell = {
            let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
            if compiled.len() >= COMPILED {
                compiled.clear();
            }
            compiled.entry(digest.clone()).or_default().clone()
        };
        if let Some(component) = cell.get() {
            return Ok(component.clone());
        }
        let job = Job { engine: &self.engine, shape: self.shape, name, wasm: bytes, given_up };
        let compile = || match from {
            From::Program => compile::here(&job),
            From::Elsewhere => {
                let outline = scan::outline(bytes).map_err(refuse)?;
                scan::bodies(bytes, &outline).map_err(refuse)?;
                self.compiler.compile(&job)
            }
        };
        let warn = |cause: &str| (self.log)(LogLevel::Warn, name, &printable(cause));
        let component = match &self.cache {
            Some(cache) => cache.component(&self.engine, &digest, &warn, compile)?,
            None => compile()?,
        };
        Ok(cell.get_or_init(|| component).clone())
    }
}

/// Who made a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// It is part of the program.
    Program,
    /// Anybody.
    Elsewhere,
}

/// The engine, what it offers to guests, and the proof that is on its way.
fn start(config: &RuntimeConfig, shape: Shape) -> Result<(Engine, Linker<HostState>, Arc<Proof>), LoadError> {
    let cannot = |what: &str, e: wasmtime::Error| match machine::refusal(&e) {
        Some(cause) => LoadError::machine(cause),
        None => LoadError::machine(format!("{what}: {e:#}")),
    };
    let engine = Engine::new(&shape.config()).map_err(|e| cannot("the engine cannot start", e))?;
    let mut linker = Linker::new(&engine);
    Imports::add_to_linker::<_, HasSelf<HostState>>(&mut linker, |state| state)
        .map_err(|e| cannot("the engine cannot offer its functions", e))?;
    let proof = Proof::begin(&engine, config.fuel, config.pause.clone()).map_err(LoadError::machine)?;
    Ok((engine, linker, proof))
}
