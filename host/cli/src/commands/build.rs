//! `build`: from a crate with a filter, or from what another toolchain made, to a component with a manifest.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use refgate_filters::build::{Request, component, encode};
use refgate_host::{Error, cases, filters};
use refgate_runtime::Manifest;
use serde_json::json;

use super::plugins::describe;
use crate::args::BuildArgs;
use crate::output::Output;
use crate::system::system;

/// `refgate build`.
pub fn run(args: &BuildArgs, output: &Output) -> Result<u8, Error> {
    let Made { wasm, mut manifest, name } =
        if args.source.is_file() { from_file(args)? } else { from_crate(args)? };
    let file = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.wasm")));
    if same(&file, &args.source) {
        let cause = format!("the component would take the place of `{}`", file.display());
        return Err(Error::usage(cause).hint("give another file with `--output`"));
    }
    // The host's own check: what would not load is not written.
    let mut info = filters::Loader::new(&system()?)?.inspect(&file.display().to_string(), &wasm)?;
    let source = args.source.display();
    info.check().map_err(|cause| Error::failed(format!("what `{source}` makes would not load: {cause}")))?;
    let mut made = wasm;
    if let Some(manifest) = &mut manifest {
        manifest.worlds = info.worlds.iter().map(|world| world.name().to_owned()).collect();
        manifest.sdk = Some(concat!("refgate ", env!("CARGO_PKG_VERSION")).to_owned());
        made = manifest.embed(&made).map_err(|e| Error::usage(format!("the manifest is not usable: {e}")))?;
        info.size = made.len();
        info.digest = refgate_runtime::digest(&made);
        info.manifest = Some(manifest.clone());
    }
    write(&file, &made).map_err(|e| Error::failed(format!("cannot write `{}`: {e}", file.display())))?;
    if output.json {
        output.document(&json!({
            "command": "build",
            "file": file.display().to_string(),
            "size": info.size,
            "digest": info.digest,
            "worlds": info.worlds.iter().map(|w| w.name()).collect::<Vec<_>>(),
            "imports": info.imports.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(),
            "manifest": info.manifest,
        }));
    } else {
        describe(&file.display().to_string(), &info, output);
    }
    Ok(0)
}

/// A component, what is to be embedded in it, and what its file is called.
struct Made {
    wasm: Vec<u8>,
    manifest: Option<Manifest>,
    name: String,
}

fn from_crate(args: &BuildArgs) -> Result<Made, Error> {
    let package = package(&args.source)?;
    // Before cargo runs for a minute.
    let written = args.source.join("filter.toml");
    let written = args.manifest.clone().or_else(|| written.is_file().then_some(written));
    let mut manifest = written.as_deref().map(read).transpose()?.unwrap_or_default();
    if let (true, Some(file)) = (manifest.name.is_some() || manifest.version.is_some(), written) {
        return Err(Error::usage(format!("`{}` has a `name` or a `version`", file.display()))
            .hint("those of a crate come from its Cargo.toml: remove them here"));
    }
    let request = Request {
        manifest: &package.manifest,
        package: &package.name,
        profile: "release",
        target_dir: &package.target_dir.join("refgate"),
        locked: false,
    };
    let wasm = component(&request).map_err(|e| Error::failed(format!("{e:#}")))?;
    manifest.name = Some(package.name.clone());
    manifest.version = package.version;
    manifest.description = manifest.description.or(package.description);
    manifest.source = manifest.source.or(package.repository);
    Ok(Made { wasm, manifest: Some(manifest), name: package.name })
}

/// What another toolchain made: a core module that becomes a component, or a component that gets a manifest.
fn from_file(args: &BuildArgs) -> Result<Made, Error> {
    let file = &args.source;
    let refused = |cause: String| Error::usage(format!("`{}` {cause}", file.display()));
    let raw = refgate_runtime::read_component(file).map_err(|e| refused(format!("cannot be read: {e}")))?;
    // The two kinds of WebAssembly differ in this field: layer 0 and layer 1.
    let wasm = match raw.get(..8) {
        Some([0, b'a', b's', b'm', _, _, 0, 0]) => {
            encode(&raw).map_err(|e| refused(format!("does not make a component: {e:#}")))?
        }
        Some([0, b'a', b's', b'm', _, _, 1, 0]) if args.manifest.is_some() => raw,
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => {
            let hint = "use it as it is, or give it a manifest with `--manifest`";
            return Err(refused("is a component already".to_owned()).hint(hint));
        }
        _ => {
            let hint = "give the directory of a crate, a core module or a component";
            return Err(refused("is not WebAssembly".to_owned()).hint(hint));
        }
    };
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut manifest = args.manifest.as_deref().map(read).transpose()?;
    if let Some(manifest) = &mut manifest {
        manifest.name.get_or_insert_with(|| stem.clone());
    }
    let name = manifest.as_ref().and_then(|m| m.name.clone()).unwrap_or(stem);
    if name.contains('/') {
        return Err(Error::usage(format!("the name `{name}` has a `/` in it")));
    }
    Ok(Made { wasm, manifest, name })
}

/// A `filter.toml` and the case files that it names, which are relative to it. A broken case file must not ship.
fn read(file: &Path) -> Result<Manifest, Error> {
    let shown = file.display();
    let text =
        std::fs::read_to_string(file).map_err(|e| Error::usage(format!("cannot read `{shown}`: {e}")))?;
    let (mut manifest, cases) =
        Manifest::from_toml(&text).map_err(|e| Error::usage(format!("`{shown}` is not usable: {e}")))?;
    let dir = file.parent().unwrap_or(Path::new(""));
    for case_file in cases {
        manifest.cases.push(cases::document(&dir.join(case_file))?);
    }
    Ok(manifest)
}

/// A plugin that others can write is refused, so an umask must not make it one.
fn write(file: &Path, wasm: &[u8]) -> std::io::Result<()> {
    std::fs::write(file, wasm)?;
    std::fs::set_permissions(file, Permissions::from_mode(0o644))
}

struct Package {
    name: String,
    version: Option<String>,
    description: Option<String>,
    repository: Option<String>,
    manifest: PathBuf,
    target_dir: PathBuf,
}

/// Asks cargo what is in the directory.
fn package(dir: &Path) -> Result<Package, Error> {
    let manifest = dir.join("Cargo.toml");
    let manifest = std::path::absolute(&manifest).ok().filter(|m| m.is_file()).ok_or_else(|| {
        Error::usage(format!("`{}` is not there", manifest.display())).hint("give the directory of a crate")
    })?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let asked = std::process::Command::new(&cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"])
        .arg(&manifest)
        .output()
        .map_err(|e| {
            Error::failed(format!("cannot start `{}`: {e}", cargo.display())).hint("install Rust")
        })?;
    if !asked.status.success() {
        let said = String::from_utf8_lossy(&asked.stderr).trim().to_owned();
        return Err(Error::usage(format!("cargo does not take `{}`: {said}", manifest.display())));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&asked.stdout)
        .map_err(|e| Error::failed(format!("cargo's answer is not JSON: {e}")))?;
    let own = metadata["packages"].as_array().into_iter().flatten().find(|p| {
        p["manifest_path"]
            .as_str()
            .is_some_and(|path| Path::new(path) == manifest || same(Path::new(path), &manifest))
    });
    let name = own.and_then(|p| p["name"].as_str());
    let target_dir = metadata["target_directory"].as_str();
    let text = |key: &str| {
        let text = own.and_then(|p| p[key].as_str()).unwrap_or_default();
        // Cargo takes several lines, and a manifest has one.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then_some(text)
    };
    match (name, target_dir) {
        (Some(name), Some(target)) => Ok(Package {
            name: name.to_owned(),
            version: text("version"),
            description: text("description"),
            repository: text("repository"),
            manifest,
            target_dir: PathBuf::from(target),
        }),
        _ => Err(Error::usage(format!("`{}` is no package", manifest.display()))
            .hint("give the directory of a crate, not of a workspace")),
    }
}

fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
