//! Locks: rows of a table, whose fence every fenced edit reads in its own transaction.

#[cfg(test)]
pub(super) mod tests;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use refgate_core::{
    BoxFuture, Clock, Deadline, LockToken, Project, RefDbError, RefDbErrorKind, RefLock, RefName,
};
use rusqlite::{OptionalExtension, Transaction, params};

use super::error::about;
use super::machine::{Machine, Owner, millis};
use super::worker::{Call, Worker, one};

/// Shortest and longest lease.
pub(super) const LEASE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));
/// How long a waiter waits before it looks again, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// The most that a lock counts as over before its lease is.
const MARGIN: Duration = Duration::from_millis(250);

/// What taking a lock needs.
pub(super) struct LockTable {
    pub(super) reader: Arc<Worker>,
    pub(super) writer: Arc<Worker>,
    pub(super) machine: Arc<Machine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Mutex<SmallRng>,
}

impl LockTable {
    pub(super) async fn lock(
        &self,
        project: &Project,
        name: &RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> Result<Box<dyn RefLock>, RefDbError> {
        let lease = lease.clamp(LEASE.0, LEASE.1);
        let held_by_another = || {
            let what = format!("`{name}` in `{project}` is locked by another writer; try again later");
            about(RefDbErrorKind::LockTimeout, self.writer.path(), &what)
        };
        let mut was_held = false;
        let mut pause = PAUSE.0;
        loop {
            match self.attempt(project, name, lease, deadline).await {
                Ok(Some(lock)) => return Ok(Box::new(lock)),
                Ok(None) => was_held = true,
                // The last look came too late to be answered; the one before says why there is no lock.
                Err(_) if was_held && deadline.left(&*self.clock).is_zero() => return Err(held_by_another()),
                Err(e) => return Err(e),
            }
            self.clock.sleep(self.jitter(pause).min(deadline.left(&*self.clock))).await;
            if deadline.left(&*self.clock).is_zero() {
                return Err(held_by_another());
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// From half of `pause` to all of it, so that those who wait do not come all at once.
    fn jitter(&self, pause: Duration) -> Duration {
        let mut rng = self.rng.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        pause.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Takes the lock if nobody has it.
    async fn attempt(
        &self,
        project: &Project,
        name: &RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> Result<Option<SqliteLock>, RefDbError> {
        // Looking needs no write lock on the file, so those who wait are in nobody's way.
        let (p, n, machine) = (project.clone(), name.clone(), self.machine.clone());
        let look = move |call: &mut Call<'_>| call.read(|tx| Ok(is_taken(tx, &machine, &p, &n)?));
        if self.reader.call(deadline, look).await? {
            return Ok(None);
        }
        let place = Place {
            project: project.clone(),
            name: name.clone(),
            owner: self.machine.new_owner(),
            worker: self.writer.clone(),
        };
        let machine = self.machine.clone();
        let take = move |call: &mut Call<'_>| match place.take(call, &machine, lease) {
            Ok(None) => Ok(None),
            // Made here: when the caller is gone by now, this is dropped and gives the lock back.
            Ok(Some((fence, expires))) => Ok(Some(SqliteLock::new(place, machine, lease, fence, expires))),
            Err(e) => {
                if e.kind == RefDbErrorKind::Indeterminate {
                    place.give_back_later();
                }
                Err(e)
            }
        };
        self.writer.call(deadline, take).await.map_err(|e| match e.kind {
            // Whatever became of it: it is given back.
            RefDbErrorKind::Indeterminate => {
                let what = format!("the lock of `{name}` in `{project}` was not taken in time; try again");
                about(RefDbErrorKind::Unavailable, self.writer.path(), &what)
            }
            _ => e,
        })
    }
}

/// The row of one hold, there or not.
struct Place {
    project: Project,
    name: RefName,
    owner: Owner,
    worker: Arc<Worker>,
}

impl Place {
    /// Fence and end of the hold, if nobody else has the lock.
    fn take(
        &self,
        call: &mut Call<'_>,
        machine: &Machine,
        lease: Duration,
    ) -> Result<Option<(u64, i64)>, RefDbError> {
        call.write(|tx| {
            if is_taken(tx, machine, &self.project, &self.name)? {
                return Ok((None, false));
            }
            let next = "UPDATE counter SET value = value + 1 WHERE name = 'fence' RETURNING value";
            let fence: i64 = tx.prepare_cached(next)?.query_row([], |row| row.get(0))?;
            let expires = machine.now().saturating_add(millis(lease));
            tx.prepare_cached(
                "INSERT OR REPLACE INTO lock (project, name, fence, owner, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                self.project.as_str(),
                self.name.as_bytes(),
                fence,
                self.owner.to_string(),
                expires
            ])
            .and_then(one)?;
            Ok((Some((fence.cast_unsigned(), expires)), true))
        })
    }

    /// What removes the row, on the thread of the worker.
    fn removal(&self) -> impl FnOnce(&mut Call<'_>) -> Result<(), RefDbError> + Send + 'static {
        let (project, name, owner) = (self.project.clone(), self.name.clone(), self.owner.to_string());
        move |call| {
            call.write(|tx| {
                let sql = "DELETE FROM lock WHERE project = ?1 AND name = ?2 AND owner = ?3";
                let removed = tx.execute(sql, params![project.as_str(), name.as_bytes(), owner])?;
                Ok(((), removed > 0))
            })
        }
    }

    fn give_back_later(&self) {
        let removal = self.removal();
        self.worker.post(move |call| {
            // What cannot be removed ends with its lease, or with this process.
            let _ = removal(call);
        });
    }
}

/// Fence, owner and end of the hold in the table.
fn row(
    tx: &Transaction<'_>,
    project: &Project,
    name: &RefName,
) -> rusqlite::Result<Option<(i64, String, i64)>> {
    tx.prepare_cached("SELECT fence, owner, expires FROM lock WHERE project = ?1 AND name = ?2")?
        .query_row(params![project.as_str(), name.as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()
}

/// Whether somebody has the lock: his lease runs, and his process lives as far as can be seen.
fn is_taken(
    tx: &Transaction<'_>,
    machine: &Machine,
    project: &Project,
    name: &RefName,
) -> rusqlite::Result<bool> {
    let found = row(tx, project, name)?;
    Ok(found.is_some_and(|(_, owner, expires)| {
        machine.lease_runs(&owner, expires, LEASE.1) && !machine.is_dead(&owner)
    }))
}

/// Whether the hold that `token` names is not over.
pub(super) fn is_held(
    tx: &Transaction<'_>,
    machine: &Machine,
    project: &Project,
    token: &LockToken,
) -> rusqlite::Result<bool> {
    let found = row(tx, project, &token.name)?;
    Ok(found.is_some_and(|(fence, owner, expires)| {
        fence.cast_unsigned() == token.fence
            && owner == token.holder
            && machine.lease_runs(&owner, expires, LEASE.1)
    }))
}

/// One hold.
struct SqliteLock {
    place: Place,
    machine: Arc<Machine>,
    lease: Duration,
    token: LockToken,
    /// Never later than in the table; 0 once it is lost.
    expires: AtomicI64,
    is_given_back: bool,
}

impl SqliteLock {
    fn new(place: Place, machine: Arc<Machine>, lease: Duration, fence: u64, expires: i64) -> SqliteLock {
        let token = LockToken { name: place.name.clone(), fence, holder: place.owner.to_string() };
        SqliteLock { place, machine, lease, token, expires: AtomicI64::new(expires), is_given_back: false }
    }
}

impl RefLock for SqliteLock {
    fn token(&self) -> &LockToken {
        &self.token
    }

    fn is_valid(&self) -> bool {
        let margin = millis(MARGIN.min(self.lease / 8));
        self.machine.now().saturating_add(margin) < self.expires.load(Ordering::Acquire)
    }

    fn renew(&self, deadline: Deadline) -> BoxFuture<'_, Result<(), RefDbError>> {
        let (project, token, machine) =
            (self.place.project.clone(), self.token.clone(), self.machine.clone());
        let lease = millis(self.lease);
        let renewal = move |call: &mut Call<'_>| {
            call.write(|tx| {
                if !is_held(tx, &machine, &project, &token)? {
                    return Ok((None, false));
                }
                let expires = machine.now().saturating_add(lease);
                let sql = "UPDATE lock SET expires = ?4 WHERE project = ?1 AND name = ?2 AND owner = ?3";
                let which = params![project.as_str(), token.name.as_bytes(), token.holder, expires];
                tx.prepare_cached(sql)?.execute(which).and_then(one)?;
                Ok((Some(expires), true))
            })
        };
        Box::pin(async move {
            match self.place.worker.call(deadline, renewal).await? {
                Some(expires) => {
                    // Two renewals at once: the later end is in the table.
                    self.expires.fetch_max(expires, Ordering::AcqRel);
                    Ok(())
                }
                None => {
                    self.expires.store(0, Ordering::Release);
                    let what = format!(
                        "the lock of `{}` in `{}` ran out; take it again, and trust nothing that was read under it",
                        self.token.name, self.place.project
                    );
                    Err(about(RefDbErrorKind::LeaseLost, self.place.worker.path(), &what))
                }
            }
        })
    }

    fn release(mut self: Box<Self>, deadline: Deadline) -> BoxFuture<'static, Result<(), RefDbError>> {
        Box::pin(async move {
            let removal = self.place.removal();
            self.place.worker.call(deadline, removal).await?;
            self.is_given_back = true;
            Ok(())
        })
    }
}

impl Drop for SqliteLock {
    fn drop(&mut self) {
        if !self.is_given_back {
            self.place.give_back_later();
        }
    }
}
