//! Why a ref-db could not answer, and what the caller should do about it.

use std::fmt;

/// A ref-db that could not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefDbError {
    /// What kind of failure: decides whether to retry.
    pub kind: RefDbErrorKind,
    /// What failed and on what, for people. Never holds a secret.
    pub message: String,
}

/// Kinds of failure, each with what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefDbErrorKind {
    /// Not reachable or too slow, and certainly nothing was written: try again later.
    Unavailable,
    /// The write may or may not have been applied: read again before anything else.
    Indeterminate,
    /// The store holds something that is no entry: a person has to look.
    Corrupt,
    /// The store cannot hold such a name or value: do not retry.
    InvalidName,
    /// More than the store takes at once: split the call.
    TooLarge,
    /// The store has no such operation.
    Unsupported,
    /// A wrong URL, path, option or credential: correct the configuration.
    Config,
}

impl RefDbError {
    /// An error of `kind` with a message that names the store and the operation.
    pub fn new(kind: RefDbErrorKind, message: impl Into<String>) -> RefDbError {
        RefDbError { kind, message: message.into() }
    }
}

impl fmt::Display for RefDbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RefDbError {}
