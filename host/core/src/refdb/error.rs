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
    /// A wrong URL, path or option: correct the configuration.
    Config,
    /// The store does not know the user, or refuses what the user asks for: correct the credentials or the rights.
    Auth,
    /// Another holder kept the lock until the deadline: try again later.
    LockTimeout,
    /// The lock is not held any more, its lease ran out: take it anew, and trust nothing that was read under it.
    LeaseLost,
    /// An operator closed the store, and nothing was written: wait until it is open again.
    Closed,
}

impl RefDbErrorKind {
    /// All of them, in the order of their declaration.
    pub const ALL: [RefDbErrorKind; 11] = [
        RefDbErrorKind::Unavailable,
        RefDbErrorKind::Indeterminate,
        RefDbErrorKind::Corrupt,
        RefDbErrorKind::InvalidName,
        RefDbErrorKind::TooLarge,
        RefDbErrorKind::Unsupported,
        RefDbErrorKind::Config,
        RefDbErrorKind::Auth,
        RefDbErrorKind::LockTimeout,
        RefDbErrorKind::LeaseLost,
        RefDbErrorKind::Closed,
    ];

    /// A stable name, for counters: `unavailable`, `lock-timeout`, …
    pub fn name(self) -> &'static str {
        match self {
            RefDbErrorKind::Unavailable => "unavailable",
            RefDbErrorKind::Indeterminate => "indeterminate",
            RefDbErrorKind::Corrupt => "corrupt",
            RefDbErrorKind::InvalidName => "invalid-name",
            RefDbErrorKind::TooLarge => "too-large",
            RefDbErrorKind::Unsupported => "unsupported",
            RefDbErrorKind::Config => "config",
            RefDbErrorKind::Auth => "auth",
            RefDbErrorKind::LockTimeout => "lock-timeout",
            RefDbErrorKind::LeaseLost => "lease-lost",
            RefDbErrorKind::Closed => "closed",
        }
    }
}

impl RefDbError {
    /// An error of `kind` with a message that names the store and the operation.
    pub fn new(kind: RefDbErrorKind, message: impl Into<String>) -> RefDbError {
        RefDbError { kind, message: message.into() }
    }

    /// For a write to a store that is closed; `store` is how messages call it.
    pub fn closed(store: &str, message: &str) -> RefDbError {
        let what = format!("ref-db `{store}` is closed, nothing was written: {message}");
        RefDbError::new(RefDbErrorKind::Closed, what)
    }

    /// For an operation that the store `name` does not have.
    pub fn unsupported(name: &str, operation: &str) -> RefDbError {
        RefDbError::new(RefDbErrorKind::Unsupported, format!("ref-db `{name}:` has no {operation}"))
    }
}

impl fmt::Display for RefDbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RefDbError {}
