//! `wit show` and `wit diff`: the contract as text, and whether a change of it leaves plugins behind.

mod diff;
mod sides;
mod types;

use std::path::{Path, PathBuf};

use refgate_host::Error;
use serde_json::json;

use crate::output::{Cell, Output};

/// The files of the package that this program serves.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/wit.rs"));

/// `wit …`
#[derive(clap::Subcommand, Debug)]
pub enum WitCommand {
    /// Print the WIT package that this program serves, or write it to a directory
    Show {
        /// A new or empty directory; one file per interface
        dir: Option<PathBuf>,
    },
    /// Whether plugins made for one contract load with another
    Diff {
        /// What plugins were made for: a directory or file with WIT, or a component
        old: PathBuf,
        /// What they shall run with: the same; without it the WIT of this program
        new: Option<PathBuf>,
    },
}

impl WitCommand {
    /// The command as `--json` names it.
    pub fn name(&self) -> &'static str {
        match self {
            WitCommand::Show { .. } => "wit show",
            WitCommand::Diff { .. } => "wit diff",
        }
    }
}

/// `refgate wit`.
pub fn run(command: WitCommand, output: &Output) -> Result<u8, Error> {
    match command {
        WitCommand::Show { dir } => show(dir.as_deref(), output),
        WitCommand::Diff { old, new } => diff(&old, new.as_deref(), output),
    }
}

fn show(dir: Option<&Path>, output: &Output) -> Result<u8, Error> {
    let Some(dir) = dir else {
        let text = one_text();
        match output.json {
            true => output.exact_document(&json!({"command": "wit show", "wit": text})),
            false => text.trim_end().lines().for_each(|line| output.text(line)),
        }
        return Ok(0);
    };
    let cannot = |e: std::io::Error| Error::failed(format!("cannot write to `{}`: {e}", dir.display()));
    super::new::empty_directory(dir)?;
    for (name, text) in FILES {
        std::fs::write(dir.join(name), text).map_err(cannot)?;
    }
    let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
    match output.json {
        true => output.document(
            &json!({"command": "wit show", "directory": dir.display().to_string(), "files": names}),
        ),
        false => output.text(&format!("wrote {}: {}", dir.display(), names.join(", "))),
    }
    Ok(0)
}

/// All files as one: the line that names the package stands once.
fn one_text() -> String {
    let is_package = |line: &&str| line.starts_with("package ");
    let package = FILES.iter().find_map(|(_, text)| text.lines().find(is_package));
    let mut all = package.unwrap_or_default().to_owned() + "\n";
    for (_, text) in FILES {
        let rest: Vec<&str> = text.lines().filter(|line| !is_package(line)).collect();
        all.push('\n');
        all.push_str(rest.join("\n").trim());
        all.push('\n');
    }
    all
}

fn diff(old: &Path, new: Option<&Path>, output: &Output) -> Result<u8, Error> {
    let old = sides::read(old)?;
    let new = match new {
        Some(new) => sides::read(new)?,
        None => sides::served(&one_text())?,
    };
    let worlds = diff::compare(old, new)?;
    let all = worlds.iter().all(|w| w.breaks.is_empty());
    if output.json {
        let worlds: Vec<_> = worlds
            .iter()
            .map(|w| json!({"world": w.name, "compatible": w.breaks.is_empty(), "breaks": w.breaks}))
            .collect();
        output.document(&json!({"command": "wit diff", "worlds": worlds, "compatible": all}));
    } else {
        for world in &worlds {
            match world.breaks.is_empty() {
                true => output.line(vec![format!("{}: ", world.name).into(), Cell::good("compatible")]),
                false => output.line(vec![format!("{}: ", world.name).into(), Cell::bad("plugins break")]),
            }
            world.breaks.iter().for_each(|why| output.text(&format!("    {why}")));
        }
    }
    Ok(if all { 0 } else { 1 })
}
