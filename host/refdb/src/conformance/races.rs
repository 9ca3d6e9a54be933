//! Cases 55 to 60: several clients at once lose nothing and see one order of events.

use std::sync::atomic::{AtomicU64, Ordering};

use refgate_core::{BoxFuture, Expected, GlobalRef, Outcome};

use super::bench::{Run, at, edit, mismatch, number};
use super::check::{Checked, ensure, failed, same, step, together};
use super::history::{Workload, record};
use super::{Case, case};

const A: &str = "refs/heads/a";

pub(super) const CASES: &[Case] = &[
    case(55, "8 clients with 100 increments each lose none", |run| Box::pin(increments(run))),
    case(57, "of many who create a ref exactly one does", |run| Box::pin(creators(run))),
    case(58, "a client sees its own writes, and nothing go back", |run| Box::pin(own_writes(run))),
    case(59, "a read that begins after a write was applied sees it, whoever wrote", |run| {
        Box::pin(cross_client(run))
    }),
    case(60, "a random history of 8 clients is linearizable", |run| Box::pin(linearizable(run))),
];

async fn increments(run: &Run) -> Checked {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 100;
    let clients = run.others(CLIENTS as usize, "p")?;
    clients[0].put(A, at(0)).await?;
    let jobs: Vec<BoxFuture<'_, Checked>> = clients
        .iter()
        .map(|client| -> BoxFuture<'_, Checked> {
            Box::pin(async move {
                let mut seen = client.value(A).await?;
                let mut applied = 0;
                while applied < EACH {
                    step().await;
                    let Some(n) = number(seen) else { return failed(format!("the counter is {seen:?}")) };
                    // Fast-forwards: the list of superseded values is not what is counted here.
                    let next = edit(A, Expected::Exactly(seen), at(n + 1))?.fast_forward(true);
                    match client.edit(next).await? {
                        Outcome::Applied => {
                            applied += 1;
                            seen = at(n + 1);
                        }
                        Outcome::Mismatch { actual } => {
                            ensure(actual != seen, || format!("{actual:?} is no mismatch with itself"))?;
                            seen = actual;
                        }
                        Outcome::Fenced => return failed("an edit without a token was fenced"),
                        Outcome::Full => return failed("an edit that lists nothing found no room"),
                    }
                }
                Ok(())
            })
        })
        .collect();
    together(jobs, run.rng()).await.into_iter().collect::<Checked>()?;
    // A write is told the truth also where a read may be behind.
    let last = clients[0].cas(A, Expected::Absent, at(0)).await?;
    same("the counter", last, mismatch(at(CLIENTS * EACH)))
}

async fn creators(run: &Run) -> Checked {
    let clients = run.others(8, "p")?;
    for round in 0..20 {
        let name = &format!("refs/heads/{round}");
        let jobs: Vec<BoxFuture<'_, Checked<Outcome>>> = clients
            .iter()
            .enumerate()
            .map(|(i, client)| -> BoxFuture<'_, Checked<Outcome>> {
                Box::pin(async move {
                    step().await;
                    client.cas(name, Expected::Absent, at(i as u64)).await
                })
            })
            .collect();
        let outcomes: Vec<Outcome> = together(jobs, run.rng()).await.into_iter().collect::<Checked<_>>()?;
        let winners: Vec<u64> =
            (0..).zip(&outcomes).filter(|(_, o)| **o == Outcome::Applied).map(|(i, _)| i).collect();
        let [winner] = winners[..] else {
            return failed(format!("round {round}: {} created `{name}`: {outcomes:?}", winners.len()));
        };
        let told = outcomes.iter().filter(|o| **o == mismatch(at(winner))).count();
        same(format!("round {round}: those who were told the winner's value"), told, clients.len() - 1)?;
    }
    Ok(())
}

async fn own_writes(run: &Run) -> Checked {
    const ROUNDS: u64 = 30;
    run.needs_linearizable_reads()?;
    let clients = run.others(4, "p")?;
    let jobs: Vec<BoxFuture<'_, Checked>> = clients
        .iter()
        .enumerate()
        .map(|(i, client)| -> BoxFuture<'_, Checked> {
            Box::pin(async move {
                let own = &format!("refs/heads/{i}");
                let mut last = 0;
                for n in 1..=ROUNDS {
                    client.put(own, at(n)).await?;
                    same("what the writer reads", client.value(own).await?, at(n))?;
                    step().await;
                    // The first client only ever counts up.
                    let seen = number(client.value("refs/heads/0").await?).unwrap_or_default();
                    ensure(seen >= last, || format!("{seen} was read after {last}"))?;
                    last = seen;
                }
                Ok(())
            })
        })
        .collect();
    together(jobs, run.rng()).await.into_iter().collect()
}

async fn cross_client(run: &Run) -> Checked {
    const ROUNDS: u64 = 40;
    run.needs_linearizable_reads()?;
    let (writer, readers) = (run.another("p")?, run.others(3, "p")?);
    let applied = AtomicU64::new(0);
    let mut jobs: Vec<BoxFuture<'_, Checked>> = vec![Box::pin(async {
        let mut before = GlobalRef::Untracked;
        for n in 1..=ROUNDS {
            let next = edit(A, Expected::Exactly(before), at(n))?.fast_forward(true);
            same("a write without a rival", writer.edit(next).await?, Outcome::Applied)?;
            applied.store(n, Ordering::SeqCst);
            before = at(n);
            step().await;
        }
        Ok(())
    })];
    for reader in &readers {
        let applied = &applied;
        jobs.push(Box::pin(async move {
            while applied.load(Ordering::SeqCst) < ROUNDS {
                let known = applied.load(Ordering::SeqCst);
                let seen = number(reader.value(A).await?).unwrap_or_default();
                ensure(seen >= known, || format!("{seen} was read after {known} had been applied"))?;
                step().await;
            }
            Ok(())
        }));
    }
    together(jobs, run.rng()).await.into_iter().collect()
}

async fn linearizable(run: &Run) -> Checked {
    run.needs_linearizable_reads()?;
    let clients = run.others(8, "p")?;
    let project = &clients[0].project;
    let stores: Vec<_> = clients.iter().map(|client| client.db.clone()).collect();
    let workload = Workload { seed: run.seed(), ..Workload::default() };
    let recording = record(&stores, project, &workload, || run.deadline()).await;
    if let Some(e) = &recording.first_error {
        return failed(format!("seed {}: {:?}: {e}", workload.seed, e.kind));
    }
    recording.check().or_else(|why| failed(format!("seed {}: {why}", workload.seed)))
}
