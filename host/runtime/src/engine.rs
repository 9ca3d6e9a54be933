//! The engine that all plugins of a process share, and the thread that makes its deadlines pass.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use refgate_core::FilterSet;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine};

use crate::bindings::Imports;
use crate::directory::{self, Found, Listing, Staged};
use crate::imports::HostState;
use crate::inspect::{self, PluginInfo};
use crate::limits::COMPONENT_BYTES;
use crate::log::printable;
use crate::plugin::{LoadedPlugin, PluginSource};
use crate::proof::Proof;
use crate::set::{EmbeddedPlugin, Loaded, Plan, first};
use crate::{Cache, Limits, LoadError, LogLevel, LogSink, Manifest, Provenance, Settings};

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
}

/// Loads and runs plugins. Cheap to clone; a process needs one.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

/// What every plugin of a runtime refers to.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<HostState>,
    pub(crate) limits: Limits,
    pub(crate) log: LogSink,
    pub(crate) log_level: LogLevel,
    pub(crate) fuel: bool,
    /// Whether deadlines pass. Asked before any guest runs.
    pub(crate) proof: Arc<Proof>,
    cache: Option<Cache>,
    generations: AtomicU64,
    /// Compiled components by digest. A cell each, so that two plugins compile side by side and each only once.
    compiled: Mutex<HashMap<String, Arc<OnceLock<Component>>>>,
}

/// Components that are kept compiled; more than a host has plugins, so that only a stream of new ones starts over.
const COMPILED: usize = 64;

impl Runtime {
    /// Starts the engine, its ticking thread, and a proof that a guest without an end is stopped. The first guest to be
    /// started waits for that proof and is refused without it.
    ///
    /// Fails when this machine cannot run compiled wasm, or has no thread to spare.
    pub fn new(config: RuntimeConfig) -> Result<Runtime, LoadError> {
        let cannot = |what: &str, e: String| runtime_error(format!("{what}: {e}"));
        let engine =
            Engine::new(&engine_config(config.fuel)).map_err(|e| cannot("cannot start", format!("{e:#}")))?;
        let mut linker = Linker::new(&engine);
        Imports::add_to_linker::<_, HasSelf<HostState>>(&mut linker, |state| state)
            .map_err(|e| cannot("cannot offer its functions", format!("{e:#}")))?;
        let proof = Proof::begin(&engine, config.fuel, config.pause)
            .map_err(|e| cannot("cannot start its threads", e.to_string()))?;
        let shared = Shared {
            engine,
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
        LoadedPlugin::load(&self.shared, source)
    }

    /// The set of one generation: the embedded plugins, those of `plugins_dir`, and their settings by plugin name.
    ///
    /// A file `NAME.wasm` takes the place of the embedded plugin of the same name; other files than `*.wasm` are ignored.
    /// Refused as a whole when any of it cannot be used: a `.wasm` that does not load or has no world of refgate, one that
    /// has the name of an embedded plugin but not its world, a directory or file that other users can write, settings for a
    /// plugin that does not exist.
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
        let loaded = plan.load(&self.shared, &Loaded::default()).map_err(first)?;
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

    /// The same for a component that is no file: `name` is what its file would be called, without `.wasm`.
    pub fn filter_set_of_bytes(
        &self,
        name: &str,
        wasm: &[u8],
        settings: &Settings,
    ) -> Result<FilterSet, LoadError> {
        if !directory::legal_name(name) {
            return Err(LoadError::plugin(name, directory::NAME_RULE));
        }
        let staged =
            Staged { path: name.into(), digest: inspect::digest(wasm), wasm: wasm.to_vec(), signature: None };
        self.alone(
            name.to_owned(),
            Found { wasm: Some(staged), policy: None },
            settings,
            &Provenance::default(),
        )
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
        let loaded = plan.load(&self.shared, &Loaded::default()).map_err(first)?;
        Ok(loaded.set(self.next_generation(), None))
    }

    /// A number for a generation that nothing keeps after this process.
    pub(crate) fn next_generation(&self) -> u64 {
        self.shared.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What a component is and could do, without running it. `name` is for the error.
    pub fn inspect(&self, name: &str, bytes: &[u8]) -> Result<PluginInfo, LoadError> {
        let manifest = Manifest::read(bytes).map_err(|cause| LoadError::plugin(name, cause))?;
        let component = self.shared.compile(name, bytes)?;
        Ok(inspect::info(&self.shared.engine, &component, bytes, manifest))
    }
}

fn runtime_error(cause: String) -> LoadError {
    LoadError { subject: "the WebAssembly runtime".to_owned(), cause, settings: false }
}

impl Shared {
    /// Refuses to run guests when nothing would stop them.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        self.proof.check().map_err(runtime_error)
    }

    /// Compiles `bytes` if they are a component, once for all settings that it is started with.
    pub(crate) fn compile(&self, name: &str, bytes: &[u8]) -> Result<Component, LoadError> {
        inspect::check_header(bytes).map_err(|cause| LoadError::plugin(name, cause))?;
        if bytes.len() as u64 > COMPONENT_BYTES {
            let cause = format!("it is larger than {} MiB: build it smaller", COMPONENT_BYTES >> 20);
            return Err(LoadError::plugin(name, cause));
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
        let compile = || {
            Component::from_binary(&self.engine, bytes).map_err(|e| {
                LoadError::plugin(name, format!("it is damaged or uses what refgate does not run: {e:#}"))
            })
        };
        let warn = |cause: &str| (self.log)(LogLevel::Warn, name, &printable(cause));
        let component = match &self.cache {
            Some(cache) => cache.component(&self.engine, &digest, &warn, compile)?,
            None => compile()?,
        };
        Ok(cell.get_or_init(|| component).clone())
    }
}

/// The same verdicts on every machine: no threads, one NaN, no relaxed arithmetic; and every loop can be interrupted.
fn engine_config(fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(fuel)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .concurrency_support(false)
        // Only debuggers and profilers of native code read it, and it costs with every load.
        .native_unwind_info(false);
    config
}
