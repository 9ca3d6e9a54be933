//! Locks on refs in the ref-db: a courtesy between writers, made safe by tokens that the store checks in the write.

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::{RefDb, RefDbError, RefDbErrorKind};
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

/// Locks all of `refs`, in byte order of their names so that two callers never wait for each other; each name once. All
/// of them are held when this returns.
///
/// # Errors
/// Those of [`RefDb::lock`], and [`LeaseLost`](RefDbErrorKind::LeaseLost) when the wait for the later ones outlasted
/// the lease of an earlier one. What was locked until then is released.
pub async fn lock_many(
    db: &RefDb,
    project: &Project,
    refs: &[RefName],
    lease: Duration,
    deadline: Deadline,
) -> Result<Vec<Box<dyn RefLock>>, RefDbError> {
    let mut sorted: Vec<&RefName> = refs.iter().collect();
    sorted.sort();
    sorted.dedup();
    let mut locks: Vec<Box<dyn RefLock>> = Vec::with_capacity(sorted.len());
    let failed = 'all: {
        for name in sorted {
            match db.lock(project, name, lease, deadline).await {
                Ok(lock) => locks.push(lock),
                Err(e) => break 'all e,
            }
        }
        match locks.iter().find(|lock| !lock.is_valid()) {
            None => return Ok(locks),
            Some(lost) => RefDbError::new(
                RefDbErrorKind::LeaseLost,
                format!(
                    "the lock of `{}` in `{project}` ran out while the others were waited for; ask for a longer lease",
                    lost.token().name
                ),
            ),
        }
    };
    for lock in locks {
        // The lease frees what cannot be released now; the first error is the one to tell.
        let _ = lock.release(deadline).await;
    }
    Err(failed)
}

/// Runs `work` and renews `lock` every third of its lease until then, sooner again where that failed. Renewing stops when
/// the lease is lost: ask [`RefLock::is_valid`], and fence the writes.
///
/// `lease` is what the lock really has: see [`Capabilities::clamp_lease`](super::Capabilities::clamp_lease).
pub async fn while_renewed<T>(
    lock: &dyn RefLock,
    lease: Duration,
    clock: &dyn Clock,
    work: impl Future<Output = T>,
) -> T {
    // Never zero, or this would run without a pause.
    let (third, soon) =
        ((lease / 3).max(Duration::from_millis(1)), (lease / 24).max(Duration::from_millis(1)));
    let renewing = async {
        loop {
            clock.sleep(third).await;
            while let Err(e) = lock.renew(Deadline::after(clock, third)).await {
                if e.kind == RefDbErrorKind::LeaseLost {
                    std::future::pending::<()>().await;
                }
                // Two thirds of the lease may be gone by now.
                clock.sleep(soon).await;
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
