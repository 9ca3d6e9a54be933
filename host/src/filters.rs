//! From a configuration to the filters that decide.

use std::path::PathBuf;
use std::sync::Arc;

use refgate_core::{
    Answer, BoxFuture, Clock, FilterError, FilterSet, FilterSource, Project, RefBatch, RefFilter,
};
use refgate_filters::EMBEDDED;
use refgate_runtime::{
    Cache, CompileLimits, EmbeddedPlugin, Event, Fault, Limits, LoadError, LogLevel, LogSink, NewBuild,
    PluginInfo, PluginStatus, Provenance, Require, Runtime, RuntimeConfig, Settings, Signers, State,
    SwapOptions, Swapper, Unused, World,
};
use serde_json::Value;

use crate::config::Config;
use crate::{Error, System, did_you_mean};

/// The name of the embedded matcher, which `projects.pattern` is for.
pub const MATCHER: &str = "project-matcher";

/// Where filters come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The shipped ones alone.
    Shipped,
    /// The shipped ones, and what is in a directory.
    Directory(PathBuf),
    /// One file alone.
    Alone(PathBuf),
}

impl Source {
    /// What a configuration names.
    pub fn of(config: &Config) -> Source {
        match &config.plugins.directory {
            Some(dir) => Source::Directory(dir.clone()),
            None => Source::Shipped,
        }
    }
}

/// Stands for plugins that do not load and never did: what they would say of what other sites wrote nobody knows, so a hook
/// takes none of it over. What a client writes here is not its business.
struct UnknownPolicy;

impl RefFilter for UnknownPolicy {
    fn name(&self) -> &str {
        "unknown-policy"
    }

    fn look(&self, _: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        let why = "a plugin of this site does not load and never did; its operator finds it by `refgate plugins list`";
        Box::pin(std::future::ready(Err(FilterError(why.into()))))
    }
}

/// How the plugins of a configuration stand.
#[derive(Clone, Debug)]
pub struct Survey {
    /// In name order.
    pub plugins: Vec<PluginStatus>,
    /// The number of the set that is live or, when nothing is refused, will be with the next command.
    pub generation: u64,
    /// Why a command that starts now would not: exit code 2.
    pub refused: Option<Error>,
    /// What somebody should look at though nothing is refused for it.
    pub warnings: Vec<String>,
    /// Why the live set is not saved, so that a restart or a rollback has nothing to go by.
    pub unsaved: Option<String>,
}

/// Loads filters. Components are compiled once for all configurations.
pub struct Loader {
    runtime: Runtime,
    clock: Arc<dyn Clock>,
    log: LogSink,
}

impl Loader {
    /// Starts the WebAssembly engine.
    pub fn new(system: &System) -> Result<Loader, Error> {
        Loader::with(system, None, CompileLimits::default())
    }

    /// The same with the limits of a configuration, and without its cache.
    pub fn without_cache(system: &System, config: &Config) -> Result<Loader, Error> {
        Loader::with(system, None, config.plugins.compile)
    }

    /// The same, with the cache of compiled plugins that belongs to the saved state of a configuration.
    pub fn for_config(system: &System, config: &Config) -> Result<Loader, Error> {
        let cache = config.plugins.state.as_ref().and_then(|dir| {
            // Without the state there is no cache either, and the state says why.
            State::open(dir).ok()?;
            match Cache::open(&dir.join("cache"), &mut |bytes| (system.secret)(bytes)) {
                Ok(cache) => Some(cache),
                Err(e) => {
                    (system.log)(LogLevel::Warn, "", &format!("{e}; plugins are compiled by every process"));
                    None
                }
            }
        });
        Loader::with(system, cache, config.plugins.compile)
    }

    fn with(system: &System, cache: Option<Cache>, limits: CompileLimits) -> Result<Loader, Error> {
        let runtime = Runtime::new(RuntimeConfig {
            limits: Limits::default(),
            log: system.log.clone(),
            log_level: LogLevel::Info,
            pause: system.pause.clone(),
            fuel: false,
            cache,
            compiler: system.compiler(limits),
        });
        Ok(Loader {
            runtime: runtime.map_err(refused)?,
            clock: system.clock.clone(),
            log: system.log.clone(),
        })
    }

    /// The set of a configuration: its plugin directory beside the shipped filters. What becomes live by it is saved where
    /// `plugins.state` says, and what an operator rolled back stays out.
    ///
    /// # Errors
    /// Any plugin that cannot be used, or that must be there and is not, refuses the whole set.
    pub fn load(&self, config: &Config) -> Result<FilterSet, Error> {
        let (swapper, events) = self.swapper(config, Swapper::start_strict)?;
        events.iter().filter(|event| event.is_warning()).for_each(|event| self.report(event));
        Ok((*swapper.current()).clone())
    }

    /// The set for writes of this site's own clients: the same where it loads; else the set that was live last, or what does
    /// load. No file in the plugin directory can stop a client's push: what is wrong is a warning here. Where a plugin never
    /// loaded nobody knows its policy, so the set holds back whatever catch-up would take over from other sites.
    ///
    /// # Errors
    /// The machine can run no plugin; or `projects.pattern` is refused, and no set was live that could say what is meant.
    pub fn load_for_writes(&self, config: &Config) -> Result<FilterSet, Error> {
        let provenance = provenance(config).unwrap_or_else(|e| {
            // Nobody answers for a file then. What is part of the program needs nobody.
            self.log_line(LogLevel::Warn, &e.message);
            Provenance { require: Require::Signature, ..Provenance::default() }
        });
        let options = self.options_with(config, provenance);
        match Swapper::start_for_writes(&self.runtime, options) {
            Ok((swapper, events)) => {
                events.iter().filter(|event| event.is_warning()).for_each(|event| self.report(event));
                let mut set = (*swapper.current()).clone();
                if events.iter().any(|event| matches!(event, Event::KeptForWrites { generation: None, .. })) {
                    set.fetch.push(Arc::new(UnknownPolicy));
                }
                Ok(set)
            }
            Err(e) if e.fault == Fault::Machine => Err(refused(e)),
            Err(e) => {
                self.log_line(LogLevel::Error, &e.to_string());
                Err(Error::usage("this site cannot tell which projects replicate, so it takes no push now")
                    .hint("its operator finds the cause with `refgate config check`"))
            }
        }
    }

    /// A swapper for a configuration, started by `start`.
    pub(crate) fn swapper(
        &self,
        config: &Config,
        start: impl FnOnce(&Runtime, SwapOptions) -> Result<(Swapper, Vec<Event>), LoadError>,
    ) -> Result<(Swapper, Vec<Event>), Error> {
        start(&self.runtime, self.options(config)?).map_err(refused)
    }

    /// What a swapper needs to know of a configuration.
    pub(crate) fn options(&self, config: &Config) -> Result<SwapOptions, Error> {
        Ok(self.options_with(config, provenance(config)?))
    }

    fn options_with(&self, config: &Config, provenance: Provenance) -> SwapOptions {
        let clock = self.clock.clone();
        SwapOptions {
            directory: config.plugins.directory.clone(),
            state: self.state(config),
            settings: settings(config),
            embedded: embedded(),
            require: config.plugins.require.clone(),
            now_ms: Arc::new(move || clock.unix_time().as_millis() as u64),
            prove: None,
            observer: None,
            failures: None,
            shadow_looks: 0,
            max_changed_percent: config.plugins.max_changed_percent,
            provenance,
        }
    }

    /// Without a place to save the live set decisions are as good; only a restart or a rollback has nothing to go by. That
    /// is said where something is saved that this user cannot know; see [`Survey::unsaved`] for the rest.
    fn state(&self, config: &Config) -> Option<State> {
        let dir = config.plugins.state.as_ref()?;
        match State::open(dir) {
            Ok(state) => Some(state),
            Err(e) => {
                if dir.exists() {
                    self.log_line(LogLevel::Warn, &unsaved(&e));
                }
                None
            }
        }
    }

    pub(crate) fn report(&self, event: &Event) {
        let level = if event.is_warning() { LogLevel::Warn } else { LogLevel::Info };
        self.log_line(level, &told(event));
    }

    pub(crate) fn log_line(&self, level: LogLevel, text: &str) {
        // No plugin says this: refgate does.
        (self.log)(level, "", text);
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// How every plugin of a configuration stands, without making anything live or saving it.
    ///
    /// # Errors
    /// The machine can run no plugin. One that cannot be used is in the result, and so is a state that cannot be read.
    pub fn survey(&self, config: &Config) -> Result<Survey, Error> {
        let surveyed = Swapper::survey(&self.runtime, self.options(config)?).map_err(refused)?;
        let forgotten = surveyed.forgotten.map(|e| e.to_string());
        let unused = surveyed.unused.into_iter().map(|unused| told(&Event::Unused(unused)));
        let warnings = forgotten.into_iter().chain(unused).collect();
        let unsaved = match &config.plugins.state {
            Some(dir) if !dir.exists() => State::open(dir).err().map(|e| unsaved(&e)),
            _ => None,
        };
        let (plugins, generation) = (surveyed.plugins, surveyed.generation);
        Ok(Survey { plugins, generation, refused: surveyed.refused.map(refused), warnings, unsaved })
    }

    /// The set of a configuration with filters from somewhere else; nothing is saved.
    ///
    /// # Errors
    /// Any plugin that cannot be used, or for which nobody answers as `plugins.verify` demands.
    pub fn load_from(&self, source: &Source, config: &Config) -> Result<FilterSet, Error> {
        let settings = settings(config);
        let set = self.set_from(source, &settings, &provenance(config)?).map_err(refused)?;
        if !matches!(source, Source::Alone(_)) {
            let plugins: Vec<String> = set.plugins.iter().map(|p| p.name.clone()).collect();
            for name in settings.into_keys().filter(|name| !plugins.contains(name)) {
                self.report(&Event::Unused(Unused { name, plugins: plugins.clone() }));
            }
        }
        Ok(set)
    }

    fn set_from(
        &self,
        source: &Source,
        settings: &Settings,
        provenance: &Provenance,
    ) -> Result<FilterSet, LoadError> {
        match source {
            Source::Shipped => self.runtime.filter_set(None, settings, &embedded(), provenance),
            Source::Directory(dir) => self.runtime.filter_set(Some(dir), settings, &embedded(), provenance),
            Source::Alone(file) => self.runtime.filter_set_of_file(file, settings, provenance),
        }
    }

    /// The set for a case of `config`: what it sets for a plugin stands in the place of what `NAME.toml` sets.
    ///
    /// # Errors
    /// Any plugin that cannot be used.
    pub fn load_for_case(&self, source: &Source, config: &Config) -> Result<FilterSet, Error> {
        let settings = settings(config);
        let set = match source {
            Source::Shipped => self.runtime.filter_set_for_case(None, &settings, &embedded()),
            Source::Directory(dir) => self.runtime.filter_set_for_case(Some(dir), &settings, &embedded()),
            Source::Alone(file) => self.runtime.filter_set_of_file_for_case(file, &settings),
        };
        set.map_err(refused)
    }

    /// The set for a case that a component carries: the component alone, set as the case says, and of its `NAME.toml` only
    /// what says how it runs.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn load_for_own_case(&self, build: &NewBuild<'_>, config: &Config) -> Result<FilterSet, Error> {
        let NewBuild { name, wasm, policy } = *build;
        self.runtime.filter_set_for_own_case(name, wasm, policy, &settings(config)).map_err(refused)
    }

    /// Whether the plugins of a source can be used at all; their settings are left aside.
    ///
    /// # Errors
    /// What [`load_from`](Self::load_from) would say whatever the configuration.
    pub fn probe(&self, source: &Source) -> Result<(), Error> {
        if *source == Source::Shipped {
            return Ok(());
        }
        let set = self.set_from(source, &Settings::new(), &Provenance::default());
        match set {
            Err(e) if e.fault != Fault::Settings => Err(refused(e)),
            _ => Ok(()),
        }
    }

    /// What a component is and could do, without running it.
    pub fn inspect(&self, name: &str, bytes: &[u8]) -> Result<PluginInfo, Error> {
        self.runtime.inspect(name, bytes).map_err(refused)
    }
}

/// An event in words, with what is meant by a name that is mistyped.
pub(crate) fn told(event: &Event) -> String {
    let near = match event {
        Event::Unused(unused) => did_you_mean(&unused.name, unused.plugins.iter().map(String::as_str)),
        _ => None,
    };
    match near {
        Some(near) => format!("{event}; did you mean `{near}`?"),
        None => event.to_string(),
    }
}

fn unsaved(e: &LoadError) -> String {
    format!(
        "{e}; the live set is not saved, and what was rolled back is not known: run refgate as the user who owns it, or \
         set `plugins.state`"
    )
}

/// Who has to answer for plugin files. A list of signers that cannot be read refuses everything.
fn provenance(config: &Config) -> Result<Provenance, Error> {
    let require = config.plugins.verify;
    let Some(file) = &config.plugins.signers else {
        return match require {
            Require::Signature => Err(Error::usage("`plugins.verify = signature` needs a list of signers")
                .hint("set `plugins.signers` to a file in the format of git's allowed signers")),
            _ => Ok(Provenance { require, ..Provenance::default() }),
        };
    };
    let unusable = |e: String| Error::usage(format!("the list of signers `{}`: {e}", file.display()));
    let unreadable = |e: &dyn std::fmt::Display| unusable(format!("it cannot be read: {e}"));
    let text = refgate_runtime::read_side_file(file).map_err(|e| unreadable(&e))?;
    let text = String::from_utf8(text).map_err(|e| unreadable(&e))?;
    refgate_runtime::check_place(file).map_err(unusable)?;
    Ok(Provenance { require, signers: Signers::parse(&text).map_err(unusable)? })
}

/// The settings of a configuration, by plugin.
pub(crate) fn settings(config: &Config) -> Settings {
    let mut settings = config.plugin_settings.clone();
    if !config.patterns.is_empty() {
        let patterns = config.patterns.iter().map(|p| Value::String(p.clone())).collect();
        let key = settings.entry(MATCHER.to_owned()).or_default();
        key.insert("pattern".to_owned(), Value::Array(patterns));
    }
    settings
}

/// The shipped filters as the runtime takes them.
fn embedded() -> Vec<EmbeddedPlugin> {
    EMBEDDED
        .iter()
        .filter_map(|e| {
            let world = World::from_name(e.world)?;
            Some(EmbeddedPlugin {
                name: e.name,
                world,
                wasm: e.wasm,
                inert_without_settings: e.inert_without_settings,
            })
        })
        .collect()
}

/// Whether every matcher of a set selects a project.
pub async fn matches(set: &FilterSet, project: &Project) -> Result<bool, Error> {
    let one: Arc<[Project]> = Arc::new([project.clone()]);
    for matcher in &set.projects {
        let answer = matcher.matches(one.clone()).await;
        let answer =
            answer.map_err(|e| Error::failed(format!("project matcher `{}` failed: {e}", matcher.name())))?;
        if answer.selected != [true] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A plugin that does not load is a matter of configuration.
pub(crate) fn refused(e: LoadError) -> Error {
    Error::usage(e.to_string())
}
