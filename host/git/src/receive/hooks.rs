//! Where a repository keeps its hooks, its `update` hook, and what its `HEAD` names.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use refgate_core::{Oid, RefName};

use super::Settings;
use crate::child::Guarded;
use crate::command::{git_in, run, run_ok};
use crate::limits::Wait;
use crate::{GitError, GitErrorKind, Repository, limits};

/// The directory of which git runs the hooks of a push: `hooks`, or what `core.hooksPath` says, seen from the git
/// directory, where receive-pack runs.
pub fn hooks_dir(repository: &Repository) -> Result<PathBuf, GitError> {
    let mut git = git_in(repository.git_dir());
    git.current_dir(repository.git_dir());
    git.args(["rev-parse", "--path-format=absolute", "--git-path", "hooks"]);
    let output = run_ok(git, Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(output.strip_suffix(b"\n").unwrap_or(&output))))
}

/// The hook `update` of a repository, if there is one that git would run.
#[derive(Clone, Debug)]
pub enum UpdateHook {
    /// No hook.
    None,
    /// An executable file.
    File(PathBuf),
    /// One or more in the configuration; git runs them, and the file too.
    Configured,
}

impl UpdateHook {
    /// Looks for it.
    pub fn of(repository: &Repository, settings: &Settings) -> Result<UpdateHook, GitError> {
        if settings.configured_update_hook {
            return Ok(UpdateHook::Configured);
        }
        let path = hooks_dir(repository)?.join("update");
        let runs = path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
        Ok(if runs { UpdateHook::File(path) } else { UpdateHook::None })
    }

    /// Runs it as receive-pack does, in the environment that receive-pack gave this process; what it prints goes to
    /// standard error. `false`: it declines.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn accepts(
        &self,
        repository: &Repository,
        name: &RefName,
        old: Option<Oid>,
        new: Option<Oid>,
    ) -> Result<bool, GitError> {
        let mut command = match self {
            UpdateHook::None => return Ok(true),
            UpdateHook::File(path) => Command::new(path),
            UpdateHook::Configured => {
                let mut git = Command::new("git");
                git.args(["hook", "run", "--ignore-missing", "update", "--"]);
                git
            }
        };
        let zero = repository.object_format().zero_hex();
        let hex = |oid: Option<Oid>| oid.map_or_else(|| zero.clone(), |oid| oid.to_string());
        command.arg(OsStr::from_bytes(name.as_bytes())).args([hex(old), hex(new)]);
        command.current_dir(repository.git_dir());
        crate::command::without_passwords(&mut command);
        // Without the mark: what a hook writes is not written by refgate.
        command.env_remove(crate::OWN_WRITE).stdin(Stdio::null()).stdout(stderr()?);
        if env::var_os("GIT_DIR").is_none() {
            command.env("GIT_DIR", repository.git_dir());
        }
        let cannot = |e: &dyn std::fmt::Display| {
            GitError::new(format!("cannot run the hook `update`: {e}"))
                .hint("look at the hook: is its interpreter there?")
        };
        let limit = limits::local();
        let mut hook =
            Guarded::spawn(&mut command, Wait::silent("running", limit)).map_err(|e| cannot(&e))?;
        let status = hook.wait().map_err(|e| cannot(&e))?;
        if hook.silence().is_some() {
            let message =
                format!("the hook `update` did not end within {} and was ended", limits::shown(limit));
            return Err(GitError::new(message)
                .kind(GitErrorKind::Silent)
                .hint("look at the hook: what does it wait for? `site.gitTimeout` sets the time"));
        }
        Ok(status.success())
    }
}

/// Standard error once more, for the standard output of a child.
fn stderr() -> Result<Stdio, GitError> {
    let copy = io::stderr().as_fd().try_clone_to_owned();
    copy.map(Stdio::from).map_err(|e| GitError::new(format!("cannot copy standard error: {e}")))
}

impl Repository {
    /// What `HEAD` names, if it is a branch.
    pub fn head(&self) -> Result<Option<RefName>, GitError> {
        let mut git = git_in(self.git_dir());
        git.args(["symbolic-ref", "-q", "HEAD"]);
        let output = run(git, Vec::new())?;
        match output.status.code() {
            Some(0) => Ok(RefName::new(output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout)).ok()),
            // A detached one.
            Some(1) => Ok(None),
            _ => Err(crate::command::failed("`git symbolic-ref`", &output)),
        }
    }
}
