//! `plugins inspect`: what a component is and could do.

use std::path::Path;

use refgate_filters::EMBEDDED;
use refgate_host::{Error, filters};
use refgate_runtime::{Manifest, PluginInfo, WIT_VERSION};
use serde_json::{Value, json};

use super::site;
use crate::output::Output;
use crate::system::system;

/// `refgate plugins inspect`: by file, by the name of a plugin in the directory, or of an embedded one.
pub fn inspect(file: &Path, plugin: &str, output: &Output) -> Result<u8, Error> {
    let (name, bytes) = find(file, plugin)?;
    let info = filters::Loader::new(&system()?)?.inspect(&name, &bytes)?;
    let signature = signature(&name, &bytes)?;
    if output.json {
        output.document(&json!({
            "command": "plugins inspect",
            "plugin": name,
            "worlds": info.worlds.iter().map(|w| w.name()).collect::<Vec<_>>(),
            "size": info.size,
            "digest": info.digest,
            "imports": interfaces(&info.imports),
            "exports": interfaces(&info.exports),
            "wit": {"plugin": info.wit_versions(), "host": WIT_VERSION},
            "manifest": info.manifest,
            "signature": match &signature {
                Signature::None => json!({"state": "none"}),
                Signature::By(key) => json!({"state": "whole", "key": key}),
                Signature::Bad(cause) => json!({"state": "bad", "cause": cause}),
            },
        }));
    } else {
        describe(&name, &info, output);
        match signature {
            Signature::None => output.text("signature: none"),
            Signature::By(key) => output.text(&format!(
                "signature: by the key {key}; `refgate verify` tells whether that is a known signer"
            )),
            Signature::Bad(cause) => output.text(&format!("signature: {}: {cause}", output.bad("bad"))),
        }
    }
    Ok(0)
}

/// What `build` prints, too.
pub fn describe(name: &str, info: &PluginInfo, output: &Output) {
    let worlds: Vec<&str> = info.worlds.iter().map(|w| w.name()).collect();
    output.text(&format!("{name}: {}, {} bytes, {}", worlds.join(" and "), info.size, info.digest));
    output.text(&format!("contract: {}, and refgate has {WIT_VERSION}", info.wit_versions().join(" and ")));
    match &info.manifest {
        Some(manifest) => describe_manifest(manifest, output),
        None => output.text("manifest: none"),
    }
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

fn describe_manifest(manifest: &Manifest, output: &Output) {
    let title = [manifest.name.as_deref(), manifest.version.as_deref()];
    let title: Vec<&str> = title.into_iter().flatten().collect();
    output.text(&format!("manifest: {}", title.join(" ")).trim_end().to_owned());
    let lines = [
        (&manifest.description, ""),
        (&manifest.minimum_host, "needs refgate "),
        (&manifest.source, "source: "),
        (&manifest.sdk, "built with "),
    ];
    for (text, what) in lines {
        text.iter().for_each(|text| output.text(&format!("    {what}{text}")));
    }
    for (reason, meaning) in &manifest.reasons {
        output.text(&format!("    reason {reason}: {meaning}"));
    }
    match manifest.settings.as_ref().map(|schema| schema.get("properties").and_then(Value::as_object)) {
        None => {}
        Some(Some(settings)) if !settings.is_empty() => {
            for (name, schema) in settings {
                let about = schema.get("description").and_then(Value::as_str).unwrap_or("");
                output.text(&printable(&format!("    setting {name}: {about}")));
            }
        }
        Some(_) => output.text("    no settings are described"),
    }
    let cases = |file: &Value| file["cases"].as_array().map_or(0, Vec::len);
    let cases: usize = manifest.cases.iter().map(cases).sum();
    if cases > 0 {
        output.text(&format!("    {cases} cases of its own"));
    }
}

/// Of a plugin's own text, what cannot change the terminal.
fn printable(text: &str) -> String {
    text.trim_end_matches([' ', ':']).chars().filter(|c| !c.is_control()).collect()
}

/// What `FILE.wasm.sig` says.
enum Signature {
    None,
    By(String),
    Bad(String),
}

fn signature(name: &str, wasm: &[u8]) -> Result<Signature, Error> {
    // An embedded plugin is part of the program, and has no file.
    if !name.ends_with(".wasm") {
        return Ok(Signature::None);
    }
    let file = super::sign::signature_file(Path::new(name));
    match std::fs::read(&file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Signature::None),
        Err(e) => Err(Error::failed(format!("cannot read `{}`: {e}", file.display()))),
        Ok(sig) => Ok(refgate_runtime::signed_by(wasm, &sig).map_or_else(Signature::Bad, Signature::By)),
    }
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
