//! Cases 1 to 12: what is stored is read back, and how a local value compares with it.

use refgate_core::{Entry, GlobalRef, Lookup, Oid};

use super::bench::{Client, Run, at, long_oid, oid};
use super::check::{Checked, same};
use super::{Case, case};

pub(super) const CASES: &[Case] = &[
    case(1, "a ref that was never stored is untracked", |run| Box::pin(absent(run))),
    case(2, "an object id of 40 digits is read back", |run| Box::pin(round_trip(run, at(1)))),
    case(3, "an object id of 64 digits is read back", |run| {
        Box::pin(round_trip(run, GlobalRef::At(long_oid(1))))
    }),
    case(5, "a recorded deletion is read back", |run| Box::pin(round_trip(run, GlobalRef::Deleted))),
    case(6, "a value and a deletion exist, an absent ref does not", |run| Box::pin(exists(run))),
    case(7, "an absent ref is untracked, whatever the local value", |run| {
        Box::pin(fresh(run, None, &[Some(1), None], Freshness::Untracked))
    }),
    case(8, "the same value is up to date", |run| {
        Box::pin(fresh(run, Some(at(1)), &[Some(1)], Freshness::UpToDate))
    }),
    case(9, "an older local value is stale", |run| {
        Box::pin(fresh(run, Some(at(2)), &[Some(1)], Freshness::Stale { global: at(2) }))
    }),
    case(10, "a newer local value is stale", |run| {
        Box::pin(fresh(run, Some(at(2)), &[Some(3)], Freshness::Stale { global: at(2) }))
    }),
    case(11, "a recorded deletion is up to date where the ref is gone, else stale", |run| {
        Box::pin(deletion(run))
    }),
    case(12, "a value is stale where the ref is gone", |run| {
        Box::pin(fresh(run, Some(at(1)), &[None], Freshness::Stale { global: at(1) }))
    }),
];

async fn absent(run: &Run) -> Checked {
    let client = run.client("p")?;
    same("an absent ref", client.lookups(&["refs/heads/a"]).await?, [Lookup::Entry(Entry::default())])?;
    same("no refs", client.lookups(&[]).await?, [])?;
    client.put("refs/heads/a", at(1)).await?;
    same("its neighbour", client.value("refs/heads/b").await?, GlobalRef::Untracked)
}

async fn round_trip(run: &Run, value: GlobalRef) -> Checked {
    let client = run.client("p")?;
    client.put("refs/heads/a", value).await?;
    same("what the writer reads", client.entry("refs/heads/a").await?, Entry::new(value))?;
    run.needs_linearizable_reads()?;
    same("what another reads", run.another("p")?.entry("refs/heads/a").await?, Entry::new(value))
}

async fn exists(run: &Run) -> Checked {
    let client = run.client("p")?;
    client.put("refs/heads/at", at(1)).await?;
    client.put("refs/heads/gone", GlobalRef::Deleted).await?;
    let found = existing(&client, &["refs/heads/at", "refs/heads/none", "refs/heads/gone"]).await?;
    same("a value, an absent ref, a deletion", found, [true, false, true])?;
    // A store that keeps names as a tree has nodes that nobody wrote.
    let found = existing(&client, &["refs/heads", "refs/heads/at/below"]).await?;
    same("what is above and below a ref", found, [false, false])
}

async fn existing(client: &Client<'_>, refs: &[&str]) -> Checked<Vec<bool>> {
    Ok(client.lookups(refs).await?.iter().map(Lookup::exists).collect())
}

/// How a local value compares with what a store says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Freshness {
    Untracked,
    UpToDate,
    Stale { global: GlobalRef },
}

fn freshness(entry: &Entry, local: Option<Oid>) -> Freshness {
    match entry.value {
        GlobalRef::Untracked => Freshness::Untracked,
        global if global.oid() == local => Freshness::UpToDate,
        global => Freshness::Stale { global },
    }
}

async fn fresh(run: &Run, stored: Option<GlobalRef>, locals: &[Option<u64>], expected: Freshness) -> Checked {
    let client = run.client("p")?;
    if let Some(value) = stored {
        client.put("refs/heads/a", value).await?;
    }
    for local in locals {
        compare(&client, local.map(oid), &expected).await?;
    }
    Ok(())
}

async fn deletion(run: &Run) -> Checked {
    let client = run.client("p")?;
    client.put("refs/heads/a", GlobalRef::Deleted).await?;
    compare(&client, None, &Freshness::UpToDate).await?;
    compare(&client, Some(oid(1)), &Freshness::Stale { global: GlobalRef::Deleted }).await
}

async fn compare(client: &Client<'_>, local: Option<Oid>, expected: &Freshness) -> Checked {
    let found = client.entries(&["refs/heads/a", "refs/heads/none"]).await?;
    let found: Vec<Freshness> = found.iter().map(|entry| freshness(entry, local)).collect();
    same(format!("compared with {local:?}"), found, [expected.clone(), Freshness::Untracked])
}
