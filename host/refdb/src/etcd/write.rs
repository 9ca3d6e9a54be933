//! Writing: read what is there, decide, and write only if all of it is still so, the session included.

use std::collections::{BTreeMap, BTreeSet};

use etcd_client::{Compare, CompareOp, DeleteOptions, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use refgate_core::refdb::{check_entry, check_text};
use refgate_core::{
    Atomicity, Edit, Entry, GlobalRef, LockToken, Outcome, Project, RefDbError, RefDbErrorKind, RefName,
    TextOutcome,
};

use super::codec::{self, Stored};
use super::error::Failure;
use super::keys::{end_of, lease_of};
use super::read::{Seen, collect, exactly, get_many};
use super::session;
use super::shared::{Call, TXN_OPS};

/// Most edits that stand or fall together. In the worst case each has an entry and a lock of its own to compare, and
/// [`OTHERS`] are compared with every write.
pub(super) const ATOMIC_EDITS: usize = (TXN_OPS - OTHERS) / 2;
/// The session, and that the store is not closed.
const OTHERS: usize = 2;

/// Whether something is written while the store is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Open,
    Always,
}

/// What follows from what is there.
enum Plan<T> {
    /// Nothing is to be written.
    Done(T),
    /// To be written if nothing changed, and the answer then.
    Write(Vec<TxnOp>, T),
}

/// [`transact_when`] the store is open.
async fn transact<T>(
    call: &Call,
    keys: &[Vec<u8>],
    decide: impl Fn(&Seen) -> Result<Plan<T>, RefDbError>,
) -> Result<(T, Option<TxnResponse>), Failure> {
    transact_when(call, When::Open, keys, decide).await
}

/// Reads `keys`, lets `decide` say what to write, and writes it if none of them changed meanwhile; else once more.
///
/// Gives the answer of the write, too, if there was one.
async fn transact_when<T>(
    call: &Call,
    when: When,
    keys: &[Vec<u8>],
    decide: impl Fn(&Seen) -> Result<Plan<T>, RefDbError>,
) -> Result<(T, Option<TxnResponse>), Failure> {
    let shared = &call.shared;
    let closed = shared.keys.closed();
    let mut seen = exactly(call, keys).await?;
    loop {
        let (writes, done) = match decide(&seen)? {
            Plan::Done(done) => return Ok((done, None)),
            Plan::Write(writes, done) => (writes, done),
        };
        let session = session::ensure(call).await?;
        let mut unchanged: Vec<Compare> = keys
            .iter()
            .map(|key| {
                // A key that is not there counts as changed at revision 0.
                let modified = seen.get(key).map_or(0, |found| found.modified);
                Compare::mod_revision(key.clone(), CompareOp::Equal, modified)
            })
            .collect();
        unchanged.push(session::alive(shared, session));
        if when == When::Open {
            unchanged.push(Compare::create_revision(closed.clone(), CompareOp::Equal, 0));
        }
        let ops = unchanged.len().max(writes.len());
        let look = keys.iter().cloned().chain([shared.keys.session(session), closed.clone()]);
        let look: Vec<TxnOp> = look.map(|key| TxnOp::get(key, None)).collect();
        let txn = Txn::new().when(unchanged).and_then(writes).or_else(look);
        if !call.ticket.send(session) {
            // Nobody listens to this.
            return Err(Failure::NotReached("the caller gave up".to_owned()));
        }
        let answer = shared.txn(call.deadline, false, &txn).await;
        let answer = match answer {
            Err(Failure::Broken(why)) => {
                // Before the ticket is given back, so that there is no moment without either of them.
                shared.sessions.doubt(session);
                call.ticket.answered();
                return Err(shared.told(Failure::Broken(why), true).into());
            }
            answer => {
                call.ticket.answered();
                if matches!(answer, Err(Failure::TooManyOps(_))) {
                    shared.refused_ops(ops);
                }
                answer?
            }
        };
        if answer.succeeded() {
            call.ticket.applied();
            return Ok((done, Some(answer)));
        }
        seen = collect(&answer);
        if seen.remove(&shared.keys.session(session)).is_none() {
            shared.sessions.over(session);
        }
        if let Some(message) = seen.remove(&closed).filter(|_| when == When::Open) {
            let message = String::from_utf8_lossy(&message.value);
            return Err(RefDbError::closed(&shared.shown, &message).into());
        }
    }
}

/// What every backend refuses before it writes anything.
pub(super) fn refuse_untracked(value: GlobalRef, name: &RefName) -> Result<(), RefDbError> {
    match value {
        GlobalRef::Untracked => Err(RefDbError::new(
            RefDbErrorKind::InvalidName,
            format!("`{name}`: a ref is forgotten by removing it, not by writing `untracked`"),
        )),
        GlobalRef::Deleted | GlobalRef::At(_) => Ok(()),
    }
}

/// The entry of a ref. A text in its place, or something unreadable, is in the way of every edit.
fn entry_of(call: &Call, project: &Project, name: &RefName, seen: &Seen) -> Result<Entry, RefDbError> {
    let why = match seen.get(&call.shared.keys.entry(project, name)).map(|found| codec::read(&found.value)) {
        None => return Ok(Entry::default()),
        Some(Ok(Stored::Entry(entry))) => return Ok(entry),
        Some(Ok(Stored::Text(_))) => "it is a text, not an object id".to_owned(),
        Some(Err(why)) => why,
    };
    Err(unreadable(call, project, name, &why))
}

fn unreadable(call: &Call, project: &Project, name: &RefName, why: &str) -> RefDbError {
    call.shared.about(
        RefDbErrorKind::Corrupt,
        &format!(
            "the entry of `{name}` in `{project}` cannot be read: {why}; write it anew with `refgate refdb put`, or forget it with `refgate refdb rm`"
        ),
    )
}

/// The operation that makes `entry` what is at its key.
fn put_or_delete(call: &Call, project: &Project, name: &RefName, entry: &Entry) -> TxnOp {
    let key = call.shared.keys.entry(project, name);
    match codec::value(entry) {
        Some(value) => TxnOp::put(key, value, None),
        None => TxnOp::delete(key, None),
    }
}

pub(super) async fn compare_and_put(
    call: &Call,
    project: &Project,
    edits: &[Edit],
    atomicity: Atomicity,
) -> Result<Vec<Outcome>, Failure> {
    if atomicity == Atomicity::AllOrNothing {
        if edits.len() > ATOMIC_EDITS {
            let what = format!(
                "{} edits cannot stand or fall together, only {ATOMIC_EDITS} can; nothing was written; split them",
                edits.len()
            );
            return Err(call.shared.about(RefDbErrorKind::TooLarge, &what).into());
        }
        return chunk(call, project, edits, atomicity).await;
    }
    let mut outcomes = Vec::with_capacity(edits.len());
    let mut most = usize::MAX;
    while outcomes.len() < edits.len() {
        let rest = &edits[outcomes.len()..];
        let some = &rest[..fitting(call, project, rest).min(most)];
        match chunk(call, project, some, atomicity).await {
            // Too many bytes, or a server with a limit of its own.
            Err(Failure::TooManyOps(_) | Failure::TooManyBytes(_)) if some.len() > 1 => most = some.len() / 2,
            done => outcomes.extend(done?),
        }
    }
    Ok(outcomes)
}

/// How many of `edits` fit into one transaction; at least one.
fn fitting(call: &Call, project: &Project, edits: &[Edit]) -> usize {
    let mut keys = BTreeSet::new();
    let room = call.shared.txn_ops().saturating_sub(OTHERS);
    let fits = edits.iter().take_while(|edit| {
        keys.extend(keys_of(call, project, edit));
        keys.len() <= room
    });
    fits.count().max(1)
}

/// The keys that an edit depends on.
fn keys_of(call: &Call, project: &Project, edit: &Edit) -> impl Iterator<Item = Vec<u8>> {
    let lock = edit.fence.as_ref().and_then(|token| lock_key(call, project, token));
    [call.shared.keys.entry(project, &edit.name)].into_iter().chain(lock)
}

/// The key of a hold; `None` for a token that another kind of store gave out.
fn lock_key(call: &Call, project: &Project, token: &LockToken) -> Option<Vec<u8>> {
    Some(call.shared.keys.lock(project, &token.name, lease_of(&token.holder)?))
}

/// Edits that fit into one transaction.
async fn chunk(
    call: &Call,
    project: &Project,
    edits: &[Edit],
    atomicity: Atomicity,
) -> Result<Vec<Outcome>, Failure> {
    let keys: BTreeSet<Vec<u8>> = edits.iter().flat_map(|edit| keys_of(call, project, edit)).collect();
    let keys: Vec<Vec<u8>> = keys.into_iter().collect();
    let decide = |seen: &Seen| judge(call, project, edits, atomicity, seen);
    Ok(transact(call, &keys, decide).await?.0)
}

/// In order, so that a ref that occurs twice sees its first edit.
fn judge(
    call: &Call,
    project: &Project,
    edits: &[Edit],
    atomicity: Atomicity,
    seen: &Seen,
) -> Result<Plan<Vec<Outcome>>, RefDbError> {
    let mut before: BTreeMap<&RefName, Entry> = BTreeMap::new();
    let mut after: BTreeMap<&RefName, Entry> = BTreeMap::new();
    let mut outcomes = Vec::with_capacity(edits.len());
    for edit in edits {
        let entry = match after.get(&edit.name) {
            Some(entry) => entry.clone(),
            None => entry_of(call, project, &edit.name, seen)?,
        };
        before.entry(&edit.name).or_insert_with(|| entry.clone());
        let lost = edit.fence.as_ref().is_some_and(|token| !is_held(call, project, token, seen));
        outcomes.push(if lost {
            Outcome::Fenced
        } else if edit.expected.holds(entry.value) {
            match entry.replaced_by(edit.new, edit.fast_forward) {
                Some(entry) => {
                    after.insert(&edit.name, entry);
                    Outcome::Applied
                }
                None => Outcome::Full,
            }
        } else {
            Outcome::Mismatch { actual: entry.value }
        });
    }
    if atomicity == Atomicity::AllOrNothing && outcomes.iter().any(|o| *o != Outcome::Applied) {
        for (edit, outcome) in edits.iter().zip(&mut outcomes) {
            if !matches!(outcome, Outcome::Fenced | Outcome::Full) {
                *outcome = Outcome::Mismatch { actual: before[&edit.name].value };
            }
        }
        return Ok(Plan::Done(outcomes));
    }
    let writes: Vec<TxnOp> = after
        .iter()
        .filter(|(name, entry)| before[*name] != **entry)
        .map(|(name, entry)| put_or_delete(call, project, name, entry))
        .collect();
    Ok(if writes.is_empty() { Plan::Done(outcomes) } else { Plan::Write(writes, outcomes) })
}

/// Whether the hold of `token` is on: its key is there, and is the one that was made for it.
fn is_held(call: &Call, project: &Project, token: &LockToken, seen: &Seen) -> bool {
    let found = lock_key(call, project, token).and_then(|key| seen.get(&key));
    // The key of a hold is written once, so its last change is its creation.
    found.is_some_and(|found| u64::try_from(found.modified) == Ok(token.fence))
}

/// Closes all sessions, so that nothing can be applied any more, and reads.
pub(super) async fn resolve(call: &Call, project: &Project, edits: &[Edit]) -> Result<Vec<Outcome>, Failure> {
    session::close_all(call).await?;
    let names: Vec<RefName> = edits.iter().map(|edit| edit.name.clone()).collect();
    let found = get_many(call, project, &names).await?;
    let outcomes = edits.iter().zip(found).map(|(edit, found)| match found {
        refgate_core::Lookup::Entry(entry) if entry.value == edit.new => Ok(Outcome::Applied),
        refgate_core::Lookup::Entry(entry) => Ok(Outcome::Mismatch { actual: entry.value }),
        refgate_core::Lookup::Unreadable(why) => Err(unreadable(call, project, &edit.name, &why).into()),
        refgate_core::Lookup::Text(_) | refgate_core::Lookup::Locked => {
            Err(unreadable(call, project, &edit.name, "it is a text, not an object id").into())
        }
    });
    outcomes.collect()
}

/// Writes `value` whatever is there.
pub(super) async fn put(
    call: &Call,
    project: &Project,
    name: &RefName,
    value: GlobalRef,
) -> Result<(), Failure> {
    let entry = Entry::new(value);
    let write = |_: &Seen| Ok(Plan::Write(vec![put_or_delete(call, project, name, &entry)], ()));
    // Compared with what was there all the same: a write that is late must not undo somebody else's.
    transact(call, &[call.shared.keys.entry(project, name)], write).await?;
    Ok(())
}

/// Puts `to` in the place of exactly `from`.
pub(super) async fn swap_entry(
    call: &Call,
    project: &Project,
    name: &RefName,
    from: &Entry,
    to: &Entry,
) -> Result<bool, Failure> {
    check_entry(name, to)?;
    let decide = |seen: &Seen| {
        Ok(match entry_of(call, project, name, seen)? == *from {
            false => Plan::Done(false),
            true if from == to => Plan::Done(true),
            true => Plan::Write(vec![put_or_delete(call, project, name, to)], true),
        })
    };
    Ok(transact(call, &[call.shared.keys.entry(project, name)], decide).await?.0)
}

/// Forgets a ref, readable or not.
pub(super) async fn remove_ref(call: &Call, project: &Project, name: &RefName) -> Result<bool, Failure> {
    let key = call.shared.keys.entry(project, name);
    let decide = |seen: &Seen| {
        Ok(match seen.contains_key(&key) {
            true => Plan::Write(vec![TxnOp::delete(key.clone(), None)], true),
            false => Plan::Done(false),
        })
    };
    Ok(transact(call, std::slice::from_ref(&key), decide).await?.0)
}

/// Forgets all entries of a project at once, and says how many there were.
pub(super) async fn remove_project(call: &Call, project: &Project) -> Result<u64, Failure> {
    let prefix = call.shared.keys.entries(project);
    let all = DeleteOptions::new().with_range(end_of(&prefix));
    let write = |_: &Seen| Ok(Plan::Write(vec![TxnOp::delete(prefix.clone(), Some(all.clone()))], ()));
    let (_, answer) = transact(call, &[], write).await?;
    let removed = answer.iter().flat_map(TxnResponse::op_responses).find_map(|one| match one {
        TxnOpResponse::Delete(deleted) => u64::try_from(deleted.deleted()).ok(),
        _ => None,
    });
    Ok(removed.unwrap_or(0))
}

/// What is stored for a ref, as text.
fn text_of(
    call: &Call,
    project: &Project,
    name: &RefName,
    seen: &Seen,
) -> Result<Option<String>, RefDbError> {
    let Some(found) = seen.get(&call.shared.keys.entry(project, name)) else { return Ok(None) };
    match codec::read(&found.value) {
        Ok(Stored::Text(text)) => Ok(Some(text)),
        Ok(Stored::Entry(entry)) => {
            Ok(Some(entry.value.oid().map_or_else(|| "0".repeat(40), |oid| oid.to_string())))
        }
        Err(why) => Err(unreadable(call, project, name, &why)),
    }
}

pub(super) async fn get_text(
    call: &Call,
    project: &Project,
    name: &RefName,
) -> Result<Option<String>, Failure> {
    let seen = exactly(call, &[call.shared.keys.entry(project, name)]).await?;
    Ok(text_of(call, project, name, &seen)?)
}

pub(super) async fn compare_and_put_text(
    call: &Call,
    project: &Project,
    name: &RefName,
    expected: Option<&str>,
    new: &str,
) -> Result<TextOutcome, Failure> {
    check_text(new)
        .map_err(|why| RefDbError::new(RefDbErrorKind::InvalidName, format!("`{name}`: {why}")))?;
    let key = call.shared.keys.entry(project, name);
    let decide = |seen: &Seen| {
        let actual = text_of(call, project, name, seen)?;
        Ok(if actual.as_deref() == expected {
            Plan::Write(vec![TxnOp::put(key.clone(), new, None)], TextOutcome::Applied)
        } else {
            Plan::Done(TextOutcome::Mismatch { actual })
        })
    };
    Ok(transact(call, std::slice::from_ref(&key), decide).await?.0)
}

/// Records a site.
pub(super) async fn note_site(call: &Call, site: &str) -> Result<(), Failure> {
    let key = call.shared.keys.site(site);
    let decide = |seen: &Seen| {
        Ok(match seen.contains_key(&key) {
            true => Plan::Done(()),
            false => Plan::Write(vec![TxnOp::put(key.clone(), "", None::<PutOptions>)], ()),
        })
    };
    transact(call, std::slice::from_ref(&key), decide).await?;
    Ok(())
}

/// Gives the store another identity.
pub(super) async fn renew_identity(call: &Call) -> Result<(), Failure> {
    let key = call.shared.keys.identity();
    let new = uuid::Uuid::new_v4().simple().to_string();
    let write = |_: &Seen| Ok(Plan::Write(vec![TxnOp::put(key.clone(), new.clone(), None)], ()));
    let (_, answer) = transact_when(call, When::Always, std::slice::from_ref(&key), write).await?;
    if let Some(answer) = answer {
        call.shared.identified(&answer, new.as_bytes());
    }
    Ok(())
}

/// Closes the store, or opens it. Every write compares, so none that comes after this is applied.
pub(super) async fn set_closed(call: &Call, message: Option<&str>) -> Result<(), Failure> {
    let key = call.shared.keys.closed();
    let write = |seen: &Seen| {
        Ok(match (message, seen.contains_key(&key)) {
            (Some(message), _) => Plan::Write(vec![TxnOp::put(key.clone(), message, None)], ()),
            (None, true) => Plan::Write(vec![TxnOp::delete(key.clone(), None)], ()),
            (None, false) => Plan::Done(()),
        })
    };
    transact_when(call, When::Always, std::slice::from_ref(&key), write).await?;
    Ok(())
}
