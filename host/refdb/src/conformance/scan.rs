//! Cases 37, 91, 92 and 99: listing a project page by page.

use std::collections::BTreeSet;

use refgate_core::{BoxFuture, Cursor, GlobalRef};

use super::bench::{Run, at, ref_name};
use super::check::{Checked, ensure, failed, same, step, together};
use super::{Case, case};

pub(super) const CASES: &[Case] = &[
    case(37, "pages cover everything once while writers add refs", |run| Box::pin(while_written(run))),
    case(91, "a scan is in byte order, whatever the size of a page", |run| Box::pin(order(run))),
    case(92, "a scan keeps to its prefix and begins after its cursor", |run| Box::pin(bounds(run))),
    case(99, "a scan shows deletions and nothing that was forgotten", |run| Box::pin(contents(run))),
];

async fn while_written(run: &Run) -> Checked {
    const REFS: u64 = 60;
    let (reader, writer) = (run.another("p")?, run.another("p")?);
    // Every second one is there before.
    let name = |n: u64| format!("refs/heads/{n:03}");
    for n in (0..REFS).step_by(2) {
        reader.put(&name(n), at(n)).await?;
    }
    let scan = async {
        let (mut seen, mut cursor): (Vec<String>, Option<Cursor>) = (Vec::new(), None);
        for _ in 0..10_000 {
            step().await;
            let page = reader.page("refs/", cursor.as_ref(), 5).await?;
            seen.extend(page.rows.iter().map(|(name, _)| name.to_string()));
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(seen),
            }
        }
        failed("a scan of 60 refs does not end")
    };
    let write = async {
        for n in (1..REFS).step_by(2) {
            step().await;
            writer.put(&name(n), at(n)).await?;
        }
        Ok(Vec::new())
    };
    let jobs: Vec<BoxFuture<'_, Checked<Vec<String>>>> = vec![Box::pin(scan), Box::pin(write)];
    let mut done = together(jobs, run.rng()).await.into_iter();
    let (Some(scanned), Some(written)) = (done.next(), done.next()) else { return failed("a job is lost") };
    written?;
    let seen = scanned?;
    ensure(seen.is_sorted_by(|a, b| a < b), || format!("out of order or twice: {seen:?}"))?;
    let seen: BTreeSet<String> = seen.into_iter().collect();
    for n in (0..REFS).step_by(2) {
        ensure(seen.contains(&name(n)), || {
            format!("`{}` was there all the time and is not listed", name(n))
        })?;
    }
    let all: Vec<String> = (0..REFS).map(name).collect();
    run.needs_linearizable_reads()?;
    same("afterwards", reader.scan("", 7).await?, all)
}

async fn order(run: &Run) -> Checked {
    let client = run.client("p")?;
    for (i, name) in
        ["refs/a", "refs/a-b", "refs/a/b", "refs/a0", "refs/é", "refs/b", "HEAD"].iter().enumerate()
    {
        client.put(name, at(i as u64)).await?;
    }
    // Bytes, not letters: `-` before `/` before `0`, what is not ASCII last.
    let sorted = ["HEAD", "refs/a", "refs/a-b", "refs/a/b", "refs/a0", "refs/b", "refs/é"];
    for limit in [1, 2, 3, 7, 8, usize::MAX] {
        same(format!("pages of {limit}"), client.scan("", limit).await?, sorted)?;
    }
    same("no limit is the least limit", client.scan("refs/a/", 0).await?, ["refs/a/b"])
}

async fn bounds(run: &Run) -> Checked {
    let client = run.client("p")?;
    for name in ["refs/w", "refs/x", "refs/x/y", "refs/xy", "refs/y"] {
        client.put(name, at(1)).await?;
    }
    same("a prefix", client.scan("refs/x", 9).await?, ["refs/x", "refs/x/y", "refs/xy"])?;
    same("a prefix with a slash", client.scan("refs/x/", 9).await?, ["refs/x/y"])?;
    same("a prefix of nothing", client.scan("refs/z", 9).await?, Vec::<String>::new())?;
    let none = client.at("q")?.scan("", 9).await?;
    same("a project that nobody wrote", none, Vec::<String>::new())?;
    // The end of a page, wherever the store ends it, goes on behind itself.
    let first = client.page("refs/x", None, 1).await?;
    let last = first.rows.last().map(|(name, _)| name.clone());
    if let (Some(cursor), Some(last)) = (first.next, last) {
        let rest = client.page("refs/x", Some(&cursor), 9).await?;
        ensure(rest.rows.iter().all(|(name, _)| *name > last), || format!("`{last}` is listed twice"))?;
    }
    let cursor = |after: &str| -> Checked<Cursor> { Ok(Cursor { after: ref_name(after)?, revision: 0 }) };
    let after = client.page("refs/x", Some(&cursor("refs/y")?), 9).await?;
    same("after a name behind the prefix", after.rows, [])?;
    let after = client.page("refs/y", Some(&cursor("refs/w")?), 9).await?;
    same("after a name before the prefix", after.rows.len(), 1)
}

async fn contents(run: &Run) -> Checked {
    let client = run.client("p")?;
    client.put("refs/a", at(1)).await?;
    client.put("refs/b", GlobalRef::Deleted).await?;
    client.put("refs/c", at(3)).await?;
    client.put("refs/d/e", at(4)).await?;
    same("forgotten", client.remove_ref("refs/c").await?, true)?;
    same("forgotten", client.remove_ref("refs/d/e").await?, true)?;
    let page = client.page("", None, 9).await?;
    let seen: Vec<(String, Option<GlobalRef>)> = page
        .rows
        .iter()
        .map(|(name, found)| (name.to_string(), found.entry().map(|entry| entry.value)))
        .collect();
    let want = [("refs/a".to_owned(), Some(at(1))), ("refs/b".to_owned(), Some(GlobalRef::Deleted))];
    same("the rows", seen, want)
}
