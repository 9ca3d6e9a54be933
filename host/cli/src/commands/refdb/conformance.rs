//! `refdb conformance`: whether a store does what refgate expects of one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use rand::Rng;
use refgate_core::{Reach, RefDb};
use refgate_host::Error;
use refgate_refdb::conformance::{Bench, Case, Connect, Report, Verdict, cases};
use refgate_refdb::{Location, OpenMode, make_place, redacted};
use serde_json::{Value, json};

use super::site;
use crate::args::ConformanceArgs;
use crate::output::{Cell, Mood, Output, note};
use crate::progress::{bar, say};
use crate::system::system;

/// Runs the cases one after the other and tells how each came out.
pub async fn run(file: &Path, args: ConformanceArgs, output: &Output) -> Result<u8, Error> {
    let chosen = choose(args.only.as_deref())?;
    // A place that somebody names for it may be empty; the store of the configuration is there, or the url is wrong.
    let mode = if args.url.is_some() { OpenMode::Create } else { OpenMode::Existing };
    let location = location(file, args.url)?;
    if location.url == "noop:" {
        return Err(Error::usage("`noop:` remembers nothing, so there is nothing to test")
            .hint("name another store with --url"));
    }
    let system = system()?;
    let drawn = || system.rng.lock().map(|mut rng| rng.next_u64()).unwrap_or_default();
    // Short enough to be typed again, and exact in every reader of JSON.
    let (run, seed) = (drawn(), args.seed.unwrap_or_else(|| drawn() >> 32));
    let shown = redacted(&location.url);
    // An error here is the user's to correct; later ones are failures of cases.
    let first = blocking({
        let (location, clock) = (location.clone(), system.clock.clone());
        move || {
            if mode == OpenMode::Create {
                make_place(&location)?;
            }
            refgate_refdb::open(&location, mode, clock)
        }
    })
    .await??;
    if first.created {
        note(&format!("created the ref-db {shown}"));
    }
    let first = first.db;
    let name = first.capabilities().name;
    let bench = Bench::new(connect(first, location, &system.clock), system.clock.clone(), run, seed);
    note(&format!("writes to {shown}, into projects below `{}`, and forgets them again", bench.prefix()));
    let progress = bar(chosen.len() as u64, "testing");
    let mut reports = Vec::with_capacity(chosen.len());
    for case in chosen {
        say(&progress, &case.title());
        let bench = bench.clone();
        // Connecting blocks, and each case connects.
        let runtime = tokio::runtime::Handle::current();
        reports.push(blocking(move || runtime.block_on(case.run(&bench))).await?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    show(name, seed, &reports, output);
    Ok(u8::from(reports.iter().any(|report| matches!(report.verdict, Verdict::Failed(_)))))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|died| Error::failed(format!("a worker thread died: {died}")))
}

/// The cases whose number, name or both together match.
fn choose(only: Option<&str>) -> Result<Vec<Case>, Error> {
    let Some(pattern) = only else { return Ok(cases()) };
    let glob: GlobMatcher = Glob::new(pattern)
        .map_err(|e| Error::usage(format!("`{pattern}` is no pattern: {}", e.kind())))?
        .compile_matcher();
    let matches = |case: &Case| {
        glob.is_match(case.number.to_string()) || glob.is_match(case.name) || glob.is_match(case.title())
    };
    let chosen: Vec<Case> = cases().into_iter().filter(matches).collect();
    match chosen.is_empty() {
        true => Err(Error::usage(format!("no case matches `{pattern}`"))
            .hint("give a number, or a pattern for the name like `*lock*`")),
        false => Ok(chosen),
    }
}

/// The store of `--url`, or the one of the configuration.
fn location(file: &Path, url: Option<String>) -> Result<Location, Error> {
    if let Some(url) = url {
        return Ok(Location::new(url, PathBuf::new()));
    }
    let config = site::config(file)?.ref_database;
    match config.url {
        Some(url) => Ok(Location { url, base_dir: config.base_dir, access: config.access }),
        None => {
            Err(Error::usage("the configuration has no `ref-database.url`").hint("name a store with --url"))
        }
    }
}

/// A store that lives in one process is one for all clients, others are connected to again for each.
fn connect(first: RefDb, location: Location, clock: &Arc<dyn refgate_core::Clock>) -> Arc<Connect> {
    if first.capabilities().reach == Reach::Process {
        return Arc::new(move || Ok(first.clone()));
    }
    let clock = clock.clone();
    Arc::new(move || Ok(refgate_refdb::open(&location, OpenMode::Existing, clock.clone())?.db))
}

fn show(store: &str, seed: u64, reports: &[Report], output: &Output) {
    let count = |name: &str| reports.iter().filter(|r| r.verdict.name() == name).count();
    let (passed, failed, not_promised) = (count("passed"), count("failed"), count("not promised"));
    if output.json {
        let cases: Vec<Value> = reports
            .iter()
            .map(|report| {
                json!({
                    "number": report.case.number,
                    "case": report.case.name,
                    "result": report.verdict.name().replace(' ', "-"),
                    "ms": ms(report.took),
                    "why": report.verdict.why(),
                })
            })
            .collect();
        return output.document(&json!({
            "command": "refdb conformance", "store": store, "seed": seed, "cases": cases,
            "passed": passed, "failed": failed, "not_promised": not_promised,
        }));
    }
    let rows: Vec<Vec<Cell>> = reports
        .iter()
        .map(|report| {
            let mood = match report.verdict {
                Verdict::Passed => Mood::Good,
                Verdict::Failed(_) => Mood::Bad,
                Verdict::NotPromised(_) => Mood::Held,
            };
            let case = &report.case;
            vec![
                case.number.to_string().into(),
                case.name.into(),
                Cell::new(report.verdict.name(), mood),
                ms(report.took).to_string().into(),
            ]
        })
        .collect();
    output.table(&["NUMBER", "CASE", "RESULT", "MS"], &rows);
    for report in reports {
        if let Some(why) = report.verdict.why() {
            output.text(&format!("{}: {}: {why}", report.case.number, report.verdict.name()));
        }
    }
    output.text(&format!("{passed} passed, {failed} failed, {not_promised} not promised; seed {seed}"));
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
