//! `hook …`: gated writes of a plain git server.

mod args;
mod manage;
mod onward;
mod push;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use refgate_core::Project;
use refgate_git::Repository;
use refgate_host::config::Config;
use refgate_host::gated::refused::{Refusals, Refused};
use refgate_host::{Error, Site, System};

pub use args::HookCommand;

use super::site;
use crate::output::{Output, note};
use crate::system::unix_time;

/// `refgate hook …`.
pub async fn run(file: &Path, command: HookCommand, output: &Output) -> Result<u8, Error> {
    match command {
        HookCommand::Install { projects, several, audit, backstop, replicate, no_replicate } => {
            let replicate = match (replicate.is_empty(), no_replicate) {
                (true, false) => None,
                _ => Some(replicate),
            };
            let wanted = manage::Wanted { audit, backstop, replicate };
            manage::install(file, (&several, &projects), wanted, output).await
        }
        HookCommand::Uninstall { projects, several } => {
            manage::uninstall(file, (&several, &projects), output).await
        }
        HookCommand::Status { projects, several } => {
            manage::status(file, (&several, &projects), output).await
        }
        HookCommand::PostReceive { to, project } => {
            // The push itself is done; who pushed can do nothing about this.
            let done = onward::post_receive(file, &Project::new(project)?, &to).await;
            Ok(tell_apart(
                done,
                "a push could not be sent on",
                "your push is stored here, and could not be sent on: tell the operators of this site",
                0,
            ))
        }
        HookCommand::Replicate { to, project } => {
            onward::replicate(file, &Project::new(project)?, &to, output).await
        }
        HookCommand::ProcReceive { project } => push::run(file, &Project::new(project)?).await,
        HookCommand::ReferenceTransaction { project, state } => {
            let done = watch::run(file, &Project::new(project)?, &state).await;
            Ok(tell_apart(
                done,
                "a write beside the hook could not be looked at",
                "this write could not be looked at; `refgate hook status` at this site says why",
                1,
            ))
        }
    }
}

/// Where `hook status` finds it. Whoever pushes reads what this process says, and is told nothing of the site itself: no
/// path, no host, no words of the ref-db.
fn note_for_operators(refused: &[Refused]) {
    if refused.is_empty() {
        return;
    }
    let noted = git_dir().and_then(|dir| Ok(Refusals::below(&dir).add(refused)?));
    if noted.is_err() {
        // Nobody else would hear of it.
        note("refgate: tell the operators of this site: why it is so could not be noted for them");
    }
}

/// A hook that git runs for others, and that cannot do its work: operators find why, everybody else is told `words`.
fn tell_apart(result: Result<u8, Error>, what: &str, words: &str, code: u8) -> u8 {
    result.unwrap_or_else(|e| {
        let why = e.hint.iter().fold(format!("{what}: {e}"), |why, hint| format!("{why}; {hint}"));
        note_for_operators(&[Refused { time: unix_time().as_secs(), name: None, why }]);
        note(&format!("refgate: {words}"));
        code
    })
}

/// The site of the configuration and the repository of the project; `None`: git runs the hook in another one, as it does
/// where several share a directory of hooks.
async fn open_here(config: Config, project: &Project) -> Result<Option<(Site, Repository)>, Error> {
    // What this process says on standard error is read by whoever pushes. What is wrong with plugins is their operator's
    // matter, and `hook status` and every other command say it.
    let system = System { log: Arc::new(|_, _, _| {}), ..crate::system::system()? };
    let site = Site::open_for_writes(config, &system).await?;
    let repository = site.repository(project).await?;
    let (here, common) = (git_dir()?, real(repository.common_dir())?);
    let is_here = here == common || here.starts_with(common.join("worktrees"));
    Ok(is_here.then_some((site, repository)))
}

/// Where git runs a hook: in the git directory; GIT_DIR says where that is elsewhere.
fn git_dir() -> Result<PathBuf, Error> {
    real(Path::new(&std::env::var_os("GIT_DIR").unwrap_or_else(|| ".".into())))
}

fn real(path: &Path) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path)
        .map_err(|e| Error::failed(format!("cannot find the repository `{}`: {e}", path.display())))
}
