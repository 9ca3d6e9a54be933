//! The objects of a fetch: what came from the remote before anything is decided, and what becomes of refs whose objects did
//! not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use refgate_core::{
    BoxFuture, ChangePart, Held, LocalError, Moves, Oid, Reason, RefName, Refusal, RemoteRefs, State,
};
use refgate_git::{FetchedObjects, GitError, RemoteUrl, Repository, fetch_objects, list};

use super::offers::{Value, listing};
use super::push::refuse_open;
use super::{Progress, blocking};

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
    /// Takes out what cannot be decided: a ref whose objects did not come, and those of its change that must not go without it.
    pub(super) fn part(&self, moves: Moves) -> (Moves, Moves) {
        if self.missing.is_empty() && self.refused.is_empty() {
            let none = Moves::new(moves.direction());
            return (moves, none);
        }
        let absent = |at: usize| self.words_of(moves.get(at).new()?);
        let mut left = moves.clone();
        for at in 0..left.len() {
            if let Some(words) = absent(at) {
                left.set(at, explained(words));
            }
        }
        // Where a `/meta` did not come the others wait for it; where another ref did not, the `/meta` does.
        let broken = |meta: bool| {
            let is_meta = |at: &usize| (left.get(*at).part() == Some(ChangePart::Meta)) == meta;
            let groups = (0..left.len()).filter(|at| absent(*at).is_some()).filter(is_meta);
            groups.filter(|at| left.get(*at).part().is_some()).map(|at| left.get(at).group()).collect()
        };
        let (without_meta, without_others): (HashSet<u32>, HashSet<u32>) = (broken(true), broken(false));
        for at in 0..left.len() {
            let one = left.get(at);
            let (open, group, part) = (one.state().is_open(), one.group(), one.part());
            if open && part.is_some() && without_meta.contains(&group) {
                left.hold(at, Held::by_host(Reason::OutdatedMeta));
            } else if open && part == Some(ChangePart::Meta) && without_others.contains(&group) {
                left.hold(at, Held::by_host(Reason::GroupIncomplete));
            }
        }
        let (mut decidable, mut rest) = (Moves::new(left.direction()), Moves::new(left.direction()));
        for at in 0..left.len() {
            match left.get(at).state().is_open() {
                true => decidable.take_over(&left, at),
                false => rest.take_over(&left, at),
            }
        }
        (decidable, rest)
    }

    /// `Some` when the object is not here: git's words, if the remote refused it.
    fn words_of(&self, oid: Oid) -> Option<Option<&str>> {
        match self.refused.get(&oid) {
            Some(words) => Some(Some(words)),
            None => self.missing.contains(&oid).then_some(None),
        }
    }
}

fn explained(words: Option<&str>) -> State {
    match words {
        Some(words) => State::Refused(Refusal {
            why: format!("its objects did not come: {words}"),
            hint: Some(
                "repair the ref at the remote (`git fsck` there names what is wrong), or leave it out with `fetch = ^REF` after \
                 `fetch = +refs/*:refs/*`; what the checks of this side refuse is set by `fetch.fsckObjects` and `fetch.fsck.*` of git"
                    .into(),
            ),
        }),
        // Judging the old value without its history would only give a wrong reason.
        None => {
            let hint = Some("it changed at the remote while it was fetched: run again".into());
            State::Held(Arc::new(Held { hint, ..Held::by_host(Reason::NotUpToDate) }))
        }
    }
}

/// What is kept must be here whole before a ref leads to it. Usually it is, and this asks the remote for nothing.
pub(super) async fn bring_kept(source: &Source, moves: &mut Moves) {
    let wanted: Vec<(usize, Oid)> = moves.open().filter_map(|at| Some((at, moves.get(at).new()?))).collect();
    let brought = match source.bring(wanted.iter().map(|(_, oid)| *oid).collect()).await {
        Ok(brought) => brought,
        Err(e) => return refuse_open(moves, &e),
    };
    for (at, oid) in wanted {
        match brought.words_of(oid) {
            Some(Some(words)) => moves.set(at, State::refused(format!("its objects did not come: {words}"))),
            Some(None) => moves.set(at, State::refused("the remote no longer has its object: run again")),
            None => {}
        }
    }
}
