//! Writing: read what is there, decide, and write only if all of it is still so, the session included.

use std::collections::BTreeSet;

use etcd_client::{Compare, CompareOp, DeleteOptions, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use refgate_core::refdb::{Guard, Stored, Write, Written, evaluate};
use refgate_core::{Atomicity, LockToken, Lookup, Project, RefDbError, RefName};

use super::error::Failure;
use super::keys::{end_of, lease_of};
use super::read::{Seen, collect, exactly};
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

/// Does all or nothing in one transaction, and anything else in as few as the server allows.
pub(super) async fn write(
    call: &Call,
    project: &Project,
    writes: &[Write],
    atomicity: Atomicity,
) -> Result<Vec<Written>, Failure> {
    if atomicity == Atomicity::AllOrNothing {
        return chunk(call, project, writes, atomicity).await;
    }
    let mut outcomes = Vec::with_capacity(writes.len());
    let mut most = usize::MAX;
    while outcomes.len() < writes.len() {
        let rest = &writes[outcomes.len()..];
        let some = &rest[..fitting(call, project, rest).min(most)];
        match chunk(call, project, some, atomicity).await {
            // Too many bytes, or a server with a limit of its own.
            Err(Failure::TooManyOps(_) | Failure::TooManyBytes(_)) if some.len() > 1 => most = some.len() / 2,
            done => outcomes.extend(done?),
        }
    }
    Ok(outcomes)
}

/// How many of `writes` fit into one transaction; at least one.
fn fitting(call: &Call, project: &Project, writes: &[Write]) -> usize {
    let mut keys = BTreeSet::new();
    let room = call.shared.txn_ops().saturating_sub(OTHERS);
    let fits = writes.iter().take_while(|write| {
        keys.extend(keys_of(call, project, write));
        keys.len() <= room
    });
    fits.count().max(1)
}

/// The keys that a write depends on.
fn keys_of(call: &Call, project: &Project, write: &Write) -> impl Iterator<Item = Vec<u8>> {
    let lock = write.fence.as_ref().and_then(|token| lock_key(call, project, token));
    [call.shared.keys.entry(project, &write.name)].into_iter().chain(lock)
}

/// The key of a hold; `None` for a token that another kind of store gave out.
fn lock_key(call: &Call, project: &Project, token: &LockToken) -> Option<Vec<u8>> {
    Some(call.shared.keys.lock(project, &token.name, lease_of(&token.holder)?))
}

/// Writes that fit into one transaction. Even one that takes what is there as it is, is compared with it: a write that is late
/// must not undo somebody else's.
async fn chunk(
    call: &Call,
    project: &Project,
    writes: &[Write],
    atomicity: Atomicity,
) -> Result<Vec<Written>, Failure> {
    let keys: BTreeSet<Vec<u8>> = writes.iter().flat_map(|write| keys_of(call, project, write)).collect();
    let keys: Vec<Vec<u8>> = keys.into_iter().collect();
    let whatever = writes.iter().any(|write| write.guard == Guard::Anything);
    let decide = |seen: &Seen| {
        let found = |name: &RefName| seen.get(&call.shared.keys.entry(project, name));
        let there = |name: &RefName| Lookup::from_lines(found(name).map(|found| found.value.as_slice()));
        let evaluation = evaluate(writes, atomicity, there, |token| is_held(call, project, token, seen))
            .map_err(|e| e.error(&call.shared.shown, project))?;
        let mut ops = Vec::new();
        for (name, stored) in evaluation.changes {
            let lines = stored.as_ref().map(Stored::to_lines);
            let stays = found(&name).map(|found| &found.value[..]) == lines.as_deref().map(str::as_bytes);
            let key = call.shared.keys.entry(project, &name);
            match lines {
                _ if stays && !whatever => {}
                Some(lines) => ops.push(TxnOp::put(key, lines, None)),
                None => ops.push(TxnOp::delete(key, None)),
            }
        }
        Ok(match ops.is_empty() {
            true => Plan::Done(evaluation.outcomes),
            false => Plan::Write(ops, evaluation.outcomes),
        })
    };
    Ok(transact(call, &keys, decide).await?.0)
}

/// Whether the hold of `token` is on: its key is there, and is the one that was made for it.
fn is_held(call: &Call, project: &Project, token: &LockToken, seen: &Seen) -> bool {
    let found = lock_key(call, project, token).and_then(|key| seen.get(&key));
    // The key of a hold is written once, so its last change is its creation.
    found.is_some_and(|found| u64::try_from(found.modified) == Ok(token.fence))
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

/// Records a site.
pub(super) async fn add_site(call: &Call, site: &str) -> Result<(), Failure> {
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
