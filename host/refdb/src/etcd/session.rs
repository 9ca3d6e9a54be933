//! Sessions: what makes late writes impossible.
//!
//! A session is a key under a lease, and every write is a transaction that requires the key of its session. After a write
//! of which nobody knows what became, its session is doubtful: no further write begins in it, and its key is removed
//! before a new session is made. So whatever was under way has been applied by then, or never will be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use refgate_core::{Deadline, RefDbErrorKind};

use super::error::Failure;
use super::shared::{Call, IN_BACKGROUND, Shared};

/// How long the key of a dead client stays. Nobody waits for it; it is only in nobody's way.
const LEASE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Sessions {
    state: Mutex<State>,
    /// Held while a session is made, so that callers that begin together share one.
    making: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    current: Option<i64>,
    /// Sessions in which something may still be under way.
    doubtful: Vec<i64>,
}

impl Sessions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn current(&self) -> Option<i64> {
        self.state().current
    }

    /// Nobody knows what became of a write in `session`.
    pub(super) fn doubt(&self, session: i64) {
        let mut state = self.state();
        if state.current == Some(session) {
            state.current = None;
        }
        if !state.doubtful.contains(&session) {
            state.doubtful.push(session);
        }
    }

    /// The key of `session` is gone: nothing of it can be applied any more.
    pub(super) fn over(&self, session: i64) {
        let mut state = self.state();
        if state.current == Some(session) {
            state.current = None;
        }
        state.doubtful.retain(|s| *s != session);
    }

    /// All of which something may be under way; no new write begins in any of them.
    fn doubt_all(&self) -> Vec<i64> {
        let mut state = self.state();
        if let Some(current) = state.current.take() {
            state.doubtful.push(current);
        }
        state.doubtful.clone()
    }

    /// The store is closed: the session to give back.
    pub(super) fn end(&self) -> Option<i64> {
        self.state().current.take()
    }

    fn doubtful(&self, most: usize) -> Vec<i64> {
        self.state().doubtful.iter().copied().take(most).collect()
    }
}

/// That the key of `session` is there.
pub(super) fn alive(shared: &Shared, session: i64) -> Compare {
    Compare::create_revision(shared.keys.session(session), CompareOp::Greater, 0)
}

/// The session to write in; made when there is none.
pub(super) async fn ensure(call: &Call) -> Result<i64, Failure> {
    let shared = &call.shared;
    let _making = shared.sessions.making.lock().await;
    if let Some(session) = shared.sessions.current() {
        return Ok(session);
    }
    let lease = shared.grant(call.deadline, LEASE.as_secs() as i64).await?;
    let (session, seconds) = (lease.id(), lease.ttl());
    loop {
        // One operation of the transaction makes the new one.
        let dead = shared.sessions.doubtful((shared.txn_ops() - 1).max(1));
        close(call, &dead).await?;
        if shared.sessions.doubtful(1).is_empty() {
            break;
        }
    }
    let key = shared.keys.session(session);
    let put = TxnOp::put(key.clone(), "", Some(PutOptions::new().with_lease(session)));
    // Twice the same put is the same. When its answer is lost nobody uses the session, and it runs out.
    shared.txn(call.deadline, true, &Txn::new().and_then([put])).await?;
    shared.sessions.state().current = Some(session);
    keep(shared, session, Duration::from_secs(u64::try_from(seconds).unwrap_or(1).max(1)));
    Ok(session)
}

/// Makes sure that nothing of what this client ever began to write can be applied from now on.
pub(super) async fn close_all(call: &Call) -> Result<(), Failure> {
    let all = call.shared.sessions.doubt_all();
    for some in all.chunks(call.shared.txn_ops()) {
        close(call, some).await?;
    }
    Ok(())
}

/// Removes the keys of sessions.
async fn close(call: &Call, sessions: &[i64]) -> Result<(), Failure> {
    if sessions.is_empty() {
        return Ok(());
    }
    let shared = &call.shared;
    let remove: Vec<TxnOp> = sessions.iter().map(|s| TxnOp::delete(shared.keys.session(*s), None)).collect();
    let ops = remove.len();
    match shared.txn(call.deadline, true, &Txn::new().and_then(remove)).await {
        Ok(_) => {}
        Err(Failure::TooManyOps(why)) => {
            shared.refused_ops(ops);
            return Err(Failure::Refused(
                RefDbErrorKind::Unavailable,
                format!("the server takes fewer operations at once than expected ({why}); try again"),
            ));
        }
        Err(e) => return Err(e),
    }
    for session in sessions.iter().copied() {
        shared.sessions.over(session);
        let at = shared.clone();
        shared.in_background(async move {
            // The lease holds no key any more; it runs out when this fails.
            let _ = at.revoke(Deadline::after(&*at.clock, IN_BACKGROUND), session).await;
        });
    }
    Ok(())
}

/// Keeps `session` alive for as long as it is the current one.
fn keep(shared: &Arc<Shared>, session: i64, lease: Duration) {
    let (clock, weak) = (shared.clock.clone(), Arc::downgrade(shared));
    shared.endless(async move {
        let mut pause = lease / 3;
        loop {
            clock.sleep(pause).await;
            let Some(shared) = weak.upgrade() else { return };
            if shared.sessions.current() != Some(session) {
                return;
            }
            match shared.keep_alive(Deadline::after(&*shared.clock, lease / 6), session).await {
                Ok(()) => pause = lease / 3,
                Err(Failure::NoLease) => return shared.sessions.doubt(session),
                // A write that meets a lost session makes a new one.
                Err(_) => pause = lease / 6,
            }
        }
    });
}
