//! From a crate to a component: cargo for `wasm32-unknown-unknown`, then the component encoding.
//!
//! The build script of this crate uses this file too, so it depends on nothing else here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The only target: it has no system interface, so that what a component imports is all that it can do.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `Cargo.toml` of the crate or of its workspace.
    pub manifest: &'a Path,
    /// The package, a library with `crate-type = ["cdylib", …]`.
    pub package: &'a str,
    /// A cargo profile: `release`, or one that the workspace defines.
    pub profile: &'a str,
    /// Where cargo puts what it builds. Not the target directory of a cargo that is running: it would wait for its lock.
    pub target_dir: &'a Path,
    /// Whether `Cargo.lock` must be right already.
    pub locked: bool,
}

/// Builds a package and encodes it as a component.
///
/// cargo reports on stderr while it runs. An error says what to do about it.
pub fn component(request: &Request) -> Result<Vec<u8>> {
    let module = module(request)?;
    let raw = std::fs::read(&module).with_context(|| format!("`{}` cannot be read", module.display()))?;
    encode(&raw).with_context(|| format!("package `{}` does not make a component", request.package))
}

/// Wraps a core module, built against bindings of the contract in any language, as a component.
pub fn encode(module: &[u8]) -> Result<Vec<u8>> {
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .context(
            "the module is not a filter: is it linked with bindings of refgate's contract (in Rust, `refgate-guest` and one \
             of its export macros), and with nothing that wants a system?",
        )
}

/// The core module that cargo makes of the package.
fn module(request: &Request) -> Result<PathBuf> {
    let Request { manifest, package, profile, target_dir, locked } = *request;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--lib", "--target", TARGET, "--profile", profile, "--package", package]);
    command.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(target_dir);
    if locked {
        command.arg("--locked");
    }
    if let Some(dir) = manifest.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        // cargo reads `.cargo/config.toml` and the toolchain file from where it stands.
        command.current_dir(dir);
    }
    without_outer_cargo(&mut command);
    let status = command
        .status()
        .with_context(|| format!("`{}` does not start: is Rust installed?", cargo.display()))?;
    if !status.success() {
        if !target_installed(&cargo) {
            bail!("the target {TARGET} is not installed: run `rustup target add {TARGET}`");
        }
        bail!("cargo could not build package `{package}` for {TARGET} ({status}): see its messages above");
    }
    let dir = if profile == "dev" { "debug" } else { profile };
    let file = format!("{}.wasm", package.replace('-', "_"));
    let module = target_dir.join(TARGET).join(dir).join(file);
    if !module.exists() {
        bail!(
            "package `{package}` made no `{}`: add `crate-type = [\"cdylib\", \"rlib\"]` to its [lib]",
            module.display()
        );
    }
    Ok(module)
}

/// Takes away what an outer cargo, its build scripts, clippy or a coverage tool set for the host's build.
fn without_outer_cargo(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        let Some(name) = key.to_str() else { continue };
        let keep = matches!(name, "CARGO_HOME" | "CARGO_TERM_COLOR" | "CARGO_BUILD_JOBS")
            || ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
        let outer = name.starts_with("CARGO")
            || name.starts_with("RUSTC")
            || name.starts_with("DEP_")
            || [
                "RUSTFLAGS",
                "RUSTDOC",
                "RUSTDOCFLAGS",
                "RUST_RECURSION_COUNT",
                "CLIPPY_ARGS",
                "CLIPPY_CONF_DIR",
            ]
            .contains(&name)
            || ["TARGET", "HOST", "OUT_DIR", "OPT_LEVEL", "PROFILE", "DEBUG", "NUM_JOBS", "LD_LIBRARY_PATH"]
                .contains(&name);
        if outer && !keep {
            command.env_remove(key);
        }
    }
}

/// Whether the standard library for the target is there; asked only after a failure.
fn target_installed(cargo: &std::ffi::OsStr) -> bool {
    let rustc = Path::new(cargo).with_file_name("rustc");
    let mut command = Command::new(if rustc.exists() { rustc } else { PathBuf::from("rustc") });
    command.args(["--print", "target-libdir", "--target", TARGET]);
    without_outer_cargo(&mut command);
    match command.output() {
        Ok(output) => Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists(),
        Err(_) => false,
    }
}
