//! Cases 41 to 43: what is forgotten is as if it had never been stored.

use refgate_core::{BoxFuture, Entry, Expected, GlobalRef, Outcome};

use super::bench::{Run, at, mismatch};
use super::check::{Checked, failed, same, step, together};
use super::{Case, case};

const A: &str = "refs/heads/a";

pub(super) const CASES: &[Case] = &[
    case(41, "a ref that was removed is untracked", |run| Box::pin(remove_ref(run))),
    case(42, "removing a project leaves its neighbours and can be done twice", |run| {
        Box::pin(remove_project(run))
    }),
    case(43, "removing a project while it is written has a legal order", |run| Box::pin(racing(run))),
];

async fn remove_ref(run: &Run) -> Checked {
    let client = run.client("p")?;
    for value in [at(1), GlobalRef::Deleted] {
        client.put(A, value).await?;
        client.put("refs/heads/ab", at(2)).await?;
        same("an entry", client.remove_ref(A).await?, true)?;
        same("nothing", client.remove_ref(A).await?, false)?;
        same("what is read", client.entry(A).await?, Entry::default())?;
        same("its neighbour", client.value("refs/heads/ab").await?, at(2))?;
        let outcome = client.cas(A, Expected::Exactly(value), at(3)).await?;
        same("a write that comes late", outcome, mismatch(GlobalRef::Untracked))?;
        same("created anew", client.cas(A, Expected::Absent, at(4)).await?, Outcome::Applied)?;
        same("what is read", client.entry(A).await?, Entry::new(at(4)))?;
    }
    Ok(())
}

async fn remove_project(run: &Run) -> Checked {
    let client = run.client("p")?;
    let mut neighbours = vec!["p/sub", "p2", "o"];
    if client.at("p/refs")?.holds(A).await? {
        neighbours.push("p/refs");
    }
    for project in ["p"].iter().chain(&neighbours) {
        let client = client.at(project)?;
        client.put(A, at(1)).await?;
        client.put("refs/heads/a/below", at(2)).await?;
        client.put("HEAD", at(3)).await?;
        client.put("refs/heads/b", GlobalRef::Deleted).await?;
    }
    same("entries", client.remove_project().await?, 4)?;
    same("entries, once more", client.remove_project().await?, 0)?;
    let left = client.values(&[A, "refs/heads/a/below", "HEAD", "refs/heads/b"]).await?;
    same("what is left", left, [GlobalRef::Untracked; 4])?;
    for project in neighbours {
        same(project, client.at(project)?.scan("", 9).await?.len(), 4)?;
    }
    same("a project that nobody wrote", client.at("q")?.remove_project().await?, 0)?;
    same("created anew", client.cas(A, Expected::Absent, at(5)).await?, Outcome::Applied)
}

/// What a write was told, or how much a removal removed.
type Half = (Option<Outcome>, u64);

/// Of a removal and a write the one that came second decides what is left.
async fn racing(run: &Run) -> Checked {
    let (writer, remover) = (run.another("p")?, run.another("p")?);
    let mut rng = run.rng();
    for round in 0..20 {
        let adopts = round % 2 == 0;
        let expected = if adopts { Expected::AbsentOr(at(1)) } else { Expected::Exactly(at(1)) };
        writer.put(A, at(1)).await?;
        let jobs: Vec<BoxFuture<'_, Checked<Half>>> = vec![
            Box::pin(async {
                step().await;
                Ok((Some(writer.cas(A, expected, at(2)).await?), 0))
            }),
            Box::pin(async {
                step().await;
                Ok((None, remover.remove_project().await?))
            }),
        ];
        let order = rand::SeedableRng::from_rng(&mut rng);
        let done: Vec<_> = together(jobs, order).await.into_iter().collect::<Checked<_>>()?;
        let (outcome, removed) = (done[0].0, done[1].1);
        let left = writer.entry(A).await?;
        let written_first = outcome == Some(Outcome::Applied) && left == Entry::default();
        let removed_first = match adopts {
            true => outcome == Some(Outcome::Applied) && left == Entry::new(at(2)),
            false => outcome == Some(mismatch(GlobalRef::Untracked)) && left == Entry::default(),
        };
        if removed != 1 || !(written_first || removed_first) {
            return failed(format!(
                "round {round}, {expected:?} against remove_project: {outcome:?}, {removed} removed, left {left:?}"
            ));
        }
        remover.remove_project().await?;
    }
    Ok(())
}
