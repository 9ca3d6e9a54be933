//! Cases 94 and 95: the store remembers which sites used it.

use refgate_core::{BoxFuture, RefDbErrorKind};

use super::bench::{Run, at};
use super::check::{Checked, ensure, not_promised, same, step, together};
use super::{Case, case};

pub(super) const CASES: &[Case] = &[
    case(94, "sites are remembered, in byte order", |run| Box::pin(remembered(run))),
    case(95, "of sites that come at once none is lost", |run| Box::pin(at_once(run))),
];

/// A name of a site cannot be taken out again, so a store that is in use gets none of ours.
fn is_ours(run: &Run) -> Checked {
    match run.is_disposable() {
        true => Ok(()),
        false => not_promised("no site is recorded here, and one that the suite records would stay"),
    }
}

async fn remembered(run: &Run) -> Checked {
    let client = run.client("p")?;
    let before = client.db.sites(run.deadline()).await?;
    ensure(before.is_sorted(), || format!("not in byte order: {before:?}"))?;
    if let Some(known) = before.first() {
        let after = client.db.note_site(known, run.deadline()).await?;
        same("a known site once more", after, before.clone())?;
    } else {
        is_ours(run)?;
    }
    if !run.is_disposable() {
        return Ok(());
    }
    let ours: Vec<String> =
        ["b", "a", "Ünï", "B c", "%2F/.."].iter().map(|s| format!("site-{}-{s}", run.seed())).collect();
    let mut want = before;
    for site in ours.iter().chain(&ours) {
        want.push(site.clone());
        want.sort();
        want.dedup();
        match client.db.note_site(site, run.deadline()).await {
            Err(e) if e.kind == RefDbErrorKind::InvalidName => want.retain(|s| s != site),
            result => same(format!("after `{site}`"), result?, want.clone())?,
        }
    }
    client.put("refs/a", at(1)).await?;
    client.remove_project().await?;
    same("removing a project leaves them", client.db.sites(run.deadline()).await?, want)
}

async fn at_once(run: &Run) -> Checked {
    is_ours(run)?;
    let clients = run.others(6, "p")?;
    let jobs: Vec<BoxFuture<'_, Checked>> = clients
        .iter()
        .enumerate()
        .map(|(i, client)| -> BoxFuture<'_, Checked> {
            Box::pin(async move {
                step().await;
                let site = format!("site-{}-{i}", run.seed());
                let all = client.db.note_site(&site, run.deadline()).await?;
                ensure(all.contains(&site), || format!("`{site}` was noted and is not in {all:?}"))
            })
        })
        .collect();
    together(jobs, run.rng()).await.into_iter().collect::<Checked>()?;
    let prefix = format!("site-{}-", run.seed());
    let all = run.another("p")?.db.sites(run.deadline()).await?;
    let ours = all.iter().filter(|site| site.starts_with(&prefix)).count();
    same("the sites of this case", ours, 6)
}
