//! Cases 32 to 40 and some more: many refs in one call.

use std::time::Duration;

use refgate_core::Atomicity::{AllOrNothing, Each};
use refgate_core::{BoxFuture, Edit, Entry, Expected, GlobalRef, Lookup, Outcome, RefDbErrorKind, RefName};

use super::bench::{Client, Run, at, edit, mismatch, oid, ref_name};
use super::check::{self, Checked, ensure, not_promised, same, step, together};
use super::{Case, case};

const ABSENT: GlobalRef = GlobalRef::Untracked;
/// For a call with thousands of refs.
const LONG: Duration = Duration::from_secs(60);

pub(super) const CASES: &[Case] = &[
    case(32, "a read keeps the order and answers duplicates and absent refs", |run| {
        Box::pin(order_and_duplicates(run))
    }),
    case(33, "a call with nothing in it gives nothing", |run| Box::pin(empty(run))),
    case(34, "10,000 refs, and one more or less than any limit", |run| Box::pin(ten_thousand(run))),
    case(35, "a bulk read gives what single reads give", |run| Box::pin(bulk_is_single(run))),
    case(38, "all or nothing: one mismatch and nothing is written", |run| Box::pin(all_or_nothing(run))),
    case(39, "each on its own: one outcome per edit", |run| Box::pin(each(run))),
    case(40, "too many edits for all or nothing are refused before any write", |run| {
        Box::pin(too_large(run))
    }),
    case(84, "a ref that occurs twice in a call sees its first edit", |run| Box::pin(twice(run))),
    case(85, "untracked is never written", |run| Box::pin(untracked(run))),
    case(100, "a bulk read is one moment in time", |run| Box::pin(snapshot(run))),
    case(101, "a deadline that has passed is answered at once", |run| Box::pin(no_time(run))),
];

async fn order_and_duplicates(run: &Run) -> Checked {
    let client = run.client("p")?;
    for (name, value) in [("refs/3", at(3)), ("refs/1", GlobalRef::Deleted), ("refs/2", at(2))] {
        client.put(name, value).await?;
    }
    let asked = ["refs/3", "refs/1", "refs/none", "refs/3", "refs/2", "refs/none"];
    let values = client.values(&asked).await?;
    same("the values", values, [at(3), GlobalRef::Deleted, ABSENT, at(3), at(2), ABSENT])
}

async fn empty(run: &Run) -> Checked {
    let client = run.client("p")?;
    same("a read", client.lookups(&[]).await?, [])?;
    for atomicity in [Each, AllOrNothing] {
        same("no edits", client.edits(&[], atomicity).await?, [])?;
    }
    let resolved = client.db.resolve(&client.project, &[], run.deadline()).await?;
    same("what became of no edits", resolved, [])
}

async fn ten_thousand(run: &Run) -> Checked {
    let client = run.client("p")?;
    let names: Vec<RefName> = (0..10_000)
        .map(|i| ref_name(&format!("refs/changes/{:02}/{i}/meta", i % 100)))
        .collect::<Checked<_>>()?;
    // Every second one, so that each read meets absent refs, too.
    let edits: Vec<Edit> = names
        .iter()
        .enumerate()
        .step_by(2)
        .map(|(i, name)| Edit::new(name.clone(), Expected::Absent, at(i as u64)))
        .collect();
    let outcomes = client.db.compare_and_put(&client.project, &edits, Each, run.within(LONG)).await?;
    let applied = outcomes.iter().filter(|o| **o == Outcome::Applied).count();
    same("applied edits", (outcomes.len(), applied), (5_000, 5_000))?;
    // Limits of known stores.
    for n in [1, 127, 128, 129, 499, 500, 501, 999, 1_000, 1_001, 4_096, 10_000] {
        let found = client.db.get_many(&client.project, &names[..n], run.within(LONG)).await?;
        same(format!("answers to {n}"), found.len(), n)?;
        for (i, found) in found.iter().enumerate() {
            let want = if i % 2 == 0 { at(i as u64) } else { ABSENT };
            let want = Lookup::Entry(Entry::new(want));
            ensure(*found == want, || {
                format!("`{}` of {n} refs: expected {want:?}, seen {found:?}", names[i])
            })?;
        }
    }
    let removed = client.db.remove_project(&client.project, run.within(LONG)).await?;
    same("removed entries", removed, 5_000)
}

async fn bulk_is_single(run: &Run) -> Checked {
    let client = run.client("p")?;
    let names: Vec<String> = (0..150).map(|i| format!("refs/heads/{i}")).collect();
    let mut edits = Vec::new();
    for (i, name) in names.iter().enumerate().filter(|(i, _)| i % 3 > 0) {
        let value = if i % 3 == 1 { at(i as u64) } else { GlobalRef::Deleted };
        edits.push(edit(name, Expected::Absent, value)?);
    }
    client.edits(&edits, Each).await?;
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let bulk = client.lookups(&asked).await?;
    same("the second and the third", &bulk[1..3], [at(1), GlobalRef::Deleted].map(found))?;
    for (name, bulk) in asked.iter().zip(bulk) {
        same(*name, client.lookups(&[name]).await?, [bulk])?;
    }
    Ok(())
}

fn found(value: GlobalRef) -> Lookup {
    Lookup::Entry(Entry::new(value))
}

async fn all_or_nothing(run: &Run) -> Checked {
    run.needs_atomic(3)?;
    let client = run.client("p")?;
    client.put("refs/a", at(1)).await?;
    let a = edit("refs/a", Expected::Exactly(at(1)), at(2))?;
    let b = edit("refs/b", Expected::Absent, at(3))?;
    let wrong = edit("refs/c", Expected::Exactly(at(7)), at(8))?;
    let outcomes = client.edits(&[a.clone(), wrong, b.clone()], AllOrNothing).await?;
    same(
        "outcomes, those that would have matched with what they expected",
        outcomes,
        [mismatch(at(1)), mismatch(ABSENT), mismatch(ABSENT)],
    )?;
    same("nothing is half done", client.scan("", 9).await?, ["refs/a"])?;
    same("the first", client.entry("refs/a").await?, Entry::new(at(1)))?;
    let outcomes = client.edits(&[a, b], AllOrNothing).await?;
    same("without the wrong one", outcomes, [Outcome::Applied; 2])?;
    same("both", client.values(&["refs/a", "refs/b"]).await?, [at(2), at(3)])
}

async fn each(run: &Run) -> Checked {
    let client = run.client("p")?;
    client.put("refs/a", at(1)).await?;
    let edits = [
        edit("refs/a", Expected::Absent, at(2))?,
        edit("refs/b", Expected::Absent, at(3))?,
        edit("refs/c", Expected::Exactly(GlobalRef::Deleted), at(4))?,
        edit("refs/d", Expected::AbsentOrDeleted, GlobalRef::Deleted)?,
    ];
    let outcomes = client.edits(&edits, Each).await?;
    let want = [mismatch(at(1)), Outcome::Applied, mismatch(ABSENT), Outcome::Applied];
    same("outcomes", outcomes, want)?;
    let values = client.values(&["refs/a", "refs/b", "refs/c", "refs/d"]).await?;
    same("values", values, [at(1), at(3), ABSENT, GlobalRef::Deleted])
}

async fn too_large(run: &Run) -> Checked {
    let limit = run.promises().atomic_edits;
    if limit > 20_000 {
        return not_promised("all or nothing has no limit here");
    }
    let client = run.client("p")?;
    let edits: Vec<Edit> = (0..=limit)
        .map(|i| edit(&format!("refs/heads/{i}"), Expected::Absent, at(i as u64)))
        .collect::<Checked<_>>()?;
    let over = client.db.compare_and_put(&client.project, &edits, AllOrNothing, run.within(LONG)).await;
    check::refused(format!("{} edits", limit + 1), over, RefDbErrorKind::TooLarge)?;
    same("nothing is written", client.scan("", 9).await?, Vec::<String>::new())?;
    let most = &edits[..limit];
    let outcomes = client.db.compare_and_put(&client.project, most, AllOrNothing, run.within(LONG)).await?;
    let applied = outcomes.iter().filter(|o| **o == Outcome::Applied).count();
    same("applied edits at the limit", applied, limit)
}

async fn twice(run: &Run) -> Checked {
    let client = run.client("p")?;
    let twice = |second| -> Checked<[Edit; 2]> {
        Ok([edit("refs/a", Expected::Absent, at(1))?, edit("refs/a", second, at(2))?])
    };
    let outcomes = client.edits(&twice(Expected::Absent)?, Each).await?;
    same("each", outcomes, [Outcome::Applied, mismatch(at(1))])?;
    same("forgotten", client.remove_ref("refs/a").await?, true)?;
    run.needs_atomic(2)?;
    let outcomes = client.edits(&twice(Expected::Absent)?, AllOrNothing).await?;
    same("nothing was there, and nothing is", outcomes, [mismatch(ABSENT); 2])?;
    same("the value", client.value("refs/a").await?, ABSENT)?;
    let outcomes = client.edits(&twice(Expected::Exactly(at(1)))?, AllOrNothing).await?;
    same("all", outcomes, [Outcome::Applied; 2])?;
    let want = Entry { value: at(2), superseded: vec![oid(1)] };
    same("the entry", client.entry("refs/a").await?, want)
}

async fn untracked(run: &Run) -> Checked {
    let client = run.client("p")?;
    client.put("refs/a", at(1)).await?;
    let edits = [edit("refs/b", Expected::Absent, at(2))?, edit("refs/a", Expected::Exactly(at(1)), ABSENT)?];
    for atomicity in [Each, AllOrNothing] {
        if atomicity == AllOrNothing && run.promises().atomic_edits < 2 {
            continue;
        }
        let result = client.try_edits(&edits, atomicity).await;
        check::refused("an edit to untracked", result, RefDbErrorKind::InvalidName)?;
    }
    same("refused before anything was written", client.scan("", 9).await?, ["refs/a"])?;
    let put = client.db.put(&client.project, &ref_name("refs/a")?, ABSENT, run.deadline()).await;
    check::refused("a put of untracked", put, RefDbErrorKind::InvalidName)?;
    same("the value", client.value("refs/a").await?, at(1))
}

/// Refs that always move together, far apart in a read of many.
async fn snapshot(run: &Run) -> Checked {
    const ROUNDS: u64 = 40;
    run.needs_atomic(3)?;
    if !run.promises().snapshot_reads {
        return not_promised("a bulk read may see several moments");
    }
    let names: Vec<String> = (0..700).map(|i| format!("refs/heads/{i:03}")).collect();
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let moving = [asked[0], asked[350], asked[699]];
    let (writer, reader) = (run.another("p")?, run.another("p")?);
    set_all(&writer, &moving, |_| Expected::Absent, 0).await?;
    let (writer, reader, asked) = (&writer, &reader, &asked);
    let jobs: Vec<BoxFuture<'_, Checked>> = vec![
        Box::pin(async move {
            for n in 1..ROUNDS {
                set_all(writer, &moving, |_| Expected::Exactly(at(n - 1)), n).await?;
                step().await;
            }
            Ok(())
        }),
        Box::pin(async move {
            for _ in 0..ROUNDS {
                let values = reader.values(asked).await?;
                let seen = [values[0], values[350], values[699]];
                ensure(seen[0].oid().is_some() && seen.iter().all(|v| *v == seen[0]), || {
                    format!("refs that move together were seen at {seen:?} in one read")
                })?;
                step().await;
            }
            Ok(())
        }),
    ];
    together(jobs, run.rng()).await.into_iter().collect()
}

async fn set_all(client: &Client<'_>, refs: &[&str], expected: impl Fn(&str) -> Expected, n: u64) -> Checked {
    let edits: Vec<Edit> = refs
        .iter()
        .map(|name| Ok(edit(name, expected(name), at(n))?.fast_forward(true)))
        .collect::<Checked<_>>()?;
    same("all edits", client.edits(&edits, AllOrNothing).await?, vec![Outcome::Applied; refs.len()])
}

/// A store may still answer, when it does not have to wait for anything. An error says that nothing was written.
async fn no_time(run: &Run) -> Checked {
    let client = run.client("p")?;
    client.put("refs/a", at(1)).await?;
    let name = ref_name("refs/a")?;
    let start = run.clock().now();
    let write = client.db.put(&client.project, &name, at(2), run.within(Duration::ZERO)).await;
    let read =
        client.db.get_many(&client.project, std::slice::from_ref(&name), run.within(Duration::ZERO)).await;
    let took = run.clock().now() - start;
    ensure(took < Duration::from_secs(1), || format!("two calls without any time took {took:?}"))?;
    if let Err(e) = &read {
        same("the error of a read", e.kind, RefDbErrorKind::Unavailable)?;
    }
    let want = match write {
        Ok(()) => at(2),
        Err(e) => {
            same("the error of a write", e.kind, RefDbErrorKind::Unavailable)?;
            at(1)
        }
    };
    same("the value", client.value("refs/a").await?, want)
}
