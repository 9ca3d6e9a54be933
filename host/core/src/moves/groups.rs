//! A change goes whole or not at all: the rules of that, and the order in which its refs go.
//!
//! | when | what |
//! |---|---|
//! | a patch set is held back | its `/meta` is `group-incomplete` |
//! | the `/meta` is held back | all other refs of the change are `outdated-meta` |
//! | refs are sent one by one | patch sets first, the `/meta` when all that went of its change has arrived |
//! | a change is deleted | in one transaction, or the `/meta` first and the rest when it is gone |
//! | refs move in one transaction | where one of a group cannot, none of it does |

use super::{Held, Moves, State, flag};
use crate::{ChangePart, Class, Reason, RefName};

/// A change of which the `/meta` and others are to be deleted: places in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// The `/meta`.
    pub meta: usize,
    /// Its other refs.
    pub others: Vec<usize>,
}

impl Doomed {
    /// All its refs, the `/meta` first.
    pub fn all(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::once(self.meta).chain(self.others.iter().copied())
    }
}

impl<R> Moves<R> {
    /// The rule of a decision: holds back a `/meta` whose patch sets are held back, then everything whose `/meta` is. A ref
    /// that is held back anyway keeps its own reason, and what a rule IGNOREs is not reached.
    pub fn hold_incomplete(&mut self) {
        let is_meta = |part| part == Some(ChangePart::Meta);
        let is_patch_set = |part| part == Some(ChangePart::PatchSet);
        let is_other = |part: Option<ChangePart>| part.is_some() && !is_meta(part);
        self.hold_where(&is_patch_set, &is_meta, Reason::GroupIncomplete);
        self.hold_where(&is_meta, &is_other, Reason::OutdatedMeta);
    }

    /// Where a ref of the `culprits` is held back, holds back the `concerned` ones of its change.
    fn hold_where(
        &mut self,
        culprits: &dyn Fn(Option<ChangePart>) -> bool,
        concerned: &dyn Fn(Option<ChangePart>) -> bool,
        reason: Reason,
    ) {
        let mut broken: Vec<bool> = Vec::new();
        for (at, state) in self.states.iter().enumerate() {
            if let State::Held(held) = state
                && held.reason.is_held_back()
                && culprits(self.part[at])
                && self.class[at] != Class::Ignored
            {
                broken.resize(self.groups as usize, false);
                broken[self.group[at] as usize] = true;
            }
        }
        if broken.is_empty() {
            return;
        }
        for at in 0..self.len() {
            if self.states[at].is_open()
                && broken[self.group[at] as usize]
                && concerned(self.part[at])
                && self.class[at] != Class::Ignored
            {
                self.hold(at, Held::by_host(reason.clone()));
            }
        }
    }

    /// Says of every row of a group what is said of one of them. `said` proposes for a row what is to be said of its group,
    /// with a rank, of which the highest counts and the first among equals; `takes` tells whether a row takes it.
    pub fn spread(
        &mut self,
        said: impl Fn(&RefName, &State<R>) -> Option<(u8, State<R>)>,
        takes: impl Fn(&State<R>, &State<R>) -> bool,
    ) where
        R: Clone,
    {
        let mut of_group: Vec<Option<(u8, State<R>)>> = Vec::new();
        for (at, state) in self.states.iter().enumerate() {
            let Some((rank, proposed)) = said(&self.names[at], state) else { continue };
            if of_group.is_empty() {
                of_group.resize_with(self.groups as usize, || None);
            }
            let known = &mut of_group[self.group[at] as usize];
            if known.as_ref().is_none_or(|(other, _)| *other < rank) {
                *known = Some((rank, proposed));
            }
        }
        if of_group.is_empty() {
            return;
        }
        for (state, group) in self.states.iter_mut().zip(&self.group) {
            if let Some((_, proposed)) = &of_group[*group as usize]
                && takes(state, proposed)
            {
                *state = proposed.clone();
            }
        }
    }

    /// The open rows of the first round of a push: all but each `/meta` that waits for others, and what is deleted whole.
    pub fn first_round(&self) -> Vec<usize> {
        let mut with_others = vec![false; self.groups as usize];
        for at in self.open().filter(|at| !matches!(self.part[*at], None | Some(ChangePart::Meta))) {
            with_others[self.group[at] as usize] = true;
        }
        let failed = self.failed_groups();
        let waits = |at: usize| {
            let group = self.group[at] as usize;
            self.part[at] == Some(ChangePart::Meta) && (with_others[group] || failed[group])
        };
        self.open().filter(|at| !waits(*at) && !self.has(*at, flag::DOOMED)).collect()
    }

    /// The rows of the second round: each `/meta` that is still open, unless something of its change has not arrived; then it
    /// is held back.
    pub fn second_round(&mut self) -> Vec<usize> {
        let failed = self.failed_groups();
        let waits = |at: &usize| self.part[*at] == Some(ChangePart::Meta) && !self.has(*at, flag::DOOMED);
        let (go, held): (Vec<usize>, Vec<usize>) =
            self.open().filter(waits).partition(|at| !failed[self.group[*at] as usize]);
        held.into_iter().for_each(|at| self.states[at] = State::held(Reason::GroupIncomplete));
        go
    }

    fn failed_groups(&self) -> Vec<bool> {
        let mut failed = vec![false; self.groups as usize];
        for (state, group) in self.states.iter().zip(&self.group) {
            failed[*group as usize] |= state.has_failed();
        }
        failed
    }

    /// The changes whose deletion may be sent. Where a ref of one was refused already, the others are held back.
    pub fn doomed(&mut self) -> Vec<Doomed> {
        let mut changes: Vec<(u32, Option<usize>, Vec<usize>)> = Vec::new();
        let dies = |at: &usize| self.part[*at].is_some() && self.has(*at, flag::DELETION);
        let mut rows: Vec<usize> =
            (0..self.len()).filter(|at| dies(at) && self.states[*at].is_kept()).collect();
        rows.sort_by_key(|at| self.group[*at]);
        for at in rows {
            if changes.last().is_none_or(|(group, ..)| *group != self.group[at]) {
                changes.push((self.group[at], None, Vec::new()));
            }
            if let Some((_, meta, others)) = changes.last_mut() {
                match self.part[at] {
                    Some(ChangePart::Meta) => *meta = Some(at),
                    _ => others.push(at),
                }
            }
        }
        let whole = changes.into_iter().filter_map(|(_, meta, others)| Some(Doomed { meta: meta?, others }));
        let whole: Vec<Doomed> = whole.filter(|change| !change.others.is_empty()).collect();
        let (doomed, spoiled): (Vec<Doomed>, Vec<Doomed>) =
            whole.into_iter().partition(|change| change.all().all(|at| self.states[at].is_open()));
        spoiled.iter().for_each(|change| self.hold_rest(change));
        doomed.iter().flat_map(Doomed::all).for_each(|at| self.mark(at, flag::DOOMED));
        doomed
    }

    /// Holds back what was not sent of a change one of whose refs was refused.
    pub fn hold_rest(&mut self, change: &Doomed) {
        for at in change.all() {
            if self.states[at].is_open() {
                let meta = at == change.meta;
                self.states[at] =
                    State::held(if meta { Reason::GroupIncomplete } else { Reason::OutdatedMeta });
            }
        }
    }

    /// By group, whether its `/meta` is in the list.
    pub(crate) fn groups_with_meta(&self) -> Vec<bool> {
        let mut with_meta = vec![false; self.groups as usize];
        for (part, group) in self.part.iter().zip(&self.group) {
            with_meta[*group as usize] |= *part == Some(ChangePart::Meta);
        }
        with_meta
    }

    /// The open rows in parts of at most `size`, the rows of a group in one part however many they are.
    pub fn parts(&self, size: usize) -> Vec<Vec<usize>> {
        let mut first: Vec<Option<usize>> = vec![None; self.groups as usize];
        let mut units: Vec<Vec<usize>> = Vec::new();
        for at in self.open() {
            let unit = *first[self.group[at] as usize].get_or_insert(units.len());
            if unit == units.len() {
                units.push(Vec::new());
            }
            units[unit].push(at);
        }
        let mut parts: Vec<Vec<usize>> = Vec::new();
        for unit in units {
            match parts.last_mut() {
                Some(part) if part.len() + unit.len() <= size => part.extend(unit),
                _ => parts.push(unit),
            }
        }
        parts
    }

    /// The open rows of groups with more than `size` of them.
    pub fn larger_than(&self, size: usize) -> Vec<usize> {
        let mut sizes = vec![0_usize; self.groups as usize];
        self.open().for_each(|at| sizes[self.group[at] as usize] += 1);
        self.open().filter(|at| sizes[self.group[*at] as usize] > size).collect()
    }
}
