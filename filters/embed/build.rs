//! Builds the shipped filters, so that the program carries them.

#[path = "src/build.rs"]
mod build;

use std::path::Path;

use anyhow::{Context, Result};

/// Package and plugin name.
const FILTERS: [(&str, &str); 3] = [
    ("refgate-filter-push", "push"),
    ("refgate-filter-fetch", "fetch"),
    ("refgate-project-matcher", "project-matcher"),
];

fn main() -> Result<()> {
    let here = std::env::var("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?;
    let out = std::env::var("OUT_DIR").context("cargo sets OUT_DIR")?;
    let root = Path::new(&here).join("../..").canonicalize().context("the workspace is two levels up")?;
    for path in
        ["Cargo.toml", "Cargo.lock", "wit", "guest/Cargo.toml", "guest/src", "filters/embed/src/build.rs"]
    {
        rerun_if_changed(&root.join(path));
    }
    for (package, name) in FILTERS {
        for path in ["Cargo.toml", "src"] {
            rerun_if_changed(&root.join("filters").join(name).join(path));
        }
        let wasm = build::component(&build::Request {
            manifest: &root.join("Cargo.toml"),
            package,
            profile: "filter",
            target_dir: &Path::new(&out).join("wasm"),
            locked: true,
        })?;
        let file = Path::new(&out).join(name).with_extension("wasm");
        std::fs::write(&file, wasm).with_context(|| format!("`{}` cannot be written", file.display()))?;
    }
    Ok(())
}

fn rerun_if_changed(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
