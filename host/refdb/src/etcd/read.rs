//! Reading many entries: as one snapshot, in as few round trips as etcd allows.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use etcd_client::{GetOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use refgate_core::{Cursor, Lookup, Page, Project, RefDbErrorKind, RefName, escape};
use tokio::task::JoinSet;

use super::error::Failure;
use super::keys::end_of;
use super::shared::{Call, Shared};

/// Transactions under way at the same time.
const IN_FLIGHT: usize = 8;
/// Keys in one page of a range. Large, because the server counts all that follow for each page anew.
const PAGE: usize = 10_000;
/// How often reading begins anew because the server compacted the revision away.
const FRESH_STARTS: usize = 3;

/// What is at a key.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) value: Vec<u8>,
    /// The revision of its last change.
    pub(super) modified: i64,
}

/// Keys that are there.
pub(super) type Seen = HashMap<Vec<u8>, Found>;

/// The entries of `refs` in the same order, all of one moment.
pub(super) async fn get_many(
    call: &Call,
    project: &Project,
    refs: &[RefName],
) -> Result<Vec<Lookup>, Failure> {
    let keys: Vec<Vec<u8>> = refs.iter().map(|name| call.shared.keys.entry(project, name)).collect();
    let seen = entries(call, project, &keys).await?;
    Ok(keys.iter().map(|key| Lookup::from_lines(seen.get(key).map(|found| found.value.as_slice()))).collect())
}

/// What is at `keys`, all of them entries of `project`, all of one moment.
async fn entries(call: &Call, project: &Project, keys: &[Vec<u8>]) -> Result<Seen, Failure> {
    let unique: Vec<Vec<u8>> = keys.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
    let mut starts = 0;
    loop {
        let read = if unique.len() <= call.shared.txn_ops() {
            exactly(call, &unique).await
        } else {
            many(call, project, &unique).await
        };
        starts += 1;
        match read {
            Err(Failure::Compacted) if starts < FRESH_STARTS => {}
            // The limit was halved.
            Err(Failure::TooManyOps(_)) if starts < 8 => {}
            other => return other,
        }
    }
}

/// What is at `keys` in one transaction, which is one moment.
pub(super) async fn exactly(call: &Call, keys: &[Vec<u8>]) -> Result<Seen, Failure> {
    if keys.is_empty() {
        return Ok(Seen::new());
    }
    let gets: Vec<TxnOp> = keys.iter().map(|key| TxnOp::get(key.clone(), None)).collect();
    match call.shared.txn(call.deadline, true, &Txn::new().and_then(gets)).await {
        Ok(answer) => Ok(collect(&answer)),
        Err(Failure::TooManyOps(why)) => {
            call.shared.refused_ops(keys.len());
            Err(Failure::TooManyOps(why))
        }
        Err(e) => Err(e),
    }
}

/// The keys that the reads of a transaction found.
pub(super) fn collect(answer: &TxnResponse) -> Seen {
    let mut seen = Seen::new();
    for one in answer.op_responses() {
        if let TxnOpResponse::Get(mut got) = one {
            take(&mut seen, got.take_kvs());
        }
    }
    seen
}

fn take(seen: &mut Seen, found: Vec<etcd_client::KeyValue>) {
    for one in found {
        let modified = one.mod_revision();
        let (key, value) = one.into_key_value();
        seen.insert(key, Found { value, modified });
    }
}

/// Pins the newest revision and counts the project, then takes whichever way is shorter.
async fn many(call: &Call, project: &Project, keys: &[Vec<u8>]) -> Result<Seen, Failure> {
    let prefix = call.shared.keys.entries(project);
    let counted = call
        .shared
        .get(call.deadline, &prefix, GetOptions::new().with_range(end_of(&prefix)).with_count_only())
        .await?;
    let revision = counted.header().map_or(0, |header| header.revision());
    match usize::try_from(counted.count()).unwrap_or(0) {
        0 => Ok(Seen::new()),
        // More than a quarter of the project: a range costs less than naming so many keys.
        count if keys.len() > count / 4 => all(call, &prefix, revision).await,
        _ => batches(call, keys, revision).await,
    }
}

/// Everything below `prefix` at one revision.
async fn all(call: &Call, prefix: &[u8], revision: i64) -> Result<Seen, Failure> {
    let mut seen = Seen::new();
    let (mut from, end) = (prefix.to_vec(), end_of(prefix));
    loop {
        let mut page = call.shared.get(call.deadline, &from, range(&end, PAGE, revision)).await?;
        let more = page.more();
        let found = page.take_kvs();
        match found.last() {
            Some(last) if more => from = [last.key(), &[0]].concat(),
            _ => {
                take(&mut seen, found);
                return Ok(seen);
            }
        }
        take(&mut seen, found);
    }
}

fn range(end: &[u8], limit: usize, revision: i64) -> GetOptions {
    GetOptions::new()
        .with_range(end)
        .with_limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .with_revision(revision)
}

/// These keys at one revision, several transactions at the same time.
async fn batches(call: &Call, keys: &[Vec<u8>], revision: i64) -> Result<Seen, Failure> {
    let mut waiting = keys.chunks(call.shared.txn_ops()).map(<[_]>::to_vec).collect::<Vec<_>>().into_iter();
    let mut under_way = JoinSet::new();
    let mut seen = Seen::new();
    loop {
        while under_way.len() < IN_FLIGHT
            && let Some(batch) = waiting.next()
        {
            let (shared, deadline) = (call.shared.clone(), call.deadline);
            under_way.spawn(async move { one_batch(&shared, deadline, &batch, revision).await });
        }
        match under_way.join_next().await {
            None => return Ok(seen),
            // The rest is aborted with the set.
            Some(Ok(answer)) => seen.extend(answer?),
            Some(Err(died)) => return Err(Failure::Broken(format!("a read died: {died}"))),
        }
    }
}

async fn one_batch(
    shared: &Arc<Shared>,
    deadline: refgate_core::Deadline,
    keys: &[Vec<u8>],
    revision: i64,
) -> Result<Seen, Failure> {
    let at = || GetOptions::new().with_revision(revision);
    let gets: Vec<TxnOp> = keys.iter().map(|key| TxnOp::get(key.clone(), Some(at()))).collect();
    match shared.txn(deadline, true, &Txn::new().and_then(gets)).await {
        Err(Failure::TooManyOps(why)) => {
            shared.refused_ops(keys.len());
            Err(Failure::TooManyOps(why))
        }
        answer => Ok(collect(&answer?)),
    }
}

/// One page of entries. All pages show the revision of the first one, unless the server compacted that away: then this
/// page and the following ones show the newest.
pub(super) async fn scan(
    call: &Call,
    project: &Project,
    prefix: &[u8],
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<Page, Failure> {
    let entries = call.shared.keys.entries(project);
    let all = [&entries, prefix].concat();
    let end = end_of(&all);
    let from = match cursor {
        Some(Cursor { after, .. }) if after.as_bytes() >= prefix => {
            [&entries, after.as_bytes(), &[0]].concat()
        }
        _ => all,
    };
    if from >= end {
        return Ok(Page::default());
    }
    let pinned = cursor.map_or(0, |cursor| i64::try_from(cursor.revision).unwrap_or(0));
    let limit = limit.clamp(1, PAGE);
    let (mut page, pinned) = match call.shared.get(call.deadline, &from, range(&end, limit, pinned)).await {
        Err(Failure::Compacted) => (call.shared.get(call.deadline, &from, range(&end, limit, 0)).await?, 0),
        page => (page?, pinned),
    };
    // An answer names the newest revision, whichever was asked for.
    let newest = page.header().map_or(0, |header| header.revision());
    let revision = if pinned > 0 { pinned } else { newest };
    let more = page.more();
    let mut rows = Vec::with_capacity(page.kvs().len());
    for one in page.take_kvs() {
        let raw = &one.key()[entries.len()..];
        // Without a name there is nothing to show it under.
        let name = RefName::new(raw).map_err(|e| {
            call.shared.about(
                RefDbErrorKind::Corrupt,
                &format!(
                    "`{project}` holds an entry with the name `{}`, which no ref can have ({}); remove its key",
                    escape(raw),
                    e.why
                ),
            )
        })?;
        rows.push((name, Lookup::from_lines(Some(one.value()))));
    }
    let next = rows
        .last()
        .filter(|_| more)
        .map(|(name, _)| Cursor { after: name.clone(), revision: u64::try_from(revision).unwrap_or(0) });
    Ok(Page { rows, next })
}

/// The sites that ever used the store, in byte order. Every session asks for them, so the identity comes along.
pub(super) async fn sites(call: &Call) -> Result<Vec<String>, Failure> {
    let shared = &call.shared;
    let (prefix, identity) = (shared.keys.sites(), shared.keys.identity());
    let all = GetOptions::new().with_range(end_of(&prefix)).with_keys_only();
    let gets = [TxnOp::get(identity.clone(), None), TxnOp::get(prefix.clone(), Some(all))];
    let answer = shared.txn(call.deadline, true, &Txn::new().and_then(gets)).await?;
    let mut seen = collect(&answer);
    let identity = seen.remove(&identity).map_or_else(|| b"none".to_vec(), |found| found.value);
    shared.identified(&answer, &identity);
    let mut sites: Vec<String> =
        seen.keys().map(|key| String::from_utf8_lossy(&key[prefix.len()..]).into_owned()).collect();
    sites.sort_unstable();
    Ok(sites)
}

/// The message of a store that is closed.
pub(super) async fn closed(call: &Call) -> Result<Option<String>, Failure> {
    let found = call.shared.get(call.deadline, &call.shared.keys.closed(), GetOptions::new()).await?;
    Ok(found.kvs().first().map(|one| String::from_utf8_lossy(one.value()).into_owned()))
}

/// Projects with entries, in the order of their keys: one step per project, not per entry.
pub(super) async fn projects(
    call: &Call,
    after: Option<&Project>,
    limit: usize,
) -> Result<Vec<Project>, Failure> {
    let shared = &call.shared;
    let all = shared.keys.all_entries();
    let end = end_of(&all);
    let mut from = after.map_or_else(|| all.clone(), |project| end_of(&shared.keys.entries(project)));
    let mut found = Vec::new();
    while found.len() < limit {
        let first = GetOptions::new().with_range(end.clone()).with_keys_only().with_limit(1);
        let answer = shared.get(call.deadline, &from, first).await?;
        let Some(key) = answer.kvs().first().map(|one| one.key()[all.len()..].to_vec()) else { break };
        let name = key.windows(2).position(|two| two == b"//").map_or(key.as_slice(), |at| &key[..at]);
        let project = Project::recorded(String::from_utf8_lossy(name)).map_err(|e| {
            let what = format!("it holds entries of `{}`, which no project can be called: {e}", escape(name));
            shared.about(RefDbErrorKind::Corrupt, &what)
        })?;
        from = end_of(&shared.keys.entries(&project));
        found.push(project);
    }
    Ok(found)
}
