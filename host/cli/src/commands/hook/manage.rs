//! `hook install`, `hook uninstall` and `hook status`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use refgate_core::{Deadline, Project, SiteKind};
use refgate_git::{GitError, Obstacle, Obstacles, Repository, utc};
use refgate_host::gated::install::{self, Hooks, Step};
use refgate_host::gated::{self, Replicating, Status};
use refgate_host::{Error, Site, anew, names};
use serde_json::json;

use super::site;
use crate::commands::many::{self, Place, Several};
use crate::output::{Cell, Mood, Output, hint, warn};
use crate::system::system;

/// What is to be installed beside the hook that moves refs.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Note what others write.
    pub audit: bool,
    /// Refuse what others write.
    pub backstop: bool,
    /// The remotes to which what is pushed is sent on; `None`: as it is.
    pub replicate: Option<Vec<String>>,
}

/// Puts everything in place, and tries it.
pub async fn install(
    file: &Path,
    (several, projects): (&Several, &[String]),
    mut wanted: Wanted,
    output: &Output,
) -> Result<u8, Error> {
    several.check(projects, "hook install PROJECT...")?;
    let here = Here::open(file).await?;
    for remote in wanted.replicate.iter().flatten() {
        here.site.gate.remote(remote)?;
    }
    if let Some(remotes) = &mut wanted.replicate {
        remotes.sort();
        remotes.dedup();
    }
    let work = async |project: &Project, output: &Output| install_one(&here, project, &wanted, output).await;
    let code = many::run(output, (several, projects), &Place::of(&here.site), work).await?;
    if here.site.gate.config().site.writes != SiteKind::Gated {
        warn(
            "this site is not gated yet: `site.writes` is not `gated`, so superseded values count for nothing here",
        );
        hint(
            "when every repository of this site has its hook, set `site.writes = gated` here, and \
             `remote.NAME.writes = gated` for this site at all others",
        );
    }
    Ok(code)
}

async fn install_one(here: &Here, project: &Project, wanted: &Wanted, output: &Output) -> Result<u8, Error> {
    let (site, (repository, hooks)) = (&here.site, here.repository(project, wanted).await?);
    let (there, name) = (repository.clone(), project.clone());
    let remotes: Vec<String> = site.gate.config().remotes.keys().cloned().collect();
    let (steps, warnings) = blocking(move || {
        let hooks = hooks.renewing(&there, remotes.iter())?;
        let steps = hooks.install(&there)?;
        let warnings = install::warnings(&there)?;
        install::self_test(&there, &name)?;
        Ok((steps, warnings))
    })
    .await?;
    warnings.iter().for_each(|text| warn(text));
    if output.json {
        output.document(&json!({
            "command": "hook install", "project": project.as_str(), "steps": listed(&steps),
            "tested": true, "writes": site.gate.config().site.writes.name(), "warnings": warnings,
        }));
    } else {
        tell(&steps, output);
        output.summary("a test push was refused by the hook, as it must be");
    }
    // From here on this site writes through the ref-db.
    site.note_use().await?;
    if site.gate.config().ref_database.enabled && site.gate.matches(project).await? {
        tell_made_anew(site, project, &repository).await;
    }
    Ok(0)
}

/// Says so when the ref-db records a project that was here before this repository.
async fn tell_made_anew(site: &Site, project: &Project, repository: &Repository) {
    let (gate, clock) = (&site.gate, site.gate.clock().as_ref());
    let deadline = || Deadline::after(clock, gate.config().ref_database.timeout);
    let (refdb, rules) = (gate.refdb(), &gate.config().rules);
    match anew::look(refdb, rules, project, repository, deadline).await {
        Ok(None) => {}
        Ok(Some(recorded)) => {
            warn(&anew::told(project, recorded));
            hint(&anew::hint(project));
        }
        // The hook is in place, and refuses everything until the ref-db can be read.
        Err(e) => warn(&format!("the ref-db could not be compared with this repository: {}", e.message)),
    }
}

/// Takes everything out.
pub async fn uninstall(
    file: &Path,
    (several, projects): (&Several, &[String]),
    output: &Output,
) -> Result<u8, Error> {
    several.check(projects, "hook uninstall PROJECT...")?;
    let here = Here::open(file).await?;
    let writes = here.site.gate.config().site.writes;
    let work = async |project: &Project, output: &Output| {
        let (repository, hooks) = here.repository(project, &Wanted::default()).await?;
        let steps = blocking(move || hooks.uninstall(&repository)).await?;
        if output.json {
            output.document(&json!({
                "command": "hook uninstall", "project": project.as_str(), "steps": listed(&steps),
                "writes": writes.name(),
            }));
        } else {
            tell(&steps, output);
        }
        Ok(0)
    };
    let code = many::run(output, (several, projects), &Place::of(&here.site), work).await?;
    if writes == SiteKind::Gated {
        warn(
            "`site.writes` is still `gated`, and pushes into this repository do not go through the ref-db any more",
        );
        hint("set `site.writes = ungated`, and `remote.NAME.writes = ungated` for this site at all others");
    }
    Ok(code)
}

/// Shows what is so. Exit 3 when somebody should look at something.
pub async fn status(
    file: &Path,
    (several, projects): (&Several, &[String]),
    output: &Output,
) -> Result<u8, Error> {
    several.check(projects, "hook status PROJECT...")?;
    let here = Here::open(file).await?;
    let work = async |project: &Project, output: &Output| {
        let (repository, hooks) = here.repository(project, &Wanted::default()).await?;
        let status = gated::status(&here.site, project, &repository, &hooks).await?;
        if output.json {
            output.document(&document(project, &status));
        } else {
            show(project, &status, output);
        }
        Ok(if status.is_good() { 0 } else { 3 })
    };
    many::run(output, (several, projects), &Place::of(&here.site), work).await
}

/// This site, and what its hooks run.
struct Here {
    site: Site,
    program: PathBuf,
    config: PathBuf,
}

impl Here {
    async fn open(file: &Path) -> Result<Here, Error> {
        let site = Site::open_for_writes(site::config(file)?, &system()?).await?;
        let program = std::env::current_exe()
            .map_err(|e| Error::failed(format!("cannot tell where this program is: {e}")))?;
        let config = std::path::absolute(file).map_err(|e| Error::from(GitError::io("find", file, &e)))?;
        Ok(Here { site, program, config })
    }

    async fn repository(&self, project: &Project, wanted: &Wanted) -> Result<(Repository, Hooks), Error> {
        let Wanted { audit, backstop, replicate } = wanted.clone();
        let (program, config, project) = (self.program.clone(), self.config.clone(), project.clone());
        let repository = self.site.repository(&project).await?;
        Ok((repository, Hooks { program, config, project, audit, backstop, replicate }))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|died| Err(Error::failed(format!("a worker thread died: {died}"))))
}

fn listed(steps: &[Step]) -> Vec<serde_json::Value> {
    steps.iter().map(|step| json!({"what": step.what, "changed": step.changed})).collect()
}

fn tell(steps: &[Step], output: &Output) {
    for step in steps {
        let word = if step.changed { Cell::good("done") } else { "as it was".into() };
        output.line(vec![format!("{}: ", step.what).into(), word]);
    }
}

fn document(project: &Project, status: &Status) -> serde_json::Value {
    let unfinished: Vec<_> = status
        .unfinished
        .iter()
        .map(|one| {
            let refs: Vec<String> = one.refs.iter().map(ToString::to_string).collect();
            json!({"id": one.id, "refs": refs, "running": one.running})
        })
        .collect();
    let stuck: Vec<_> =
        status.stuck.iter().map(|one| json!({"ref": one.name.to_string(), "why": one.why})).collect();
    json!({
        "command": "hook status", "project": project.as_str(), "good": status.is_good(),
        "hooks_dir": status.hooks_dir.display().to_string(),
        "proc_receive": status.proc_receive,
        "reference_transaction": status.reference_transaction,
        "post_receive": status.post_receive,
        "replicates": status.replicates.iter().map(replicating).collect::<Vec<_>>(),
        "audit": status.audit, "backstop": status.backstop,
        "writes": status.writes.name(), "doubt": status.doubt.as_ref().map(|doubt| &doubt.why),
        "warnings": status.warnings,
        "files": files(&status.obstacles),
        "refused": status.refused, "unfinished": unfinished, "drift": status.drift, "stuck": stuck,
        "in_the_way": in_the_way(status), "made_anew": status.made_anew,
    })
}

fn replicating(one: &Replicating) -> serde_json::Value {
    json!({
        "remote": one.remote, "pending": one.state.pending.as_ref().map(|mark| mark.since),
        "running": one.running, "failed": one.state.failed, "log": one.log.display().to_string(),
    })
}

/// What was pushed and is not sent on yet.
fn show_replicating(project: &Project, status: &Status, output: &Output) {
    let at = |seconds: u64| utc(Duration::from_secs(seconds));
    for one in &status.replicates {
        let (remote, log) = (&one.remote, one.log.display());
        if let Some(failed) = &one.state.failed {
            output.text(&format!(
                "not sent on to {remote} at {}: {}; see `{log}`",
                at(failed.at),
                failed.why
            ));
        }
        match &one.state.pending {
            Some(mark) if one.running => {
                output.text(&format!("being sent on to {remote}: a push of {}", at(mark.since)));
            }
            Some(mark) => {
                output.text(&format!("still to be sent on to {remote}: a push of {}", at(mark.since)));
                hint(&format!(
                    "the next push into this repository sends it, and `refgate push {project} {remote}`"
                ));
            }
            None => {}
        }
    }
}

fn in_the_way(status: &Status) -> Vec<[String; 2]> {
    status.in_the_way.iter().map(|(one, other)| [one.to_string(), other.to_string()]).collect()
}

fn files(obstacles: &Obstacles) -> serde_json::Value {
    let one = |one: &Obstacle| {
        json!({
            "path": one.path.display().to_string(), "owner": one.owner, "group": one.group,
            "mode": format!("{:04o}", one.mode), "stops": one.stops, "cannot_be": one.cannot_be,
        })
    };
    json!({
        "count": obstacles.count, "first": obstacles.first.iter().map(one).collect::<Vec<_>>(),
        "cure": obstacles.cure, "cut_short": obstacles.cut_short,
    })
}

fn show_files(obstacles: &Obstacles) {
    for one in &obstacles.first {
        warn(&format!(
            "`{}` belongs to {}:{} with mode {:04o}: it cannot be {} by {}",
            one.path.display(),
            one.owner,
            one.group,
            one.mode,
            one.cannot_be,
            one.stops
        ));
    }
    let more = obstacles.count - obstacles.first.len();
    if more > 0 {
        warn(&format!("{more} more files and directories stop somebody"));
    }
    if obstacles.count > 0 {
        hint(&format!("as root: `{}`", obstacles.cure));
    }
    if obstacles.cut_short {
        warn("there are too many files to look at the owner and mode of all of them");
    }
}

fn show(project: &Project, status: &Status, output: &Output) {
    let cell = |state: &'static str, optional: bool| match state {
        "current" => Cell::new("installed", Mood::Good),
        "outdated" => Cell::new("outdated: run `refgate hook install` again", Mood::Held),
        "foreign" => Cell::new("another one is there", if optional { Mood::Plain } else { Mood::Bad }),
        _ => Cell::new("not installed", if optional { Mood::Plain } else { Mood::Bad }),
    };
    let watching = match (status.audit, status.backstop) {
        (true, true) => "reference-transaction (audit, backstop)",
        (true, false) => "reference-transaction (audit)",
        (false, true) => "reference-transaction (backstop)",
        (false, false) => "reference-transaction",
    };
    let writes = match status.writes {
        SiteKind::Gated if status.doubt.is_some() => {
            Cell::new("gated, and this repository counts as ungated", Mood::Bad)
        }
        SiteKind::Gated => Cell::new("gated", Mood::Good),
        other => Cell::new(
            format!("{}: set it to `gated` when all repositories have the hook", other.name()),
            Mood::Held,
        ),
    };
    let remotes: Vec<&str> = status.replicates.iter().map(|one| one.remote.as_str()).collect();
    let sending = match remotes[..] {
        [] => "post-receive".to_owned(),
        _ => format!("post-receive (sends on to {})", remotes.join(", ")),
    };
    let rows = [
        vec!["proc-receive".into(), cell(status.proc_receive, false)],
        vec![watching.into(), cell(status.reference_transaction, true)],
        vec![sending.into(), cell(status.post_receive, true)],
        vec!["site.writes".into(), writes],
    ];
    output.table(&["WHAT", "STATE"], &rows);
    if let Some(doubt) = &status.doubt {
        warn(&doubt.to_string());
    }
    status.warnings.iter().for_each(|text| warn(text));
    if let Some(recorded) = status.made_anew {
        warn(&anew::told(project, recorded));
        hint(&anew::hint(project));
    }
    for (one, other) in &status.in_the_way {
        output.text(&names::told(one, other));
    }
    show_files(&status.obstacles);
    for one in &status.unfinished {
        let refs: Vec<String> = one.refs.iter().take(5).map(ToString::to_string).collect();
        let more = one.refs.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let state = if one.running { "running" } else { "unfinished" };
        output.text(&format!("{state}: {} ({}{more})", one.id, refs.join(", ")));
    }
    if status.unfinished.iter().any(|one| !one.running) {
        hint(match status.writes {
            SiteKind::Gated => {
                "the next push, fetch or hook run of this repository finishes or drops what is unfinished; \
                 `refgate refdb heal` shows what it waits for"
            }
            _ => "a site finishes what is unfinished only when it is gated: set `site.writes = gated`",
        });
    }
    show_replicating(project, status, output);
    for one in &status.refused {
        let what = one.name.as_deref().unwrap_or("a whole push");
        output.text(&format!("refused at {}: {what}: {}", utc(Duration::from_secs(one.time)), one.why));
    }
    for one in &status.stuck {
        output.text(&format!("stuck: {}: {}", one.name, one.why));
    }
    for drift in &status.drift {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
        output.text(&format!(
            "written past the hook: {} is {}, the ref-db has {}",
            drift.name,
            side(&drift.new),
            drift.global.as_deref().unwrap_or("something that could not be read"),
        ));
    }
    if !status.drift.is_empty() {
        hint(
            "`refgate refdb publish` makes such values known where they descend from the global ones; \
             `refgate refdb heal` shows what to do about the others",
        );
    }
    if output.is_holding() {
        output.summary(if status.is_good() { "in order" } else { "to look at" });
    }
}
