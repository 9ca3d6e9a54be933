//! `plugins inspect`: what a component is and could do.

use std::path::Path;

use refgate_filters::EMBEDDED;
use refgate_host::{Error, filters};
use refgate_runtime::PluginInfo;
use serde_json::{Value, json};

use super::site;
use crate::output::Output;
use crate::system::system;

/// `refgate plugins inspect`: by file, by the name of a plugin in the directory, or of an embedded one.
pub fn inspect(file: &Path, plugin: &str, output: &Output) -> Result<u8, Error> {
    let (name, bytes) = find(file, plugin)?;
    let info = filters::Loader::new(&system()?)?.inspect(&name, &bytes)?;
    if output.json {
        output.document(&json!({
            "command": "plugins inspect",
            "plugin": name,
            "worlds": info.worlds.iter().map(|w| w.name()).collect::<Vec<_>>(),
            "size": info.size,
            "digest": info.digest,
            "imports": interfaces(&info.imports),
            "exports": interfaces(&info.exports),
        }));
    } else {
        describe(&name, &info, output);
    }
    Ok(0)
}

/// What `build` prints, too.
pub fn describe(name: &str, info: &PluginInfo, output: &Output) {
    let worlds: Vec<&str> = info.worlds.iter().map(|w| w.name()).collect();
    output.text(&format!("{name}: {}, {} bytes, {}", worlds.join(" and "), info.size, info.digest));
    output.text("imports (all that it can do):");
    for interface in &info.imports {
        output.text(&format!("    {}", interface.name));
        interface.functions.iter().for_each(|f| output.text(&format!("        {f}")));
    }
    if info.imports.is_empty() {
        output.text("    nothing");
    }
    output.text("exports:");
    info.exports.iter().for_each(|interface| output.text(&format!("    {}", interface.name)));
}

fn interfaces(list: &[refgate_runtime::Interface]) -> Vec<Value> {
    list.iter().map(|i| json!({"name": i.name, "functions": i.functions})).collect()
}

fn find(file: &Path, plugin: &str) -> Result<(String, Vec<u8>), Error> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|e| Error::usage(format!("cannot read the plugin `{}`: {e}", path.display())))
    };
    if plugin.ends_with(".wasm") || plugin.contains('/') {
        return Ok((plugin.to_owned(), read(Path::new(plugin))?));
    }
    // Without a configuration only the embedded ones have names.
    let config = if file.exists() { Some(site::config(file)?) } else { None };
    let in_directory = config.and_then(|c| c.plugins.directory).map(|dir| dir.join(format!("{plugin}.wasm")));
    if let Some(path) = in_directory.filter(|p| p.exists()) {
        return Ok((path.display().to_string(), read(&path)?));
    }
    match EMBEDDED.iter().find(|e| e.name == plugin) {
        Some(embedded) => Ok((plugin.to_owned(), embedded.wasm.to_vec())),
        None => {
            let names: Vec<&str> = EMBEDDED.iter().map(|e| e.name).collect();
            Err(Error::usage(format!("unknown plugin `{plugin}`"))
                .hint(format!("give a .wasm file, or a name: {} are embedded", names.join(", "))))
        }
    }
}
