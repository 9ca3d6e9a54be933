//! The set of one generation: embedded plugins, files of the plugin directory, settings.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use refgate_core::{FilterSet, PluginId};

use crate::LoadError;
use crate::engine::Shared;
use crate::filter::WasmFilter;
use crate::inspect::World;
use crate::limits::COMPONENT_BYTES;
use crate::plugin::{LoadedPlugin, Origin, PluginSource};

type Settings = serde_json::Map<String, serde_json::Value>;

/// A plugin that is part of the program.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedPlugin {
    /// Its name.
    pub name: &'static str,
    /// The world that it implements.
    pub world: World,
    /// The component.
    pub wasm: &'static [u8],
    /// Lets everything pass when it has no settings; it is then listed, but neither compiled nor asked.
    pub inert_without_settings: bool,
}

/// Bytes of a plugin's name.
const NAME_BYTES: usize = 64;

/// What a plugin may be called; `host` is how results name refgate itself.
const NAME_RULE: &str = "the name of the file is not usable: write 1 to 64 of `a-z A-Z 0-9 - _` before `.wasm`, beginning \
                         with a letter or digit, and not `host`";

pub(crate) fn build(
    shared: &Arc<Shared>,
    plugins_dir: Option<&Path>,
    settings: &BTreeMap<String, Settings>,
    embedded: &[EmbeddedPlugin],
) -> Result<FilterSet, LoadError> {
    let files = plugins_dir.map_or_else(|| Ok(BTreeMap::new()), files)?;
    let names: BTreeSet<&str> =
        files.keys().map(String::as_str).chain(embedded.iter().map(|e| e.name)).collect();
    if let Some(unknown) = settings.keys().find(|name| !names.contains(name.as_str())) {
        let all = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let cause = format!("there are settings for it, but no such plugin; plugins are {all}");
        return Err(LoadError::plugin(unknown, cause));
    }
    let mut set = FilterSet::default();
    // One pass in name order puts every chain into name order.
    for name in names {
        let own = settings.get(name).cloned().unwrap_or_default();
        let shipped = embedded.iter().find(|e| e.name == name);
        match files.get(name) {
            Some(path) => {
                let plugin = LoadedPlugin::load(shared, read(name, path, own)?)?;
                if let Some(shipped) = shipped.filter(|shipped| !plugin.worlds().contains(&shipped.world)) {
                    let cause = format!(
                        "it has the name of the embedded {} but is none: give the file another name",
                        shipped.world
                    );
                    return Err(LoadError::plugin(&path.display().to_string(), cause));
                }
                add(&mut set, &plugin, true);
            }
            None => {
                let Some(shipped) = shipped else { continue };
                let idle = own.is_empty() && shipped.inert_without_settings;
                let plugin = embedded_plugin(shared, shipped, own)?;
                add(&mut set, &plugin, !idle);
            }
        }
    }
    Ok(set)
}

pub(crate) fn of_file(
    shared: &Arc<Shared>,
    file: &Path,
    settings: &BTreeMap<String, Settings>,
) -> Result<FilterSet, LoadError> {
    let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if !legal_name(name) {
        return Err(LoadError::plugin(&file.display().to_string(), NAME_RULE));
    }
    let own = settings.get(name).cloned().unwrap_or_default();
    let mut set = FilterSet::default();
    add(&mut set, &LoadedPlugin::load(shared, read(name, file, own)?)?, true);
    Ok(set)
}

/// With settings a plugin is loaded at once, so that bad ones are found now and not at the first decision.
fn embedded_plugin(
    shared: &Arc<Shared>,
    shipped: &EmbeddedPlugin,
    settings: Settings,
) -> Result<LoadedPlugin, LoadError> {
    let at_once = !settings.is_empty();
    let source = PluginSource {
        name: shipped.name.to_owned(),
        origin: Origin::Embedded,
        bytes: Cow::Borrowed(shipped.wasm),
        settings,
    };
    if at_once {
        LoadedPlugin::load(shared, source)
    } else {
        Ok(LoadedPlugin::later(shared, source, shipped.world))
    }
}

fn add(set: &mut FilterSet, plugin: &LoadedPlugin, active: bool) {
    for world in plugin.worlds().iter().copied() {
        set.plugins.push(PluginId {
            name: plugin.name().to_owned(),
            world: world.name(),
            digest: plugin.digest().to_owned(),
        });
        if !active {
            continue;
        }
        let filter = Arc::new(WasmFilter { plugin: plugin.plugin().clone(), world });
        match world {
            World::PushFilter => set.push.push(filter),
            World::FetchFilter => set.fetch.push(filter),
            World::ProjectMatcher => set.projects.push(filter),
        }
    }
}

/// The `.wasm` files of the directory by plugin name.
fn files(dir: &Path) -> Result<BTreeMap<String, PathBuf>, LoadError> {
    let unreadable = |e: std::io::Error| LoadError::directory(dir, format!("it cannot be read: {e}"));
    let metadata = fs::metadata(dir).map_err(unreadable)?;
    if !metadata.is_dir() {
        return Err(LoadError::directory(dir, "it is not a directory"));
    }
    check_owner(dir, &metadata).map_err(|cause| LoadError::directory(dir, cause))?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension() != Some("wasm".as_ref()) {
            continue;
        }
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !legal_name(name) {
            return Err(LoadError::plugin(&path.display().to_string(), NAME_RULE));
        }
        files.insert(name.to_owned(), path);
    }
    Ok(files)
}

/// `host` is how results name refgate itself.
fn legal_name(name: &str) -> bool {
    name.len() <= NAME_BYTES
        && name != "host"
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn read(name: &str, path: &Path, settings: Settings) -> Result<PluginSource, LoadError> {
    let refuse = |cause: String| LoadError::plugin(&path.display().to_string(), cause);
    let unreadable = |e: std::io::Error| refuse(format!("it cannot be read: {e}"));
    let file = File::open(path).map_err(unreadable)?;
    // What is checked is the file that is read, whatever the name points at by then.
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(refuse("it is not a file".to_owned()));
    }
    check_owner(path, &metadata).map_err(refuse)?;
    let mut bytes = Vec::new();
    file.take(COMPONENT_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > COMPONENT_BYTES {
        return Err(refuse(format!("it is larger than {} MiB", COMPONENT_BYTES >> 20)));
    }
    Ok(PluginSource {
        name: name.to_owned(),
        origin: Origin::File(path.to_owned()),
        bytes: bytes.into(),
        settings,
    })
}

/// A plugin decides what replicates; whoever can write it could open the gate.
fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), String> {
    let us = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    if owner != us && owner != 0 {
        return Err(format!(
            "it belongs to user {owner}: it must belong to the user who runs refgate or to root"
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(format!("others can write it: run `chmod go-w {}`", path.display()));
    }
    Ok(())
}
