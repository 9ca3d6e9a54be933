//! What a repository refuses of its own accord, whoever writes its refs: branches that somebody works on, the branch that
//! `HEAD` names, and `receive.deny*`. One policy for a client's push, a fetch, catch-up, heal and the finishing of records.
//!
//! The rules and their order are those of git (builtin/receive-pack.c, `update`).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use refgate_core::ports::WorkTree;
use refgate_core::{Oid, RefName};

use crate::command::{git_in, run_ok};
use crate::receive::{Deny, Settings, UpdateHook, settings};
use crate::{GitError, RefEdit, Refusal, Repository};

/// The settings of a repository that keep branches from moving, and the branches that they are about.
#[derive(Clone, Debug)]
pub struct LocalPolicy {
    settings: Settings,
    /// Branches that work trees have checked out, linked ones included, with the place.
    checked_out: Vec<(RefName, PathBuf)>,
    head: Option<RefName>,
}

impl LocalPolicy {
    /// Reads settings, `HEAD` and work trees.
    ///
    /// # Errors
    /// What cannot be read: then nobody can say what is allowed.
    pub fn of(repository: &Repository) -> Result<LocalPolicy, GitError> {
        let settings = Settings::from_list(&settings(repository)?)?;
        Ok(LocalPolicy {
            checked_out: checked_out(repository, &settings)?,
            head: repository.head()?,
            settings,
        })
    }

    /// The settings that it rests on.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether [`refusal`](Self::refusal) depends on whether an update is a fast-forward.
    pub fn asks_for_fast_forwards(&self) -> bool {
        self.settings.deny_non_fast_forwards
    }

    /// Why the ref `name` must not be moved from `old` to `new`, if it must not.
    pub fn refusal(
        &self,
        name: &RefName,
        old: Option<Oid>,
        new: Option<Oid>,
        fast_forward: bool,
    ) -> Option<Refusal> {
        if !name.as_bytes().starts_with(b"refs/heads/") {
            return None;
        }
        let tree = self.checked_out.iter().find(|(branch, _)| branch == name);
        let tree = tree.map(|(_, place)| WorkTree { place: place.clone(), is_gone: !place.exists() });
        let settings = &self.settings;
        match (old, new) {
            (_, Some(_)) if tree.is_some() && refuses(settings.deny_current_branch) => {
                tree.map(Refusal::CheckedOut)
            }
            (Some(_), None) if settings.deny_deletes => Some(Refusal::Deletion),
            (Some(_), None)
                if (tree.is_some() || self.head.as_ref() == Some(name))
                    && refuses(settings.deny_delete_current) =>
            {
                Some(Refusal::DeletesCurrent(tree))
            }
            (Some(_), Some(_)) if settings.deny_non_fast_forwards && !fast_forward => {
                Some(Refusal::NonFastForward)
            }
            _ => None,
        }
    }
}

impl Repository {
    /// What this repository refuses of a client's push, as receive-pack would: each edit, with whether its old value is
    /// contained in the new one. The hook `update` sees what stands after that, with all of its group.
    pub(crate) fn refusals(&self, edits: &[(RefEdit, bool)]) -> Result<Vec<Option<Refusal>>, GitError> {
        let policy = LocalPolicy::of(self)?;
        let branches: Vec<Oid> =
            edits.iter().filter(|(edit, _)| edit.is_branch()).filter_map(|(edit, _)| edit.new).collect();
        let commits: HashSet<Oid> = self.commits(&branches)?.into_iter().collect();
        // git has looked that the objects are here and complete, except where it was told to let shallow pushes in.
        let all: Vec<Oid> = edits.iter().filter_map(|(edit, _)| edit.new).collect();
        let all = if policy.settings.shallow_update { all } else { Vec::new() };
        let whole = self.complete(&all)?;
        let shallow: HashSet<Oid> =
            all.into_iter().zip(whole).filter(|(_, whole)| !whole).map(|(oid, _)| oid).collect();
        let refusal = |(edit, fast_forward): &(RefEdit, bool)| match edit.new {
            Some(new) if edit.is_branch() && !commits.contains(&new) => Some(Refusal::NotACommit(new)),
            Some(new) if shallow.contains(&new) => Some(Refusal::Shallow),
            new => policy.refusal(&edit.name, edit.old, new, *fast_forward),
        };
        let mut refusals: Vec<Option<Refusal>> = edits.iter().map(refusal).collect();
        let refused = edits.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_some());
        let broken: HashSet<u32> = refused.filter_map(|((edit, _), _)| edit.group).collect();
        let hook = UpdateHook::of(self, &policy.settings)?;
        for ((edit, _), refusal) in edits.iter().zip(&mut refusals) {
            let stands = refusal.is_none() && edit.group.is_none_or(|group| !broken.contains(&group));
            if stands && !hook.accepts(self, &edit.name, edit.old, edit.new)? {
                *refusal = Some(Refusal::HookDeclined);
            }
        }
        Ok(refusals)
    }
}

/// A work tree is never moved with the branch, so `updateInstead` is a refusal, too.
fn refuses(deny: Deny) -> bool {
    matches!(deny, Deny::Refuse | Deny::UpdateInstead)
}

/// The branches that work trees have checked out, or are in the middle of rebasing or bisecting; one process only where
/// there can be any.
fn checked_out(repository: &Repository, settings: &Settings) -> Result<Vec<(RefName, PathBuf)>, GitError> {
    let worktrees = repository.common_dir().join("worktrees");
    let linked = worktrees.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if !settings.has_work_tree && !linked {
        return Ok(Vec::new());
    }
    let mut git = git_in(repository.git_dir());
    git.args(["worktree", "list", "--porcelain"]);
    let listed = run_ok(git, Vec::new())?;
    let (mut found, mut place) = (Vec::new(), PathBuf::new());
    for line in listed.split(|b| *b == b'\n') {
        if let Some(path) = line.strip_prefix(b"worktree ") {
            place = PathBuf::from(OsStr::from_bytes(path));
        } else if let Some(Ok(name)) = line.strip_prefix(b"branch ").map(RefName::new) {
            found.push((name, place.clone()));
        }
    }
    // git does not list what a rebase or a bisection will come back to.
    let own = settings.has_work_tree.then(|| repository.common_dir().to_owned());
    let others = worktrees.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    for git_dir in own.into_iter().chain(others) {
        found.extend(busy_with(&git_dir).map(|name| (name, place_of(&git_dir))));
    }
    Ok(found)
}

/// The branches that a rebase or a bisection in one work tree is about.
fn busy_with(git_dir: &Path) -> impl Iterator<Item = RefName> {
    let read = |name: &str| fs::read(git_dir.join(name)).ok().map(|text| text.trim_ascii().to_vec());
    let bisected = read("BISECT_START").map(|name| [b"refs/heads/".as_slice(), &name].concat());
    let names = [read("rebase-merge/head-name"), read("rebase-apply/head-name"), bisected];
    names
        .into_iter()
        .flatten()
        .filter(|name| name.starts_with(b"refs/heads/"))
        .filter_map(|n| RefName::new(n).ok())
}

/// Where the work tree of a git directory is: a linked one says where its `.git` file is.
fn place_of(git_dir: &Path) -> PathBuf {
    let file = fs::read(git_dir.join("gitdir")).unwrap_or_default();
    match file.trim_ascii() {
        [] => git_dir.parent().unwrap_or(git_dir).to_owned(),
        file => Path::new(OsStr::from_bytes(file)).parent().unwrap_or(git_dir).to_owned(),
    }
}
