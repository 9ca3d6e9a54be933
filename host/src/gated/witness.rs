//! Whether the pushes of a repository's clients really go through the ref-db: `site.writes = gated` is looked at, not
//! believed.
//!
//! A repository that was restored from a backup or cloned anew has no hook, and what its clients write then is known to
//! nobody. Overwriting a superseded value there would take back an accepted push, so such a repository counts as ungated.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use refgate_core::{Project, SiteKind};
use refgate_git::receive::hooks_dir;
use refgate_git::{GitError, Repository};

use super::install::{self, HookFile, PROC_RECEIVE, look, names_project};
use crate::config::Config;
use crate::replicate::blocking;
use crate::{Error, Site};

/// What shows that client writes go through the ref-db, where the configuration says that they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Witness {
    /// The hook of each repository.
    #[default]
    Hook,
    /// The program that embeds refgate: here and at gated remotes it hands every write to [`receive`](super::receive)
    /// itself.
    Embedder,
}

/// How client writes in one repository relate to the ref-db.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What counts.
    pub writes: SiteKind,
    /// Why a repository of a gated site counts as ungated.
    pub doubt: Option<Doubt>,
}

/// Why a repository does not count as gated although the configuration says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    project: Project,
    /// What is wrong with its hook.
    pub why: String,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Doubt { project, why } = self;
        write!(
            f,
            "`site.writes = gated`, but the repository of `{project}` counts as ungated: {why}; `refgate hook install \
             {project}` mends it, then look at `refgate refdb check {project}`"
        )
    }
}

impl Site {
    /// How client writes in the repository of `project` relate to the ref-db: what the configuration says, and for a gated
    /// site what its [`Witness`] shows.
    ///
    /// # Errors
    /// Nobody could look.
    pub async fn kind(&self, project: &Project, repository: &Repository) -> Result<Kind, Error> {
        let config = self.gate.config();
        let looked_at = config.site.writes == SiteKind::Gated && self.witness == Witness::Hook;
        if !looked_at || !config.ref_database.enabled {
            return Ok(Kind { writes: config.site.writes, doubt: None });
        }
        let (here, name, config) = (repository.clone(), project.clone(), config.clone());
        let doubt = blocking(move || Ok(doubt(&config, &name, &here))).await?;
        let writes = if doubt.is_some() { SiteKind::Ungated } else { SiteKind::Gated };
        Ok(Kind { writes, doubt })
    }
}

/// Why the repository of `project` is not gated although `config` says so; `None` when its hook is as it must be, or when
/// `config` does not say so. A hook that cannot be looked at shows nothing.
pub fn doubt(config: &Config, project: &Project, repository: &Repository) -> Option<Doubt> {
    if config.site.writes != SiteKind::Gated || !config.ref_database.enabled {
        return None;
    }
    let looked = of_hook(config, project, repository).and_then(|why| match why {
        None => Ok(install::unheard(repository)?.into_iter().next()),
        why => Ok(why),
    });
    // What this user may not read shows nothing. That is no reason to replicate nothing.
    let why = looked.unwrap_or_else(|e| Some(format!("its hook cannot be looked at: {}", e.message)));
    why.map(|why| Doubt { project: project.clone(), why })
}

/// What is wrong with the hook itself.
fn of_hook(config: &Config, project: &Project, repository: &Repository) -> Result<Option<String>, GitError> {
    let path = hooks_dir(repository)?.join(PROC_RECEIVE);
    let text = match look(&path, PROC_RECEIVE)? {
        HookFile::Missing => return Ok(Some(format!("it has no hook `{PROC_RECEIVE}`"))),
        HookFile::Foreign => return Ok(Some(format!("its hook `{}` is not refgate's", path.display()))),
        HookFile::Ours(text) => text,
    };
    if !names_project(&text, project) {
        return Ok(Some(format!("its hook `{}` is another project's", path.display())));
    }
    if !runs(&path) {
        return Ok(Some(format!("its hook `{}` is not executable, so git does not run it", path.display())));
    }
    let Some((program, file)) = command(&text) else {
        return Ok(Some(format!("its hook `{}` is of another form than this refgate's", path.display())));
    };
    if !runs(&program) {
        return Ok(Some(format!("its hook runs `{}`, and that is no program", program.display())));
    }
    Ok(other_store(config, &file))
}

/// Why a hook with the configuration `file` does not write to the ref-db of `config`.
fn other_store(config: &Config, file: &Path) -> Option<String> {
    let shown = file.display();
    let there = match Config::load(file) {
        Ok(there) => there,
        Err(e) => return Some(format!("its hook's configuration cannot be used: {e}")),
    };
    let place = |config: &Config| {
        // A file in the current directory has an empty one.
        let base = Path::new(".").join(&config.ref_database.base_dir);
        (config.ref_database.url.clone(), base.canonicalize().unwrap_or(base))
    };
    let (ours, theirs) = (place(config), place(&there));
    // Only a path in a url depends on where it stands.
    let relative =
        ours.0.as_deref().is_some_and(|url| url.starts_with("sqlite:") && !url.starts_with("sqlite:/"));
    match there.site.writes {
        SiteKind::Gated if there.ref_database.enabled => {}
        _ => return Some(format!("its hook's configuration `{shown}` is of a site that is not gated")),
    }
    (ours.0 != theirs.0 || relative && ours.1 != theirs.1)
        .then(|| format!("its hook's configuration `{shown}` names another ref-db"))
}

fn runs(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The program that a hook of ours runs, and its configuration.
fn command(text: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let last = text.strip_suffix(b"\n").unwrap_or(text).rsplit(|b| *b == b'\n').next()?;
    let mut words = words(last).into_iter();
    let mut next = || words.next().map(OsString::from_vec);
    let (exec, program, option, file) = (next()?, next()?, next()?, next()?);
    (exec == "exec" && option == "--config").then(|| (program.into(), file.into()))
}

/// The words of a line of the shell as far as hooks of ours use its syntax: plain, quoted, and an escaped quote.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), Vec::new(), false);
    let mut bytes = line.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\'' => quoted = !quoted,
            b'\\' if !quoted => word.extend(bytes.next()),
            b' ' if !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(*byte),
        }
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use super::super::install::Hooks;
    use super::*;

    #[test]
    fn a_hook_says_what_it_runs() {
        let hooks = Hooks {
            program: "/opt/it's here/refgate".into(),
            config: "/etc/a b/refgate.config".into(),
            project: Project::new("team/app").unwrap(),
            audit: false,
            backstop: false,
            replicate: Default::default(),
        };
        let read = command(&hooks.script(PROC_RECEIVE));
        assert_eq!(read, Some((hooks.program, hooks.config)));
        assert_eq!(command(b"#!/bin/sh\nexit 0\n"), None);
    }
}
