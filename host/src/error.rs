//! Why a command could not do its work, with what to do next.

use std::fmt;

use refgate_core::{NameError, RefDbError, RefDbErrorKind};
use refgate_git::{GitError, GitErrorKind};

/// A failure before or beside a decision. A ref that is held back is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Who has to act.
    pub kind: ErrorKind,
    /// What failed, on what.
    pub message: String,
    /// The next step, when it is known.
    pub hint: Option<String>,
}

/// Who has to act on an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller: a wrong argument or configuration. Exit code 2.
    Usage,
    /// Whoever runs the repository, the remote or the ref-db. Exit code 1.
    Failed,
    /// The operators of all sites: the ref-db is not the one that this site knows. Exit code 1.
    Doubt,
}

impl Error {
    /// A wrong argument or configuration.
    pub fn usage(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Usage, message: message.into(), hint: None }
    }

    /// Something that failed.
    pub fn failed(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Failed, message: message.into(), hint: None }
    }

    /// The same with the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<NameError> for Error {
    fn from(e: NameError) -> Error {
        Error::usage(e.to_string())
    }
}

impl From<RefDbError> for Error {
    fn from(e: RefDbError) -> Error {
        match e.kind {
            RefDbErrorKind::Config | RefDbErrorKind::Auth => Error::usage(e.message),
            RefDbErrorKind::Unavailable => Error::failed(e.message),
            RefDbErrorKind::Indeterminate => Error::failed(e.message)
                .hint("nobody knows whether it was written; read it with `refgate refdb get`"),
            RefDbErrorKind::Closed => Error::failed(e.message).hint(
                "an operator closed it for all sites; it takes writes again after `refgate refdb open`",
            ),
            _ => Error::failed(e.message),
        }
    }
}

impl From<GitError> for Error {
    fn from(e: GitError) -> Error {
        let kind = match e.kind {
            GitErrorKind::BadUrl => ErrorKind::Usage,
            _ => ErrorKind::Failed,
        };
        Error { kind, message: e.message, hint: e.hint }
    }
}

impl From<crate::config::ConfigErrors> for Error {
    fn from(mut e: crate::config::ConfigErrors) -> Error {
        // Of several, each keeps its hint beside it.
        let hint = match e.0.as_mut_slice() {
            [only] => Some(std::mem::take(&mut only.hint)).filter(|hint| !hint.is_empty()),
            _ => None,
        };
        Error { hint, ..Error::usage(e.to_string()) }
    }
}
