//! What went wrong with git, in words that say what to do.

use std::io;
use std::path::Path;

/// A git command, a repository or a remote that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GitError {
    /// What failed and on what.
    pub message: String,
    /// What to do next, when that is known.
    pub hint: Option<String>,
    /// What a caller may act on.
    pub kind: GitErrorKind,
}

/// The failures that callers tell apart, at this site and at a remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GitErrorKind {
    /// Anything that only a person can do something about.
    #[default]
    Other,
    /// There is no repository at the place; it may be made.
    Missing,
    /// There is something at the place that git does not take for a repository, or not for a sound one.
    NotARepository,
    /// The repository belongs to somebody else, and git was not told to trust it (`safe.directory`).
    DubiousOwnership,
    /// The file system, or the other side, refuses access. Some servers say the same of a repository that is missing.
    Denied,
    /// Somebody else holds the session lock.
    Busy,
    /// A remote's address that refgate does not take.
    BadUrl,
    /// No connection came about.
    Unreachable,
    /// Local and remote name their objects in different ways.
    FormatMismatch,
    /// The remote, or this way to reach it, cannot do what was asked.
    Unsupported,
    /// The remote went away after it was told what to do and before it said what it did.
    OutcomeUnknown,
}

impl GitError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> GitError {
        GitError {
            message: message.into(),
            hint: None,
            kind: GitErrorKind::Other,
        }
    }

    /// The same with the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> GitError {
        self.hint = Some(hint.into());
        self
    }

    /// The same under another kind.
    pub fn kind(mut self, kind: GitErrorKind) -> GitError {
        self.kind = kind;
        self
    }

    /// A failed file operation on `path`.
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> GitError {
        let failed = GitError::new(format!("cannot {doing} `{}`: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied => failed
                .kind(GitErrorKind::Denied)
                .hint("run as the user that owns the repository, or give this user access to it"),
            _ => failed,
        }
    }
}
