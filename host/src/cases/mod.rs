//! Case files: what a filter should decide, as data. No repository, no real ref-db, no sleeping.

mod coverage;
mod format;
mod run;
mod twice;
mod world;

use std::path::{Path, PathBuf};

use refgate_core::Clock;

pub use coverage::{Coverage, Declared, Part};
pub use format::{Case, CaseDirection, CaseFile};
pub use run::{MakeFilters, run};
pub use twice::{Reused, run_twice};

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
    Ok(run_all(&load_all(files)?, make, clock, None).await)
}

/// Reads several case files; each with its path.
///
/// # Errors
/// As [`load`]: one that cannot be read spoils all.
pub fn load_all(files: &[PathBuf]) -> Result<Vec<(PathBuf, CaseFile)>, Error> {
    files.iter().map(|file| Ok((file.clone(), load(file)?))).collect()
}

/// Runs all cases of files that are read, in order. With `reused` every case runs on fresh instances and on used ones, and
/// a difference fails it.
pub async fn run_all(
    files: &[(PathBuf, CaseFile)],
    make: &MakeFilters<'_>,
    clock: &dyn Clock,
    reused: Option<&Reused>,
) -> Vec<CaseResult> {
    let mut results = Vec::new();
    for (file, cases) in files {
        for case in &cases.cases {
            let diff = match reused {
                None => run(case, make, clock).await,
                Some(reused) => run_twice(case, make, clock, reused).await,
            };
            results.push(CaseResult { file: file.clone(), name: case.name.clone(), diff });
        }
    }
    results
}
