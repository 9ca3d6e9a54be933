//! What a repository refuses of its own accord, whoever writes its refs: branches that somebody works on, the branch that
//! `HEAD` names, and `receive.deny*`. One policy for a client's push, a fetch, catch-up, heal and the finishing of records.
//!
//! The rules and their order are those of git (builtin/receive-pack.c, `update`).

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use refgate_core::{Oid, RefName};

use crate::command::{git_in, run_ok};
use crate::receive::{Deny, Settings, settings};
use crate::{GitError, Repository};

/// The settings of a repository that keep branches from moving, and the branches that they are about.
#[derive(Clone, Debug)]
pub struct LocalPolicy {
    settings: Settings,
    /// Branches that work trees have checked out, linked ones included, with the place.
    checked_out: Vec<(RefName, PathBuf)>,
    head: Option<RefName>,
}

/// Why a repository does not let a branch be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A work tree has it checked out, at this place.
    CheckedOut(PathBuf),
    /// `receive.denyDeletes`.
    Deletion,
    /// It is to be deleted, and `HEAD` names it, or that of a work tree at this place.
    DeletesCurrent(Option<PathBuf>),
    /// `receive.denyNonFastForwards`.
    NonFastForward,
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
        let place =
            self.checked_out.iter().find(|(branch, _)| branch == name).map(|(_, place)| place.clone());
        let settings = &self.settings;
        match (old, new) {
            (_, Some(_)) if place.is_some() && refuses(settings.deny_current_branch) => {
                place.map(Refusal::CheckedOut)
            }
            (Some(_), None) if settings.deny_deletes => Some(Refusal::Deletion),
            (Some(_), None)
                if (place.is_some() || self.head.as_ref() == Some(name))
                    && refuses(settings.deny_delete_current) =>
            {
                Some(Refusal::DeletesCurrent(place))
            }
            (Some(_), Some(_)) if settings.deny_non_fast_forwards && !fast_forward => {
                Some(Refusal::NonFastForward)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::CheckedOut(place) => {
                write!(f, "it is checked out in `{}`, and refgate moves no work trees; {}", place.display(), free(place))?;
                f.write_str(", or set receive.denyCurrentBranch = ignore")
            }
            Refusal::Deletion => f.write_str("deletion prohibited by receive.denyDeletes of this repository"),
            Refusal::DeletesCurrent(Some(place)) => {
                write!(f, "deletion of the branch that is checked out in `{}` prohibited; {}", place.display(), free(place))?;
                f.write_str(", or set receive.denyDeleteCurrent = ignore")
            }
            Refusal::DeletesCurrent(None) => f.write_str(
                "deletion of the current branch prohibited: HEAD names it; point HEAD to another branch first \
                 (`git symbolic-ref HEAD refs/heads/OTHER`), or set receive.denyDeleteCurrent = ignore",
            ),
            Refusal::NonFastForward => {
                f.write_str("non-fast-forward, prohibited by receive.denyNonFastForwards of this repository")
            }
        }
    }
}

/// How a work tree lets go of its branch.
fn free(place: &Path) -> &'static str {
    match place.exists() {
        true => "check out another branch there",
        false => "that place is gone: `git worktree prune`",
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
