//! Facts about the rows of a decision, gathered in bulk: local values, entries, history. The table is applied to them, and
//! the batches for the filters are laid out from them.

use std::collections::{BTreeMap, HashMap};

use super::{Request, Sources};
use crate::group::meta_of;
use crate::moves::{Moves, flag};
use crate::refdb::{Operation, whole};
use crate::table::{Accounted, Class, Judgement, RemoteValue, Row, Seen};
use crate::{
    ChangePart, Deadline, Direction, Entry, LocalError, LocalValue, Lookup, Oid, Reason, RefBatch, RefName,
};

/// What the verdicts about the rows rest on; a reload refreshes it for some of them.
pub(super) struct Facts {
    pub judgements: Vec<Judgement>,
    pub accounted: Vec<Accounted>,
    /// What the ref-db holds as the `/meta` of the change that a row is another ref of.
    pub meta: Vec<Option<Seen>>,
    /// Fetch: the local value descends from the remote's.
    pub ahead: Vec<bool>,
    /// Fetch from a source of truth: the remote's value descends from the ref-db's.
    pub extends_global: Vec<bool>,
    /// Why the local value of a row could not be read; such a row goes nowhere.
    pub unreadable: BTreeMap<usize, String>,
    /// Each `/meta` that was reloaded, with what it would have become before.
    first: HashMap<usize, Option<Oid>>,
    /// What went wrong, for the log.
    pub problems: Vec<String>,
}

/// When filters are asked.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// 0 in the first pass, 1 in the second.
    pub attempt: u32,
    /// The time of day, in milliseconds since 1970 (UTC).
    pub now_ms: u64,
}

/// The local repository could not be read at all.
pub(super) struct Unreadable(pub String);

impl Facts {
    /// For the first pass: all rows.
    pub async fn gather(
        request: &Request<'_>,
        sources: Sources<'_>,
        moves: &mut Moves,
    ) -> Result<Facts, Unreadable> {
        let read = sources.local.values(request.project, moves.names()).await;
        let read = read.map_err(|e| Unreadable(e.to_string()))?;
        let len = moves.len();
        let mut facts = Facts {
            judgements: vec![Judgement::Ask; len],
            accounted: vec![Accounted::Unasked; len],
            meta: vec![None; len],
            ahead: vec![false; len],
            extends_global: vec![false; len],
            unreadable: BTreeMap::new(),
            first: HashMap::new(),
            problems: Vec::new(),
        };
        facts.take(moves, 0..len, read);
        if request.direction == Direction::Fetch {
            (0..len).for_each(|at| moves.set_local(at, moves.get(at).local()));
        }
        facts.judge(request, sources, moves, &(0..len).collect::<Vec<_>>()).await;
        Ok(facts)
    }

    /// For the second pass: reads `which` again, local refs and, on fetch, the remote's listing too.
    pub async fn reload(
        &mut self,
        request: &Request<'_>,
        sources: Sources<'_>,
        moves: &mut Moves,
        which: &[usize],
    ) -> Result<(), Unreadable> {
        let names: Vec<RefName> = which.iter().map(|at| moves.names()[*at].clone()).collect();
        let unreadable = |e: LocalError| Unreadable(e.to_string());
        let remote = match (request.direction, sources.remote) {
            (Direction::Fetch, Some(remote)) => {
                let theirs: Vec<RefName> = which.iter().map(|at| moves.remote_names()[*at].clone()).collect();
                Some(remote.relist(&theirs).await.map_err(unreadable)?)
            }
            _ => None,
        };
        let read = sources.local.values(request.project, &names).await.map_err(unreadable)?;
        for at in which.iter().copied() {
            if moves.part(at) == Some(ChangePart::Meta) && !moves.has(at, flag::DELETION) {
                self.first.insert(at, moves.get(at).new());
            }
        }
        self.take(moves, which.iter().copied(), read);
        for (place, at) in which.iter().copied().enumerate() {
            moves.mark(at, flag::RELOADED);
            moves.set_local(at, moves.get(at).local());
            if let (Some(remote), RemoteValue::Known(_)) = (&remote, moves.remote(at)) {
                moves.set_remote(at, RemoteValue::Known(remote[place]));
            }
        }
        self.judge(request, sources, moves, which).await;
        Ok(())
    }

    /// Whether row `at` is a `/meta` that moved between the two passes: the patch sets that it names by now were not on
    /// offer.
    pub fn is_moved_meta(&self, moves: &Moves, at: usize) -> bool {
        self.first.get(&at).is_some_and(|first| *first != moves.get(at).new())
    }

    /// Takes over the local values that were read of `which`, or why one could not be read.
    fn take(&mut self, moves: &mut Moves, which: impl Iterator<Item = usize>, read: Vec<LocalValue>) {
        let mut read = read.into_iter();
        let missing = || Err(LocalError("the repository did not answer for it".into()));
        for at in which {
            self.unreadable.remove(&at);
            let here = read.next().unwrap_or_else(missing).unwrap_or_else(|why| {
                self.unreadable.insert(at, why.0);
                None
            });
            moves.set_here(at, here);
        }
    }

    async fn judge(
        &mut self,
        request: &Request<'_>,
        sources: Sources<'_>,
        moves: &mut Moves,
        which: &[usize],
    ) {
        let entries = self.read_entries(request, sources, moves, which).await;
        self.ask_history(request, sources, moves, which, &entries).await;
        for at in which.iter().copied() {
            self.judgements[at] = match self.unreadable.contains_key(&at) {
                true => Judgement::Discard(Reason::RepositoryUnreadable),
                false => self.row(moves, at).judge(),
            };
        }
    }

    /// Everything that the verdict about row `at` rests on.
    pub fn row(&self, moves: &Moves, at: usize) -> Row {
        Row {
            direction: moves.direction(),
            class: moves.class(at),
            attempt: u32::from(moves.has(at, flag::RELOADED)),
            deletion: moves.has(at, flag::DELETION),
            forced: moves.has(at, flag::FORCED),
            force_ignored: moves.has(at, flag::FORCE_IGNORED),
            tag: moves.has(at, flag::TAG),
            global: moves.get(at).global().unwrap_or(Seen::Unavailable),
            meta: self.meta[at],
            local: moves.judged_local(at),
            remote: moves.remote(at),
            accounted: self.accounted[at],
            ahead: self.ahead[at],
            extends_global: self.extends_global[at],
        }
    }

    /// One bulk read of the ref-db for all of `which` that it can hold. Gives the entries that list superseded values.
    async fn read_entries(
        &mut self,
        request: &Request<'_>,
        sources: Sources<'_>,
        moves: &mut Moves,
        which: &[usize],
    ) -> HashMap<usize, Entry> {
        let (names, own, metas) = wanted_entries(request, moves, which);
        if names.is_empty() {
            return HashMap::new();
        }
        let deadline = Deadline::after(sources.clock, request.refdb_timeout);
        let found = sources.refdb.get_many(request.project, &names, deadline).await;
        // Whoever calls `decide` may hand it any store.
        let found = whole(Operation::GetMany, names.len(), found).unwrap_or_else(|e| {
            self.problems.push(e.to_string());
            Vec::new()
        });
        for (name, lookup) in names.iter().zip(&found) {
            match lookup {
                Lookup::Entry(_) | Lookup::Locked => {}
                Lookup::Text(_) => {
                    self.problems.push(format!("`{name}` in the ref-db: it holds a text, not an object id"));
                }
                Lookup::Unreadable(why) => self.problems.push(format!("`{name}` in the ref-db: {why}")),
            }
        }
        let seen = |place: usize| match found.get(place) {
            Some(Lookup::Entry(entry)) => Seen::Value(entry.value),
            Some(Lookup::Locked) => Seen::Locked,
            Some(Lookup::Text(_) | Lookup::Unreadable(_)) | None => Seen::Unavailable,
        };
        let mut superseded = HashMap::new();
        for ((at, own), meta) in which.iter().copied().zip(own).zip(metas) {
            self.meta[at] = meta.map(seen);
            if let Some(place) = own {
                moves.set_global(at, seen(place));
                if let Some(entry) = found.get(place).and_then(Lookup::entry)
                    && !entry.superseded.is_empty()
                {
                    superseded.insert(at, entry.clone());
                }
            }
            // It goes with its change, whatever is left of it at the source.
            if request.direction == Direction::Push
                && moves.has(at, flag::DELETION)
                && self.row(moves, at).is_of_deleted_change()
            {
                moves.set_local(at, None);
            }
        }
        superseded
    }

    /// The columns for `which`, in that order.
    pub fn batch(&self, request: &Request<'_>, moves: &Moves, which: &[usize], moment: Moment) -> RefBatch {
        let oid_len = request.format.oid_len();
        let mut batch = RefBatch {
            direction: request.direction,
            project: request.project.clone(),
            peer: request.peer.to_owned(),
            oid_len,
            attempt: moment.attempt,
            now_ms: moment.now_ms,
            states: Vec::with_capacity(which.len()),
            names: Vec::new(),
            name_ends: Vec::with_capacity(which.len()),
            new_oids: Vec::with_capacity(which.len() * oid_len),
            old_oids: Vec::with_capacity(which.len() * oid_len),
            local_oids: Vec::with_capacity(which.len() * oid_len),
            global_oids: Vec::with_capacity(which.len() * oid_len),
            groups: Vec::with_capacity(which.len()),
        };
        for at in which.iter().copied() {
            let one = moves.get(at);
            let is_meta = one.part() == Some(ChangePart::Meta);
            batch.states.push(self.row(moves, at).state(&self.judgements[at], one.local(), is_meta));
            batch.names.extend_from_slice(one.name().as_bytes());
            batch.name_ends.push(batch.names.len() as u32);
            let global = match one.global() {
                Some(Seen::Value(value)) => value.oid(),
                _ => None,
            };
            push_oid(&mut batch.new_oids, one.new(), oid_len);
            push_oid(&mut batch.old_oids, one.old(), oid_len);
            push_oid(&mut batch.local_oids, one.local(), oid_len);
            push_oid(&mut batch.global_oids, global, oid_len);
            batch.groups.push(one.group());
        }
        batch
    }
}

/// Names to be asked for, and for each of `which` the place of its own entry and that of the `/meta` of its change. A change
/// has one number, so its `/meta` is asked for once.
fn wanted_entries(
    request: &Request<'_>,
    moves: &Moves,
    which: &[usize],
) -> (Vec<RefName>, Vec<Option<usize>>, Vec<Option<usize>>) {
    let mut names: Vec<RefName> = Vec::with_capacity(which.len());
    let mut of_group: HashMap<u32, Option<usize>> = HashMap::new();
    let mut own = Vec::with_capacity(which.len());
    for at in which.iter().copied() {
        let place = (moves.class(at) == Class::Checked).then_some(names.len());
        if place.is_some() {
            names.push(moves.names()[at].clone());
        }
        if moves.part(at) == Some(ChangePart::Meta) {
            of_group.insert(moves.get(at).group(), place);
        }
        own.push(place);
    }
    let mut meta = |at: usize| {
        let reached = matches!(moves.class(at), Class::Checked | Class::Excluded);
        if !reached || matches!(moves.part(at), None | Some(ChangePart::Meta)) {
            return None;
        }
        *of_group.entry(moves.get(at).group()).or_insert_with(|| {
            let meta = meta_of(&moves.names()[at])?;
            let checked = Class::of(request.project, &meta, request.rules) == Class::Checked;
            checked.then(|| {
                names.push(meta);
                names.len() - 1
            })
        })
    };
    let metas = which.iter().map(|at| meta(*at)).collect();
    (names, own, metas)
}

fn push_oid(column: &mut Vec<u8>, oid: Option<Oid>, len: usize) {
    match oid {
        Some(oid) if oid.as_bytes().len() == len => column.extend_from_slice(oid.as_bytes()),
        _ => column.resize(column.len() + len, 0),
    }
}
