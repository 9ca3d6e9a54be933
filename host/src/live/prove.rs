//! The last test of a new set: its plugins' own cases, the operator's cases, and what the live set was asked lately.

use std::path::PathBuf;
use std::sync::Arc;

use refgate_core::{Clock, FilterSet, Reason, chain};
use refgate_runtime::{Build, Candidate, Manifest, NewBuild, Prove};

use super::observe::Watching;
use crate::Error;
use crate::cases::{self, CaseFile};
use crate::config::Config;
use crate::filters::{Loader, Source, refused};

/// Failing cases that an error names.
const NAMED: usize = 3;

/// The proof for a configuration. Its case files are read now, so that a broken one is found at the start.
pub(super) fn prover(loader: &Arc<Loader>, config: &Config, watching: Arc<Watching>) -> Result<Prove, Error> {
    let golden: Vec<CaseFile> =
        config.plugins.cases.iter().map(|path| cases::load(path)).collect::<Result<_, Error>>()?;
    let (loader, most) = (loader.clone(), config.plugins.max_changed_percent);
    Ok(Arc::new(move |candidate: &Candidate<'_>| {
        let mut tried = own_cases(&loader, &candidate.new)?;
        tried += golden_cases(&golden, candidate.set, loader.clock().as_ref())?;
        let (looks, refs, changed) = recorded(candidate.set, &watching)?;
        let percent = changed as f64 * 100.0 / refs.max(1) as f64;
        if percent > most {
            return Err(format!(
                "it changes {changed} of {refs} verdicts on what was asked lately; `plugins.maxChanged` allows {most} %"
            ));
        }
        Ok(format!(
            "proved on {tried} cases and {looks} recorded looks, {changed} of {refs} verdicts changed"
        ))
    }))
}

/// The cases that new builds carry, each plugin alone with the settings of its cases.
fn own_cases(loader: &Loader, new: &[NewBuild<'_>]) -> Result<usize, String> {
    let mut tried = 0;
    for build in new {
        let Some(manifest) = Manifest::read(build.wasm)? else { continue };
        for text in &manifest.cases {
            let file =
                CaseFile::parse(&text.to_string(), false).map_err(|e| format!("its own cases: {e}"))?;
            let make = |config: &Config| loader.load_for_own_case(build, config).map_err(|e| e.message);
            tried += run("its own case", &file, &make, loader.clock().as_ref())?;
        }
    }
    Ok(tried)
}

/// The operator's cases, for the whole set with the settings that it has.
fn golden_cases(files: &[CaseFile], set: &FilterSet, clock: &dyn Clock) -> Result<usize, String> {
    let mut tried = 0;
    for file in files {
        tried += run("a case of `plugins.cases`", file, &|_| Ok(set.clone()), clock)?;
    }
    Ok(tried)
}

fn run(
    what: &str,
    file: &CaseFile,
    make: &cases::MakeFilters<'_>,
    clock: &dyn Clock,
) -> Result<usize, String> {
    let mut failed = Vec::new();
    for case in &file.cases {
        let diff = finish(cases::run(case, make, clock))?;
        if !diff.is_empty() {
            failed.push(format!("`{}`: {}", case.name, diff.join("; ")));
        }
    }
    match failed.len() {
        0 => Ok(file.cases.len()),
        n => {
            failed.truncate(NAMED);
            Err(format!("{n} of {} times {what} fails: {}", file.cases.len(), failed.join("; ")))
        }
    }
}

/// Asks the set what the live one was asked. How many looks, refs, and changed verdicts.
fn recorded(set: &FilterSet, watching: &Watching) -> Result<(usize, usize, usize), String> {
    let (mut refs, mut changed) = (0, 0);
    let recent = watching.recent();
    for asked in &recent {
        let look = finish(chain::look(set, &asked.batch))?;
        let failed = |said: &[chain::Said]| {
            said.iter().any(|s| matches!(s, chain::Said::Discard { reason, .. } if **reason == *Reason::FilterFailed.as_str()))
        };
        if failed(&look.said) && !failed(&asked.said) {
            let why = look.problems.join("; ");
            return Err(format!("it fails on what was asked lately ({} refs): {why}", asked.batch.len()));
        }
        refs += asked.batch.len();
        changed += chain::changes(&asked.said, &look.said).len();
    }
    Ok((recent.len(), refs, changed))
}

/// Waits for a future on a thread of its own, whatever this thread is in the middle of.
pub(super) fn finish<T: Send>(future: impl Future<Output = T> + Send) -> Result<T, String> {
    let wait = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.map(|runtime| runtime.block_on(future)).map_err(|e| e.to_string())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, wait);
        let thread = thread.map_err(|e| refgate_runtime::no_thread(&e))?;
        thread.join().unwrap_or_else(|_| Err("a thread of the proof ended early".to_owned()))
    })
}

/// What a set was tried on outside of a running host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Plugins that were loaded.
    pub plugins: usize,
    /// Cases that were run: those that plugins carry, and those of `plugins.cases`.
    pub cases: usize,
}

impl Loader {
    /// Takes plugins through everything that a running host does before they become live, but for recorded batches, and
    /// saves nothing.
    ///
    /// # Errors
    /// The first thing that would keep them out, with the next step.
    pub fn check(&self, source: &Source, config: &Config) -> Result<Checked, Error> {
        let set = self.load_from(source, config)?;
        let files: Vec<PathBuf> = match source {
            Source::Shipped => Vec::new(),
            Source::Alone(file) => vec![file.clone()],
            Source::Directory(dir) => {
                let here = |p: &refgate_core::PluginId| dir.join(format!("{}.wasm", p.name));
                let mut files: Vec<PathBuf> =
                    set.plugins.iter().map(here).filter(|file| file.exists()).collect();
                files.dedup();
                files
            }
        };
        let builds: Vec<Build> =
            files.iter().map(|file| Build::read(file).map_err(refused)).collect::<Result<_, Error>>()?;
        let new: Vec<NewBuild<'_>> = builds.iter().map(Build::as_new).collect();
        let failed = |what: String| Error::usage(format!("{}: {what}", shown(source)));
        let mut cases = own_cases(self, &new).map_err(failed)?;
        if let Source::Directory(_) = source {
            let golden: Vec<CaseFile> =
                config.plugins.cases.iter().map(|path| cases::load(path)).collect::<Result<_, Error>>()?;
            cases += golden_cases(&golden, &set, self.clock().as_ref()).map_err(failed)?;
        }
        Ok(Checked { plugins: set.plugins.len(), cases })
    }
}

fn shown(source: &Source) -> String {
    match source {
        Source::Shipped => "the shipped filters".to_owned(),
        Source::Directory(dir) => format!("plugin directory `{}`", dir.display()),
        Source::Alone(file) => format!("plugin `{}`", file.display()),
    }
}
