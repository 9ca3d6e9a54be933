//! `plugins inspect`: what a component is and could do.

use std::io::ErrorKind;
use std::path::Path;

use refgate_filters::EMBEDDED;
use refgate_host::{Error, filters};
use refgate_runtime::{Manifest, PluginInfo, Signer, WIT_VERSION};
use serde_json::{Value, json};

use super::{sign, site};
use crate::output::{Cell, Line, Output, told_in};
use crate::system::system;

/// `refgate plugins inspect`: by file, by the name of a plugin in the directory, or of an embedded one.
pub fn inspect(file: &Path, plugin: &str, output: &Output) -> Result<u8, Error> {
    let (name, bytes) = find(file, plugin)?;
    let system = system()?;
    let loader = match file.exists() {
        true => filters::Loader::without_cache(&system, &site::config(file)?)?,
        false => filters::Loader::new(&system)?,
    };
    let mut info = loader.inspect(&name, &bytes)?;
    if let Some(embedded) = EMBEDDED.iter().find(|e| e.name == name) {
        // The shipped ones say beside their code what others say in it.
        let (manifest, _) = Manifest::from_toml(embedded.about)
            .map_err(|e| Error::failed(format!("the manifest of the embedded `{name}` is damaged: {e}")))?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        info.manifest = Some(Manifest { name: Some(name.clone()), version: Some(version), ..manifest });
    }
    let signature = Signature::read(file, &name, &bytes)?;
    if output.json {
        let mut document = told_in(&json!({
            "command": "plugins inspect",
            "plugin": name,
            "worlds": info.worlds.iter().map(|w| w.name()).collect::<Vec<_>>(),
            "size": info.size,
            "digest": info.digest,
            "imports": interfaces(&info.imports),
            "exports": interfaces(&info.exports),
            "wit": {"plugin": info.wit_versions(), "host": WIT_VERSION},
            "signature": signature.json(),
        }));
        // The schema of the settings and the cases are data: who takes them from here gets them whole.
        document["manifest"] = json!(info.manifest);
        output.exact_document(&document);
    } else {
        describe(&name, &info, output);
        output.line(signature.line());
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
    output.text(format!("manifest: {}", title.join(" ")).trim_end());
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
                output.text(format!("    setting {name}: {about}").trim_end_matches([' ', ':']));
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

/// What `FILE.wasm.sig` says.
enum Signature {
    None,
    /// By a key of the configured list.
    Known(Signer),
    /// Whole, and by this key.
    Unknown(String),
    Bad(String),
}

impl Signature {
    fn read(config: &Path, name: &str, wasm: &[u8]) -> Result<Signature, Error> {
        // An embedded plugin is part of the program, and has no file.
        if !name.ends_with(".wasm") {
            return Ok(Signature::None);
        }
        let file = sign::signature_file(Path::new(name));
        let sig = match refgate_runtime::read_side_file(&file) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Signature::None),
            sig => sig.map_err(|e| Error::failed(format!("cannot read `{}`: {e}", file.display())))?,
        };
        let signers = sign::configured_signers(config)?.unwrap_or_default();
        Ok(match refgate_runtime::verify(wasm, &sig, &signers) {
            Ok(signer) => Signature::Known(signer),
            Err(_) => refgate_runtime::signed_by(wasm, &sig).map_or_else(Signature::Bad, Signature::Unknown),
        })
    }

    fn json(&self) -> Value {
        match self {
            Signature::None => json!({"state": "none"}),
            Signature::Known(signer) => {
                json!({"state": "known", "key": signer.fingerprint, "principals": signer.principals})
            }
            Signature::Unknown(key) => json!({"state": "unknown", "key": key}),
            Signature::Bad(cause) => json!({"state": "bad", "cause": cause}),
        }
    }

    fn line(&self) -> Line {
        match self {
            Signature::None => vec!["signature: none".into()],
            Signature::Known(signer) => vec![format!("signature: by {signer}").into()],
            Signature::Unknown(key) => {
                vec![format!("signature: by {key}, ").into(), Cell::held("not a known signer")]
            }
            Signature::Bad(cause) => {
                vec!["signature: ".into(), Cell::bad("bad"), format!(": {cause}").into()]
            }
        }
    }
}

fn interfaces(list: &[refgate_runtime::Interface]) -> Vec<Value> {
    list.iter().map(|i| json!({"name": i.name, "functions": i.functions})).collect()
}

fn find(file: &Path, plugin: &str) -> Result<(String, Vec<u8>), Error> {
    let read = |path: &Path| {
        refgate_runtime::read_component(path)
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
