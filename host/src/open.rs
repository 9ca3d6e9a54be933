//! From a configuration to a site that is ready: ref-db, repositories, filters.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::Rng;
use refgate_core::{Clock, FilterSet, FilterSource, NoopRefDb, Observer, RefDb};
use refgate_git::GitRepositories;
use refgate_refdb::{Location, OpenMode, Opened};
use refgate_runtime::{CompileLimits, Compiler, LogLevel, LogSink};

use crate::config::Config;
use crate::filters::Loader;
use crate::gated::Witness;
use crate::known::Known;
use crate::record::Recorder;
use crate::{Error, Gate, GateParts, Site};

/// Fills bytes that nobody can guess, or says why it cannot.
pub type Secret = Arc<dyn Fn(&mut [u8]) -> Result<(), String> + Send + Sync>;

/// How the program that compiles a plugin is started. Its input and output are set by refgate; it needs no environment.
pub type CompilerProgram = Arc<dyn Fn() -> Command + Send + Sync>;

/// What only the program can give: time, randomness and a log.
#[derive(Clone)]
pub struct System {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for the wait.
    pub rng: Arc<Mutex<dyn Rng + Send>>,
    /// Blocks the calling thread for a real length of time: the time limits of filters rest on it.
    pub pause: Arc<dyn Fn(Duration) + Send + Sync>,
    /// The key of the cache of compiled plugins is made of it.
    pub secret: Secret,
    /// A program that does nothing but [`compile_child`](refgate_runtime::compile_child): plugins are compiled by it, within
    /// the limits of the configuration. `None`: they are compiled in this process, without limits.
    pub compiler: Option<CompilerProgram>,
    /// Takes the log lines of filters: level, plugin, text. The plugin is empty where refgate speaks of all of them.
    pub log: LogSink,
}

impl System {
    /// Where plugins are compiled, and within what limits.
    pub fn compiler(&self, limits: CompileLimits) -> Compiler {
        match &self.compiler {
            Some(program) => Compiler::Process { program: program.clone(), limits },
            None => Compiler::Here,
        }
    }
}

/// A time since 1970 as people read it, in UTC.
pub fn utc(since_1970: Duration) -> String {
    let second = i64::try_from(since_1970.as_secs()).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    second.map_or_else(|| "-".to_owned(), |second| second.to_string())
}

/// Opens the ref-db that a configuration names. Only with `create` a missing store is made.
///
/// # Errors
/// No url, an unknown kind of store (the caller's mistake); a store that is missing, damaged or cannot be reached.
pub async fn open_refdb(config: &Config, create: bool, clock: Arc<dyn Clock>) -> Result<Opened, Error> {
    let Some(url) = config.ref_database.url.clone() else {
        return Err(Error::usage("the configuration has no `ref-database.url`").hint(
            "name the ref-db that all sites share, for example `url = sqlite:/srv/refgate/refdb.sqlite`",
        ));
    };
    let location = location(config, url);
    let mode = if create { OpenMode::Create } else { OpenMode::Existing };
    let opened = tokio::task::spawn_blocking(move || refgate_refdb::open(&location, mode, clock)).await;
    match opened {
        Ok(opened) => Ok(opened?),
        Err(died) => Err(Error::failed(format!("a worker thread died: {died}"))),
    }
}

fn location(config: &Config, url: String) -> Location {
    let refdb = &config.ref_database;
    Location { url, base_dir: refdb.base_dir.clone(), access: refdb.access.clone() }
}

/// What others than owner and group can do with the file of the ref-db, and how to stop that; `None` when nothing.
pub fn exposed_refdb(config: &Config) -> Option<String> {
    let url = config.ref_database.url.clone().filter(|_| config.ref_database.enabled)?;
    refgate_refdb::exposed(&location(config, url))
}

impl Gate {
    /// From a configuration: its ref-db, its repositories and its filters.
    pub async fn from_config(config: Config, system: &System) -> Result<Gate, Error> {
        Ok(Site::open(config, system).await?.gate)
    }
}

impl Site {
    /// From a configuration: its ref-db, its repositories and its filters.
    ///
    /// # Errors
    /// Anything that would leave the gate incomplete: nothing is replicated with half of it. A ref-db that is not the one
    /// that this site [knows](crate::known).
    pub async fn open(config: Config, system: &System) -> Result<Site, Error> {
        let mut filters = Loader::for_config(system, &config)?.load(&config)?;
        let recorder = recorder(&config, system)?;
        filters.observer = recorder.clone().map(|recorder| recorder as Arc<dyn Observer>);
        Ok(Site { recorder, ..Site::open_with(config, system, filters.into()).await? })
    }

    /// The same for writes of this site's own clients. Its filters are those that a command would have, or else those that
    /// were live last, or what does load: see [`Loader::load_for_writes`]. What is wrong with them goes to the log of
    /// `system`, and no file in the plugin directory is an error. Loads filters only where one of them could say something,
    /// as compiling them takes longer than a push: the shipped ones say what the tables say.
    ///
    /// # Errors
    /// As [`Site::open`] for everything but plugins; of plugins see [`Loader::load_for_writes`].
    pub async fn open_for_writes(config: Config, system: &System) -> Result<Site, Error> {
        let selects = !config.patterns.is_empty()
            || !config.plugins.require.is_empty()
            || !config.plugin_settings.is_empty()
            || config.plugins.directory.as_ref().is_some_and(|dir| !holds_no_plugin(dir));
        let filters = if selects {
            Loader::for_config(system, &config)?.load_for_writes(&config)?
        } else {
            FilterSet::default()
        };
        Site::open_with(config, system, filters.into()).await
    }

    /// The same with filters from elsewhere, such as a [`Live`](crate::live::Live) set.
    ///
    /// # Errors
    /// As [`Site::open`].
    pub async fn open_with(
        config: Config,
        system: &System,
        filters: Arc<dyn FilterSource>,
    ) -> Result<Site, Error> {
        refgate_git::set_local_limit(config.site.git_timeout);
        let known = Known::of(&config);
        let before = known.read();
        let refdb: RefDb = match config.ref_database.enabled {
            true => open_refdb(&config, false, system.clock.clone()).await?.db,
            // Nothing is read, so nothing needs to be there.
            false => RefDb::new(NoopRefDb),
        };
        known.check(before, &refdb)?;
        let repositories = GitRepositories::new(config.site.base_path.clone());
        let gate = Gate::new(GateParts {
            refdb,
            local: Arc::new(repositories.clone()),
            filters,
            clock: system.clock.clone(),
            rng: system.rng.clone(),
            config,
        });
        Ok(Site { gate, repositories, recorder: None, witness: Witness::Hook })
    }
}

/// The recorder that a configuration asks for.
pub(crate) fn recorder(config: &Config, system: &System) -> Result<Option<Arc<Recorder>>, Error> {
    let Some(file) = &config.plugins.record else { return Ok(None) };
    let log = system.log.clone();
    // No plugin says it, so no plugin is named.
    let note = Box::new(move |text: &str| log(LogLevel::Warn, "", text));
    Ok(Some(Arc::new(Recorder::open(file, config.plugins.record_max, note)?)))
}

/// Whether a plugin directory certainly adds nothing to the shipped filters, which select by `projects.pattern` alone.
fn holds_no_plugin(dir: &std::path::Path) -> bool {
    let is_plugin = |path: std::path::PathBuf| path.extension().is_some_and(|e| e == "wasm");
    match dir.read_dir() {
        Ok(entries) => {
            entries.map(|e| e.map(|e| is_plugin(e.path()))).all(|found| matches!(found, Ok(false)))
        }
        Err(_) => false,
    }
}
