//! Why a command could not do its work, with what to do next.

use std::fmt;

use refgate_core::{NameError, RefDbError, RefDbErrorKind};
use refgate_git::{GitError, GitErrorKind};

/// A failure before or beside a decision. A ref that is held back is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Who has to act.
    pub kind: ErrorKind,
    /// What failed, on what. One line; texts of others in it are as they came ([`refgate_core::told`]).
    pub message: String,
    /// More of the same, each in a line of its own.
    pub more: Vec<String>,
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
        Error { kind: ErrorKind::Usage, message: message.into(), more: Vec::new(), hint: None }
    }

    /// Something that failed.
    pub fn failed(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Failed, message: message.into(), more: Vec::new(), hint: None }
    }

    /// Everything that failed.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.message.as_str()).chain(self.more.iter().map(String::as_str))
    }

    /// The same with the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.more.iter().try_for_each(|line| write!(f, "\n{line}"))
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
        Error { kind, message: e.message, more: Vec::new(), hint: e.hint }
    }
}

impl From<crate::config::ConfigErrors> for Error {
    fn from(mut e: crate::config::ConfigErrors) -> Error {
        // Of several, each keeps its hint beside it.
        let hint = match e.0.as_mut_slice() {
            [only] => Some(std::mem::take(&mut only.hint)).filter(|hint| !hint.is_empty()),
            _ => None,
        };
        let mut lines = e.0.iter().map(ToString::to_string);
        let first = lines.next().unwrap_or_default();
        Error { hint, more: lines.collect(), ..Error::usage(first) }
    }
}
