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

/// The failures that callers tell apart. Most are about a remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GitErrorKind {
    /// Everything that needs no treatment of its own.
    #[default]
    Other,
    /// A remote's address that refgate does not take.
    BadUrl,
    /// Nothing is there; it may be created.
    Missing,
    /// Something is there, but no git repository.
    NotARepository,
    /// The other side, or the file system, refuses access. Some servers say the same of a repository that is missing.
    Denied,
    /// The repository belongs to another user, and git will not touch it (`safe.directory`).
    DubiousOwnership,
    /// No connection came about.
    Unreachable,
    /// Local and remote name their objects in different ways.
    FormatMismatch,
    /// The remote, or this way to reach it, cannot do what was asked.
    Unsupported,
    /// The remote went away after it was told what to do and before it said what it did.
    OutcomeUnknown,
    /// A remote, or a local program, said nothing for longer than it may, or did not come to an end, and was ended.
    Silent,
    /// A remote said more than is taken of it, and was cut off.
    TooMuch,
    /// Another session holds the lock.
    Busy,
}

impl GitError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> GitError {
        GitError { message: message.into(), hint: None, kind: GitErrorKind::Other }
    }

    /// The same with the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> GitError {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the kind of the failure.
    pub fn kind(mut self, kind: GitErrorKind) -> GitError {
        self.kind = kind;
        self
    }

    /// What failed and what to do next, in one text.
    pub fn told(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message.clone(),
        }
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
