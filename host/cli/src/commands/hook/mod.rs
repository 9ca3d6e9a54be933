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
use refgate_host::{Error, Site, System};

pub use args::HookCommand;

use super::site;
use crate::output::Output;

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
            onward::post_receive(file, &Project::new(project)?, &to).await
        }
        HookCommand::Replicate { to, project } => {
            onward::replicate(file, &Project::new(project)?, &to, output).await
        }
        HookCommand::ProcReceive { project } => push::run(file, &Project::new(project)?).await,
        HookCommand::ReferenceTransaction { project, state } => {
            watch::run(file, &Project::new(project)?, &state).await
        }
    }
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
