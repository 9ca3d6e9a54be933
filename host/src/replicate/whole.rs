//! Deletions of whole changes at a remote: in one transaction, or the `/meta` first.
//!
//! A `/meta` must not be seen without its patch sets, nor patch sets stay without it. A remote that can moves all refs of a
//! session or none; when one of them is refused there, the changes are sent in halves until the culprit is alone. To any
//! other remote the `/meta` goes first, and the rest of a change when it has gone: what a kill in between leaves behind goes
//! with the next run.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use refgate_core::decision::{Decision, HOST, Verdict};
use refgate_core::{ChangeRef, Reason, is_meta};
use refgate_git::{GitError, PushSession};

use super::Progress;
use super::push::{Remote, round};
use crate::report::RefResult;

/// A change of which the `/meta` and others are to be deleted: places in the decision.
pub(super) struct Doomed {
    meta: usize,
    others: Vec<usize>,
}

impl Doomed {
    /// All its refs, the `/meta` first.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.meta).chain(self.others.iter().copied())
    }
}

/// The changes whose deletion may be sent. Where a ref of one was refused already, the others are held back.
pub(super) fn take(decision: &mut Decision, results: &mut [RefResult]) -> Vec<Doomed> {
    let mut changes: BTreeMap<Vec<u8>, (Option<usize>, Vec<usize>)> = BTreeMap::new();
    for (i, one) in decision.refs.iter().enumerate() {
        let kept = one.deletion && one.verdict.is_keep();
        let Some(change) = ChangeRef::of(&one.name).filter(|_| kept) else { continue };
        let (meta, others) = changes.entry(change.change.to_vec()).or_default();
        if is_meta(&one.name) { *meta = Some(i) } else { others.push(i) }
    }
    let mut doomed = Vec::new();
    for (meta, others) in changes.into_values() {
        let Some(meta) = meta.filter(|_| !others.is_empty()) else { continue };
        let change = Doomed { meta, others };
        let unsent = change.all().all(|i| results[i] == RefResult::NotSent);
        match unsent {
            true => doomed.push(change),
            false => hold(&change, decision, results),
        }
    }
    doomed
}

/// Sends the deletions, over `connection` if there is one that was not used so far.
pub(super) async fn delete(
    doomed: Vec<Doomed>,
    decision: &mut Decision,
    results: &mut [RefResult],
    progress: Arc<dyn Progress>,
    mut connection: Option<Result<PushSession, GitError>>,
    remote: &Remote<'_>,
) {
    let mut batches = if doomed.is_empty() { Vec::new() } else { vec![doomed] };
    while let Some(mut batch) = batches.pop() {
        let session = match connection.take() {
            Some(session) => session,
            None => remote.session().await,
        };
        let session = match session.map(PushSession::all_or_nothing) {
            Ok(Ok(session)) => session,
            Ok(Err(session)) => {
                batch.extend(batches.drain(..).flatten());
                meta_first(&batch, session, decision, results, progress.clone(), remote).await;
                continue;
            }
            Err(e) => {
                let which = batch.iter().flat_map(Doomed::all);
                which.for_each(|i| results[i] = RefResult::Rejected(e.to_string()));
                continue;
            }
        };
        let which: Vec<usize> = batch.iter().flat_map(Doomed::all).collect();
        round(Ok(session), decision, &which, results, progress.clone()).await;
        let gone = which.iter().all(|i| results[*i] == RefResult::Replicated);
        if !gone && batch.len() > 1 {
            which.iter().for_each(|i| results[*i] = RefResult::NotSent);
            let rest = batch.split_off(batch.len() / 2);
            batches.extend([rest, batch]);
        }
    }
}

/// To a remote that moves each ref on its own.
async fn meta_first(
    doomed: &[Doomed],
    session: PushSession,
    decision: &mut Decision,
    results: &mut [RefResult],
    progress: Arc<dyn Progress>,
    remote: &Remote<'_>,
) {
    let metas: Vec<usize> = doomed.iter().map(|change| change.meta).collect();
    round(Ok(session), decision, &metas, results, progress.clone()).await;
    let mut rest = Vec::new();
    for change in doomed {
        match results[change.meta] {
            RefResult::Replicated => rest.extend(&change.others),
            _ => hold(change, decision, results),
        }
    }
    if !rest.is_empty() {
        round(remote.session().await, decision, &rest, results, progress).await;
    }
}

/// What was not sent of a change one of whose refs was refused.
fn hold(change: &Doomed, decision: &mut Decision, results: &mut [RefResult]) {
    let unsent: HashSet<usize> = change.all().filter(|i| results[*i] == RefResult::NotSent).collect();
    for i in unsent {
        let reason = if i == change.meta { Reason::GroupIncomplete } else { Reason::OutdatedMeta };
        decision.refs[i].verdict = Verdict::Discard { reason, by: HOST.into() };
        results[i] = RefResult::HeldBack;
    }
}
