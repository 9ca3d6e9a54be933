//! Locks on refs in the ref-db: a courtesy between writers, made safe by tokens that the store checks in the write.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::{GlobalRefDb, RefDbError};
use crate::{BoxFuture, Clock, Deadline, Project, RefName};

/// Names one hold of one lock. With it in [`Edit::fence`](super::Edit::fence) the store refuses the write once that hold
/// is over, whatever the holder believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockToken {
    /// The ref that is locked.
    pub name: RefName,
    /// Grows with every hold of this ref.
    pub fence: u64,
    /// How the store itself names the hold.
    pub holder: String,
}

/// One hold of a lock. Dropping it gives the lock back as soon as the store can be told, at the latest when the lease
/// runs out; [`release`](RefLock::release) says whether that worked.
pub trait RefLock: Send + Sync {
    /// The token for fenced writes.
    fn token(&self) -> &LockToken;

    /// Whether the lock is certainly still held, by this process's own clock and with a margin: `false` may be wrong,
    /// `true` may not.
    fn is_valid(&self) -> bool;

    /// Makes the lease begin anew.
    ///
    /// # Errors
    /// [`LeaseLost`](super::RefDbErrorKind::LeaseLost) when it had run out.
    fn renew(&self, deadline: Deadline) -> BoxFuture<'_, Result<(), RefDbError>>;

    /// Gives the lock back. One that is lost already is no error.
    fn release(self: Box<Self>, deadline: Deadline) -> BoxFuture<'static, Result<(), RefDbError>>;
}

/// Locks all of `refs`, in byte order of their names so that two callers never wait for each other; each name once.
///
/// # Errors
/// Those of [`GlobalRefDb::lock`]; what was locked until then is released.
pub async fn lock_many(
    db: &dyn GlobalRefDb,
    project: &Project,
    refs: &[RefName],
    lease: Duration,
    deadline: Deadline,
) -> Result<Vec<Box<dyn RefLock>>, RefDbError> {
    let mut sorted: Vec<&RefName> = refs.iter().collect();
    sorted.sort();
    sorted.dedup();
    let mut locks: Vec<Box<dyn RefLock>> = Vec::with_capacity(sorted.len());
    for name in sorted {
        match db.lock(project, name, lease, deadline).await {
            Ok(lock) => locks.push(lock),
            Err(e) => {
                for lock in locks {
                    // The lease frees what cannot be released now; the first error is the one to tell.
                    let _ = lock.release(deadline).await;
                }
                return Err(e);
            }
        }
    }
    Ok(locks)
}

/// Runs `work` and renews `lock` every third of its lease until then. Renewing stops when the lease is lost: ask
/// [`RefLock::is_valid`], and fence the writes.
pub async fn while_renewed<T>(
    lock: &dyn RefLock,
    lease: Duration,
    clock: &dyn Clock,
    work: impl Future<Output = T>,
) -> T {
    let renewing = async {
        loop {
            clock.sleep(lease / 3).await;
            let renewed = lock.renew(Deadline::after(clock, lease / 3)).await;
            if renewed.is_err_and(|e| e.kind == super::RefDbErrorKind::LeaseLost) {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut renewing = pin!(renewing);
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        let _: Poll<()> = renewing.as_mut().poll(cx);
        Poll::Pending
    })
    .await
}
