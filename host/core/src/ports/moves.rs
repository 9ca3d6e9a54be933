//! Moves of local refs, and why they are refused.

use std::fmt;
use std::path::PathBuf;

use crate::{Oid, RefName};

/// One ref to create, move or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefEdit {
    /// The ref, below `refs/`.
    pub name: RefName,
    /// What it must hold now; `None`: it must not exist.
    pub old: Option<Oid>,
    /// What it shall hold; `None` deletes it.
    pub new: Option<Oid>,
    /// Edits of the same group happen together or not at all.
    pub group: Option<u32>,
}

impl RefEdit {
    /// Whether the ref is to appear.
    pub fn creates(&self) -> bool {
        self.old.is_none() && self.new.is_some()
    }

    /// Whether the ref is a branch.
    pub fn is_branch(&self) -> bool {
        self.name.as_bytes().starts_with(b"refs/heads/")
    }
}

/// How an edit came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditOutcome {
    /// The ref was read and holds the new value.
    Applied,
    /// The ref does not hold the new value; the text says why, and what to do where that is known.
    Rejected(String),
}

/// Why a repository does not let a ref be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A work tree has the branch checked out.
    CheckedOut(WorkTree),
    /// `receive.denyDeletes`.
    Deletion,
    /// The branch is to be deleted, and `HEAD` names it, or that of a work tree.
    DeletesCurrent(Option<WorkTree>),
    /// `receive.denyNonFastForwards`.
    NonFastForward,
    /// A branch is to lead to this, which is no commit.
    NotACommit(Oid),
    /// The history of the new value is not complete here.
    Shallow,
    /// The hook `update` said no.
    HookDeclined,
}

/// A work tree of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkTree {
    /// Where it is, or was.
    pub place: PathBuf,
    /// There is nothing at that place any more.
    pub is_gone: bool,
}

impl WorkTree {
    /// How it lets go of its branch.
    fn free(&self) -> &'static str {
        match self.is_gone {
            false => "check out another branch there",
            true => "that place is gone: `git worktree prune`",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::CheckedOut(tree) => {
                write!(f, "it is checked out in `{}`, and refgate moves no work trees; {}", tree.place.display(), tree.free())?;
                f.write_str(", or set receive.denyCurrentBranch = ignore")
            }
            Refusal::Deletion => f.write_str("deletion prohibited by receive.denyDeletes of this repository"),
            Refusal::DeletesCurrent(Some(tree)) => {
                write!(f, "deletion of the branch that is checked out in `{}` prohibited; {}", tree.place.display(), tree.free())?;
                f.write_str(", or set receive.denyDeleteCurrent = ignore")
            }
            Refusal::DeletesCurrent(None) => f.write_str(
                "deletion of the current branch prohibited: HEAD names it; point HEAD to another branch first \
                 (`git symbolic-ref HEAD refs/heads/OTHER`), or set receive.denyDeleteCurrent = ignore",
            ),
            Refusal::NonFastForward => {
                f.write_str("non-fast-forward, prohibited by receive.denyNonFastForwards of this repository")
            }
            Refusal::NotACommit(oid) => write!(f, "{oid} is not a commit, and a branch holds nothing else"),
            Refusal::Shallow => f.write_str("its history is not complete here"),
            Refusal::HookDeclined => f.write_str("the hook `update` declined it"),
        }
    }
}
