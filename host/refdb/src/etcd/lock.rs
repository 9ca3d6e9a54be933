//! Locks: a key under a lease, and whoever's key is the oldest holds it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use etcd_client::{Compare, CompareOp, EventType, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp};
use etcd_client::{WatchFilterType, WatchOptions};
use refgate_core::{
    BoxFuture, Deadline, LockToken, Project, RefDbError, RefDbErrorKind, RefLock, RefName, future::ready,
};

use super::driver::Driver;
use super::error::Failure;
use super::keys::{end_of, id};
use super::read::collect;
use super::servers::limited;
use super::shared::{Call, IN_BACKGROUND, Shared};

/// etcd gives no shorter lease with its default election timeout.
pub(super) const SHORTEST: Duration = Duration::from_secs(2);
/// etcd takes longer ones, but a lock that nobody gives back should be free the next day.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// What is left of the deadline for taking back the wish for a lock, and for the answer.
const GIVE_UP: Duration = Duration::from_millis(250);
/// How long a waiter trusts that it will be told.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A lease of this process. Dropping it gives it back in the background.
pub(super) struct Lease {
    shared: Arc<Shared>,
    id: i64,
    length: Duration,
    /// Until when it certainly lasts by our own clock.
    until: Mutex<Instant>,
    /// Given back, or lost.
    over: AtomicBool,
}

impl Lease {
    async fn grant(call: &Call, wanted: Duration) -> Result<Lease, Failure> {
        let wanted = wanted.clamp(SHORTEST, LONGEST);
        let seconds = wanted.as_secs() + u64::from(wanted.subsec_nanos() > 0);
        let sent = call.shared.clock.now();
        let granted = call.shared.grant(call.deadline, i64::try_from(seconds).unwrap_or(i64::MAX)).await?;
        let length = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(0));
        Ok(Lease {
            shared: call.shared.clone(),
            id: granted.id(),
            length,
            until: Mutex::new(sent + length),
            over: AtomicBool::new(false),
        })
    }

    async fn renew(&self, deadline: Deadline) -> Result<(), Failure> {
        let sent = self.shared.clock.now();
        match self.shared.keep_alive(deadline, self.id).await {
            Ok(()) => {
                let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
                *until = (*until).max(sent + self.length);
                Ok(())
            }
            Err(Failure::NoLease) => {
                self.over.store(true, Ordering::Release);
                Err(Failure::NoLease)
            }
            Err(e) => Err(e),
        }
    }

    /// A tenth is for clocks that do not run alike.
    fn is_valid(&self) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        !self.over.load(Ordering::Acquire) && self.shared.clock.now() + self.length / 10 < until
    }

    async fn give_back(&self, deadline: Deadline) -> Result<(), Failure> {
        self.shared.revoke(deadline, self.id).await?;
        self.over.store(true, Ordering::Release);
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.over.load(Ordering::Acquire) {
            return;
        }
        let (shared, id) = (self.shared.clone(), self.id);
        self.shared.in_background(async move {
            // What cannot be given back runs out.
            let _ = shared.revoke(Deadline::after(&*shared.clock, IN_BACKGROUND), id).await;
        });
    }
}

/// Takes the lock of a ref: enters the queue and waits until nobody is before us.
pub(super) async fn take(
    call: &Call,
    project: &Project,
    name: &RefName,
    wanted: Duration,
) -> Result<(Lease, LockToken), Failure> {
    let shared = &call.shared;
    let patience = call.deadline.left(&*shared.clock);
    let end = shared.clock.now() + patience.saturating_sub(GIVE_UP.min(patience / 4));
    loop {
        let lease = Lease::grant(call, wanted).await?;
        let left = end.saturating_duration_since(shared.clock.now());
        match limited(&*shared.clock, left, queue(call, project, name, &lease)).await {
            Some(Ok(fence)) => {
                let token = LockToken { name: name.clone(), fence, holder: id(lease.id) };
                return Ok((lease, token));
            }
            // We did not come round to renewing our own: at the end of the queue again.
            Some(Err(Failure::NoLease)) => {}
            Some(Err(e)) => {
                // The attempt must not stand in the way of others until its lease runs out.
                let _ = lease.give_back(call.deadline).await;
                return Err(e);
            }
            None => {
                lease.give_back(call.deadline).await?;
                let what =
                    format!("another holder keeps the lock of `{name}` in `{project}`; try again later");
                return Err(shared.about(RefDbErrorKind::LockTimeout, &what).into());
            }
        }
    }
}

/// Enters the queue, and returns the place in it when all before it are gone.
async fn queue(call: &Call, project: &Project, name: &RefName, lease: &Lease) -> Result<u64, Failure> {
    let shared = &call.shared;
    let (all, own) = (shared.keys.locks(project, name), shared.keys.lock(project, name, lease.id));
    let place = enter(call, &own, lease.id).await?;
    let mut renewed = shared.clock.now();
    let mut waited = false;
    loop {
        let next = GetOptions::new()
            .with_range(end_of(&all))
            .with_max_create_revision(place - 1)
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_limit(1);
        let look = [TxnOp::get(all.clone(), Some(next)), TxnOp::get(own.clone(), None)];
        let answer = shared.txn(call.deadline, true, &Txn::new().and_then(look)).await?;
        let mut seen = collect(&answer);
        if seen.remove(&own).is_none_or(|found| found.modified != place) {
            return Err(Failure::NoLease);
        }
        let Some(before) = seen.into_keys().next() else {
            if waited {
                // The holder's lease begins now.
                lease.renew(call.deadline).await?;
            }
            return Ok(u64::try_from(place).unwrap_or(0));
        };
        waited = true;
        let revision = answer.header().map_or(0, |header| header.revision());
        let pause = LOOK_AGAIN.min(lease.length / 3);
        // Told or not, the next round looks.
        let _ = limited(&*shared.clock, pause, gone(call, &before, revision)).await;
        if shared.clock.now().saturating_duration_since(renewed) >= lease.length / 3 {
            renewed = shared.clock.now();
            lease.renew(call.deadline).await?;
        }
    }
}

/// Puts our key behind all that are there. Its revision is the place in the queue, and the fence of the hold.
async fn enter(call: &Call, key: &[u8], lease: i64) -> Result<i64, Failure> {
    let shared = &call.shared;
    let put = TxnOp::put(key, "", Some(PutOptions::new().with_lease(lease)));
    // Made once, even when the answer is lost and the question is asked again.
    let txn = Txn::new()
        .when([Compare::create_revision(key, CompareOp::Equal, 0)])
        .and_then([put])
        .or_else([TxnOp::get(key, None)]);
    let answer = shared.txn(call.deadline, true, &txn).await?;
    if answer.succeeded() {
        return Ok(answer.header().map_or(0, |header| header.revision()));
    }
    collect(&answer).remove(key).map(|found| found.modified).ok_or(Failure::NoLease)
}

/// Ends when `key` is removed after `revision`.
async fn gone(call: &Call, key: &[u8], revision: i64) {
    let options =
        WatchOptions::new().with_start_revision(revision + 1).with_filters([WatchFilterType::NoPut]);
    let request = |client: etcd_client::Client| {
        let (key, options) = (key.to_vec(), options.clone());
        async move { client.watch_client().watch(key, Some(options)).await }
    };
    let shared = &call.shared;
    if let Ok(mut watch) = shared.servers.ask(&*shared.clock, call.deadline, true, request).await {
        while let Ok(Some(news)) = watch.message().await {
            if news.events().iter().any(|event| event.event_type() == EventType::Delete) {
                return;
            }
            if news.canceled() {
                break;
            }
        }
    }
    // Nobody tells us: the caller looks again, but not at once.
    std::future::pending().await
}

/// One hold.
pub(super) struct EtcdLock {
    // Before the driver: giving it back needs the runtime.
    lease: Arc<Lease>,
    token: LockToken,
    driver: Arc<Driver>,
}

impl EtcdLock {
    pub(super) fn new(lease: Lease, token: LockToken, driver: Arc<Driver>) -> EtcdLock {
        EtcdLock { lease: Arc::new(lease), token, driver }
    }

    fn lost(&self) -> RefDbError {
        let what = format!("the lock of `{}` ran out; take it again", self.token.name);
        self.driver.shared.about(RefDbErrorKind::LeaseLost, &what)
    }
}

impl RefLock for EtcdLock {
    fn token(&self) -> &LockToken {
        &self.token
    }

    fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    fn renew(&self, deadline: Deadline) -> BoxFuture<'_, Result<(), RefDbError>> {
        if self.lease.over.load(Ordering::Acquire) {
            return ready(Err(self.lost()));
        }
        let (lease, lost) = (self.lease.clone(), self.lost());
        self.driver.call(deadline, move |call| async move {
            lease.renew(call.deadline).await.map_err(|e| match e {
                Failure::NoLease => Failure::Told(lost),
                e => e,
            })
        })
    }

    fn release(self: Box<Self>, deadline: Deadline) -> BoxFuture<'static, Result<(), RefDbError>> {
        Box::pin(async move {
            let lease = self.lease.clone();
            self.driver.call(deadline, move |call| async move { lease.give_back(call.deadline).await }).await
        })
    }
}
