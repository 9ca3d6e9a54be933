//! What SQLite's errors mean for a caller of the ref-db.

use std::path::Path;

use refgate_core::{RefDbError, RefDbErrorKind};
use rusqlite::ErrorCode;

/// An error about the file at `path`.
pub(super) fn about(kind: RefDbErrorKind, path: &Path, what: &str) -> RefDbError {
    RefDbError::new(kind, format!("ref-db `{}`: {what}", path.display()))
}

/// An error of a step before the commit: nothing was written.
pub(super) fn before_commit(path: &Path, e: &rusqlite::Error) -> RefDbError {
    let (kind, what) = match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            RefDbErrorKind::Unavailable,
            "another process has been writing to it until the deadline; try again, and look for a stopped process that has it open".to_owned(),
        ),
        Some(ErrorCode::DiskFull) => {
            (RefDbErrorKind::Unavailable, "the disk is full, nothing was written; make room and try again".to_owned())
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            (RefDbErrorKind::Config, "it is read-only; make the file and its directory writable for this user".to_owned())
        }
        Some(ErrorCode::CannotOpen) => (
            RefDbErrorKind::Unavailable,
            "it cannot be opened; this user must be able to read and write the file and its directory (`-wal` and `-shm` live beside it)".to_owned(),
        ),
        Some(ErrorCode::NotADatabase) => (
            RefDbErrorKind::Corrupt,
            "it is not an SQLite database; correct `ref-database.url`, or put the right file back".to_owned(),
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            RefDbErrorKind::Corrupt,
            format!("it is damaged ({e}); stop all sites, move it away, then put a copy back or make a new one and seed it"),
        ),
        Some(ErrorCode::TooBig) => (RefDbErrorKind::TooLarge, format!("an entry is too large: {e}")),
        Some(ErrorCode::OutOfMemory) => (
            RefDbErrorKind::Unavailable,
            "out of memory, nothing was written; if this machine has enough, a row is larger than refgate makes any: look who \
             may write the file"
                .to_owned(),
        ),
        Some(ErrorCode::OperationInterrupted) => {
            (RefDbErrorKind::Unavailable, "no answer by the deadline, nothing was written; try again".to_owned())
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed) => {
            (RefDbErrorKind::Unavailable, format!("the file cannot be read or written ({e}), nothing was written; check the disk"))
        }
        _ => return no_tables(path, &e.to_string()),
    };
    about(kind, path, &what)
}

/// An error about a file whose tables are others, in which way says `what`.
pub(super) fn no_tables(path: &Path, what: &str) -> RefDbError {
    let what = format!(
        "it does not have the tables of a ref-db and nothing else ({what}); put the right file back, or make a new one and \
         seed it, and look who may write it"
    );
    about(RefDbErrorKind::Corrupt, path, &what)
}

/// An error of the commit itself. Only where SQLite promises that the transaction is gone, nothing was written.
pub(super) fn at_commit(path: &Path, e: &rusqlite::Error) -> RefDbError {
    match e.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull | ErrorCode::ReadOnly,
        ) => before_commit(path, e),
        _ => about(
            RefDbErrorKind::Indeterminate,
            path,
            &format!(
                "the write may or may not have happened ({e}); read the refs again before anything else"
            ),
        ),
    }
}
