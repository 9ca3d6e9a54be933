//! `bench`: what a filter costs, against its limits and against an earlier measurement.

mod compare;
mod input;
mod measure;

use std::path::{Path, PathBuf};

use refgate_host::Error;
use refgate_runtime::{PluginSource, Settings, World};
use serde_json::Value;

use self::input::Input;
use self::measure::measure;
use super::site;
use crate::output::{Cell, Mood, Output};
use crate::system::system;

/// Arguments of `bench`.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// The size of a batch; may be repeated. Without any 10, 10,000 and 500,000, or all that `--names` gives
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub refs: Vec<u32>,
    /// The names of the refs, or for a project matcher of the projects, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "recording")]
    pub names: Option<PathBuf>,
    /// Ask what was asked in this recording, as `--record` of `push` and `fetch` writes it
    #[arg(long, value_name = "FILE", conflicts_with = "refs")]
    pub recording: Option<PathBuf>,
    /// Which filter, when the component has several
    #[arg(long, value_name = "WORLD", value_parser = ["push-filter", "fetch-filter", "project-matcher"])]
    pub world: Option<String>,
    /// Write the numbers to this file
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Compare with numbers that `--save` wrote
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// How many times the old number a new one may be
    #[arg(long, value_name = "R", default_value_t = 1.25)]
    pub max_ratio: f64,
}

/// `refgate bench`: exit code 1 when something is worse than allowed.
pub fn run(config: &Path, args: &BenchArgs, output: &Output) -> Result<u8, Error> {
    if !args.max_ratio.is_finite() || args.max_ratio <= 0.0 {
        return Err(Error::usage(format!(
            "`--max-ratio {}` is no ratio: write a number like 1.25",
            args.max_ratio
        )));
    }
    // Read first: a measurement takes seconds.
    let old = args.compare.as_deref().map(compare::read).transpose()?;
    let settings = match config.exists() {
        true => site::config(config)?.plugin_settings,
        false => Settings::new(),
    };
    let source = PluginSource::of_file(&args.file, &settings).map_err(|e| Error::usage(e.to_string()))?;
    let sizes: Vec<usize> = args.refs.iter().map(|n| *n as usize).collect();
    let input = match (&args.names, &args.recording) {
        (Some(names), _) => Input::Names(names.clone(), sizes),
        (None, Some(recording)) => Input::Recording(recording.clone()),
        (None, None) if sizes.is_empty() => Input::Made(vec![10, 10_000, 500_000]),
        (None, None) => Input::Made(sizes),
    };
    let world = args.world.as_deref().and_then(World::from_name);
    let mut document = measure(&source, world, &input, &system()?)?.to_json();
    if let Some(file) = &args.save {
        std::fs::write(file, format!("{document:#}\n"))
            .map_err(|e| Error::failed(format!("cannot write `{}`: {e}", file.display())))?;
    }
    let compared = old.map(|old| compare::compare(&old, &document, args.max_ratio));
    if let Some(compared) = &compared {
        document["compared"] = compared.iter().map(compare::Ratio::to_json).collect();
    }
    match output.json {
        true => output.document(&document),
        false => {
            table(&document, output);
            compared.iter().for_each(|compared| compare::table(compared, output));
        }
    }
    let worse = compared.iter().flatten().any(|ratio| ratio.worse);
    Ok(if worse { 1 } else { 0 })
}

fn table(document: &Value, output: &Output) {
    let number = |value: &Value, key: &str| value[key].as_f64().unwrap_or_default();
    output.text(&format!(
        "{}, compiled in {:.2} ms, started in {:.2} ms ({:.2} % of the limit)",
        document["world"].as_str().unwrap_or_default(),
        number(document, "compile_ms"),
        number(document, "start_ms"),
        number(document, "start_percent")
    ));
    let rows = document["batches"].as_array().into_iter().flatten().map(|row| {
        let with = |key: &str, shown: String| -> Cell {
            let percent = number(row, &format!("{key}_percent"));
            let mood = if percent > 50.0 { Mood::Held } else { Mood::Plain };
            Cell::new(format!("{shown} ({percent:.1} %)"), mood)
        };
        let stale = stale(row);
        vec![
            row["refs"].to_string().into(),
            stale.into(),
            with("time", format!("{:.1}", number(row, "ns_per_ref"))),
            format!("{:.1}", number(row, "calls_per_s")).into(),
            format!("{:.1}", number(row, "fuel_per_ref")).into(),
            with("host_calls", row["host_calls"].to_string()),
            with("bytes", row["bytes"].to_string()),
            with("memory", format!("{} KiB", number(row, "memory") as u64 >> 10)),
        ]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    let header = ["REFS", "STALE", "NS/REF", "CALLS/S", "FUEL/REF", "HOST CALLS", "BYTES", "MEMORY"];
    output.table(&header, &rows);
}

/// How many refs of a row are behind.
fn stale(row: &Value) -> &'static str {
    match row["stale"].as_bool() {
        Some(true) => "all",
        Some(false) => "none",
        None => "as recorded",
    }
}
