//! One look: gathers the facts about a set of offers in bulk, applies the table, and lays out the batch for the filters.

use std::collections::HashMap;

use super::{Request, Sources};
use crate::group::{ChangeRef, is_meta, is_patch_set, meta_of};
use crate::refdb::{Operation, whole};
use crate::table::{Accounted, Class, Judgement, RemoteValue, Row, Seen};
use crate::{
    AncestryQuery, Deadline, Direction, Entry, LocalError, LocalValue, Lookup, Oid, Reason, RefBatch, RefName,
};

/// Facts about all offers of a request; a reload refreshes some of them.
pub(super) struct Facts {
    pub rows: Vec<Row>,
    pub judgements: Vec<Judgement>,
    /// The local value as read, which on push may differ from the offered one.
    pub local: Vec<Option<Oid>>,
    groups: Vec<u32>,
    /// Why the local value of an offer could not be read, by its index; such an offer goes nowhere.
    pub unreadable: HashMap<usize, String>,
    /// What each `/meta` would have become before the reload.
    first: HashMap<usize, Option<Oid>>,
    /// What went wrong, for the log.
    pub problems: Vec<String>,
}

/// When filters are asked.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// 0 on the first look, 1 on the second.
    pub attempt: u32,
    /// The time of day, in milliseconds since 1970 (UTC).
    pub now_ms: u64,
}

/// The local repository could not be read at all.
pub(super) struct Unreadable(pub String);

impl Facts {
    /// The first look: all offers.
    pub async fn gather(request: &Request<'_>, sources: Sources<'_>) -> Result<Facts, Unreadable> {
        let names: Vec<RefName> = request.updates.iter().map(|u| u.name.clone()).collect();
        let read =
            sources.local.values(request.project, &names).await.map_err(|e| Unreadable(e.to_string()))?;
        let mut facts = Facts {
            judgements: vec![Judgement::Ask; names.len()],
            groups: groups(&names),
            rows: Vec::new(),
            local: vec![None; names.len()],
            unreadable: HashMap::new(),
            first: HashMap::new(),
            problems: Vec::new(),
        };
        facts.take(0..names.len(), read);
        facts.rows = (request.updates.iter().zip(&facts.local))
            .map(|(update, local)| first_row(request, update, *local))
            .collect();
        facts.judge(request, sources, &(0..names.len()).collect::<Vec<_>>()).await;
        Ok(facts)
    }

    /// The second look: reads `which` again, local refs and, on fetch, the remote's listing too.
    pub async fn reload(
        &mut self,
        request: &Request<'_>,
        sources: Sources<'_>,
        which: &[usize],
    ) -> Result<(), Unreadable> {
        let names: Vec<RefName> = which.iter().map(|i| request.updates[*i].name.clone()).collect();
        let unreadable = |e: LocalError| Unreadable(e.to_string());
        let remote = match (request.direction, sources.remote) {
            (Direction::Fetch, Some(remote)) => {
                let theirs: Vec<RefName> =
                    which.iter().map(|i| request.updates[*i].remote_name.clone()).collect();
                Some(remote.relist(&theirs).await.map_err(unreadable)?)
            }
            _ => None,
        };
        let read = sources.local.values(request.project, &names).await.map_err(unreadable)?;
        self.take(which.iter().copied(), read);
        for (at, i) in which.iter().enumerate() {
            let row = &mut self.rows[*i];
            if is_meta(&names[at]) && !row.deletion {
                self.first.insert(*i, row.replacement());
            }
            row.attempt = 1;
            row.local = self.local[*i];
            if let (Some(remote), RemoteValue::Known(_)) = (&remote, row.remote) {
                row.remote = RemoteValue::Known(remote[at]);
            }
        }
        self.judge(request, sources, which).await;
        Ok(())
    }

    /// Whether offer `i` is a `/meta` that moved between the two looks: the patch sets that it names by now were not on
    /// offer.
    pub fn is_moved_meta(&self, i: usize) -> bool {
        self.first.get(&i).is_some_and(|first| *first != self.rows[i].replacement())
    }

    /// Takes over the local values that were read of `which`, or why one could not be read.
    fn take(&mut self, which: impl Iterator<Item = usize>, read: Vec<LocalValue>) {
        let mut read = read.into_iter();
        let missing = || Err(LocalError("the repository did not answer for it".into()));
        for i in which {
            self.unreadable.remove(&i);
            self.local[i] = read.next().unwrap_or_else(missing).unwrap_or_else(|why| {
                self.unreadable.insert(i, why.0);
                None
            });
        }
    }

    async fn judge(&mut self, request: &Request<'_>, sources: Sources<'_>, which: &[usize]) {
        let entries = self.read_entries(request, sources, which).await;
        self.ask_history(request, sources, which, &entries).await;
        for i in which {
            self.judgements[*i] = match self.unreadable.contains_key(i) {
                true => Judgement::Discard(Reason::RepositoryUnreadable),
                false => self.rows[*i].judge(),
            };
        }
    }

    /// One bulk read of the ref-db for all of `which` that it can hold.
    async fn read_entries(
        &mut self,
        request: &Request<'_>,
        sources: Sources<'_>,
        which: &[usize],
    ) -> HashMap<usize, Entry> {
        let mut names: Vec<RefName> = Vec::new();
        let mut places: HashMap<RefName, usize> = HashMap::new();
        let mut place = |name: RefName| match places.get(&name) {
            Some(place) => *place,
            None => {
                names.push(name.clone());
                places.insert(name, names.len() - 1);
                names.len() - 1
            }
        };
        let is_checked = |name: &RefName| Class::of(request.project, name, request.rules) == Class::Checked;
        // The entry of the ref itself, and that of the `/meta` of its change.
        let mut wanted: Vec<(usize, Option<usize>, Option<usize>)> = Vec::new();
        for &i in which {
            let (name, class) = (&request.updates[i].name, self.rows[i].class);
            let own = (class == Class::Checked).then(|| place(name.clone()));
            let reached = matches!(class, Class::Checked | Class::Excluded);
            let meta = meta_of(name).filter(|meta| reached && is_checked(meta)).map(&mut place);
            wanted.push((i, own, meta));
        }
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
        for (i, own, meta) in wanted {
            let row = &mut self.rows[i];
            row.meta = meta.map(seen);
            if let Some(place) = own {
                row.global = seen(place);
                if let Some(entry) = found.get(place).and_then(Lookup::entry)
                    && !entry.superseded.is_empty()
                {
                    superseded.insert(i, entry.clone());
                }
            }
            // It goes with its change, whatever is left of it at the source.
            if row.deletion && row.direction == Direction::Push && row.is_of_deleted_change() {
                row.local = None;
            }
        }
        superseded
    }

    /// At most two bulk questions about history, and only for rows whose verdict depends on them.
    async fn ask_history(
        &mut self,
        request: &Request<'_>,
        sources: Sources<'_>,
        which: &[usize],
        entries: &HashMap<usize, Entry>,
    ) {
        let mut first = Questions::default();
        for &i in which {
            let name = &request.updates[i].name;
            let row = &mut self.rows[i];
            (row.accounted, row.ahead, row.extends_global) = (Accounted::Unasked, false, false);
            if let (true, Seen::Value(global), RemoteValue::Known(Some(remote))) =
                (request.source_of_truth && row.direction == Direction::Fetch, row.global, row.remote)
                && let Some(global) = global.oid().filter(|g| *g != remote)
            {
                first.ask(i, Question::ExtendsGlobal, name, global, Some(remote));
                // The verdict may hang on it, so the other question is asked in the same round.
                self.ask_accounted(request, i, &mut first);
            } else if self.rows[i].judge() == Judgement::Ask {
                self.ask_accounted(request, i, &mut first);
            }
        }
        let Some(answers) = self.put(request, sources, first).await else {
            return;
        };
        let mut second = Questions::default();
        for (i, question, yes) in answers {
            let row = &mut self.rows[i];
            match (question, yes) {
                (Question::ExtendsGlobal, yes) => row.extends_global = yes,
                (_, true) => row.accounted = Accounted::Ancestor,
                (_, false) => {
                    row.accounted = Accounted::No;
                    self.ask_more(request, i, entries.get(&i), &mut second);
                }
            }
        }
        for (i, question, yes) in self.put(request, sources, second).await.unwrap_or_default() {
            match (question, yes) {
                (Question::Ahead, yes) => self.rows[i].ahead = yes,
                (_, true) => self.rows[i].accounted = superseded(request),
                (_, false) => {}
            }
        }
    }

    fn ask_accounted(&mut self, request: &Request<'_>, i: usize, questions: &mut Questions) {
        let name = &request.updates[i].name;
        let row = &mut self.rows[i];
        let Some(old) = row.overwritten() else {
            // On push nobody can account for a value that nobody listed; a fetch has read the local one.
            row.accounted = match (row.direction, row.remote) {
                (Direction::Push, RemoteValue::Unknown) => Accounted::No,
                _ => Accounted::Absent,
            };
            return;
        };
        match row.replacement() {
            // Nobody records its value: what accounts for the `/meta` accounts for the change. Without that one, the kind of
            // the destination is left.
            None if row.deletion && row.is_of_deleted_change() => {
                row.accounted = match request.updates[i].meta_there {
                    Some(false) => superseded(request),
                    _ => Accounted::Superseded,
                }
            }
            Some(new) if new == old => row.accounted = Accounted::Ancestor,
            _ if is_patch_set(name) => row.accounted = Accounted::No,
            // A deletion contains nothing, so only the list can account for the value.
            None if row.deletion => questions.settled.push((i, Question::Accounted, false)),
            new => questions.ask(i, Question::Accounted, name, old, new),
        }
    }

    /// What is no ancestor of its replacement may have been once global; on fetch the local ref may be ahead.
    fn ask_more(
        &mut self,
        request: &Request<'_>,
        i: usize,
        entry: Option<&Entry>,
        questions: &mut Questions,
    ) {
        let name = &request.updates[i].name;
        let row = &mut self.rows[i];
        let Some(old) = row.overwritten() else { return };
        // For a ref that the ref-db does not know, only what is contained counts.
        let listed = entry.filter(|_| !row.is_untracked()).map_or(&[][..], |e| &e.superseded);
        if listed.contains(&old) {
            row.accounted = superseded(request);
            return;
        }
        for value in listed {
            questions.ask(i, Question::Superseded, name, old, Some(*value));
        }
        if let (Direction::Fetch, true, RemoteValue::Known(Some(remote))) =
            (row.direction, row.is_untracked(), row.remote)
        {
            questions.ask(i, Question::Ahead, name, remote, Some(old));
        }
    }

    /// `None` when the repository could not answer; the rows that depend on it then say so.
    async fn put(
        &mut self,
        request: &Request<'_>,
        sources: Sources<'_>,
        questions: Questions,
    ) -> Option<Vec<(usize, Question, bool)>> {
        let mut all = questions.settled;
        if questions.queries.is_empty() {
            return Some(all);
        }
        match sources.local.ancestry(request.project, &questions.queries).await {
            Ok(answers) if answers.len() == questions.queries.len() => {
                all.extend(questions.about.into_iter().zip(answers).map(|((i, q), yes)| (i, q, yes)));
                Some(all)
            }
            failed => {
                let why = failed.map_or_else(|e| e.to_string(), |_| "not every question was answered".into());
                self.problems.push(format!("cannot read the history of `{}`: {why}", request.project));
                for (i, _) in questions.about {
                    self.rows[i].accounted = Accounted::Unreadable;
                }
                None
            }
        }
    }

    /// The columns for `which`, in that order.
    pub fn batch(&self, request: &Request<'_>, which: &[usize], at: Moment) -> RefBatch {
        let oid_len = request.format.oid_len();
        let mut batch = RefBatch {
            direction: request.direction,
            project: request.project.clone(),
            peer: request.peer.to_owned(),
            oid_len,
            attempt: at.attempt,
            now_ms: at.now_ms,
            states: Vec::with_capacity(which.len()),
            names: Vec::new(),
            name_ends: Vec::with_capacity(which.len()),
            new_oids: Vec::with_capacity(which.len() * oid_len),
            old_oids: Vec::with_capacity(which.len() * oid_len),
            local_oids: Vec::with_capacity(which.len() * oid_len),
            global_oids: Vec::with_capacity(which.len() * oid_len),
            groups: Vec::with_capacity(which.len()),
        };
        for &i in which {
            let row = &self.rows[i];
            let is_meta = is_meta(&request.updates[i].name);
            batch.states.push(row.state(&self.judgements[i], self.local[i], is_meta));
            batch.names.extend_from_slice(request.updates[i].name.as_bytes());
            batch.name_ends.push(batch.names.len() as u32);
            let global = match row.global {
                Seen::Value(value) => value.oid(),
                Seen::Locked | Seen::Unavailable => None,
            };
            push_oid(&mut batch.new_oids, row.replacement(), oid_len);
            push_oid(&mut batch.old_oids, row.overwritten(), oid_len);
            push_oid(&mut batch.local_oids, self.local[i], oid_len);
            push_oid(&mut batch.global_oids, global, oid_len);
            batch.groups.push(self.groups[i]);
        }
        batch
    }

    /// The group number of offer `i`.
    pub fn group(&self, i: usize) -> u32 {
        self.groups[i]
    }
}

/// What one query was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Accounted,
    Superseded,
    Ahead,
    ExtendsGlobal,
}

#[derive(Default)]
struct Questions {
    queries: Vec<AncestryQuery>,
    about: Vec<(usize, Question)>,
    /// Answers that need no history.
    settled: Vec<(usize, Question, bool)>,
}

impl Questions {
    fn ask(&mut self, i: usize, question: Question, name: &RefName, ancestor: Oid, descendant: Option<Oid>) {
        self.queries.push(AncestryQuery { name: name.clone(), ancestor, descendant });
        self.about.push((i, question));
    }
}

fn superseded(request: &Request<'_>) -> Accounted {
    match request.kind.trusts_superseded() {
        true => Accounted::Superseded,
        false => Accounted::SupersededUngated,
    }
}

fn first_row(request: &Request<'_>, update: &super::RefUpdate, local: Option<Oid>) -> Row {
    let push = request.direction == Direction::Push;
    let deletion = match push {
        true => update.local.is_none(),
        false => update.remote == RemoteValue::Known(None),
    };
    let class = Class::of(request.project, &update.name, request.rules);
    Row {
        direction: request.direction,
        class,
        attempt: 0,
        deletion,
        forced: update.forced,
        force_ignored: update.force_ignored,
        tag: if push { &update.remote_name } else { &update.name }.as_bytes().starts_with(b"refs/tags/"),
        global: Seen::Unavailable,
        meta: None,
        // Look 0 judges what is on offer, the reload what is there by then.
        local: if push { update.local } else { local },
        remote: update.remote,
        accounted: Accounted::Unasked,
        ahead: false,
        extends_global: false,
    }
}

/// One number per offer: equal for the refs of a change, different otherwise.
fn groups(names: &[RefName]) -> Vec<u32> {
    let mut changes: HashMap<&[u8], u32> = HashMap::new();
    let mut next = 0;
    let mut fresh = || {
        next += 1;
        next - 1
    };
    names
        .iter()
        .map(|name| match ChangeRef::of(name) {
            Some(change) => *changes.entry(change.change).or_insert_with(&mut fresh),
            None => fresh(),
        })
        .collect()
}

fn push_oid(column: &mut Vec<u8>, oid: Option<Oid>, len: usize) {
    match oid {
        Some(oid) if oid.as_bytes().len() == len => column.extend_from_slice(oid.as_bytes()),
        _ => column.resize(column.len() + len, 0),
    }
}
