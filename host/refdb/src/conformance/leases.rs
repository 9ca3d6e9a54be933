//! Cases 49 to 51 and 102 to 104: what ends a lock, and that the store refuses the writes of one that has ended.

use std::time::Duration;

use refgate_core::{Atomicity, Expected, GlobalRef, LockToken, Outcome, RefDbErrorKind};

use super::bench::{Client, Run, at, edit, mismatch};
use super::check::{self, Checked, ensure, not_promised, same};
use super::locks::{SHORT, long_lease, release, take};
use super::{Case, case};

const A: &str = "refs/heads/a";
const B: &str = "refs/heads/b";
/// How much later than its lease a lock may be free: clocks differ, and machines are busy.
const LATE: Duration = Duration::from_secs(8);

pub(super) const CASES: &[Case] = &[
    case(49, "a lock that nobody renews ends with its lease", |run| Box::pin(runs_out(run))),
    case(50, "a write with the token of a lock that has ended is refused", |run| Box::pin(fenced(run))),
    case(51, "a lock that is dropped is free within its lease", |run| Box::pin(dropped(run))),
    case(102, "a write with the token of a lock that is held is applied", |run| Box::pin(held(run))),
    case(103, "a lock that is renewed lasts longer than its lease", |run| Box::pin(renewed(run))),
    case(104, "the lock of one ref guards the write of another, and of all in the call", |run| {
        Box::pin(guards(run))
    }),
];

/// The shortest lease that a test can wait for.
fn short_lease(run: &Run) -> Checked<Duration> {
    let lease = match run.promises().lease {
        Some((shortest, longest)) => Duration::from_secs(1).clamp(shortest, longest),
        None => return not_promised("no locks"),
    };
    match lease > Duration::from_secs(30) {
        true => not_promised(format!("no lease is shorter than {lease:?}, which is too long to wait for")),
        false => Ok(lease),
    }
}

async fn write(client: &Client<'_>, from: GlobalRef, to: GlobalRef, token: &LockToken) -> Checked<Outcome> {
    client.edit(edit(A, Expected::Exactly(from), to)?.fenced(token.clone())).await
}

async fn runs_out(run: &Run) -> Checked {
    let lease = short_lease(run)?;
    let (a, b) = (run.another("p")?, run.another("p")?);
    let old = take(&a, A, lease).await?;
    let start = run.clock().now();
    let new = match b.lock(A, lease, lease + LATE).await {
        Ok(lock) => lock,
        Err(e) => return check::failed(format!("{lease:?} and {LATE:?} later: {:?}: {e}", e.kind)),
    };
    let took = run.clock().now() - start;
    ensure(took >= lease / 2, || format!("a lease of {lease:?} ended after {took:?}"))?;
    ensure(!old.is_valid(), || "the old holder believes that it still has the lock".to_owned())?;
    let renewed = old.renew(run.deadline()).await;
    check::refused("renewing the old one", renewed, RefDbErrorKind::LeaseLost)?;
    ensure(new.token().fence > old.token().fence, || {
        format!("fence {} after {}", new.token().fence, old.token().fence)
    })?;
    same(
        "the old holder's write",
        write(&a, GlobalRef::Untracked, at(1), old.token()).await?,
        Outcome::Fenced,
    )?;
    let written = write(&b, GlobalRef::Untracked, at(2), new.token()).await?;
    same("the new holder's write", written, Outcome::Applied)?;
    // Giving back what is lost already is no error, and takes nothing from the new holder.
    release(run, old).await?;
    same("the new holder's write", write(&b, at(2), at(3), new.token()).await?, Outcome::Applied)?;
    release(run, new).await?;
    same("the value", b.value(A).await?, at(3))
}

async fn fenced(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let (a, b) = (run.client("p")?, run.another("p")?);
    a.put(A, at(1)).await?;
    let lock = take(&a, A, lease).await?;
    let old = lock.token().clone();
    release(run, lock).await?;
    for client in [&a, &b] {
        let outcome = write(client, at(1), at(2), &old).await?;
        same("while nobody holds it", outcome, Outcome::Fenced)?;
    }
    let lock = take(&b, A, lease).await?;
    same("while another holds it", write(&a, at(1), at(2), &old).await?, Outcome::Fenced)?;
    same("the value", a.value(A).await?, at(1))?;
    same("the other's own", write(&b, at(1), at(3), lock.token()).await?, Outcome::Applied)?;
    release(run, lock).await?;
    same("the value", a.value(A).await?, at(3))
}

async fn dropped(run: &Run) -> Checked {
    let lease = short_lease(run)?;
    let (a, b) = (run.another("p")?, run.another("p")?);
    let lock = take(&a, A, lease).await?;
    let old = lock.token().clone();
    drop(lock);
    match b.lock(A, lease, lease + LATE).await {
        Ok(lock) => {
            let outcome = write(&a, GlobalRef::Untracked, at(1), &old).await?;
            same("a write with the token of the dropped one", outcome, Outcome::Fenced)?;
            release(run, lock).await
        }
        Err(e) => check::failed(format!("{lease:?} and {LATE:?} after the drop: {:?}: {e}", e.kind)),
    }
}

async fn held(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let (a, b) = (run.client("p")?, run.another("p")?);
    let lock = take(&a, A, lease).await?;
    same("from nothing", write(&a, GlobalRef::Untracked, at(1), lock.token()).await?, Outcome::Applied)?;
    same("an update", write(&a, at(1), at(2), lock.token()).await?, Outcome::Applied)?;
    same("a mismatch stays one", write(&a, at(1), at(3), lock.token()).await?, mismatch(at(2)))?;
    let gone = write(&a, at(2), GlobalRef::Deleted, lock.token()).await?;
    same("a deletion", gone, Outcome::Applied)?;
    // The token is the right, whoever uses it.
    let by_another = write(&b, GlobalRef::Deleted, at(4), lock.token()).await?;
    same("by another client", by_another, Outcome::Applied)?;
    release(run, lock).await
}

async fn renewed(run: &Run) -> Checked {
    let lease = short_lease(run)?;
    let (a, b) = (run.another("p")?, run.another("p")?);
    let lock = take(&a, A, lease).await?;
    for _ in 0..5 {
        run.sleep(lease / 2).await;
        lock.renew(run.deadline()).await?;
    }
    ensure(lock.is_valid(), || format!("a lock of {lease:?} that was renewed all the time is not valid"))?;
    let refused = b.lock(A, lease, SHORT.min(lease / 2)).await.map(|lock| lock.token().clone());
    check::refused("the lock is held", refused, RefDbErrorKind::LockTimeout)?;
    let outcome = write(&a, GlobalRef::Untracked, at(1), lock.token()).await?;
    same("a write with its token", outcome, Outcome::Applied)?;
    release(run, lock).await
}

async fn guards(run: &Run) -> Checked {
    let lease = long_lease(run)?;
    let client = run.client("p")?;
    let lock = take(&client, A, lease).await?;
    let token = lock.token().clone();
    let on_b = |to| -> Checked<refgate_core::Edit> {
        Ok(edit(B, Expected::AbsentOr(at(1)), to)?.fenced(token.clone()))
    };
    same("another ref", client.edit(on_b(at(1))?).await?, Outcome::Applied)?;
    release(run, lock).await?;
    same("another ref afterwards", client.edit(on_b(at(2))?).await?, Outcome::Fenced)?;
    let edits = [edit("refs/heads/c", Expected::Absent, at(3))?, on_b(at(2))?];
    let outcomes = client.edits(&edits, Atomicity::Each).await?;
    same("each on its own", outcomes, [Outcome::Applied, Outcome::Fenced])?;
    run.needs_atomic(2)?;
    let edits = [edit("refs/heads/d", Expected::Absent, at(3))?, on_b(at(2))?];
    let outcomes = client.edits(&edits, Atomicity::AllOrNothing).await?;
    same("all or nothing", outcomes, [mismatch(GlobalRef::Untracked), Outcome::Fenced])?;
    let values = client.values(&[B, "refs/heads/c", "refs/heads/d"]).await?;
    same("the values", values, [at(1), at(3), GlobalRef::Untracked])
}
