//! `refdb heal`: what keeps this site from agreeing with the ref-db, and its repair.

use std::path::Path;

use refgate_core::{Oid, Project};
use refgate_host::heal::{GlobalValue, Options, Report, RowResult, heal};
use refgate_host::{Error, Site, anew};

use crate::args::HealArgs;
use crate::commands::many::{self, Place};
use crate::commands::site;
use crate::output::{Cell, Mood, Output, hint, note, warn};
use crate::system::wall_time;

/// `refgate refdb heal`.
pub async fn run(file: &Path, args: HealArgs, output: &Output) -> Result<u8, Error> {
    args.several.check(&args.projects, "refdb heal PROJECT...")?;
    if args.accept_loss.is_some() && !args.several.is_one(&args.projects) {
        return Err(Error::usage("`--accept-loss` gives up one value of one project")
            .hint("name the project that it belongs to"));
    }
    let options = Options {
        publish: args.publish,
        rescue: args.rescue,
        accept_loss: args.accept_loss.as_deref().map(parse_oid).transpose()?,
        yes: args.yes,
        now: wall_time(),
    };
    let site = site::open(file).await?;
    let work = async |project: &Project, output: &Output| one(&site, project, &options, output).await;
    many::run(output, (&args.several, &args.projects), &Place::of(&site), work).await
}

async fn one(site: &Site, project: &Project, options: &Options, output: &Output) -> Result<u8, Error> {
    let report = heal(site, project, options).await?;
    site::problems(&report.problems);
    for (remote, why) in &report.unreachable {
        warn(&format!("`{remote}` was not asked for missing objects: {why}"));
    }
    if let Some(recorded) = report.made_anew {
        warn(&anew::told(project, recorded));
        hint(&anew::hint(project));
    }
    if output.json {
        output.document(&report.to_json());
    } else {
        text(&report, output);
    }
    Ok(report.exit_code())
}

/// What is given up is named exactly, or not at all.
fn parse_oid(text: &str) -> Result<Oid, Error> {
    text.parse().map_err(|e| {
        Error::usage(format!("`{text}` is no object id: {e}"))
            .hint("give the whole oid that the ref-db holds and that is to be given up")
    })
}

fn text(report: &Report, output: &Output) {
    if !report.refs.is_empty() {
        let rows: Vec<Vec<Cell>> = report
            .refs
            .iter()
            .map(|one| {
                let global = match one.finding.global {
                    GlobalValue::At(oid) => short(Some(oid)),
                    GlobalValue::Deleted => "deleted".into(),
                    GlobalValue::Untracked => "untracked".into(),
                    GlobalValue::Unread => "?".into(),
                };
                vec![
                    one.finding.name.to_string().into(),
                    short(one.finding.local).into(),
                    global.into(),
                    one.finding.row.name().into(),
                    Cell::new(format!("{}: {}", one.result.name(), one.action), mood(one.result)),
                ]
            })
            .collect();
        output.table(&["REF", "LOCAL", "REF-DB", "ROW", "WHAT"], &rows);
    }
    for record in &report.records {
        let (result, why) = report.fate(record);
        let refs: Vec<String> = record.refs.iter().map(ToString::to_string).collect();
        output.text(&format!("record {} of {}: {result}: {why}", record.id, refs.join(", ")));
    }
    for one in &report.left_over {
        let result = report.left_over_result(one).name();
        let why = one.kept.as_ref().map_or(String::new(), |why| format!(": {why}"));
        output.text(&format!("{} ({}): {result}{why}", one.name, one.what));
    }
    let count = |result| report.refs.iter().filter(|one| one.result == result).count();
    output.summary(&match report.dry_run {
        true => format!("{} to do, {} left", count(RowResult::Would), count(RowResult::Left)),
        false => format!("{} done, {} left", count(RowResult::Done), count(RowResult::Left)),
    });
    let would = count(RowResult::Would) > 0 || !report.records.is_empty() || !report.left_over.is_empty();
    if report.dry_run && would {
        hint("nothing was changed; run it again with --yes");
    }
    if report.is_fine() {
        note("this site agrees with the ref-db");
    }
}

fn mood(result: RowResult) -> Mood {
    match result {
        RowResult::Would => Mood::Plain,
        RowResult::Done => Mood::Good,
        RowResult::Left => Mood::Held,
    }
}

fn short(oid: Option<Oid>) -> String {
    oid.map_or("-".into(), |oid| oid.to_string()[..10].to_owned())
}
