//! `hook …`: gated writes of a plain git server.

mod manage;
mod push;
mod watch;

use std::path::Path;

use refgate_core::Project;
use refgate_git::Repository;
use refgate_host::config::Config;
use refgate_host::{Error, Site};

use super::site;
use crate::args::HookCommand;
use crate::output::Output;

/// `refgate hook …`.
pub async fn run(file: &Path, command: HookCommand, output: &Output) -> Result<u8, Error> {
    match command {
        HookCommand::Install { project, audit, backstop } => {
            manage::install(file, &Project::new(project)?, (audit, backstop), output).await
        }
        HookCommand::Uninstall { project } => manage::uninstall(file, &Project::new(project)?, output).await,
        HookCommand::Status { project } => manage::status(file, &Project::new(project)?, output).await,
        HookCommand::ProcReceive { project } => push::run(file, &Project::new(project)?).await,
        HookCommand::ReferenceTransaction { project, state } => {
            watch::run(file, &Project::new(project)?, &state).await
        }
    }
}

/// The site of the configuration and the repository of the project; `None`: git runs the hook in another one, as it does
/// where several share a directory of hooks.
async fn open_here(config: Config, project: &Project) -> Result<Option<(Site, Repository)>, Error> {
    let site = Site::open_for_writes(config, &crate::system::system()?).await?;
    let repository = site.repository(project).await?;
    // git runs the hooks of a push in the git directory, and says in GIT_DIR where that is elsewhere.
    let here = std::env::var_os("GIT_DIR").unwrap_or_else(|| ".".into());
    let real = |path: &Path| {
        std::fs::canonicalize(path)
            .map_err(|e| Error::failed(format!("cannot find the repository `{}`: {e}", path.display())))
    };
    let (here, common) = (real(Path::new(&here))?, real(repository.common_dir())?);
    let is_here = here == common || here.starts_with(common.join("worktrees"));
    Ok(is_here.then_some((site, repository)))
}
