//! The one list of a session: what is about to move, and what has become of it so far.
//!
//! A push, a fetch, catch-up and the hook of a client's push each have one. The columns are filled when the refs are
//! offered and judged; from then on only states change. `groups` holds the rules by which refs of one change stand or fall
//! together, and the order in which they go.

mod groups;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

pub use groups::Doomed;
pub use state::{Held, Refusal, State};

use crate::table::{self, Class, RemoteValue, Seen};
use crate::{ChangePart, ChangeRef, Direction, ObjectFormat, Oid, Project, RefName, Rules};

/// One offered ref update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// The local name; the ref-db knows the ref by it.
    pub name: RefName,
    /// The name at the remote.
    pub remote_name: RefName,
    /// Push: the value on offer, `None` to delete. Fetch: the local value at the listing; it is read again unless the
    /// ref is exempt.
    pub local: Option<Oid>,
    /// The remote's value. On fetch `Known(None)` offers a deletion.
    pub remote: RemoteValue,
    /// The refspec has a `+`.
    pub forced: bool,
    /// The refspec has a `+` and names more than `refs/*`.
    pub force_ignored: bool,
    /// For the deletion of another ref of a change than its `/meta`: whether the `/meta` is at the destination. Then it has
    /// to go, too, or nothing of the change goes. `None`: nobody looked.
    pub meta_there: Option<bool>,
}

impl RefUpdate {
    /// An update of a ref that has one name on both sides, under a refspec without `+`.
    pub fn new(name: RefName, local: Option<Oid>, remote: RemoteValue) -> RefUpdate {
        let remote_name = name.clone();
        RefUpdate { remote_name, name, local, remote, forced: false, force_ignored: false, meta_there: None }
    }

    /// The same under a refspec with `+`.
    pub fn forced(self) -> RefUpdate {
        RefUpdate { forced: true, ..self }
    }
}

/// Ref updates in columns, each with its state. `R` says why one was refused.
#[derive(Clone, Debug)]
pub struct Moves<R = Refusal> {
    direction: Direction,
    names: Vec<RefName>,
    remote_names: Vec<RefName>,
    /// L as judged: on push the value on offer until the reload.
    local: Vec<Option<Oid>>,
    remote: Vec<RemoteValue>,
    /// The local value as it was read, which on push may differ from the one on offer.
    here: Vec<Option<Oid>>,
    global: Vec<Option<Seen>>,
    class: Vec<Class>,
    flags: Vec<u16>,
    /// Equal for refs of one change, and dense: every number is below `groups`.
    group: Vec<u32>,
    part: Vec<Option<ChangePart>>,
    groups: u32,
    /// The numbers of changes, but for the one of the last row.
    changes: HashMap<Box<[u8]>, u32>,
    states: Vec<State<R>>,
    /// The last reason for which a row was held back: the next one usually has the same.
    last_held: Option<Arc<Held>>,
}

/// What is known of a row beside its values.
pub(crate) mod flag {
    pub const FORCED: u16 = 1;
    pub const FORCE_IGNORED: u16 = 1 << 1;
    /// The offer deletes the ref.
    pub const DELETION: u16 = 1 << 2;
    /// The destination is a tag.
    pub const TAG: u16 = 1 << 3;
    /// Judged after the reload.
    pub const RELOADED: u16 = 1 << 4;
    /// The ref-db has to move before the local ref does.
    pub const ADVANCES: u16 = 1 << 5;
    /// What it overwrites is listed as superseded, and not contained in it.
    pub const OVER_SUPERSEDED: u16 = 1 << 6;
    pub const META_THERE: u16 = 1 << 7;
    pub const META_NOT_THERE: u16 = 1 << 8;
    /// Its change is deleted whole.
    pub const DOOMED: u16 = 1 << 9;
}

impl<R> Moves<R> {
    /// An empty list.
    pub fn new(direction: Direction) -> Moves<R> {
        Moves {
            direction,
            names: Vec::new(),
            remote_names: Vec::new(),
            local: Vec::new(),
            remote: Vec::new(),
            here: Vec::new(),
            global: Vec::new(),
            class: Vec::new(),
            flags: Vec::new(),
            group: Vec::new(),
            part: Vec::new(),
            groups: 0,
            changes: HashMap::new(),
            states: Vec::new(),
            last_held: None,
        }
    }

    /// These updates, all of them open.
    pub fn of(direction: Direction, updates: impl IntoIterator<Item = RefUpdate>) -> Moves<R> {
        let mut moves = Moves::new(direction);
        updates.into_iter().for_each(|update| moves.add(update));
        moves
    }

    /// Adds an open row.
    pub fn add(&mut self, update: RefUpdate) {
        let (group, part) = self.group_of(&update.name);
        let (deletion, destination) = match self.direction {
            Direction::Push => (update.local.is_none(), &update.remote_name),
            Direction::Fetch => (update.remote == RemoteValue::Known(None), &update.name),
        };
        let flags = [
            (flag::FORCED, update.forced),
            (flag::FORCE_IGNORED, update.force_ignored),
            (flag::DELETION, deletion),
            (flag::TAG, destination.as_bytes().starts_with(b"refs/tags/")),
            (flag::META_THERE, update.meta_there == Some(true)),
            (flag::META_NOT_THERE, update.meta_there == Some(false)),
        ];
        self.flags.push(flags.into_iter().filter(|(_, set)| *set).fold(0, |all, (bit, _)| all | bit));
        self.names.push(update.name);
        self.remote_names.push(update.remote_name);
        self.local.push(update.local);
        self.remote.push(update.remote);
        self.here.push(update.local);
        self.global.push(None);
        self.class.push(Class::Checked);
        self.group.push(group);
        self.part.push(part);
        self.states.push(State::Open);
    }

    /// The number of the change of `name`, or one of its own. Refs of a change usually follow each other.
    fn group_of(&mut self, name: &RefName) -> (u32, Option<ChangePart>) {
        let Some(of) = ChangeRef::of(name) else { return (self.next_group(), None) };
        if let (Some(last), Some(group)) = (self.names.last(), self.group.last())
            && ChangeRef::of(last).is_some_and(|last| last.change == of.change)
        {
            return (*group, Some(of.part));
        }
        let group = match self.changes.get(of.change) {
            Some(group) => *group,
            None => {
                let group = self.next_group();
                self.changes.insert(of.change.into(), group);
                group
            }
        };
        (group, Some(of.part))
    }

    fn next_group(&mut self) -> u32 {
        self.groups += 1;
        self.groups - 1
    }

    /// Makes all rows one group: a push that goes whole or not at all.
    pub fn join(&mut self) {
        self.group.fill(0);
        self.groups = u32::from(!self.names.is_empty());
    }

    /// Tells of every row how much of the ref-db applies to it.
    pub fn classify(&mut self, class: impl Fn(&RefName) -> Class) {
        self.class = self.names.iter().map(class).collect();
    }

    /// The same by the rules of a configuration.
    pub(crate) fn classify_by(&mut self, project: &Project, rules: &Rules) {
        self.classify(|name| Class::of(project, name, rules));
    }

    /// Which way the refs go.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The local names.
    pub fn names(&self) -> &[RefName] {
        &self.names
    }

    /// The names at the remote.
    pub fn remote_names(&self) -> &[RefName] {
        &self.remote_names
    }

    /// Row `at`.
    ///
    /// # Panics
    /// When there is no such row; so do all methods that take one.
    pub fn get(&self, at: usize) -> Move<'_, R> {
        assert!(at < self.len(), "row {at} of {}", self.len());
        Move { moves: self, at }
    }

    /// All rows, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Move<'_, R>> + DoubleEndedIterator {
        (0..self.len()).map(|at| Move { moves: self, at })
    }

    /// The rows that may still go, in their order.
    pub fn open(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|at| self.states[*at].is_open())
    }

    /// Says what has become of a row.
    pub fn set(&mut self, at: usize, state: State<R>) {
        self.states[at] = state;
    }

    /// Says the same of every row that is still open.
    pub fn set_open(&mut self, state: impl Fn() -> State<R>) {
        self.states.iter_mut().filter(|one| one.is_open()).for_each(|one| *one = state());
    }

    /// Holds a row back.
    pub fn hold(&mut self, at: usize, held: Held) {
        let shared = match &self.last_held {
            Some(last) if **last == held => last.clone(),
            _ => Arc::new(held),
        };
        self.last_held = Some(shared.clone());
        self.states[at] = State::Held(shared);
    }

    /// Holds every open row back.
    pub fn hold_open(&mut self, held: Held) {
        let held = Arc::new(held);
        self.set_open(|| State::Held(held.clone()));
    }

    /// What is said of each row that went and is not known to have arrived, with its name at the remote.
    pub fn failures(&mut self) -> impl Iterator<Item = (&RefName, &mut R)> {
        self.remote_names.iter().zip(&mut self.states).filter_map(|(name, state)| match state {
            State::Refused(refusal) | State::Unknown(refusal) => Some((name, refusal)),
            State::Open | State::Held(_) | State::Done => None,
        })
    }

    /// The format of the first value that there is; rows without any value are the same in both.
    pub fn format(&self) -> ObjectFormat {
        let known = |remote: &RemoteValue| match remote {
            RemoteValue::Known(oid) => *oid,
            RemoteValue::Unknown => None,
        };
        let any = self.remote.iter().zip(&self.local).find_map(|(remote, local)| known(remote).or(*local));
        any.map_or(ObjectFormat::Sha1, |oid| oid.format())
    }

    pub(crate) fn has(&self, at: usize, flag: u16) -> bool {
        self.flags[at] & flag != 0
    }

    pub(crate) fn mark(&mut self, at: usize, flag: u16) {
        self.flags[at] |= flag;
    }

    pub(crate) fn class(&self, at: usize) -> Class {
        self.class[at]
    }

    pub(crate) fn part(&self, at: usize) -> Option<ChangePart> {
        self.part[at]
    }

    pub(crate) fn judged_local(&self, at: usize) -> Option<Oid> {
        self.local[at]
    }

    pub(crate) fn remote(&self, at: usize) -> RemoteValue {
        self.remote[at]
    }

    pub(crate) fn set_remote(&mut self, at: usize, remote: RemoteValue) {
        self.remote[at] = remote;
    }

    pub(crate) fn set_local(&mut self, at: usize, local: Option<Oid>) {
        self.local[at] = local;
    }

    pub(crate) fn set_here(&mut self, at: usize, here: Option<Oid>) {
        self.here[at] = here;
    }

    pub(crate) fn set_global(&mut self, at: usize, global: Seen) {
        self.global[at] = Some(global);
    }

    /// Takes row `at` of another list over, as it is.
    pub fn take_over(&mut self, other: &Moves<R>, at: usize)
    where
        R: Clone,
    {
        let (group, part) = self.group_of(&other.names[at]);
        self.group.push(group);
        self.part.push(part);
        self.names.push(other.names[at].clone());
        self.remote_names.push(other.remote_names[at].clone());
        self.local.push(other.local[at]);
        self.remote.push(other.remote[at]);
        self.here.push(other.here[at]);
        self.global.push(other.global[at]);
        self.class.push(other.class[at]);
        self.flags.push(other.flags[at]);
        self.states.push(other.states[at].clone());
    }

    /// The same list in the order of the names: that of reports.
    pub fn sorted(self) -> Moves<R>
    where
        R: Clone,
    {
        let key = |at: usize| (&self.names[at], &self.remote_names[at]);
        if (1..self.len()).all(|at| key(at - 1) <= key(at)) {
            return self;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|a, b| key(*a).cmp(&key(*b)));
        let mut sorted = Moves::new(self.direction);
        order.into_iter().for_each(|at| sorted.take_over(&self, at));
        sorted
    }
}

/// One row of [`Moves`].
#[derive(Debug)]
pub struct Move<'m, R = Refusal> {
    moves: &'m Moves<R>,
    at: usize,
}

impl<R> Clone for Move<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Move<'_, R> {}

impl<'m, R> Move<'m, R> {
    /// Its place in the list.
    pub fn at(self) -> usize {
        self.at
    }

    /// The local name.
    pub fn name(self) -> &'m RefName {
        &self.moves.names[self.at]
    }

    /// The name at the remote.
    pub fn remote_name(self) -> &'m RefName {
        &self.moves.remote_names[self.at]
    }

    /// The value to be overwritten at the destination, as judged: the expected old value of whoever sends it.
    pub fn old(self) -> Option<Oid> {
        table::overwritten(self.moves.direction, self.moves.local[self.at], self.moves.remote[self.at])
    }

    /// What would replace it, as judged: the pinned value.
    #[expect(clippy::new_ret_no_self, reason = "the value beside `old`, as users read it")]
    pub fn new(self) -> Option<Oid> {
        let (moves, at) = (self.moves, self.at);
        let global = moves.global[at].unwrap_or(Seen::Unavailable);
        match self.is_deletion() {
            true => None,
            false => table::replacement(moves.direction, moves.local[at], moves.remote[at], global),
        }
    }

    /// Whether the offer is a deletion.
    pub fn is_deletion(self) -> bool {
        self.moves.has(self.at, flag::DELETION)
    }

    /// Whether it was judged after the reload.
    pub fn is_reloaded(self) -> bool {
        self.moves.has(self.at, flag::RELOADED)
    }

    /// The local value.
    pub fn local(self) -> Option<Oid> {
        self.moves.here[self.at]
    }

    /// What the ref-db holds; `None` when it was not read.
    pub fn global(self) -> Option<Seen> {
        self.moves.global[self.at]
    }

    /// On a fetch from a source of truth: the ref-db has to move from this value before the local ref does.
    pub fn advances(self) -> Option<Oid> {
        match self.global() {
            Some(Seen::Value(global)) if self.moves.has(self.at, flag::ADVANCES) => global.oid(),
            _ => None,
        }
    }

    /// It goes although what it overwrites is not contained in it: the ref-db lists that as superseded. True only where all
    /// client writes go through the ref-db.
    pub fn is_over_superseded(self) -> bool {
        self.moves.has(self.at, flag::OVER_SUPERSEDED)
    }

    /// How much of the ref-db applies to it.
    pub fn class(self) -> Class {
        self.moves.class[self.at]
    }

    /// Equal for rows that stand or fall together.
    pub fn group(self) -> u32 {
        self.moves.group[self.at]
    }

    /// Which ref of a change it is; `None` when it is none.
    pub fn part(self) -> Option<ChangePart> {
        self.moves.part[self.at]
    }

    /// What has become of it.
    pub fn state(self) -> &'m State<R> {
        &self.moves.states[self.at]
    }
}
