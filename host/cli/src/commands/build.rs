//! `build`: from a crate with a filter, or from the core module of any compiler, to a component.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use refgate_filters::build::{Request, component, encode};
use refgate_host::{Error, filters};
use serde_json::json;

use super::plugins::describe;
use crate::args::BuildArgs;
use crate::output::Output;
use crate::system::system;

/// `refgate build`.
pub fn run(args: &BuildArgs, output: &Output) -> Result<u8, Error> {
    let (file, wasm) = if args.source.is_file() { of_module(args)? } else { of_crate(args)? };
    // The host's own check: what would not load is not written.
    let info = filters::Loader::new(&system()?)?.inspect(&file.display().to_string(), &wasm)?;
    let source = args.source.display();
    info.check().map_err(|cause| Error::failed(format!("what `{source}` makes would not load: {cause}")))?;
    write(&file, &wasm).map_err(|e| Error::failed(format!("cannot write `{}`: {e}", file.display())))?;
    if output.json {
        output.document(&json!({
            "command": "build",
            "file": file.display().to_string(),
            "size": info.size,
            "digest": info.digest,
            "worlds": info.worlds.iter().map(|w| w.name()).collect::<Vec<_>>(),
            "imports": info.imports.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(),
        }));
    } else {
        describe(&file.display().to_string(), &info, output);
    }
    Ok(0)
}

/// Where to write, and the component of the crate in a directory.
fn of_crate(args: &BuildArgs) -> Result<(PathBuf, Vec<u8>), Error> {
    let package = package(&args.source)?;
    let request = Request {
        manifest: &package.manifest,
        package: &package.name,
        profile: "release",
        target_dir: &package.target_dir.join("refgate"),
        locked: false,
    };
    let wasm = component(&request).map_err(|e| Error::failed(format!("{e:#}")))?;
    let file = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.wasm", package.name)));
    Ok((file, wasm))
}

/// Where to write, and the component of a core module.
fn of_module(args: &BuildArgs) -> Result<(PathBuf, Vec<u8>), Error> {
    let module = &args.source;
    let name = module.file_stem().unwrap_or_default();
    let file = args.output.clone().unwrap_or_else(|| Path::new(name).with_extension("wasm"));
    if same(&file, module) {
        let cause = format!("the component would take the place of the module `{}`", module.display());
        return Err(Error::usage(cause).hint("give another file with `--output`"));
    }
    let raw = std::fs::read(module)
        .map_err(|e| Error::usage(format!("cannot read the module `{}`: {e}", module.display())))?;
    let refused = |cause: String| Error::usage(format!("`{}` {cause}", module.display()));
    // The two kinds of WebAssembly differ in this field: layer 0 and layer 1.
    match raw.get(..8) {
        Some([0, b'a', b's', b'm', _, _, 0, 0]) => {}
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => {
            return Err(refused("is a component already".to_owned()).hint("use it as it is"));
        }
        _ => {
            let hint = "give the directory of a crate, or a core module";
            return Err(refused("is not WebAssembly".to_owned()).hint(hint));
        }
    }
    let wasm = encode(&raw).map_err(|e| refused(format!("does not make a component: {e:#}")))?;
    Ok((file, wasm))
}

/// A plugin that others can write is refused, so an umask must not make it one.
fn write(file: &Path, wasm: &[u8]) -> std::io::Result<()> {
    std::fs::write(file, wasm)?;
    std::fs::set_permissions(file, Permissions::from_mode(0o644))
}

struct Package {
    name: String,
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
    match (name, target_dir) {
        (Some(name), Some(target)) => {
            Ok(Package { name: name.to_owned(), manifest, target_dir: PathBuf::from(target) })
        }
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
