//! Cases 13 to 24: one conditional write, each expectation on each state.

use refgate_core::{Atomicity, Expected, GlobalRef, Outcome};

use super::bench::{Client, Run, at, long_oid, mismatch};
use super::check::{Checked, same};
use super::{Case, case};

const ABSENT: GlobalRef = GlobalRef::Untracked;
const GONE: GlobalRef = GlobalRef::Deleted;

pub(super) const CASES: &[Case] = &[
    case(13, "absent on an absent ref is applied", |run| {
        Box::pin(all(run, [(Expected::Absent, ABSENT), (Expected::Exactly(ABSENT), ABSENT)], true))
    }),
    case(14, "absent on a value is a mismatch that tells it", |run| {
        Box::pin(all(run, [(Expected::Absent, at(1)), (Expected::Exactly(ABSENT), at(1))], false))
    }),
    case(15, "absent on a recorded deletion is a mismatch", |run| {
        Box::pin(all(run, [(Expected::Absent, GONE), (Expected::Exactly(ABSENT), GONE)], false))
    }),
    case(16, "absent-or-deleted is met by both and by nothing else", |run| Box::pin(absent_or_deleted(run))),
    case(17, "exactly the value that is there is applied", |run| {
        Box::pin(all(run, [(Expected::Exactly(at(1)), at(1)), (Expected::Exactly(GONE), GONE)], true))
    }),
    case(18, "exactly another value is a mismatch and leaves it alone", |run| {
        let long = GlobalRef::At(long_oid(1));
        let pairs = [
            (Expected::Exactly(at(2)), at(1)),
            (Expected::Exactly(GONE), at(1)),
            (Expected::Exactly(at(1)), GONE),
            // The longer one begins with the shorter one.
            (Expected::Exactly(at(1)), long),
            (Expected::Exactly(long), at(1)),
        ];
        Box::pin(all(run, pairs, false))
    }),
    case(19, "exactly a value on an absent ref is a mismatch", |run| {
        Box::pin(all(run, [(Expected::Exactly(at(1)), ABSENT), (Expected::Exactly(GONE), ABSENT)], false))
    }),
    case(20, "absent-or-a-value adopts an absent ref", |run| {
        let pairs = [
            (Expected::AbsentOr(at(1)), ABSENT),
            (Expected::AbsentOr(GONE), ABSENT),
            (Expected::AbsentOr(at(1)), at(1)),
            (Expected::AbsentOr(GONE), GONE),
        ];
        Box::pin(all(run, pairs, true))
    }),
    case(21, "absent-or-a-value on another is a mismatch", |run| {
        let pairs = [
            (Expected::AbsentOr(at(1)), at(2)),
            (Expected::AbsentOr(at(1)), GONE),
            (Expected::AbsentOr(GONE), at(1)),
        ];
        Box::pin(all(run, pairs, false))
    }),
    case(22, "a ref is created, deleted and created again", |run| Box::pin(recreated(run))),
    case(23, "a write of what is there is applied", |run| Box::pin(no_change(run))),
    case(24, "a replay of an applied write meets its own value", |run| Box::pin(replay(run))),
];

/// A write of something new under each expectation, on each state.
async fn all<const N: usize>(run: &Run, pairs: [(Expected, GlobalRef); N], holds: bool) -> Checked {
    let client = run.client("p")?;
    for (i, (expected, before)) in pairs.into_iter().enumerate() {
        one(&client, &format!("refs/heads/{i}"), expected, before, holds).await?;
    }
    Ok(())
}

async fn one(client: &Client<'_>, name: &str, expected: Expected, before: GlobalRef, holds: bool) -> Checked {
    if before != ABSENT {
        client.put(name, before).await?;
    }
    let outcome = client.cas(name, expected, at(9)).await?;
    let want = if holds { Outcome::Applied } else { mismatch(before) };
    same(format!("{expected:?} on {before:?}"), outcome, want)?;
    let value = client.value(name).await?;
    same(format!("afterwards, {expected:?} on {before:?}"), value, if holds { at(9) } else { before })
}

async fn absent_or_deleted(run: &Run) -> Checked {
    let client = run.client("p")?;
    for (i, (before, holds)) in [(ABSENT, true), (GONE, true), (at(1), false)].into_iter().enumerate() {
        one(&client, &format!("refs/heads/{i}"), Expected::AbsentOrDeleted, before, holds).await?;
    }
    Ok(())
}

async fn recreated(run: &Run) -> Checked {
    let client = run.client("p")?;
    for round in 0..2 {
        for (expected, new) in [(Expected::AbsentOrDeleted, at(1)), (Expected::Exactly(at(1)), GONE)] {
            let outcome = client.cas("refs/heads/a", expected, new).await?;
            same(format!("round {round}, {expected:?}"), outcome, Outcome::Applied)?;
            same(format!("round {round}, value"), client.value("refs/heads/a").await?, new)?;
        }
    }
    same(
        "a write that comes late",
        client.cas("refs/heads/a", Expected::Exactly(at(1)), at(2)).await?,
        mismatch(GONE),
    )
}

async fn no_change(run: &Run) -> Checked {
    let client = run.client("p")?;
    for value in [at(1), GONE] {
        client.put("refs/heads/a", value).await?;
        same(
            format!("{value:?} again"),
            client.cas("refs/heads/a", Expected::Exactly(value), value).await?,
            Outcome::Applied,
        )?;
        let entry = client.entry("refs/heads/a").await?;
        same("the entry", (entry.value, entry.superseded), (value, Vec::new()))?;
    }
    let none = client.edits(&[], Atomicity::Each).await?;
    same("no edits", none, [])
}

async fn replay(run: &Run) -> Checked {
    let client = run.client("p")?;
    for (expected, new) in [(Expected::Absent, at(1)), (Expected::Exactly(at(1)), at(2))] {
        same("first", client.cas("refs/heads/a", expected, new).await?, Outcome::Applied)?;
        same("again", client.cas("refs/heads/a", expected, new).await?, mismatch(new))?;
    }
    Ok(())
}
