//! `hook post-receive`: what was pushed is sent on, by a process of its own, `hook replicate`.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use refgate_core::Project;
use refgate_git::utc;
use refgate_host::gated::onward::{Failed, Mark, Onward, leave_session};
use refgate_host::replicate::{self, Options, Silent, replication_above};
use refgate_host::{Error, Report, Site};

use super::{git_dir, site};
use crate::commands::transfer;
use crate::output::{Output, indented};
use crate::system::{system, unique_id, unix_time};

/// So many lines about one session are kept in the log.
const LINES: usize = 40;

/// Marks that there is something to send, and starts what sends it. The pusher waits for neither.
pub async fn post_receive(file: &Path, project: &Project, to: &[String]) -> Result<u8, Error> {
    // Which refs they are does not matter: the session compares both sides.
    io::copy(&mut io::stdin().lock(), &mut io::sink())
        .map_err(|e| Error::failed(format!("cannot read what git says about the push: {e}")))?;
    // What replication brought came from where it is to be sent.
    if replication_above().is_some() {
        return Ok(0);
    }
    let git_dir = git_dir()?;
    let (clock, since) = (system()?.clock, unix_time().as_secs());
    let mut failed = None;
    for remote in to {
        let onward = Onward::new(&git_dir, remote);
        let mark = Mark { id: unique_id()?, since };
        let started = match onward.mark(mark, clock.as_ref()).await {
            Ok(()) => start(file, project, remote, &git_dir, &onward),
            Err(e) => Err(e.into()),
        };
        if let Err(e) = started {
            failed = Some(Error { message: format!("to `{remote}`: {}", e.message), ..e });
        }
    }
    failed.map_or(Ok(0), Err)
}

/// Starts the process that sends. It has nothing of the connection, of the push, or of the git that runs the hook.
fn start(file: &Path, project: &Project, remote: &str, git_dir: &Path, onward: &Onward) -> Result<(), Error> {
    let failed = |e: io::Error| Error::failed(format!("the process that sends it does not start: {e}"));
    let log = onward.open_log()?;
    let program = std::env::current_exe().map_err(failed)?;
    let config = std::path::absolute(file).map_err(failed)?;
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(config)
        .args(["hook", "replicate", "--to", remote, "--"])
        .arg(project.as_str());
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GIT_") && !kept(&name.to_string_lossy()) {
            command.env_remove(&name);
        }
    }
    command.current_dir(git_dir).stdin(Stdio::null());
    command.stdout(log.try_clone().map_err(failed)?).stderr(log);
    command.spawn().map(drop).map_err(failed)
}

/// Settings of whoever runs the server, not of a push.
fn kept(name: &str) -> bool {
    name.starts_with("GIT_SSH")
        || name.starts_with("GIT_TRACE")
        || ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_EXEC_PATH"].contains(&name)
}

/// Sends what is marked, until nothing is, unless another process is at it already: that one looks again.
pub async fn replicate(file: &Path, project: &Project, remote: &str, output: &Output) -> Result<u8, Error> {
    leave_session().map_err(|e| Error::failed(format!("cannot leave the session of the push: {e}")))?;
    let clock = system()?.clock;
    let onward = Onward::new(&git_dir()?, remote);
    let mut site = None;
    let mut code = 0;
    while let Some(at_work) = onward.work(clock.as_ref()).await? {
        let mut tried = None;
        while let Some(mark) = onward.state()?.pending.filter(|mark| tried.as_ref() != Some(mark)) {
            onward.bound_log()?;
            match send(file, &mut site, project, remote, output).await {
                Ok(()) => onward.done(&mark, clock.as_ref()).await?,
                Err(e) => {
                    let at = unix_time();
                    output.text(&format!("{} push {project} to {remote}: failed: {}", utc(at), e.message));
                    let why = e.hint.map_or(e.message.clone(), |hint| format!("{}; {hint}", e.message));
                    onward.failed(Failed { at: at.as_secs(), why }, clock.as_ref()).await?;
                    // What was marked meanwhile is tried; the same once more would fail the same way.
                    tried = Some(mark);
                    code = 1;
                }
            }
        }
        drop(at_work);
        // A process that was started just now found the lock held, and ended.
        if onward.state()?.pending == tried {
            break;
        }
    }
    Ok(code)
}

/// One session; `Ok`: nothing is left that another one would send now.
async fn send(
    file: &Path,
    site: &mut Option<Site>,
    project: &Project,
    remote: &str,
    output: &Output,
) -> Result<(), Error> {
    let site = match site {
        Some(site) => site,
        None => site.insert(Site::open(site::config(file)?, &system()?).await?),
    };
    let report = replicate::push(site, project, remote, &Options::default(), Arc::new(Silent)).await?;
    let holding = output.holding();
    transfer::show(&report, true, &holding)?;
    let held = holding.into_held();
    output.text(&[held.subject, held.summary].map(Option::unwrap_or_default).join(": "));
    let mut lines = held.lines.into_iter();
    lines.by_ref().take(LINES).for_each(|line| output.line(indented("    ", line)));
    let more = lines.count();
    if more > 0 {
        output.text(&format!("    and {more} more lines; `refgate push {project} {remote}` shows all"));
    }
    refused(&report).map_or(Ok(()), Err)
}

/// What the destination refused, or this site cannot move, stays to be sent. What is held back waits for others.
fn refused(report: &Report) -> Option<Error> {
    let failed = report.counts().failed;
    if failed == 0 && report.stuck.is_empty() {
        return None;
    }
    Some(Error::failed(format!(
        "{failed} refs were rejected, {} are stuck behind the ref-db",
        report.stuck.len()
    )))
}
