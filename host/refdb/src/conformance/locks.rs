//! Cases 44 to 48 and 52 to 54: who holds a lock, who waits for it, and what an attempt leaves behind.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use refgate_core::refdb::lock_many;
use refgate_core::{BoxFuture, Expected, LockToken, Outcome, RefDbErrorKind, RefLock};

use super::bench::{Client, Run, at, names};
use super::check::{self, Checked, Stop, ensure, failed, not_promised, same, step, together};
use super::{Case, case};

const A: &str = "refs/heads/a";
/// Enough for a lock that nobody holds.
const SOON: Duration = Duration::from_secs(5);
/// Enough to be told that a lock is held.
pub(super) const SHORT: Duration = Duration::from_millis(500);

pub(super) const CASES: &[Case] = &[
    case(44, "a lock that was released is taken again", |run| Box::pin(again(run))),
    case(45, "a lock that is held times out at the deadline and leaves nothing", |run| {
        Box::pin(times_out(run))
    }),
    case(46, "who waits for a lock gets it when it is released", |run| Box::pin(waits(run))),
    case(47, "locks of different refs and projects are independent", |run| Box::pin(independent(run))),
    case(48, "the fence grows with every hold of a ref", |run| Box::pin(fences_grow(run))),
    case(52, "an attempt that is dropped leaves nothing", |run| Box::pin(cancelled(run))),
    case(53, "a write needs no lock, whoever holds it", |run| Box::pin(courtesy(run))),
    case(54, "a lock survives clients that come and go", |run| Box::pin(churn(run))),
    case(98, "clients that lock many refs in any order never wait for each other", |run| Box::pin(many(run))),
    case(105, "a lock survives the removal of its project", |run| Box::pin(survives_removal(run))),
    case(106, "who waits longest gets the lock first", |run| Box::pin(fair(run))),
];

/// A lease that does not run out while a case runs, if the store has such.
pub(super) fn long_lease(run: &Run) -> Checked<Duration> {
    match run.promises().lease {
        Some((shortest, longest)) => Ok(Duration::from_secs(60).clamp(shortest, longest)),
        None => not_promised("no locks"),
    }
}

/// Takes a lock that is free. A store that promises locks has them.
pub(super) async fn take(client: &Client<'_>, name: &str, lease: Duration) -> Checked<Box<dyn RefLock>> {
    match client.lock(name, lease, SOON).await {
        Ok(lock) => Ok(lock),
        Err(e) => failed(format!("the free lock of `{name}`: {:?}: {e}", e.kind)),
    }
}

pub(super) async fn release(run: &Run, lock: Box<dyn RefLock>) -> Checked {
    Ok(lock.release(run.deadline()).await?)
}

async fn again(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let (a, b) = (run.client("p")?, run.another("p")?);
    for client in [&a, &b, &a] {
        let lock = take(client, A, lease).await?;
        ensure(lock.is_valid(), || "a lock that was just taken is not valid".to_owned())?;
        same("the ref of the token", lock.token().name.to_string(), A)?;
        release(run, lock).await?;
    }
    Ok(())
}

async fn times_out(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let (a, b, c) = (run.client("p")?, run.another("p")?, run.another("p")?);
    let lock = take(&a, A, lease).await?;
    // The holder is no exception.
    for (client, wait) in [(&b, 700), (&a, 300)] {
        let start = run.clock().now();
        let wait = Duration::from_millis(wait);
        let result = client.lock(A, lease, wait).await;
        let took = run.clock().now() - start;
        let kind = result.map(|lock| lock.token().clone());
        check::refused("a lock that is held", kind, RefDbErrorKind::LockTimeout)?;
        // A store may need some of the time to take its attempt back. 50 ms more are promised; the rest is for a busy machine.
        let in_time = took + Duration::from_millis(200) >= wait && took <= wait + Duration::from_millis(750);
        ensure(in_time, || format!("waiting {wait:?} for a lock that is held took {took:?}"))?;
    }
    ensure(lock.is_valid(), || "the lock was lost to those who waited for it".to_owned())?;
    release(run, lock).await?;
    // What the attempts left in a queue would be in the way now.
    release(run, take(&c, A, lease).await?).await
}

async fn waits(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let (a, b) = (run.client("p")?, run.another("p")?);
    let lock = take(&a, A, lease).await?;
    let released = Mutex::new(false);
    let jobs: Vec<BoxFuture<'_, Checked>> = vec![
        Box::pin(async {
            run.sleep(Duration::from_millis(300)).await;
            *flag(&released) = true;
            release(run, lock).await
        }),
        Box::pin(async {
            let lock = take(&b, A, lease).await?;
            ensure(*flag(&released), || "two hold one lock".to_owned())?;
            release(run, lock).await
        }),
    ];
    together(jobs, run.rng()).await.into_iter().collect()
}

fn flag<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn independent(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let (a, b) = (run.client("p")?, run.another("p")?);
    let mut held = Vec::new();
    for name in [A, "refs/heads/a/b", "refs/heads/ab", "refs/heads/A", "refs/heads"] {
        held.push(take(&a, name, lease).await?);
    }
    for project in ["p/sub", "q"] {
        held.push(take(&b.at(project)?, A, lease).await?);
    }
    ensure(held.iter().all(|lock| lock.is_valid()), || "one lock ended another".to_owned())?;
    for lock in held {
        release(run, lock).await?;
    }
    Ok(())
}

async fn fences_grow(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let clients = [run.client("p")?, run.another("p")?, run.another("p")?];
    let mut last: Option<LockToken> = None;
    for client in clients.iter().cycle().take(7) {
        let lock = take(client, A, lease).await?;
        let token = lock.token().clone();
        if let Some(last) = last {
            ensure(token.fence > last.fence, || {
                format!("fence {} after {}: a later hold must have a greater one", token.fence, last.fence)
            })?;
        }
        last = Some(token);
        release(run, lock).await?;
    }
    Ok(())
}

async fn cancelled(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let (a, b, c) = (run.client("p")?, run.another("p")?, run.another("p")?);
    let lock = take(&a, A, lease).await?;
    let attempt = b.lock(A, lease, Duration::from_secs(60));
    if let Some(result) = for_a_while(run, attempt, Duration::from_millis(300)).await {
        let seen = result.map(|lock| lock.token().clone());
        return failed(format!("a lock that is held gave {seen:?}"));
    }
    release(run, lock).await?;
    // `b` is still connected, so nothing of its attempt ends by itself.
    release(run, take(&c, A, lease).await?).await?;
    same("a write by the one who gave up", b.cas(A, Expected::Absent, at(1)).await?, Outcome::Applied)
}

/// Drives `future` for `time`, then drops it.
async fn for_a_while<T>(run: &Run, future: impl Future<Output = T>, time: Duration) -> Option<T> {
    let mut future = pin!(future);
    let mut end = pin!(run.sleep(time));
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        end.as_mut().poll(cx).map(|()| None)
    })
    .await
}

async fn courtesy(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let (a, b) = (run.client("p")?, run.another("p")?);
    let lock = take(&a, A, lease).await?;
    same("another's write", b.cas(A, Expected::Absent, at(1)).await?, Outcome::Applied)?;
    let own = a.cas(A, Expected::Exactly(at(1)), at(2)).await?;
    same("the holder's write without the token", own, Outcome::Applied)?;
    release(run, lock).await?;
    same("the value", a.value(A).await?, at(2))
}

async fn churn(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let a = run.client("p")?;
    let lock = take(&a, A, lease).await?;
    for n in 0..5 {
        let other = run.another("p")?;
        other.put("refs/heads/b", at(n)).await?;
        drop(take(&other, "refs/heads/c", lease).await?);
        drop(other);
        ensure(lock.is_valid(), || format!("the lock ended when client {n} went"))?;
    }
    let refused = run.another("p")?.lock(A, lease, SHORT).await.map(|lock| lock.token().clone());
    check::refused("the lock is held", refused, RefDbErrorKind::LockTimeout)?;
    lock.renew(run.deadline()).await.map_err(Stop::from)?;
    release(run, lock).await
}

async fn many(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let clients = run.others(3, "p")?;
    let inside = Mutex::new(0);
    let jobs: Vec<BoxFuture<'_, Checked>> = clients
        .iter()
        .enumerate()
        .map(|(i, client)| -> BoxFuture<'_, Checked> {
            let inside = &inside;
            Box::pin(async move {
                let mut refs = names(&["refs/c", "refs/a", "refs/b", "refs/a"])?;
                refs.rotate_left(i);
                for _ in 0..4 {
                    step().await;
                    let deadline = run.within(Duration::from_secs(30));
                    let locks = lock_many(&client.db, &client.project, &refs, lease, deadline).await?;
                    same("locks, each name once", locks.len(), 3)?;
                    *flag(inside) += 1;
                    step().await;
                    same("clients that hold all locks", *flag(inside), 1)?;
                    *flag(inside) -= 1;
                    for lock in locks {
                        release(run, lock).await?;
                    }
                }
                Ok(())
            })
        })
        .collect();
    together(jobs, run.rng()).await.into_iter().collect()
}

async fn survives_removal(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let (a, b) = (run.client("p")?, run.another("p")?);
    a.put(A, at(1)).await?;
    let lock = take(&a, A, lease).await?;
    same("entries", b.remove_project().await?, 1)?;
    ensure(lock.is_valid(), || "removing the project ended the lock".to_owned())?;
    let refused = b.lock(A, lease, SHORT).await.map(|lock| lock.token().clone());
    check::refused("the lock is held", refused, RefDbErrorKind::LockTimeout)?;
    release(run, lock).await
}

async fn fair(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    if !run.promises().fair_locks {
        return not_promised("those who wait get the lock in any order");
    }
    let clients = run.others(4, "p")?;
    let order = Mutex::new(Vec::new());
    let jobs: Vec<BoxFuture<'_, Checked>> = clients
        .iter()
        .enumerate()
        .map(|(i, client)| -> BoxFuture<'_, Checked> {
            let order = &order;
            Box::pin(async move {
                // One after the other, while the first holds it.
                run.sleep(Duration::from_millis(300 * i as u64)).await;
                let lock = client.lock(A, lease, Duration::from_secs(30)).await?;
                flag(order).push(i);
                let hold = if i == 0 { 1_500 } else { 20 };
                run.sleep(Duration::from_millis(hold)).await;
                release(run, lock).await
            })
        })
        .collect();
    together(jobs, run.rng()).await.into_iter().collect::<Checked>()?;
    let order = flag(&order).clone();
    same("the order in which they got it", order, [0, 1, 2, 3])
}
