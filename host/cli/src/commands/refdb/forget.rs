//! `refdb forget`: deletions and superseded values that no site can need any more.

use std::path::Path;
use std::sync::Arc;

use refgate_core::{GlobalRef, Project};
use refgate_host::forget::{Fate, Options, Report, forget};
use refgate_host::{Error, Site};

use super::show;
use crate::args::ForgetArgs;
use crate::commands::many::{self, Place};
use crate::commands::site;
use crate::output::{Cell, Mood, Output, hint, warn};
use crate::system::moment;

/// `refgate refdb forget`.
pub async fn run(file: &Path, args: ForgetArgs, output: &Output) -> Result<u8, Error> {
    args.several.check(&args.projects, "refdb forget PROJECT...")?;
    let options =
        Options { yes: args.yes, sites_are_complete: args.sites_are_complete, now: Arc::new(moment) };
    let site = site::open(file).await?;
    let work = async |project: &Project, output: &Output| one(&site, project, &options, output).await;
    many::run(output, (&args.several, &args.projects), &Place::of(&site), work).await
}

async fn one(site: &Site, project: &Project, options: &Options, output: &Output) -> Result<u8, Error> {
    let report = forget(site, project, options).await?;
    if !report.unknown_sites.is_empty() {
        warn(&format!(
            "the ref-db was used by sites that this configuration does not name: {}",
            report.unknown_sites.join(", ")
        ));
    }
    site::problems(&report.problems);
    if output.json {
        output.document(&report.to_json());
    } else {
        text(&report, output);
    }
    Ok(if report.problems.is_empty() { 0 } else { 1 })
}

fn text(report: &Report, output: &Output) {
    if !report.rows.is_empty() {
        let rows: Vec<Vec<Cell>> = report
            .rows
            .iter()
            .map(|row| {
                let what = match (row.entry.value, row.entry.superseded.len()) {
                    (GlobalRef::Deleted, _) => "deletion".to_owned(),
                    (_, n) => format!("{n} superseded"),
                };
                let mood = match row.fate {
                    Fate::Forgotten => Mood::Good,
                    Fate::Kept(_) => Mood::Held,
                    _ => Mood::Plain,
                };
                let fate = match row.fate.why() {
                    Some(why) => format!("{}: {why}", row.fate.name()),
                    None => row.fate.name().into(),
                };
                vec![
                    row.name.to_string().into(),
                    show(row.entry.value).into(),
                    what.into(),
                    Cell::new(fate, mood),
                ]
            })
            .collect();
        output.table(&["REF", "VALUE", "HOLDS", "RESULT"], &rows);
    }
    let count = |name: &str| report.rows.iter().filter(|row| row.fate.name() == name).count();
    output.summary(&format!(
        "{} forgotten, {} due, {} noted or waiting, {} kept",
        count("forgotten"),
        count("due"),
        count("noted") + count("waiting"),
        count("kept")
    ));
    if report.dry_run && count("noted") + count("due") > 0 {
        hint("nothing was noted or forgotten; run it again with --yes");
    }
}
