//! `plugins list`, `check` and `watch`: the set of plugins that decides.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use refgate_host::Error;
use refgate_host::config::Config;
use refgate_host::filters::{Loader, Source};
use refgate_host::live::{Live, LiveOptions};
use refgate_runtime::{Event, PluginStatus, Standing};
use serde_json::{Value, json};

use super::site;
use crate::output::{Cell, Mood, Output};
use crate::system::system;

/// `refgate plugins list`: every plugin and how it stands. Exit code 2 when a command that starts now would refuse the set.
pub fn list(file: &Path, output: &Output) -> Result<u8, Error> {
    let config = site::config(file)?;
    let survey = Loader::for_config(&system()?, &config)?.survey(&config)?;
    if output.json {
        let plugins: Vec<Value> = survey.plugins.iter().flat_map(document).collect();
        let error = survey.refused.as_ref().map(|e| json!({"message": e.message, "hint": e.hint}));
        let mut all = json!({
            "command": "plugins list", "generation": survey.generation, "plugins": plugins,
            "warnings": survey.warnings,
        });
        if let (Some(error), Some(all)) = (error, all.as_object_mut()) {
            all.insert("error".to_owned(), error);
        }
        output.document(&all);
    } else {
        let rows: Vec<Vec<Cell>> = survey.plugins.iter().flat_map(rows).collect();
        output.table(&["NAME", "WORLD", "STATE", "ORIGIN", "DIGEST"], &rows);
        for plugin in &survey.plugins {
            if let Standing::Quarantined(reason) | Standing::Waiting(reason) = &plugin.standing {
                output.text(&format!("{}: {reason}", named(plugin)));
            }
        }
    }
    survey.warnings.iter().for_each(|warning| crate::output::warn(warning));
    if let Some(unsaved) = &survey.unsaved {
        crate::output::warn(unsaved);
    }
    Ok(survey.refused.map_or(0, |e| {
        if !output.json {
            crate::output::warn(&format!("commands refuse this set: {}", e.message));
        }
        2
    }))
}

fn named(plugin: &PluginStatus) -> &str {
    if plugin.name.is_empty() { "the plugin directory" } else { &plugin.name }
}

fn state(plugin: &PluginStatus) -> &'static str {
    match plugin.standing {
        Standing::Live => "live",
        Standing::Idle => "idle",
        Standing::Shadow => "shadow",
        Standing::Waiting(_) => "waiting",
        Standing::Ready => "ready",
        Standing::Quarantined(_) => "quarantined",
    }
}

fn origin(plugin: &PluginStatus) -> &str {
    match (&plugin.file, &plugin.standing) {
        (Some(file), _) => file,
        (None, Standing::Quarantined(_)) => "-",
        (None, _) => "embedded",
    }
}

/// One per world.
fn document(plugin: &PluginStatus) -> Vec<Value> {
    let reason = match &plugin.standing {
        Standing::Quarantined(reason) | Standing::Waiting(reason) => Value::from(reason.as_str()),
        _ => Value::Null,
    };
    let one = |world: Option<&str>| {
        json!({
            "name": plugin.name, "world": world, "origin": origin(plugin), "digest": plugin.digest,
            "state": state(plugin), "reason": reason,
        })
    };
    match plugin.worlds[..] {
        [] => vec![one(None)],
        ref worlds => worlds.iter().map(|world| one(Some(world))).collect(),
    }
}

fn rows(plugin: &PluginStatus) -> Vec<Vec<Cell>> {
    let mood = match plugin.standing {
        Standing::Live | Standing::Idle => Mood::Good,
        Standing::Shadow | Standing::Ready => Mood::Plain,
        Standing::Waiting(_) => Mood::Held,
        Standing::Quarantined(_) => Mood::Bad,
    };
    let digest = plugin.digest.as_deref().map_or("-", |d| d.get(..19).unwrap_or(d));
    let row = |world: &str| -> Vec<Cell> {
        let state = Cell::new(state(plugin), mood);
        vec![named(plugin).into(), world.into(), state, origin(plugin).into(), digest.into()]
    };
    match plugin.worlds[..] {
        [] => vec![row("-")],
        ref worlds => worlds.iter().map(|world| row(world)).collect(),
    }
}

/// `refgate plugins check`: what a running host does before a plugin becomes live.
pub fn check(file: &Path, plugins: &[PathBuf], output: &Output) -> Result<u8, Error> {
    let configured = file.exists().then(|| site::config(file)).transpose()?;
    let config = match &configured {
        Some(config) => config.clone(),
        None => Config::from_items(&[], Path::new(".")).map_err(|e| Error::usage(e.to_string()))?,
    };
    let sources: Vec<Source> = match (plugins, &config.plugins.directory) {
        ([], Some(dir)) => vec![Source::Directory(dir.clone())],
        ([], None) => {
            return Err(Error::usage("there is nothing to check: no plugin directory is configured")
                .hint("give a .wasm file or a directory"));
        }
        (some, _) => {
            some.iter()
                .map(|path| {
                    if path.is_dir() { Source::Directory(path.clone()) } else { Source::Alone(path.clone()) }
                })
                .collect()
        }
    };
    let loader = Loader::for_config(&system()?, &config)?;
    let mut checked = Vec::new();
    for source in &sources {
        let shown = match source {
            Source::Directory(path) | Source::Alone(path) => path.display().to_string(),
            Source::Shipped => "the shipped filters".to_owned(),
        };
        checked.push((shown, loader.check(source, &config)?));
    }
    if output.json {
        let checked =
            checked.iter().map(|(path, c)| json!({"path": path, "plugins": c.plugins, "cases": c.cases}));
        output.document(&json!({"command": "plugins check", "checked": checked.collect::<Vec<_>>()}));
    } else {
        for (path, checked) in checked {
            let plugins = if checked.plugins == 1 { "plugin loads" } else { "plugins load" };
            output.text(&format!("{path}: {} {plugins}, {} cases pass", checked.plugins, checked.cases));
        }
    }
    Ok(0)
}

/// `refgate plugins watch`: keeps the live set until it is ended, and prints what happens; with `--json` a document per line.
pub fn watch(file: &Path, rescan: u64, output: &Output) -> Result<u8, Error> {
    let config = site::config(file)?;
    let json = output.json;
    let events: Arc<dyn Fn(&Event) + Send + Sync> = Arc::new(move |event| {
        let text = event.to_string();
        match json {
            true => {
                crate::output::document_now(&json!({"warning": event.is_warning(), "event": text}));
            }
            false => crate::output::line_now(&text),
        }
    });
    let rescan = Duration::from_secs(rescan);
    let options = LiveOptions { events: Some(events), rescan, ..LiveOptions::default() };
    let mut system = system()?;
    if !json {
        // The same events would come twice.
        let log = system.log.clone();
        system.log = Arc::new(move |level, plugin, text| {
            if !plugin.is_empty() {
                log(level, plugin, text);
            }
        });
    }
    let _live = Live::start(&config, &system, options)?;
    loop {
        std::thread::park();
    }
}
