//! Locks, by Curator's recipe: the lowest number holds, the others wait for the one before them to go.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use refgate_core::{BoxFuture, Clock, Deadline, LockToken, RefDbError, RefDbErrorKind, RefLock, RefName};
use zookeeper_client::{Client, CreateMode, Error};

use super::ensemble::{Ensemble, timeout_at};
use super::error::{Trouble, about, before_write, too_late, trouble};
use super::layout::{Layout, directories};
use super::link::Link;

/// What stands between the id of a contender and its number.
const MARK: &str = "lock-";
/// Most time that is kept back from the wait, to take the attempt back in.
const TIDY: Duration = Duration::from_millis(100);
/// When an attempt whose connection broke looks again for what it may have left.
const AFTERMATH: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];

impl Ensemble {
    /// Waits for the lock at `dir` until `deadline`.
    pub(super) async fn lock(
        &self,
        name: &RefName,
        dir: String,
        deadline: Deadline,
    ) -> Result<Box<dyn RefLock>, RefDbError> {
        let left = deadline.left(&*self.clock);
        let waiting = Deadline::after(&*self.clock, left.saturating_sub(TIDY.min(left / 5)));
        let began = timeout_at(&*self.clock, waiting, self.contend(&dir)).await;
        let (link, mut attempt, mut began, stat) =
            began.unwrap_or_else(|| Err(too_late(&self.settings.shown)))?;
        let (client, node) = (link.client(), attempt.node());
        let waited = timeout_at(&*self.clock, waiting, async {
            self.wait(client, &attempt).await?;
            if self.clock.now().saturating_duration_since(began) > link.lease / 4 {
                // It waited for so long that it has to know its session anew.
                began = self.clock.now();
                let (led, there) = (client.sync(&self.settings.layout.root), client.get_data(&node));
                led.await?;
                there.await?;
            }
            Ok(())
        });
        match waited.await {
            Some(Ok(())) => {}
            Some(Err(e)) => {
                attempt.broken |= trouble(&e) == Trouble::NoAnswer;
                return Err(self.before_write(&e));
            }
            None => {
                let deleted = timeout_at(&*self.clock, deadline, client.delete(&node, None)).await;
                if let Some(Ok(()) | Err(Error::NoNode)) = deleted {
                    attempt.over();
                }
                let what = format!("`{name}` is locked by somebody else; try again");
                return Err(self.about(RefDbErrorKind::LockTimeout, &what));
            }
        }
        let token =
            LockToken { name: name.clone(), fence: stat.unsigned_abs(), holder: attempt.holder.clone() };
        let proof = Arc::new(Proof { at: Mutex::new(began), lost: AtomicBool::new(false) });
        let hold = Hold {
            path: attempt.node(),
            shown: self.settings.shown.clone(),
            root: self.settings.layout.clone(),
            clock: self.clock.clone(),
            watch: watch(&link, &self.clock, &proof, attempt.node()),
            link,
            token,
            proof,
            released: false,
        };
        attempt.over();
        Ok(Box::new(hold))
    }

    /// Joins those who want the lock. The moment is one at which the session certainly lived; the number grows with every
    /// attempt at every lock.
    async fn contend(&self, dir: &str) -> Result<(Arc<Link>, Attempt, Instant, i64), RefDbError> {
        let link = self.reader().await?;
        let id = format!("_c_{}-", uuid::Uuid::new_v4());
        let mut attempt = Attempt::new(&link, &self.clock, dir, &id);
        let path = format!("{dir}/{id}{MARK}");
        let mode = CreateMode::EphemeralSequential.with_acls(self.settings.acls());
        loop {
            let began = self.clock.now();
            let e = match link.client().create(&path, self.address.as_bytes(), &mode).await {
                Ok((stat, number)) => {
                    attempt.holder = format!("{id}{MARK}{number}");
                    return Ok((link, attempt, began, stat.czxid));
                }
                Err(Error::NoNode) => {
                    let mut dirs: BTreeSet<&str> =
                        directories(&self.settings.layout.root, dir).into_iter().collect();
                    dirs.insert(dir);
                    match self.make_containers(link.client(), dirs).await {
                        Ok(()) => continue,
                        Err(e) => e,
                    }
                }
                Err(e) => e,
            };
            match trouble(&e) {
                Trouble::NoAnswer => {
                    attempt.broken = true;
                    link.set_aside();
                }
                Trouble::Rights | Trouble::Refused => attempt.over(),
            }
            return Err(self.before_write(&e));
        }
    }

    /// Until nobody has a lower number.
    async fn wait(&self, client: &Client, attempt: &Attempt) -> Result<(), Error> {
        loop {
            let mut all = client.list_children(&attempt.dir).await?;
            all.sort_by(|a, b| number(a).cmp(number(b)));
            let Some(at) = all.iter().position(|one| *one == attempt.holder) else {
                // The session ended, or somebody removed the node.
                return Err(Error::SessionExpired);
            };
            let Some(before) = at.checked_sub(1) else { return Ok(()) };
            let before = format!("{}/{}", attempt.dir, all[before]);
            match client.get_and_watch_data(&before).await {
                Ok((_, _, watcher)) => drop(watcher.changed().await),
                Err(Error::NoNode) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// What contenders are ordered by.
fn number(node: &str) -> &str {
    node.rfind(MARK).map_or(node, |at| &node[at + MARK.len()..])
}

/// A node that waits for a lock. Unless it is `over`, dropping it takes the node away, whatever became of the request
/// that made it.
struct Attempt {
    link: Arc<Link>,
    clock: Arc<dyn Clock>,
    dir: String,
    id: String,
    holder: String,
    /// The connection broke in between, so that the request may still be under way.
    broken: bool,
    over: bool,
}

impl Attempt {
    fn new(link: &Arc<Link>, clock: &Arc<dyn Clock>, dir: &str, id: &str) -> Attempt {
        Attempt {
            link: link.clone(),
            clock: clock.clone(),
            dir: dir.to_owned(),
            id: id.to_owned(),
            holder: String::new(),
            broken: false,
            over: false,
        }
    }

    fn node(&self) -> String {
        format!("{}/{}", self.dir, self.holder)
    }

    fn over(&mut self) {
        self.over = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let client = self.link.client().clone();
        let (clock, dir, id) = (self.clock.clone(), self.dir.clone(), self.id.clone());
        let rounds = if self.broken { AFTERMATH.len() } else { 1 };
        self.link.spawn(async move {
            for pause in &AFTERMATH[..rounds] {
                clock.sleep(*pause).await;
                take_back(&client, &dir, &id).await;
            }
        });
    }
}

/// Removes what `id` left in `dir`, as long as the session lives; after that the server does it.
async fn take_back(client: &Client, dir: &str, id: &str) {
    let mut state = client.state_watcher();
    while !client.state().is_terminated() {
        // Requests are served in order: what was asked for before this is done by now.
        let left = match client.list_children(dir).await {
            Ok(all) => all.into_iter().filter(|one| one.starts_with(id)).collect(),
            Err(e) if trouble(&e) != Trouble::NoAnswer => return,
            Err(_) => {
                state.changed().await;
                continue;
            }
        };
        let left: Vec<String> = left;
        let mut done = true;
        for one in left {
            let removed = client.delete(&format!("{dir}/{one}"), None).await;
            done &= !removed.is_err_and(|e| trouble(&e) == Trouble::NoAnswer);
        }
        if done {
            return;
        }
    }
}

/// What is known of a session.
struct Proof {
    /// A moment at which it lived.
    at: Mutex<Instant>,
    lost: AtomicBool,
}

impl Proof {
    fn at(&self) -> Instant {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }
}

/// Gives back a lock that nobody renewed for its lease: the session itself lives as long as the process.
fn watch(
    link: &Link,
    clock: &Arc<dyn Clock>,
    proof: &Arc<Proof>,
    path: String,
) -> tokio::task::JoinHandle<()> {
    let (client, clock, proof, lease) = (link.client().clone(), clock.clone(), proof.clone(), link.lease);
    link.spawn(async move {
        loop {
            let age = clock.now().saturating_duration_since(proof.at());
            if age >= lease {
                break;
            }
            clock.sleep(lease - age).await;
        }
        proof.lose();
        // When this fails the session is gone, and the node with it.
        let _ = client.delete(&path, None).await;
    })
}

/// One hold of a lock.
struct Hold {
    link: Arc<Link>,
    clock: Arc<dyn Clock>,
    shown: String,
    root: Layout,
    token: LockToken,
    path: String,
    proof: Arc<Proof>,
    watch: tokio::task::JoinHandle<()>,
    released: bool,
}

impl Hold {
    fn lost(&self) -> RefDbError {
        self.proof.lose();
        let what = format!("the lock of `{}` ran out; take it again", self.token.name);
        about(RefDbErrorKind::LeaseLost, &self.shown, &what)
    }
}

impl RefLock for Hold {
    fn token(&self) -> &LockToken {
        &self.token
    }

    fn is_valid(&self) -> bool {
        // Half of the lease: a server counts from a moment that can be before the one that we know of, by the pause
        // between two signs of life and the tick at which it looks.
        let age = self.clock.now().saturating_duration_since(self.proof.at());
        !self.proof.is_lost() && self.link.is_alive() && age < self.link.lease / 2
    }

    fn renew(&self, deadline: Deadline) -> BoxFuture<'_, Result<(), RefDbError>> {
        Box::pin(async move {
            if self.proof.is_lost() || self.link.client().state().is_terminated() {
                return Err(self.lost());
            }
            let began = self.clock.now();
            let client = self.link.client();
            // The first goes through the leader, which counts the lease; the second sees the node.
            let (led, there) = (client.sync(&self.root.root), client.get_data(&self.path));
            let answered = timeout_at(&*self.clock, deadline, async {
                led.await?;
                there.await
            });
            match answered.await {
                Some(Ok(_)) if !self.proof.is_lost() => {
                    *self.proof.at.lock().unwrap_or_else(PoisonError::into_inner) = began;
                    Ok(())
                }
                Some(Ok(_) | Err(Error::NoNode | Error::SessionExpired | Error::ClientClosed)) => {
                    Err(self.lost())
                }
                Some(Err(e)) => Err(before_write(&self.shown, &e)),
                None => Err(too_late(&self.shown)),
            }
        })
    }

    fn release(mut self: Box<Self>, deadline: Deadline) -> BoxFuture<'static, Result<(), RefDbError>> {
        Box::pin(async move {
            let gone = timeout_at(&*self.clock, deadline, self.link.client().delete(&self.path, None)).await;
            match gone {
                Some(Ok(()) | Err(Error::NoNode | Error::SessionExpired | Error::ClientClosed)) => {
                    self.released = true;
                    Ok(())
                }
                // Dropping it asks once more.
                Some(Err(e)) => Err(before_write(&self.shown, &e)),
                None => Err(too_late(&self.shown)),
            }
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.proof.lose();
        self.watch.abort();
        if !self.released {
            let (client, path) = (self.link.client().clone(), self.path.clone());
            let mut state = client.state_watcher();
            self.link.spawn(async move {
                while let Err(e) = client.delete(&path, None).await {
                    if trouble(&e) != Trouble::NoAnswer || state.changed().await.is_terminated() {
                        break;
                    }
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_are_ordered_by_their_number_alone() {
        let mut all = ["_c_aa-lock-0000000012", "_c_zz-lock-0000000009", "other"];
        all.sort_by(|a, b| number(a).cmp(number(b)));
        assert_eq!(all, ["_c_zz-lock-0000000009", "_c_aa-lock-0000000012", "other"]);
    }
}
