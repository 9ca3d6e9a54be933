//! `push` and `fetch`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use refgate_core::decision::Verdict;
use refgate_core::{Oid, Project, Reason, escape};
use refgate_host::replicate::{self, Options};
use refgate_host::{Error, RefDecision, RefResult, Report};

use super::site;
use crate::args::TransferArgs;
use crate::output::{Cell, Mood, Output, warn};
use crate::progress::Spinner;

/// `refgate push`.
pub async fn push(file: &Path, args: TransferArgs, output: &Output) -> Result<u8, Error> {
    let (project, options) = parse(&args)?;
    let site = site::open_recording(file, &args.record).await?;
    let spinner = Spinner::start();
    let report = replicate::push(&site, &project, &args.remote, &options, spinner.clone()).await;
    spinner.stop();
    site.recorder.iter().for_each(|recorder| recorder.finish());
    show(&report?, output)
}

/// `refgate fetch`.
pub async fn fetch(file: &Path, args: TransferArgs, output: &Output) -> Result<u8, Error> {
    let (project, options) = parse(&args)?;
    let site = site::open_recording(file, &args.record).await?;
    let spinner = Spinner::start();
    let report = replicate::fetch(&site, &project, &args.remote, &options, spinner.clone()).await;
    spinner.stop();
    site.recorder.iter().for_each(|recorder| recorder.finish());
    show(&report?, output)
}

fn parse(args: &TransferArgs) -> Result<(Project, Options), Error> {
    let refs = args.refs.iter().map(glob).collect::<Result<_, _>>()?;
    Ok((Project::new(args.project.clone())?, Options { refs, dry_run: args.dry_run, create: args.create }))
}

/// A glob over full ref names in which `*` crosses slashes.
fn glob(text: &OsString) -> Result<GlobMatcher, Error> {
    let shown = escape(text.as_bytes());
    let Some(utf8) = text.to_str() else {
        return Err(
            Error::usage(format!("`{shown}` is not UTF-8")).hint("`?` stands for any one byte of a name")
        );
    };
    let glob = GlobBuilder::new(utf8).literal_separator(false).backslash_escape(true).build();
    glob.map(|g| g.compile_matcher())
        .map_err(|e| Error::usage(format!("`{shown}` is not a glob: {}", e.kind())))
}

fn show(report: &Report, output: &Output) -> Result<u8, Error> {
    site::problems(&report.decision.problems);
    if report.decision.gate_off {
        warn("the gate is switched off by the configuration: nothing was checked against the ref-db");
    }
    if output.json {
        output.document(&report.to_json());
    } else {
        text(report, output);
    }
    Ok(report.exit_code())
}

/// What catch-up did with local refs before the session, in rows as of the session.
fn catch_up(report: &Report, output: &Output) {
    let row = |(one, result): &(RefDecision, RefResult)| {
        let (what, mood) = match (&one.verdict, result) {
            (Verdict::Discard { reason, by }, _) => {
                (format!("held back here: {reason} (by {by})"), Mood::Held)
            }
            (Verdict::Keep, RefResult::NotSent) => ("would catch up".to_owned(), Mood::Good),
            (Verdict::Keep, _) => ("caught up".to_owned(), Mood::Good),
        };
        vec![one.name.to_string().into(), short(one.old).into(), short(one.new).into(), Cell::new(what, mood)]
    };
    let rows: Vec<Vec<Cell>> = report.catch_up.iter().map(row).collect();
    if !rows.is_empty() {
        output.table(&["LOCAL REF", "OLD", "NEW", "WITH THE REF-DB"], &rows);
    }
}

fn text(report: &Report, output: &Output) {
    catch_up(report, output);
    let (rows, quiet): (Vec<_>, Vec<_>) = report
        .decision
        .refs
        .iter()
        .zip(&report.results)
        .partition(|(one, _)| one.verdict.reason() != Some(&Reason::AlreadyUpToDate));
    if !rows.is_empty() {
        let cells: Vec<Vec<Cell>> = rows
            .iter()
            .map(|(one, result)| {
                let name = match one.name == one.remote_name {
                    true => one.name.to_string(),
                    false => format!("{} -> {}", one.name, one.remote_name),
                };
                let (why, mood) = match (&one.verdict, result) {
                    (Verdict::Discard { reason, by }, _) => {
                        (format!("held back: {reason} (by {by})"), Mood::Held)
                    }
                    (Verdict::Keep, RefResult::Rejected(_)) => (result.to_string(), Mood::Bad),
                    (Verdict::Keep, RefResult::NotSent) => ("would go".to_owned(), Mood::Good),
                    (Verdict::Keep, _) if one.reloaded => (format!("{result} (reloaded)"), Mood::Good),
                    (Verdict::Keep, _) => (result.to_string(), Mood::Good),
                };
                vec![name.into(), short(one.old).into(), short(one.new).into(), Cell::new(why, mood)]
            })
            .collect();
        output.table(&["REF", "OLD", "NEW", "RESULT"], &cells);
    }
    for one in &report.stuck {
        warn(&format!("`{}` is behind the ref-db and cannot be moved here: {}", one.name, one.why));
    }
    let mut hints: Vec<&String> = report.decision.refs.iter().filter_map(|r| r.hint.as_ref()).collect();
    hints.sort();
    hints.dedup();
    hints.iter().for_each(|hint| crate::output::hint(hint));
    for wait in &report.decision.waits {
        let refs = if wait.refs == 1 { "ref" } else { "refs" };
        output.text(&format!("waited {} ms for {} {refs}", wait.ms, wait.refs));
    }
    let counts = report.counts();
    let held = counts.discarded - quiet.len();
    let mut line = match report.dry_run {
        true => format!("{} would go, {held} held back", counts.kept),
        false => format!("{} replicated, {held} held back, {} rejected", counts.replicated, counts.failed),
    };
    if !quiet.is_empty() {
        line.push_str(&format!(", {} up to date already", quiet.len()));
    }
    if report.caught_up() > 0 {
        let would = if report.dry_run { "would have" } else { "had" };
        line.push_str(&format!(", {} {would} caught up with the ref-db before", report.caught_up()));
    }
    if !report.stuck.is_empty() {
        line.push_str(&format!(", {} stuck behind the ref-db", report.stuck.len()));
    }
    output.text(&line);
}

fn short(oid: Option<Oid>) -> String {
    oid.map_or("-".into(), |oid| oid.to_string()[..10].to_owned())
}
