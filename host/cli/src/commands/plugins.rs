//! `plugins list` and `inspect`.

use std::path::Path;

use refgate_core::FilterSet;
use refgate_filters::EMBEDDED;
use refgate_host::config::Config;
use refgate_host::{Error, filters};
use refgate_runtime::PluginInfo;
use serde_json::{Value, json};

use super::site;
use crate::output::{Cell, Mood, Output};
use crate::system::system;

/// `refgate plugins list`: what takes part, in the order in which it is asked.
pub async fn list(file: &Path, output: &Output) -> Result<u8, Error> {
    let config = site::config(file)?;
    let set: FilterSet = filters::Loader::new(&system()?)?.load(&config)?;
    let rows = set.plugins.iter().map(|p| (p, origin(&config, &p.name)));
    if output.json {
        let plugins: Vec<Value> = rows
            .map(
                |(p, origin)| json!({"name": p.name, "world": p.world, "origin": origin, "digest": p.digest}),
            )
            .collect();
        output
            .document(&json!({"command": "plugins list", "generation": set.generation, "plugins": plugins}));
        return Ok(0);
    }
    let cells: Vec<Vec<Cell>> = rows
        .map(|(p, origin)| {
            let digest = p.digest.get(..19).unwrap_or(&p.digest);
            vec![p.name.as_str().into(), Cell::new(p.world, Mood::Good), origin.into(), digest.into()]
        })
        .collect();
    output.table(&["NAME", "WORLD", "ORIGIN", "DIGEST"], &cells);
    Ok(0)
}

/// The file of a plugin, or `embedded`.
fn origin(config: &Config, name: &str) -> String {
    let file = config.plugins.directory.as_ref().map(|dir| dir.join(format!("{name}.wasm")));
    file.filter(|f| f.exists()).map_or("embedded".into(), |f| f.display().to_string())
}

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
