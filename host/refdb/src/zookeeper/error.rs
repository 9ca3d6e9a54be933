//! What the client's errors mean for a caller of the ref-db.

use refgate_core::{RefDbError, RefDbErrorKind};
use zookeeper_client::Error;

/// What kind of trouble an error of the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no answer: the connection or the session is gone. What was asked may have been done.
    NoAnswer,
    /// The server refused for lack of rights; nothing was done.
    Rights,
    /// Any other answer of the server; nothing was done.
    Refused,
}

/// Sorts an error. What is not known to be an answer counts as none.
pub(super) fn trouble(e: &Error) -> Trouble {
    match e {
        Error::NoAuth | Error::AuthFailed | Error::InvalidAcl => Trouble::Rights,
        Error::BadArguments(_)
        | Error::NoNode
        | Error::BadVersion
        | Error::NoChildrenForEphemerals
        | Error::NodeExists
        | Error::NotEmpty
        | Error::NotReadOnly
        | Error::QuotaExceeded
        | Error::Throttled
        | Error::MarshallingError
        | Error::Unimplemented
        | Error::UnexpectedErrorCode(_) => Trouble::Refused,
        _ => Trouble::NoAnswer,
    }
}

/// An error about the store `shown`.
pub(super) fn about(kind: RefDbErrorKind, shown: &str, what: &str) -> RefDbError {
    RefDbError::new(kind, format!("ref-db `{shown}`: {what}"))
}

/// The error of a step after which certainly nothing is written.
pub(super) fn before_write(shown: &str, e: &Error) -> RefDbError {
    let (kind, what) = match trouble(e) {
        Trouble::Rights => (
            RefDbErrorKind::Auth,
            format!("{e}; check `user` and `passwordFile`, which must be those of whoever made the nodes"),
        ),
        Trouble::NoAnswer => (
            RefDbErrorKind::Unavailable,
            format!("the connection broke ({e}), nothing was written; try again"),
        ),
        Trouble::Refused => (
            RefDbErrorKind::Unavailable,
            format!("the server refuses ({e}), nothing was written; look at its log"),
        ),
    };
    about(kind, shown, &what)
}

/// The error of a write whose answer did not come.
pub(super) fn in_doubt(shown: &str, why: &str) -> RefDbError {
    let what = format!("{why}, and the write may or may not have happened; read the refs again first");
    about(RefDbErrorKind::Indeterminate, shown, &what)
}

/// The deadline passed, with certainly nothing written.
pub(super) fn too_late(shown: &str) -> RefDbError {
    about(
        RefDbErrorKind::Unavailable,
        shown,
        "no answer by the deadline, nothing was written; try again, and look at the servers",
    )
}
