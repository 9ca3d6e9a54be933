//! What a component is, from its own description: worlds, imports, exports.

use std::fmt;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::Manifest;

/// The package of refgate's interfaces, with the separator.
const PACKAGE: &str = "refgate:filter/";

/// The version of the contract between refgate and plugins that this program has.
pub const WIT_VERSION: &str = "0.1.1";

/// The version of the contract that is served: any `0.1.x`.
const VERSION: &str = "0.1.";

/// Interfaces that a plugin may import.
const OFFERED: [&str; 4] = ["batches", "project-batches", "log", "clock"];

/// What a plugin can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum World {
    /// Decides which refs go to another site.
    PushFilter,
    /// Decides which refs come in.
    FetchFilter,
    /// Decides which projects replicate.
    ProjectMatcher,
}

impl World {
    /// All worlds.
    pub const ALL: [World; 3] = [World::PushFilter, World::FetchFilter, World::ProjectMatcher];

    /// The name in the WIT text: `push-filter`, `fetch-filter`, `project-matcher`.
    pub fn name(self) -> &'static str {
        match self {
            World::PushFilter => "push-filter",
            World::FetchFilter => "fetch-filter",
            World::ProjectMatcher => "project-matcher",
        }
    }

    /// The world of that name.
    pub fn from_name(name: &str) -> Option<World> {
        World::ALL.into_iter().find(|world| world.name() == name)
    }

    /// The interface that makes a component one of this world, and its function.
    pub(crate) fn export(self) -> (&'static str, &'static str) {
        match self {
            World::PushFilter => ("push", "filter"),
            World::FetchFilter => ("fetch", "filter"),
            World::ProjectMatcher => ("projects", "match-all"),
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An interface that a component imports or exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its full name: `refgate:filter/batches@0.1.0`.
    pub name: String,
    /// The functions of it, in the component's order: `[method]ref-batch.select`.
    pub functions: Vec<String>,
}

/// What a component is and could do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginInfo {
    /// The worlds that it implements.
    pub worlds: Vec<World>,
    /// What it imports: all that it can do.
    pub imports: Vec<Interface>,
    /// What it exports.
    pub exports: Vec<Interface>,
    /// What its author wrote down about it.
    pub manifest: Option<Manifest>,
    /// Bytes of the file.
    pub size: usize,
    /// `sha256:` and 64 hex digits of the file.
    pub digest: String,
}

/// `sha256:` and 64 hex digits of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Tells the usual mistakes apart before the compiler words them in its own way.
pub(crate) fn check_header(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("the file is empty: copy it again or remove it".to_owned());
    }
    if !bytes.starts_with(b"\0asm") {
        return Err("it is not WebAssembly: a plugin is a component, made with `refgate build`".to_owned());
    }
    match bytes.get(4..8) {
        // The component model's layer 1, against layer 0 for a core module.
        Some([_, _, 1, 0]) => Ok(()),
        Some([1, 0, 0, 0]) => {
            Err("it is a core module, not a component: make a component of it with `refgate build`"
                .to_owned())
        }
        _ => Err("it is cut off or of an unknown version of WebAssembly: build or copy it again".to_owned()),
    }
}

/// What `component` says about itself.
pub(crate) fn info(
    engine: &Engine,
    component: &Component,
    bytes: &[u8],
    manifest: Option<Manifest>,
) -> PluginInfo {
    let ty = component.component_type();
    let interface = |(name, item): (&str, wasmtime::component::types::ComponentExtern<'_>)| Interface {
        name: name.to_owned(),
        functions: match item.ty {
            ComponentItem::ComponentInstance(instance) => instance
                .exports(engine)
                .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                .map(|(name, _)| name.to_owned())
                .collect(),
            _ => Vec::new(),
        },
    };
    let imports: Vec<Interface> = ty.imports(engine).map(interface).collect();
    let exports: Vec<Interface> = ty.exports(engine).map(interface).collect();
    let worlds =
        World::ALL.into_iter().filter(|world| exported(&exports, world.export().0).is_some()).collect();
    PluginInfo { worlds, imports, exports, manifest, size: bytes.len(), digest: digest(bytes) }
}

impl PluginInfo {
    /// The versions of refgate's contract that it was built against, in order. One that imports nothing newer than it
    /// needs may name several.
    pub fn wit_versions(&self) -> Vec<&str> {
        let named = self.imports.iter().chain(&self.exports).filter(|i| i.name.starts_with(PACKAGE));
        let mut versions: Vec<&str> = named.filter_map(|i| Some(i.name.rsplit_once('@')?.1)).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    /// Whether refgate can run it: implements a world, and imports only what refgate offers.
    pub fn check(&self) -> Result<(), String> {
        for import in &self.imports {
            if !OFFERED.iter().any(|offered| is(&import.name, offered)) {
                return Err(format!(
                    "it imports `{}`, which refgate does not offer: a plugin may import only {}",
                    import.name,
                    OFFERED.map(|name| format!("`{PACKAGE}{name}@{VERSION}x`")).join(", "),
                ));
            }
        }
        if self.worlds.is_empty() {
            return Err(format!(
                "it exports no world of refgate: it must export `{PACKAGE}lifecycle` and `push`, `fetch` or `projects` \
                 of {VERSION}x"
            ));
        }
        if exported(&self.exports, "lifecycle").is_none() {
            return Err(format!("it exports no `{PACKAGE}lifecycle@{VERSION}x`: every plugin has to"));
        }
        Ok(())
    }
}

/// The full name of the export that is refgate's `interface`.
pub(crate) fn exported<'a>(exports: &'a [Interface], interface: &str) -> Option<&'a str> {
    exports.iter().map(|export| export.name.as_str()).find(|name| is(name, interface))
}

/// Whether `name` is refgate's `interface` in a version that is served.
fn is(name: &str, interface: &str) -> bool {
    let version = name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix(interface));
    version.and_then(|rest| rest.strip_prefix('@')).is_some_and(|version| version.starts_with(VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_contract() {
        let wit = include_str!("../../../wit/worlds.wit");
        assert!(wit.contains(&format!("package refgate:filter@{WIT_VERSION};")));
        assert!(WIT_VERSION.starts_with(VERSION));
    }
}
