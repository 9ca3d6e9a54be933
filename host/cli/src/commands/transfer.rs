//! `push` and `fetch`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use refgate_core::table::Seen;
use refgate_core::{Direction, GlobalRef, Held, Move, Oid, Project, Reason, State, escape};
use refgate_git::utc;
use refgate_host::gated::onward::{Mark, Onward};
use refgate_host::replicate::{self, Options, Progress, Silent};
use refgate_host::{Error, Report, Site};
use refgate_runtime::GLOB_BYTES;

use super::many::{self, Place};
use super::site;
use crate::args::TransferArgs;
use crate::output::{Cell, Mood, Output, warn};
use crate::progress::{Lines, Spinner};
use crate::system::unix_time;

/// `refgate push` and `refgate fetch`.
pub async fn run(
    file: &Path,
    direction: Direction,
    args: TransferArgs,
    output: &Output,
) -> Result<u8, Error> {
    let usage = format!("{} PROJECT... REMOTE", direction.name());
    let Some((remote, projects)) = args.names.split_last() else {
        return Err(Error::usage("no remote is given").hint(format!("`refgate {usage}`")));
    };
    args.several.check(projects, &usage)?;
    let refs = args.refs.iter().map(glob).collect::<Result<_, _>>()?;
    let options = Options { refs, dry_run: args.dry_run, create: args.create };
    let site = site::open_recording(file, &args.record).await?;
    // Not once per project.
    site.gate.remote(remote)?;
    let alone = args.several.is_one(projects);
    let run = Run { site: &site, direction, remote, options: &options, quiet: args.several.quiet, alone };
    let work = async |project: &Project, output: &Output| run.one(project, output).await;
    let code = many::run(output, (&args.several, projects), &Place::of(&site), work).await;
    site.recorder.iter().for_each(|recorder| recorder.finish());
    code
}

/// What is the same for every project of a run.
struct Run<'a> {
    site: &'a Site,
    direction: Direction,
    remote: &'a str,
    options: &'a Options,
    quiet: bool,
    alone: bool,
}

impl Run<'_> {
    async fn one(&self, project: &Project, output: &Output) -> Result<u8, Error> {
        let spinner = Spinner::start();
        let progress: Arc<dyn Progress> = match (self.quiet, self.alone) {
            (true, _) => Arc::new(Silent),
            (_, true) => spinner.clone(),
            _ => Arc::new(Lines { project: project.to_string() }),
        };
        let (site, remote, options) = (self.site, self.remote, self.options);
        let marked = self.marked(project);
        let report = match self.direction {
            Direction::Push => replicate::push(site, project, remote, options, progress).await,
            Direction::Fetch => replicate::fetch(site, project, remote, options, progress).await,
        };
        spinner.stop();
        let report = report?;
        if let Some((onward, mark)) =
            marked.filter(|_| report.counts().failed == 0 && report.stuck.is_empty())
        {
            onward.done(&mark, site.gate.clock().as_ref()).await?;
        }
        show(&report, self.quiet, output)
    }

    /// What a hook has left to be sent: a session that sends everything settles it.
    fn marked(&self, project: &Project) -> Option<(Onward, Mark)> {
        let all = self.direction == Direction::Push && self.options.refs.is_empty() && !self.options.dry_run;
        if !all {
            return None;
        }
        let onward = Onward::new(&self.site.repositories.path(project), self.remote);
        // A mark that cannot be read keeps no push from going.
        onward.state().ok()?.pending.map(|mark| (onward, mark))
    }
}

/// A glob over full ref names in which `*` crosses slashes.
fn glob(text: &OsString) -> Result<GlobMatcher, Error> {
    let shown = escape(text.as_bytes());
    let Some(utf8) = text.to_str() else {
        return Err(
            Error::usage(format!("`{shown}` is not UTF-8")).hint("`?` stands for any one byte of a name")
        );
    };
    if utf8.len() > GLOB_BYTES {
        let bytes = utf8.len();
        return Err(Error::usage(format!(
            "a glob of {bytes} bytes is longer than the {GLOB_BYTES} that are taken"
        ))
        .hint("give `--ref` several times"));
    }
    let glob = GlobBuilder::new(utf8).literal_separator(false).backslash_escape(true).build();
    glob.map(|g| g.compile_matcher())
        .map_err(|e| Error::usage(format!("`{shown}` is not a glob: {}", e.kind())))
}

/// Shows what came out; `quiet`: of the refs only those that did not go.
pub fn show(report: &Report, quiet: bool, output: &Output) -> Result<u8, Error> {
    site::problems(&report.decision.problems);
    if report.decision.gate_off {
        warn("the gate is switched off by the configuration: nothing was checked against the ref-db");
    }
    if output.json {
        output.document(&report.to_json());
    } else {
        output.subject(&format!("{} {}", utc(unix_time()), title(report)));
        text(report, quiet, output);
    }
    Ok(report.exit_code())
}

/// What catch-up did with local refs before the session, in rows as of the session.
fn catch_up(report: &Report, quiet: bool, output: &Output) {
    let row = |one: Move<'_>| {
        let (what, mood) = match (one.held(), one.state()) {
            (Some(held), _) => (format!("held back here: {} (by {})", held.reason, held.by), Mood::Held),
            (None, State::Open) => ("would catch up".to_owned(), Mood::Good),
            (None, _) => ("caught up".to_owned(), Mood::Good),
        };
        let (name, old, new) = (one.name().to_string(), short(one.old()), short(one.new()));
        vec![name.into(), old.into(), new.into(), Cell::new(what, mood)]
    };
    let shown = |one: &Move<'_>| !quiet || !one.is_kept();
    let rows: Vec<Vec<Cell>> = report.catch_up.iter().filter(shown).map(row).collect();
    if !rows.is_empty() {
        output.table(&["LOCAL REF", "OLD", "NEW", "WITH THE REF-DB"], &rows);
    }
}

/// `push team/app to site-b`.
fn title(report: &Report) -> String {
    let way = match report.direction {
        Direction::Push => "to",
        Direction::Fetch => "from",
    };
    let dry = if report.dry_run { ", a dry run" } else { "" };
    format!("{} {} {way} {}{dry}", report.direction.name(), report.project, report.remote)
}

fn text(report: &Report, quiet: bool, output: &Output) {
    catch_up(report, quiet, output);
    let (rows, fine): (Vec<_>, Vec<_>) =
        report.decision.moves.iter().partition(|one| one.reason() != Some(&Reason::AlreadyUpToDate));
    let went = |one: &Move<'_>| matches!(one.state(), State::Done | State::Open);
    let shown: Vec<_> = rows.into_iter().filter(|one| !quiet || !went(one)).collect();
    if !shown.is_empty() {
        let cells: Vec<Vec<Cell>> = shown.into_iter().map(|one| row(report, one)).collect();
        output.table(&["REF", "LOCAL", "REMOTE", "REF-DB", "RESULT"], &cells);
    }
    meanings(report, output);
    for one in &report.stuck {
        warn(&format!("`{}` is behind the ref-db and cannot be moved here: {}", one.name, one.why));
    }
    let mut hints: Vec<&str> = report.decision.moves.iter().filter_map(|one| one.hint()).collect();
    hints.sort();
    hints.dedup();
    hints.iter().for_each(|hint| crate::output::hint(hint));
    for wait in report.decision.waits.iter().filter(|_| !quiet) {
        let refs = if wait.refs == 1 { "ref" } else { "refs" };
        output.text(&format!("waited {} ms for {} {refs}", wait.ms, wait.refs));
    }
    let counts = report.counts();
    let held = counts.discarded - fine.len();
    let mut line = match report.dry_run {
        true => format!("{} would go, {held} held back", counts.kept),
        false => format!("{} replicated, {held} held back, {} rejected", counts.replicated, counts.failed),
    };
    if !fine.is_empty() {
        line.push_str(&format!(", {} up to date already", fine.len()));
    }
    if report.caught_up() > 0 {
        let would = if report.dry_run { "would have" } else { "had" };
        line.push_str(&format!(", {} {would} caught up with the ref-db before", report.caught_up()));
    }
    if !report.stuck.is_empty() {
        line.push_str(&format!(", {} stuck behind the ref-db", report.stuck.len()));
    }
    output.summary(&line);
}

/// A ref with its values at both ends and in the ref-db.
fn row(report: &Report, one: Move<'_>) -> Vec<Cell> {
    let name = match one.name() == one.remote_name() {
        true => one.name().to_string(),
        false => format!("{} -> {}", one.name(), one.remote_name()),
    };
    let (local, remote) = match report.direction {
        Direction::Push => (one.new().or(one.local()), one.old()),
        Direction::Fetch => (one.old(), one.new()),
    };
    let (why, mood) = match one.state() {
        State::Held(held) => (format!("held back: {} (by {})", held.reason, held.by), Mood::Held),
        failed @ (State::Refused(_) | State::Unknown(_)) => (failed.to_string(), Mood::Bad),
        State::Open => ("would go".to_owned(), Mood::Good),
        done @ State::Done if one.is_reloaded() => (format!("{done} (reloaded)"), Mood::Good),
        done @ State::Done => (done.to_string(), Mood::Good),
    };
    vec![name.into(), short(local).into(), short(remote).into(), global(one).into(), Cell::new(why, mood)]
}

/// What the reasons mean for which refs were held back, each once.
fn meanings(report: &Report, output: &Output) {
    let held = report.decision.moves.iter().filter_map(|one| one.held());
    let all: BTreeMap<&str, &Held> =
        held.filter(|held| held.reason.is_held_back()).map(|held| (held.reason.as_str(), held)).collect();
    for (name, held) in all {
        if let Some(meaning) = report.decision.meaning(held) {
            output.text(&format!("{name}: {meaning}"));
        }
    }
}

fn short(oid: Option<Oid>) -> String {
    oid.map_or("-".into(), |oid| oid.to_string()[..10].to_owned())
}

/// What the ref-db holds of a ref, if it was asked.
fn global(one: Move<'_>) -> String {
    match one.global() {
        None => "not asked".into(),
        Some(Seen::Value(GlobalRef::At(oid))) => short(Some(oid)),
        Some(Seen::Value(GlobalRef::Deleted)) => "deleted".into(),
        Some(Seen::Value(GlobalRef::Untracked)) => "untracked".into(),
        Some(Seen::Locked) => "locked".into(),
        Some(Seen::Unavailable) => "?".into(),
    }
}
