//! One side of a comparison: worlds out of WIT text, of a package in binary form, or of a component.

use std::path::Path;

use refgate_host::Error;
use wit_component::DecodedWasm;
use wit_parser::{PackageId, Resolve, WorldId};

/// A contract to compare.
pub struct Side {
    pub resolve: Resolve,
    /// Its worlds. A component has one, and that one has no name of its own.
    pub worlds: Vec<(Option<String>, WorldId)>,
}

/// A directory or file with WIT, or a component.
pub fn read(path: &Path) -> Result<Side, Error> {
    let shown = path.display();
    let wrong = |e: String| {
        Error::usage(format!("`{shown}` cannot be compared: {e}"))
            .hint("give a directory or file with WIT, or a component")
    };
    if !path.is_dir() {
        let bytes = refgate_runtime::read_component(path).map_err(|e| wrong(e.to_string()))?;
        if bytes.starts_with(b"\0asm") && bytes.get(6) == Some(&0) {
            return Err(wrong("it is a core module, and says nothing about its worlds".to_owned()));
        }
        if bytes.starts_with(b"\0asm") {
            refgate_runtime::check_amounts(&bytes).map_err(wrong)?;
            return match wit_component::decode(&bytes).map_err(|e| wrong(format!("{e:#}")))? {
                DecodedWasm::WitPackage(resolve, package) => Ok(Side::of(resolve, package)),
                DecodedWasm::Component(resolve, world) => Ok(Side { resolve, worlds: vec![(None, world)] }),
            };
        }
    }
    let mut resolve = Resolve::default();
    let package = match resolve.push_path(path) {
        Ok((package, _)) => package,
        Err(e) => return Err(wrong(wit_parser::render_anyhow_error(&e, &resolve.source_map))),
    };
    let side = Side::of(resolve, package);
    match side.worlds.is_empty() {
        true => Err(wrong("it has no world".to_owned())),
        false => Ok(side),
    }
}

/// The contract of this program.
pub fn served(text: &str) -> Result<Side, Error> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("refgate.wit", text);
    let package = package.map_err(|e| Error::failed(format!("the WIT of this program is damaged: {e:#}")))?;
    Ok(Side::of(resolve, package))
}

impl Side {
    fn of(resolve: Resolve, package: PackageId) -> Side {
        let worlds = resolve.packages[package].worlds.iter();
        let worlds = worlds.map(|(name, id)| (Some(name.clone()), *id)).collect();
        Side { resolve, worlds }
    }
}
