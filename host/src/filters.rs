//! From a configuration to the filters that decide.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use refgate_core::{FilterSet, Project};
use refgate_filters::EMBEDDED;
use refgate_runtime::{
    EmbeddedPlugin, Limits, LoadError, LogLevel, PluginInfo, Runtime, RuntimeConfig, World,
};
use serde_json::Value;

use crate::config::Config;
use crate::{Error, System};

/// The name of the embedded matcher, which `projects.pattern` is for.
const MATCHER: &str = "project-matcher";

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

/// Loads filters. Components are compiled once for all configurations.
pub struct Loader {
    runtime: Runtime,
}

impl Loader {
    /// Starts the WebAssembly engine.
    pub fn new(system: &System) -> Result<Loader, Error> {
        let runtime = Runtime::new(RuntimeConfig {
            limits: Limits::default(),
            log: system.log.clone(),
            log_level: LogLevel::Info,
            pause: system.pause.clone(),
        });
        Ok(Loader { runtime: runtime.map_err(refused)? })
    }

    /// The set of a configuration: its plugin directory beside the shipped filters.
    ///
    /// # Errors
    /// Any plugin that cannot be used, or that must be there and is not, refuses the whole set.
    pub fn load(&self, config: &Config) -> Result<FilterSet, Error> {
        let source = match &config.plugins.directory {
            Some(dir) => Source::Directory(dir.clone()),
            None => Source::Shipped,
        };
        for name in &config.plugins.require {
            let file = config.plugins.directory.as_ref().map(|dir| dir.join(format!("{name}.wasm")));
            if !file.as_ref().is_some_and(|f| f.is_file()) {
                let place = match file {
                    Some(file) => format!("`{}` is not there", file.display()),
                    None => "no plugin directory is configured".to_owned(),
                };
                return Err(Error::usage(format!(
                    "plugin `{name}` is required by the configuration: {place}"
                ))
                .hint("put the file back, or take the name out of `plugins.require`"));
            }
        }
        self.load_from(&source, config)
    }

    /// The set of a configuration with filters from somewhere else.
    pub fn load_from(&self, source: &Source, config: &Config) -> Result<FilterSet, Error> {
        let mut settings = config.plugin_settings.clone();
        if !config.patterns.is_empty() {
            let patterns = config.patterns.iter().map(|p| Value::String(p.clone())).collect();
            let key = settings.entry(MATCHER.to_owned()).or_default();
            key.insert("pattern".to_owned(), Value::Array(patterns));
        }
        match source {
            Source::Shipped => self.set(None, &settings),
            Source::Directory(dir) => self.set(Some(dir), &settings),
            Source::Alone(file) => self.runtime.filter_set_of_file(file, &settings).map_err(refused),
        }
    }

    /// Whether the plugins of a source can be used at all; their settings are left aside.
    ///
    /// # Errors
    /// What [`load_from`](Self::load_from) would say whatever the configuration.
    pub fn probe(&self, source: &Source) -> Result<(), Error> {
        let none = BTreeMap::new();
        let set = match source {
            Source::Shipped => return Ok(()),
            Source::Directory(dir) => self.runtime.filter_set(Some(dir), &none, &embedded()),
            Source::Alone(file) => self.runtime.filter_set_of_file(file, &none),
        };
        match set {
            Err(e) if !e.settings => Err(refused(e)),
            _ => Ok(()),
        }
    }

    /// What a component is and could do, without running it.
    pub fn inspect(&self, name: &str, bytes: &[u8]) -> Result<PluginInfo, Error> {
        self.runtime.inspect(name, bytes).map_err(refused)
    }

    fn set(
        &self,
        dir: Option<&Path>,
        settings: &BTreeMap<String, serde_json::Map<String, Value>>,
    ) -> Result<FilterSet, Error> {
        self.runtime.filter_set(dir, settings, &embedded()).map_err(refused)
    }
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
fn refused(e: LoadError) -> Error {
    Error::usage(e.to_string())
}
