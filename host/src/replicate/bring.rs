//! The objects of a fetch: what came from the remote before anything is decided, and what becomes of refs whose objects did
//! not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use refgate_core::decision::{Decision, HOST, RefDecision, RefUpdate, Verdict};
use refgate_core::table::RemoteValue;
use refgate_core::{BoxFuture, ChangeRef, Direction, LocalError, Oid, Reason, RefName, RemoteRefs, is_meta};
use refgate_git::{FetchedObjects, GitError, RemoteUrl, Repository, fetch_objects, list};

use super::offers::{Value, listing};
use super::push::reject_all;
use super::{Progress, blocking};
use crate::report::RefResult;

/// The remote of a fetch.
pub(super) struct Source {
    pub(super) repository: Repository,
    url: RemoteUrl,
    progress: Arc<dyn Progress>,
    /// What this fetch found or made whole. No ref leads to it yet, so to find that out again would cost a walk of all of
    /// it.
    whole: Mutex<HashSet<Oid>>,
    /// What it could not bring, so that nobody asks again.
    refused: Mutex<HashMap<Oid, String>>,
}

/// What did not come.
#[derive(Default)]
pub(super) struct Brought {
    /// The remote no longer has it.
    missing: BTreeSet<Oid>,
    /// It did not come whole, with git's words.
    refused: HashMap<Oid, String>,
}

impl Source {
    pub(super) fn new(repository: Repository, url: RemoteUrl, progress: Arc<dyn Progress>) -> Source {
        Source { repository, url, progress, whole: Mutex::default(), refused: Mutex::default() }
    }

    /// Brings objects without moving a ref.
    pub(super) async fn bring(&self, mut oids: Vec<Oid>) -> Result<Brought, GitError> {
        oids.sort_unstable();
        oids.dedup();
        let mut brought = Brought::default();
        {
            let whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            oids.retain(|oid| match refused.get(oid) {
                Some(words) => brought.refused.insert(*oid, words.clone()).is_some_and(|_| false),
                None => !whole.contains(oid),
            });
        }
        if oids.is_empty() {
            return Ok(brought);
        }
        self.progress.stage(&format!("fetching {} objects with their history", oids.len()));
        let (git_dir, url, progress) =
            (self.repository.git_dir().to_owned(), self.url.clone(), self.progress.clone());
        let asked = oids.clone();
        // What git prints here is how far it is, nothing that stays of interest.
        let fetched = blocking(move || {
            fetch_objects(&git_dir, &url, &asked, &mut |p| progress.stage(&super::line_of(p)))
        });
        let FetchedObjects { missing, refused } = fetched.await?;
        brought.missing.extend(missing);
        brought.refused.extend(refused);
        let came = |oid: &Oid| !brought.missing.contains(oid) && !brought.refused.contains_key(oid);
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).extend(oids.into_iter().filter(came));
        let mut known = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(brought.refused.iter().map(|(oid, words)| (*oid, words.clone())));
        Ok(brought)
    }
}

impl RemoteRefs for Source {
    fn relist<'a>(&'a self, refs: &'a [RefName]) -> BoxFuture<'a, Result<Vec<Option<Oid>>, LocalError>> {
        Box::pin(async move {
            let local = |e: GitError| LocalError(e.to_string());
            let (url, format) = (self.url.clone(), self.repository.object_format());
            let listed = listing(blocking(move || list(&url, format)).await.map_err(local)?);
            let values: Vec<Option<Oid>> = refs
                .iter()
                .map(|name| match listed.get(name) {
                    Some(Value::At(oid)) => Some(*oid),
                    Some(Value::Symbolic | Value::Broken) | None => None,
                })
                .collect();
            self.bring(values.iter().copied().flatten().collect()).await.map_err(local)?;
            Ok(values)
        })
    }
}

impl Brought {
    /// Parts what can be decided from what cannot: a ref whose objects did not come, and those of its change that must not
    /// go without it.
    pub(super) fn part(&self, updates: Vec<RefUpdate>) -> (Vec<RefUpdate>, Vec<(RefResult, RefDecision)>) {
        let absent = |update: &RefUpdate| match update.remote {
            RemoteValue::Known(Some(oid)) => self.missing.contains(&oid) || self.refused.contains_key(&oid),
            _ => false,
        };
        // By change: whether its `/meta` did not come, or only others of it.
        let mut broken: HashMap<Vec<u8>, bool> = HashMap::new();
        for update in updates.iter().filter(|update| absent(update)) {
            if let Some(change) = change_of(&update.name) {
                *broken.entry(change).or_default() |= is_meta(&update.name);
            }
        }
        let (mut kept, mut left) = (Vec::with_capacity(updates.len()), Vec::new());
        for update in updates {
            let companion = change_of(&update.name).and_then(|change| broken.get(&change).copied());
            let reason = match companion {
                _ if absent(&update) => {
                    left.push(self.explain(&update));
                    continue;
                }
                Some(true) => Reason::OutdatedMeta,
                Some(false) if is_meta(&update.name) => Reason::GroupIncomplete,
                _ => {
                    kept.push(update);
                    continue;
                }
            };
            let verdict = Verdict::Discard { reason, by: HOST.into() };
            left.push((RefResult::HeldBack, RefDecision::of_offer(Direction::Fetch, &update, verdict)));
        }
        (kept, left)
    }

    fn explain(&self, update: &RefUpdate) -> (RefResult, RefDecision) {
        let words = match update.remote {
            RemoteValue::Known(Some(oid)) => self.refused.get(&oid),
            _ => None,
        };
        let (result, verdict, hint) = match words {
            Some(words) => (
                RefResult::Rejected(format!("its objects did not come: {words}")),
                Verdict::Keep,
                "repair the ref at the remote (`git fsck` there names what is wrong), or leave it out with `fetch = ^REF` after \
                 `fetch = +refs/*:refs/*`; what the checks of this side refuse is set by `fetch.fsckObjects` and `fetch.fsck.*` of git",
            ),
            // Judging the old value without its history would only give a wrong reason.
            None => (
                RefResult::HeldBack,
                Verdict::Discard { reason: Reason::NotUpToDate, by: HOST.into() },
                "it changed at the remote while it was fetched: run again",
            ),
        };
        let one = RefDecision::of_offer(Direction::Fetch, update, verdict);
        (result, RefDecision { hint: Some(hint.to_owned()), ..one })
    }
}

fn change_of(name: &RefName) -> Option<Vec<u8>> {
    ChangeRef::of(name).map(|c| c.change.to_vec())
}

/// What is kept must be here whole before a ref leads to it. Usually it is, and this asks the remote for nothing.
pub(super) async fn bring_kept(source: &Source, decision: &Decision, results: &mut [RefResult]) {
    let kept = decision.refs.iter().zip(results.iter()).filter(|(_, r)| **r == RefResult::NotSent);
    let brought = match source.bring(kept.filter_map(|(one, _)| one.new).collect()).await {
        Ok(brought) => brought,
        Err(e) => return reject_all(results, &e),
    };
    for (one, result) in decision.refs.iter().zip(results).filter(|(_, r)| **r == RefResult::NotSent) {
        let Some(new) = one.new else { continue };
        if let Some(words) = brought.refused.get(&new) {
            *result = RefResult::Rejected(format!("its objects did not come: {words}"));
        } else if brought.missing.contains(&new) {
            *result = RefResult::Rejected("the remote no longer has its object: run again".into());
        }
    }
}
