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
}

impl GitError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> GitError {
        GitError { message: message.into(), hint: None }
    }

    /// The same with the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> GitError {
        self.hint = Some(hint.into());
        self
    }

    /// A failed file operation on `path`.
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> GitError {
        GitError::new(format!("cannot {doing} `{}`: {error}", path.display()))
    }
}
