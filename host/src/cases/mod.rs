//! Case files: what a filter should decide, as data. No repository, no real ref-db, no sleeping.

mod format;
mod run;
mod world;

use std::path::{Path, PathBuf};

use refgate_core::Clock;

pub use format::{Case, CaseDirection, CaseFile};
pub use run::{MakeFilters, run};

use crate::Error;

/// The outcome of one case.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// The file that it stands in.
    pub file: PathBuf,
    /// Its name.
    pub name: String,
    /// What differs from the expectation; empty when it passed.
    pub diff: Vec<String>,
}

impl CaseResult {
    /// Whether everything came out as expected.
    pub fn passed(&self) -> bool {
        self.diff.is_empty()
    }
}

/// Reads one case file; the ending `.toml` says that it is TOML, everything else is JSON.
///
/// # Errors
/// A file that cannot be read as cases, with the place.
pub fn load(path: &Path) -> Result<CaseFile, Error> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::usage(format!("cannot read the case file `{shown}`: {e}")))?;
    let toml = path.extension().is_some_and(|e| e == "toml");
    CaseFile::parse(&text, toml).map_err(|e| {
        Error::usage(format!("`{shown}` is not a case file: {e}"))
            .hint("docs/writing-a-filter.md describes every key of a case")
    })
}

/// A case file as JSON, whatever it is written in: what a plugin carries as its own cases.
///
/// # Errors
/// As [`load`].
pub fn document(path: &Path) -> Result<serde_json::Value, Error> {
    load(path)?;
    let wrong = |e: String| Error::usage(format!("`{}` is not a case file: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    match path.extension().is_some_and(|e| e == "toml") {
        true => toml::from_str(&text).map_err(|e| wrong(e.to_string())),
        false => serde_json::from_str(&text).map_err(|e| wrong(e.to_string())),
    }
}

/// Runs all cases of `files` in order.
///
/// # Errors
/// A file that cannot be read as cases; then none is run.
pub async fn run_files(
    files: &[PathBuf],
    make: &MakeFilters<'_>,
    clock: &dyn Clock,
) -> Result<Vec<CaseResult>, Error> {
    let mut loaded = Vec::new();
    for file in files {
        loaded.push((file, load(file)?));
    }
    let mut results = Vec::new();
    for (file, cases) in &loaded {
        for case in &cases.cases {
            let diff = run(case, make, clock).await;
            results.push(CaseResult { file: file.to_path_buf(), name: case.name.clone(), diff });
        }
    }
    Ok(results)
}
