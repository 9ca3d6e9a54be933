//! Cases 107 to 112: the store as a whole: who it is, how far it has come, whether it takes writes, what it holds.

use refgate_core::refdb::{Mark, all_projects};
use refgate_core::{Atomicity, BoxFuture, Entry, Expected, GlobalRef, Outcome, RefDbErrorKind};

use super::bench::{Client, Run, at, edit, ref_name};
use super::check::{Checked, ensure, not_promised, refused, same, step, together};
use super::{Case, case};

pub(super) const CASES: &[Case] = &[
    case(107, "the identity is the store's, and its revision never falls", |run| Box::pin(identity(run))),
    case(108, "every write makes the revision grow", |run| Box::pin(growth(run))),
    case(109, "a new identity is everybody's", |run| Box::pin(renewed(run))),
    case(110, "a closed store takes no write and says why", |run| Box::pin(closed(run))),
    case(111, "no write lands after closing has returned", |run| Box::pin(closing(run))),
    case(112, "every project with an entry is listed once", |run| Box::pin(projects(run))),
];

/// More writes than any store takes while it is being closed.
const MOST_STEPS: u64 = 10_000;

/// What can only be done to a store that nobody else uses.
fn is_ours(run: &Run, what: &str) -> Checked {
    match run.is_disposable() {
        true => Ok(()),
        false => not_promised(format!("{what} would be in the way of those who use this store")),
    }
}

fn mark(client: &Client<'_>) -> Checked<Mark> {
    client.db.seen().map_or_else(|| not_promised("the store has no identity and no revision"), Ok)
}

/// Fails unless `now` is the same store as `before`, and not older.
fn follows(what: &str, before: &Mark, now: &Mark) -> Checked {
    same(format!("the identity {what}"), &now.identity, &before.identity)?;
    ensure(now.revision >= before.revision, || format!("{what} the revision fell: {before:?}, then {now:?}"))
}

async fn identity(run: &Run) -> Checked {
    let client = run.client("p")?;
    // Whoever has just connected knows it, before it asks anything.
    let mut last = mark(&client)?;
    let plain = |b: u8| b.is_ascii_graphic();
    ensure(!last.identity.is_empty() && last.identity.bytes().all(plain), || {
        format!("no identity: {last:?}")
    })?;
    for n in 0..4 {
        client.put("refs/a", at(n)).await?;
        let written = mark(&client)?;
        follows("after a write", &last, &written)?;
        client.value("refs/a").await?;
        follows("after a read", &written, &mark(&client)?)?;
        let other = run.another("p")?;
        follows("for a new client", &written, &mark(&other)?)?;
        other.db.sites(run.deadline()).await?;
        follows("for a new client that has read", &written, &mark(&other)?)?;
        last = mark(&other)?;
    }
    Ok(())
}

async fn growth(run: &Run) -> Checked {
    let (client, reader) = (run.client("p")?, run.another("p")?);
    let mut last = mark(&reader)?;
    for write in ["put", "cas", "superseding", "swap", "deletion", "text", "remove a ref", "remove a project"]
    {
        match write {
            "put" => client.put("refs/a", at(1)).await?,
            "cas" => same(write, client.cas("refs/b", Expected::Absent, at(1)).await?, Outcome::Applied)?,
            "superseding" => {
                same(write, client.cas("refs/b", Expected::Exactly(at(1)), at(2)).await?, Outcome::Applied)?;
            }
            "swap" => {
                let (from, to) = (Entry::new(at(1)), Entry::new(at(3)));
                match client
                    .db
                    .swap_entry(&client.project, &ref_name("refs/a")?, &from, &to, run.deadline())
                    .await
                {
                    Err(e) if e.kind == RefDbErrorKind::Unsupported => continue,
                    swapped => same(write, swapped?, true)?,
                }
            }
            "deletion" => {
                let deleted = client.cas("refs/b", Expected::Exactly(at(2)), GlobalRef::Deleted).await?;
                same(write, deleted, Outcome::Applied)?;
            }
            "text" => match client.try_cas_text("refs/t", None, "7").await? {
                Err(e) if e.kind == RefDbErrorKind::Unsupported => continue,
                written => drop(written?),
            },
            "remove a ref" => same(write, client.remove_ref("refs/a").await?, true)?,
            _ => drop(client.remove_project().await?),
        }
        let own = mark(&client)?;
        ensure(own.revision > last.revision, || format!("after `{write}`: {last:?}, then {own:?}"))?;
        reader.db.sites(run.deadline()).await?;
        let now = mark(&reader)?;
        ensure(now.revision > last.revision, || format!("others after `{write}`: {last:?}, then {now:?}"))?;
        last = now;
    }
    Ok(())
}

async fn renewed(run: &Run) -> Checked {
    let (client, other) = (run.client("p")?, run.another("p")?);
    let before = mark(&client)?;
    is_ours(run, "a new identity")?;
    client.put("refs/a", at(1)).await?;
    client.db.renew_identity(run.deadline()).await?;
    let now = mark(&client)?;
    ensure(now.identity != before.identity, || format!("it is still {now:?}"))?;
    other.db.sites(run.deadline()).await?;
    same("who was connected", mark(&other)?.identity, &*now.identity)?;
    same("who connects", mark(&run.another("p")?)?.identity, &*now.identity)?;
    same("what it holds", other.value("refs/a").await?, at(1))
}

async fn closed(run: &Run) -> Checked {
    is_ours(run, "closing it")?;
    let (client, other) = (run.client("p")?, run.another("p")?);
    client.put("refs/a", at(1)).await?;
    same("open", client.db.closed(run.deadline()).await?, None)?;
    const MESSAGE: &str = "we move, back at 18:00 \u{2014} é";
    client.db.set_closed(Some(MESSAGE), run.deadline()).await?;
    for (who, client) in
        [("who closed it", &client), ("another client", &other), ("a new one", &run.another("p")?)]
    {
        same(who, client.db.closed(run.deadline()).await?.as_deref(), Some(MESSAGE))?;
        let (project, name, deadline) = (&client.project, ref_name("refs/a")?, || run.deadline());
        for atomicity in [Atomicity::Each, Atomicity::AllOrNothing] {
            let edits = [edit("refs/a", Expected::Exactly(at(1)), at(2))?];
            let answer = client.try_edits(&edits, atomicity).await;
            if let Err(e) = &answer {
                ensure(e.message.contains(MESSAGE), || format!("`{}` has not the message", e.message))?;
            }
            refused(format!("{who}, cas"), answer, RefDbErrorKind::Closed)?;
        }
        refused(who, client.db.put(project, &name, at(2), deadline()).await, RefDbErrorKind::Closed)?;
        refused(who, client.db.remove_ref(project, &name, deadline()).await, RefDbErrorKind::Closed)?;
        refused(who, client.db.remove_project(project, deadline()).await, RefDbErrorKind::Closed)?;
        let (from, to) = (Entry::new(at(1)), Entry::new(at(2)));
        let swapped = client.db.swap_entry(project, &name, &from, &to, deadline()).await;
        if !matches!(&swapped, Err(e) if e.kind == RefDbErrorKind::Unsupported) {
            refused(who, swapped, RefDbErrorKind::Closed)?;
        }
        let text = client.try_cas_text("refs/t", None, "7").await?;
        if !matches!(&text, Err(e) if e.kind == RefDbErrorKind::Unsupported) {
            refused(who, text, RefDbErrorKind::Closed)?;
        }
        same(who, client.value("refs/a").await?, at(1))?;
        if let Some((shortest, _)) = run.promises().lease {
            drop(client.lock("refs/a", shortest, std::time::Duration::from_secs(5)).await?);
        }
    }
    client.db.set_closed(None, run.deadline()).await?;
    client.db.set_closed(None, run.deadline()).await?;
    same("open again", other.db.closed(run.deadline()).await?, None)?;
    same("a write", other.cas("refs/a", Expected::Exactly(at(1)), at(2)).await?, Outcome::Applied)
}

async fn closing(run: &Run) -> Checked {
    is_ours(run, "closing it")?;
    run.needs_linearizable_reads()?;
    let (closer, writers) = (run.client("p")?, run.others(4, "p")?);
    let names: Vec<String> = (0..writers.len()).map(|i| format!("refs/{i}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    // One after the other, so that each has written when the race begins: where locks are not fair, a writer may wait long.
    for (client, name) in writers.iter().zip(&names) {
        same("a first write", client.cas(name, Expected::Absent, at(1)).await?, Outcome::Applied)?;
    }
    // Each writes as fast as it can until it is refused, and tells the last value that it was told is there. A store that
    // never refuses must not keep the suite for ever.
    let write = async |client: &Client<'_>, name: &str| -> Checked<u64> {
        for n in 2..MOST_STEPS {
            let expected = Expected::Exactly(at(n - 1));
            match client.try_edits(&[edit(name, expected, at(n))?], Atomicity::Each).await {
                Err(e) if e.kind == RefDbErrorKind::Closed => return Ok(n - 1),
                outcomes => same("a write", outcomes?, vec![Outcome::Applied])?,
            }
            step().await;
        }
        ensure(false, || format!("{MOST_STEPS} writes were taken, and none was refused by closing"))?;
        Ok(0)
    };
    let close = async || -> Checked<Vec<GlobalRef>> {
        // Others get their turn before.
        for _ in 0..3 {
            closer.values(&refs).await?;
            step().await;
        }
        closer.db.set_closed(Some("closed by the suite"), run.deadline()).await?;
        closer.values(&refs).await
    };
    let write = &write;
    let mut jobs: Vec<BoxFuture<'_, Checked<Vec<GlobalRef>>>> = vec![Box::pin(close())];
    for (client, name) in writers.iter().zip(&names) {
        jobs.push(Box::pin(async move { Ok(vec![at(write(client, name).await?)]) }));
    }
    let mut ends = together(jobs, run.rng()).await.into_iter().collect::<Checked<Vec<_>>>()?;
    let at_close = ends.remove(0);
    let now = closer.values(&refs).await?;
    closer.db.set_closed(None, run.deadline()).await?;
    same("what was there when closing returned, and later", now.clone(), at_close)?;
    same("what was told to be written", now, ends.concat())
}

async fn projects(run: &Run) -> Checked {
    let names = ["p", "p/sub", "p!x", "p.x", "q"];
    let mut want = Vec::new();
    for name in names {
        let client = run.client(name)?;
        client.put("refs/heads/a", at(1)).await?;
        client.put("refs/heads/b", GlobalRef::Deleted).await?;
        want.push(client.project);
    }
    run.client("gone")?;
    want.sort();
    let db = run.another("p")?.db;
    let ours = |all: Vec<refgate_core::Project>| {
        let mut ours: Vec<_> = all.into_iter().filter(|project| want.contains(project)).collect();
        ours.sort();
        ours
    };
    same("all", ours(all_projects(&db, || run.deadline()).await?), want.clone())?;
    let (mut seen, mut last) = (Vec::new(), None);
    loop {
        let page = db.projects(last.as_ref(), 2, run.deadline()).await?;
        let Some(end) = page.last() else { break };
        ensure(last.as_ref() != Some(end), || format!("the page after `{end}` ends with it"))?;
        last = Some(end.clone());
        seen.extend(page);
    }
    same("page by page", ours(seen), want)
}
