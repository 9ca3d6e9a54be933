//! `test`: filters against case files.

mod junit;
mod show;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use refgate_core::FilterSet;
use refgate_filters::EMBEDDED;
use refgate_host::cases::{self, CaseFile, CaseResult, Coverage, Declared, Part, Reused};
use refgate_host::config::Config;
use refgate_host::{Error, System, filters};
use refgate_runtime::{Build, Manifest, World};

use crate::args::TestArgs;
use crate::output::{Output, warn};
use crate::system::system;

/// `refgate test`.
pub async fn run(args: TestArgs, output: &Output) -> Result<u8, Error> {
    let system = system()?;
    if !args.watch {
        let round = Round::run(&args, &system).await?;
        return show::round(&round, &args, output);
    }
    if output.json {
        return Err(Error::usage("`--watch` prints a result per round, and `--json` is one document")
            .hint("leave one of them out"));
    }
    let mut files = args.files.clone();
    files.extend(args.filter.clone());
    let mut watch = watch::Watch::new(&files, args.plugins.as_slice())?;
    for count in 1.. {
        output.text(&format!("--- run {count} ---"));
        // Half an edit may be unreadable; the next one is not.
        match Round::run(&args, &system).await {
            Ok(round) => drop(show::round(&round, &args, output)?),
            Err(e) => {
                warn(&e.message);
                e.hint.iter().for_each(|hint| crate::output::hint(hint));
            }
        }
        let waited = tokio::task::spawn_blocking(move || (watch.wait(), watch)).await;
        match waited {
            Ok((true, again)) => watch = again,
            _ => break,
        }
    }
    Ok(0)
}

/// One run of all cases.
struct Round {
    results: Vec<CaseResult>,
    coverage: Option<Vec<Part>>,
}

impl Round {
    async fn run(args: &TestArgs, system: &System) -> Result<Round, Error> {
        let source = match (&args.plugins, &args.filter) {
            (Some(dir), _) => filters::Source::Directory(dir.clone()),
            (None, Some(file)) => filters::Source::Alone(file.clone()),
            (None, None) => filters::Source::Shipped,
        };
        let files = match (&args.filter, args.files.is_empty()) {
            (_, false) => cases::load_all(&args.files)?,
            (Some(filter), true) => embedded_cases(filter)?,
            (None, true) => {
                return Err(Error::usage("there are no cases to run").hint(
                    "name case files; a component that carries its own needs none: `--filter FILE.wasm`",
                ));
            }
        };
        let loader = filters::Loader::new(system)?;
        // A set that does not load at all is a mistake of the caller, not a case that fails.
        loader.probe(&source)?;
        // The author's own cases know nothing of what an operator sets beside the file.
        let own = match (&args.filter, args.files.is_empty()) {
            (Some(filter), true) => Some(Build::read(filter).map_err(|e| Error::usage(e.to_string()))?),
            _ => None,
        };
        let load = |config: &Config| -> Result<FilterSet, String> {
            let set = match &own {
                Some(build) => loader.load_for_own_case(&build.as_new(), config),
                None => loader.load_for_case(&source, config),
            };
            set.map_err(|e| e.message)
        };
        let coverage = args.coverage.then(|| Arc::new(Coverage::default()));
        let reused = args.twice.then(Reused::default);
        let clock = system.clock.as_ref();
        let results = match &coverage {
            None => cases::run_all(&files, &load, clock, reused.as_ref()).await,
            Some(coverage) => {
                let watched = coverage.clone().watching(&load);
                cases::run_all(&files, &watched, clock, reused.as_ref()).await
            }
        };
        let coverage = match coverage {
            None => None,
            Some(coverage) => Some(coverage.parts(&declared(&loader, args)?)),
        };
        Ok(Round { results, coverage })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|e| Error::usage(format!("cannot read the plugin `{}`: {e}", path.display())))
}

fn manifest(shown: &str, wasm: &[u8]) -> Result<Option<Manifest>, Error> {
    Manifest::read(wasm).map_err(|e| Error::usage(format!("plugin `{shown}`: {e}")))
}

/// The cases that a component carries.
fn embedded_cases(filter: &Path) -> Result<Vec<(PathBuf, CaseFile)>, Error> {
    let shown = filter.display().to_string();
    let files = manifest(&shown, &read(filter)?)?.map(|m| m.cases).unwrap_or_default();
    if files.is_empty() {
        return Err(Error::usage(format!("`{shown}` carries no cases"))
            .hint("name a case file, or name case files as `cases` in `filter.toml` and build it again"));
    }
    let parsed = files.iter().map(|text| match CaseFile::parse(&text.to_string(), false) {
        Ok(file) => Ok((filter.to_owned(), file)),
        Err(e) => Err(Error::usage(format!("the cases in `{shown}` cannot be read: {e}"))),
    });
    parsed.collect()
}

/// What the tested plugins say about themselves: the one of `--filter`, those of `--plugins`, or the shipped ones.
fn declared(loader: &filters::Loader, args: &TestArgs) -> Result<Declared, Error> {
    let mut declared = Declared::default();
    let mut add = |name: &str, wasm: &[u8], manifest: Option<Manifest>| -> Result<(), Error> {
        let worlds = loader.inspect(name, wasm)?.worlds;
        // A matcher gives no reason: that of its manifest is what the host says.
        let speaks = worlds.iter().any(|world| *world != World::ProjectMatcher);
        declared.worlds.extend(worlds);
        declared.plugins.insert(name.to_owned());
        let Some(manifest) = manifest else { return Ok(()) };
        declared.reasons.extend(manifest.reasons.into_keys().filter(|_| speaks));
        let properties = manifest.settings.as_ref().and_then(|s| s.get("properties")?.as_object());
        let keys = properties.into_iter().flat_map(|p| p.keys());
        declared.settings.extend(keys.map(|key| format!("{name}.{key}")));
        Ok(())
    };
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let files: Vec<PathBuf> = match (&args.plugins, &args.filter) {
        (Some(dir), _) => {
            let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let entries =
                entries.map_err(|e| Error::usage(format!("plugin directory `{}`: {e}", dir.display())))?;
            entries
                .into_iter()
                .map(|e| e.path())
                .filter(|p| p.extension().is_some_and(|e| e == "wasm"))
                .collect()
        }
        (None, Some(file)) => vec![file.clone()],
        (None, None) => {
            for one in EMBEDDED {
                // The shipped ones say beside their code what others say in it.
                let about = Manifest::from_toml(one.about).map_err(|e| {
                    Error::failed(format!("the manifest of the embedded `{}` is damaged: {e}", one.name))
                })?;
                add(one.name, one.wasm, Some(about.0))?;
            }
            Vec::new()
        }
    };
    for file in files {
        let (name, wasm) = (stem(&file), read(&file)?);
        add(&name, &wasm, manifest(&name, &wasm)?)?;
    }
    Ok(declared)
}
