//! Cases 81 to 97, and 113: whole entries with their lists of superseded values, and what became of a write.

use refgate_core::Atomicity::{AllOrNothing, Each};
use refgate_core::{BoxFuture, Edit, Entry, Expected, GlobalRef, MAX_SUPERSEDED, Outcome, RefDbErrorKind};

use super::bench::{Client, Run, at, edit, long_oid, mismatch, number, oid, ref_name};
use super::check::{Checked, ensure, same, step, together};
use super::{Case, case};

const ABSENT: GlobalRef = GlobalRef::Untracked;
const GONE: GlobalRef = GlobalRef::Deleted;
const A: &str = "refs/heads/a";

pub(super) const CASES: &[Case] = &[
    case(81, "a write that is no fast-forward lists what it replaces, once", |run| Box::pin(listed(run))),
    case(82, "a write that is refused lists nothing", |run| Box::pin(refused(run))),
    case(83, "put, remove_ref and remove_project clear the list", |run| Box::pin(cleared(run))),
    case(86, "swap_entry puts a whole entry in the place of exactly another", |run| Box::pin(swapped(run))),
    case(87, "of swap_entry and racing edits one wins each round", |run| Box::pin(swap_races(run))),
    case(93, "many racing edits list every value that they replace", |run| Box::pin(racing_lists(run))),
    case(96, "resolve tells whether the new value is there", |run| Box::pin(resolved(run))),
    case(97, "a list holds object ids of both lengths, and a hundred of them", |run| {
        Box::pin(long_list(run))
    }),
    case(113, "a full list refuses what would make it longer, and nothing else", |run| {
        Box::pin(full_list(run))
    }),
];

async fn listed(run: &Run) -> Checked {
    let client = run.client("p")?;
    for (from, to, fast_forward, list) in [
        (ABSENT, at(1), false, vec![]),
        // A fast-forward loses nothing.
        (at(1), at(2), true, vec![]),
        (at(2), at(3), false, vec![oid(2)]),
        // Nothing is replaced.
        (at(3), at(3), false, vec![oid(2)]),
        // The list stays.
        (at(3), at(4), true, vec![oid(2)]),
        (at(4), GONE, false, vec![oid(2), oid(4)]),
        (GONE, at(2), false, vec![oid(2), oid(4)]),
        // Listed once.
        (at(2), at(5), false, vec![oid(2), oid(4)]),
    ] {
        let step = edit(A, Expected::Exactly(from), to)?.fast_forward(fast_forward);
        let what = format!("{from:?} to {to:?}, fast-forward {fast_forward}");
        same(&what, client.edit(step).await?, Outcome::Applied)?;
        same(&what, client.entry(A).await?, Entry { value: to, superseded: list })?;
    }
    Ok(())
}

async fn refused(run: &Run) -> Checked {
    let client = run.client("p")?;
    two_values(&client, A).await?;
    let before = client.entry(A).await?;
    same("a lost race", client.cas(A, Expected::Exactly(at(1)), at(3)).await?, mismatch(at(2)))?;
    same("the entry", client.entry(A).await?, before.clone())?;
    run.needs_atomic(2)?;
    let edits =
        [edit(A, Expected::Exactly(at(2)), at(3))?, edit("refs/heads/b", Expected::Exactly(at(9)), at(3))?];
    let outcomes = client.edits(&edits, AllOrNothing).await?;
    same("all or nothing", outcomes, [mismatch(at(2)), mismatch(ABSENT)])?;
    same("the entry", client.entry(A).await?, before)
}

/// `name` at 2, with 1 superseded.
async fn two_values(client: &Client<'_>, name: &str) -> Checked {
    client.put(name, at(1)).await?;
    same("a forced update", client.cas(name, Expected::Exactly(at(1)), at(2)).await?, Outcome::Applied)?;
    let want = Entry { value: at(2), superseded: vec![oid(1)] };
    same("the entry", client.entry(name).await?, want)
}

async fn cleared(run: &Run) -> Checked {
    let client = run.client("p")?;
    for value in [at(3), GONE, at(2)] {
        two_values(&client, A).await?;
        client.put(A, value).await?;
        same("after put", client.entry(A).await?, Entry::new(value))?;
    }
    two_values(&client, A).await?;
    same("remove_ref", client.remove_ref(A).await?, true)?;
    same("after remove_ref", client.entry(A).await?, Entry::default())?;
    client.put(A, at(5)).await?;
    same("created anew", client.entry(A).await?, Entry::new(at(5)))?;
    two_values(&client, A).await?;
    same("remove_project", client.remove_project().await?, 1)?;
    same("after remove_project", client.entry(A).await?, Entry::default())?;
    same("created anew", client.cas(A, Expected::Absent, at(6)).await?, Outcome::Applied)?;
    same("created anew", client.entry(A).await?, Entry::new(at(6)))
}

async fn swapped(run: &Run) -> Checked {
    let client = run.client("p")?;
    let steps = [
        Entry { value: at(1), superseded: vec![oid(7), oid(8)] },
        Entry { value: at(1), superseded: vec![oid(8)] },
        Entry { value: GONE, superseded: vec![oid(1)] },
        Entry::new(GONE),
        Entry { value: at(2), superseded: vec![long_oid(1)] },
    ];
    let mut before = Entry::default();
    for after in steps {
        // The same value with another list is another entry.
        let mut other = before.clone();
        other.superseded.push(oid(99));
        if before.value != ABSENT {
            same("from another list", client.swap(A, &other, &after).await?, false)?;
        }
        let other = Entry { value: at(98), ..before.clone() };
        same("from another value", client.swap(A, &other, &after).await?, false)?;
        same("the entry", client.entry(A).await?, before.clone())?;
        same("from what is there", client.swap(A, &before, &after).await?, true)?;
        same("the entry", client.entry(A).await?, after.clone())?;
        before = after;
    }
    same("to itself", client.swap(A, &before, &before.clone()).await?, true)?;
    same("to untracked", client.swap(A, &before, &Entry::default()).await?, true)?;
    same("nothing is left", client.scan("", 9).await?, Vec::<String>::new())?;
    same("from what was forgotten", client.swap(A, &before, &Entry::new(at(1))).await?, false)?;
    same("the entry", client.entry(A).await?, Entry::default())
}

async fn swap_races(run: &Run) -> Checked {
    const ROUNDS: u64 = 20;
    let clients = run.others(3, "p")?;
    // What the store does not have, it says here.
    clients[0].swap("refs/heads/none", &Entry::new(at(1)), &Entry::new(at(2))).await?;
    for round in 0..ROUNDS {
        let name = &format!("refs/heads/{round}");
        let start = Entry { value: at(0), superseded: vec![oid(50)] };
        clients[0].swap(name, &Entry::default(), &start).await?;
        let start = &start;
        let jobs: Vec<BoxFuture<'_, Checked<bool>>> = clients
            .iter()
            .enumerate()
            .map(|(i, client)| -> BoxFuture<'_, Checked<bool>> {
                Box::pin(async move {
                    step().await;
                    let new = at(i as u64 + 1);
                    if i == 0 {
                        let edit = edit(name, Expected::Exactly(start.value), new)?;
                        return Ok(client.edit(edit).await? == Outcome::Applied);
                    }
                    client.swap(name, start, &Entry::new(new)).await
                })
            })
            .collect();
        let won: Vec<bool> = together(jobs, run.rng()).await.into_iter().collect::<Checked<_>>()?;
        same(format!("winners of round {round}"), won.iter().filter(|w| **w).count(), 1)?;
        let winner = won.iter().position(|w| *w).unwrap_or_default();
        let list = if winner == 0 { vec![oid(50), oid(0)] } else { Vec::new() };
        let want = Entry { value: at(winner as u64 + 1), superseded: list };
        same(format!("the entry of round {round}"), clients[1].entry(name).await?, want)?;
    }
    Ok(())
}

async fn racing_lists(run: &Run) -> Checked {
    const WRITERS: u64 = 4;
    const EACH: u64 = 10;
    let clients = run.others(WRITERS as usize, "p")?;
    clients[0].put(A, at(0)).await?;
    let jobs: Vec<BoxFuture<'_, Checked>> = clients
        .iter()
        .map(|client| -> BoxFuture<'_, Checked> {
            Box::pin(async move {
                let mut done = 0;
                while done < EACH {
                    step().await;
                    let before = client.value(A).await?;
                    let next = at(number(before).unwrap_or_default() + 1);
                    if client.cas(A, Expected::Exactly(before), next).await? == Outcome::Applied {
                        done += 1;
                    }
                }
                Ok(())
            })
        })
        .collect();
    together(jobs, run.rng()).await.into_iter().collect::<Checked>()?;
    let want = Entry { value: at(WRITERS * EACH), superseded: (0..WRITERS * EACH).map(oid).collect() };
    run.needs_linearizable_reads()?;
    same("the entry", clients[0].entry(A).await?, want)
}

async fn resolved(run: &Run) -> Checked {
    let client = run.client("p")?;
    client.put(A, at(1)).await?;
    let edits = [
        edit(A, Expected::Exactly(at(0)), at(1))?,
        edit(A, Expected::Exactly(at(0)), at(2))?,
        edit("refs/heads/b", Expected::Absent, at(3))?,
        edit(A, Expected::Exactly(at(1)), GONE)?,
    ];
    let outcomes = client.db.resolve(&client.project, &edits, run.deadline()).await?;
    let want = [Outcome::Applied, mismatch(at(1)), mismatch(ABSENT), mismatch(at(1))];
    same("what became of edits", outcomes, want)?;
    // It changes nothing, and the client goes on.
    same("the entries", client.values(&[A, "refs/heads/b"]).await?, [at(1), ABSENT])?;
    same("a write", client.cas(A, Expected::Exactly(at(1)), GONE).await?, Outcome::Applied)?;
    let outcomes = client.db.resolve(&client.project, &edits[3..], run.deadline()).await?;
    same("what became of it", outcomes, [Outcome::Applied])?;
    same("a write", client.cas(A, Expected::Exactly(GONE), at(4)).await?, Outcome::Applied)
}

async fn long_list(run: &Run) -> Checked {
    let client = run.client("p")?;
    client.put(A, at(0)).await?;
    let mut list = vec![oid(0)];
    let mut before = at(0);
    for n in 1..=100 {
        let new = if n % 2 == 0 { at(n) } else { GlobalRef::At(long_oid(n)) };
        same("a write", client.cas(A, Expected::Exactly(before), new).await?, Outcome::Applied)?;
        list.extend(new.oid());
        before = new;
    }
    list.pop();
    let want = Entry { value: before, superseded: list };
    same("the entry", client.entry(A).await?, want.clone())?;
    let names = [ref_name(A)?];
    let page = client.db.scan(&client.project, b"", None, 9, run.deadline()).await?;
    let found = page.rows.first().and_then(|(_, found)| found.entry());
    ensure(found == Some(&want), || format!("a scan gives {found:?} for {names:?}, expected {want:?}"))?;
    // A copy of it moves along with all or nothing.
    let next = Edit::new(ref_name(A)?, Expected::Exactly(before), at(200));
    same("one more", client.edits(&[next], Each).await?, [Outcome::Applied])
}

async fn full_list(run: &Run) -> Checked {
    let client = run.client("p")?;
    client.put(A, at(1)).await?;
    // The longest object ids, so that a store whose room is bounded shows that it has enough.
    let superseded: Vec<_> = (0..MAX_SUPERSEDED as u64).map(long_oid).collect();
    let full = Entry { value: at(1), superseded };
    ensure(client.swap(A, &Entry::new(at(1)), &full).await?, || "the list was not filled".to_owned())?;
    same("the entry", client.entry(A).await?, full.clone())?;
    let forced = edit(A, Expected::Exactly(at(1)), at(2))?;
    same("a forced write", client.edit(forced.clone()).await?, Outcome::Full)?;
    same("a deletion", client.cas(A, Expected::Exactly(at(1)), GONE).await?, Outcome::Full)?;
    same("a lost race", client.cas(A, Expected::Exactly(at(7)), at(2)).await?, mismatch(at(1)))?;
    same("the entry", client.entry(A).await?, full.clone())?;
    if run.needs_atomic(2).is_ok() {
        let other = edit("refs/heads/b", Expected::Absent, at(3))?;
        let outcomes = client.edits(&[forced.clone(), other], AllOrNothing).await?;
        same("all or nothing", outcomes, [Outcome::Full, mismatch(ABSENT)])?;
        same("the other ref", client.values(&["refs/heads/b"]).await?, [ABSENT])?;
    }
    let onward = edit(A, Expected::Exactly(at(1)), at(2))?.fast_forward(true);
    same("a fast-forward", client.edit(onward).await?, Outcome::Applied)?;
    same("the list", client.entry(A).await?, Entry { value: at(2), ..full.clone() })?;
    let mut more = full.clone();
    more.superseded.push(oid(5));
    let name = ref_name(A)?;
    let from = Entry { value: at(2), ..full };
    let refused = client.db.swap_entry(&client.project, &name, &from, &more, run.deadline()).await;
    let kind = refused.map_err(|e| e.kind);
    same("a list that is too long", kind, Err(RefDbErrorKind::TooLarge))?;
    let shorter = Entry::new(at(2));
    ensure(client.swap(A, &from, &shorter).await?, || "the list was not cleared".to_owned())?;
    same("room again", client.cas(A, Expected::Exactly(at(2)), at(4)).await?, Outcome::Applied)
}
