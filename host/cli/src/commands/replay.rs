//! `replay`: filters against a recording of what was asked before; and the options that record.

use std::path::{Path, PathBuf};

use refgate_core::chain::Said;
use refgate_core::escape;
use refgate_host::config::Config;
use refgate_host::record::{Changed, DEFAULT_MAX, Replayed, replay};
use refgate_host::{Error, filters};
use serde_json::{Value, json};

use super::site;
use crate::output::{Cell, Mood, Output, note};
use crate::system::system;

/// Arguments of `replay`.
#[derive(clap::Args, Debug)]
pub struct ReplayArgs {
    /// The recording, as `--record` of `push` and `fetch` writes it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The filters of this directory beside the shipped ones, instead of those of the configuration
    #[arg(long, value_name = "DIR", conflicts_with = "filter")]
    pub plugins: Option<PathBuf>,
    /// This filter alone
    #[arg(long, value_name = "FILE.wasm")]
    pub filter: Option<PathBuf>,
}

/// Options of commands that ask filters.
#[derive(clap::Args, Debug)]
pub struct RecordArgs {
    /// Add what the filters are asked and what they say to this file, for `refgate replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The size at which a recording stops
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MAX >> 20,
          value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    record_max: u64,
}

impl RecordArgs {
    /// Puts them over what the configuration says.
    pub fn apply(&self, config: &mut Config) {
        if let Some(file) = &self.record {
            config.plugins.record = Some(file.clone());
        }
        config.plugins.record_max = self.record_max << 20;
    }
}

/// `refgate replay`: exit code 3 when anything changed.
pub async fn run(file: &Path, args: ReplayArgs, output: &Output) -> Result<u8, Error> {
    // The settings are those of the configuration, when there is one; without filters from elsewhere there has to be.
    let elsewhere = match (&args.plugins, &args.filter) {
        (Some(dir), _) => Some(filters::Source::Directory(dir.clone())),
        (None, Some(file)) => Some(filters::Source::Alone(file.clone())),
        (None, None) => None,
    };
    let config = match elsewhere.is_none() || file.exists() {
        true => site::config(file)?,
        false => Config::from_items(&[], Path::new("."))?,
    };
    // As they lie there: trying a plugin out must not make it live, as `load` would.
    let source = elsewhere.unwrap_or_else(|| filters::Source::of(&config));
    let set = filters::Loader::for_config(&system()?, &config)?.load_from(&source, &config)?;
    let mut changes = Vec::new();
    let done = replay(&args.file, &set, |change| changes.push(change)).await?;
    site::problems(&done.problems);
    done.notes.iter().for_each(|text| note(text));
    if output.json {
        output.document(&document(&args.file, &done, &changes));
    } else {
        text(&done, &changes, output);
    }
    Ok(if done.changed == 0 { 0 } else { 3 })
}

fn document(file: &Path, done: &Replayed, changes: &[Changed]) -> Value {
    let changes = changes.iter().map(|c| {
        json!({
            "line": c.line,
            "direction": c.direction.name(),
            "project": c.project.as_str(),
            "remote": c.peer,
            "attempt": c.attempt,
            "ref": c.name,
            "was": said_json(&c.was),
            "now": said_json(&c.now),
        })
    });
    json!({
        "command": "replay",
        "file": escape(file.as_os_str().as_encoded_bytes()),
        "changes": changes.collect::<Vec<_>>(),
        "looks": done.looks,
        "refs": done.refs,
        "changed": done.changed,
        "notes": done.notes,
    })
}

fn said_json(said: &Said) -> Value {
    match said {
        Said::Keep => json!({"verdict": "keep"}),
        Said::Recheck { by } => json!({"verdict": "recheck", "by": &**by}),
        Said::Discard { reason, by } => json!({"verdict": "discard", "reason": &**reason, "by": &**by}),
    }
}

fn text(done: &Replayed, changes: &[Changed], output: &Output) {
    let cells: Vec<Vec<Cell>> = changes
        .iter()
        .map(|c| {
            let where_to = match c.peer.as_str() {
                "" => c.direction.name().to_owned(),
                peer => format!("{} {peer}", c.direction.name()),
            };
            let project = c.project.as_str();
            vec![project.into(), where_to.into(), c.name.as_str().into(), cell(&c.was), cell(&c.now)]
        })
        .collect();
    if !cells.is_empty() {
        output.table(&["PROJECT", "LOOK", "REF", "WAS", "NOW"], &cells);
    }
    output.text(&format!("{} of {} refs changed, in {}", done.changed, done.refs, looks(done.looks)));
}

fn looks(count: usize) -> String {
    match count {
        1 => "1 look".to_owned(),
        n => format!("{n} looks"),
    }
}

fn cell(said: &Said) -> Cell {
    match said {
        Said::Keep => Cell::new("keep", Mood::Good),
        Said::Recheck { by } => Cell::new(format!("recheck (by {by})"), Mood::Held),
        Said::Discard { reason, by } => Cell::new(format!("discard: {reason} (by {by})"), Mood::Held),
    }
}
