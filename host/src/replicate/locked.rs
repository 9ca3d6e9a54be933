//! The locks of this site on the refs that are about to move.

use std::time::Duration;

use refgate_core::ports::{GitError, GitErrorKind, Guard, Repo};
use refgate_core::{Clock, RefName};

/// How long one waits for a ref that a client's write, or another transfer, holds.
const REF_WAIT: Duration = Duration::from_secs(3);

/// What is said of a ref that stayed busy.
pub(super) const BUSY: &str = "another process of this site is moving it; run again";

/// Locks those of `refs` that come free within three seconds, and tells for each, in their order, whether it did. Every
/// write of this site holds the lock of its ref, so what is read under it stays until it is dropped.
///
/// # Errors
/// The lock file cannot be used.
pub async fn lock(
    repository: &dyn Repo,
    refs: &[RefName],
    clock: &dyn Clock,
) -> Result<(Guard, Vec<bool>), GitError> {
    match repository.lock(refs, REF_WAIT, clock).await {
        Ok(locks) => Ok((locks, vec![true; refs.len()])),
        Err(e) if e.kind == GitErrorKind::Busy => repository.try_lock(refs).await,
        Err(e) => Err(e),
    }
}
