//! Deletions of whole changes at a remote: in one transaction, or the `/meta` first.
//!
//! A `/meta` must not be seen without its patch sets, nor patch sets stay without it. A remote that can moves all refs of a
//! session or none; when one of them is refused there, the changes are sent in halves until the culprit is alone. To any
//! other remote the `/meta` goes first, and the rest of a change when it has gone: what a kill in between leaves behind goes
//! with the next run.

use std::sync::Arc;

use refgate_core::moves::Doomed;
use refgate_core::{Moves, State};
use refgate_git::{GitError, PushSession};

use super::Progress;
use super::push::{Remote, round};

/// Sends the deletions, over `connection` if there is one that was not used so far.
pub(super) async fn delete(
    doomed: Vec<Doomed>,
    moves: &mut Moves,
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
                meta_first(&batch, session, moves, progress.clone(), remote).await;
                continue;
            }
            Err(e) => {
                let which = batch.iter().flat_map(Doomed::all);
                which.for_each(|at| moves.set(at, State::refused(e.to_string())));
                continue;
            }
        };
        let which: Vec<usize> = batch.iter().flat_map(Doomed::all).collect();
        round(Ok(session), moves, &which, progress.clone()).await;
        let gone = which.iter().all(|at| *moves.get(*at).state() == State::Done);
        if !gone && batch.len() > 1 {
            which.iter().for_each(|at| moves.set(*at, State::Open));
            let rest = batch.split_off(batch.len() / 2);
            batches.extend([rest, batch]);
        }
    }
}

/// To a remote that moves each ref on its own.
async fn meta_first(
    doomed: &[Doomed],
    session: PushSession,
    moves: &mut Moves,
    progress: Arc<dyn Progress>,
    remote: &Remote<'_>,
) {
    let metas: Vec<usize> = doomed.iter().map(|change| change.meta).collect();
    round(Ok(session), moves, &metas, progress.clone()).await;
    let mut rest = Vec::new();
    for change in doomed {
        match moves.get(change.meta).state() {
            State::Done => rest.extend(&change.others),
            _ => moves.hold_rest(change),
        }
    }
    if !rest.is_empty() {
        round(remote.session().await, moves, &rest, progress).await;
    }
}
