//! The group rule: a change goes whole or not at all.

use std::collections::{HashMap, HashSet};

use super::{HOST, Request, Verdict};
use crate::group::{ChangePart, ChangeRef, meta_of};
use crate::table::{Class, Seen};
use crate::{Reason, RefName};

use super::look::Facts;

/// Holds back a `/meta` whose patch sets are held back, then everything whose `/meta` is; and what is deleted with a change
/// whose `/meta` stays.
pub(super) fn apply(request: &Request<'_>, facts: &Facts, verdicts: &mut [Verdict]) {
    let names: Vec<&RefName> = request.updates.iter().map(|u| &u.name).collect();
    // What a rule exempts from checks is not reached by the group either.
    let reached = |i: usize| facts.rows[i].class != Class::Ignored;
    for (held, part, reason) in [
        (ChangePart::PatchSet, ChangePart::Meta, Reason::GroupIncomplete),
        (ChangePart::Meta, ChangePart::PatchSet, Reason::OutdatedMeta),
    ] {
        let changes: HashSet<&[u8]> = names
            .iter()
            .enumerate()
            .filter(|(i, _)| reached(*i) && verdicts[*i].reason().is_some_and(Reason::is_held_back))
            .filter_map(|(_, name)| ChangeRef::of(name).filter(|c| c.part == held).map(|c| c.change))
            .collect();
        if changes.is_empty() {
            continue;
        }
        for (i, name) in names.iter().enumerate() {
            let Some(change) = ChangeRef::of(name) else {
                continue;
            };
            // A held-back meta takes all its other refs along, a held-back patch set only the meta.
            let concerned = match part {
                ChangePart::Meta => change.part == ChangePart::Meta,
                _ => change.part != ChangePart::Meta,
            };
            if concerned && reached(i) && verdicts[i].is_keep() && changes.contains(change.change) {
                verdicts[i] = Verdict::Discard { reason: reason.clone(), by: HOST.into() };
            }
        }
    }
    hold_what_outlives_its_meta(request, facts, verdicts);
}

/// A ref of a deleted change goes with its `/meta`, or when that is gone already; and where the entry of the `/meta` cannot
/// be read, nobody can tell whether the change is one.
fn hold_what_outlives_its_meta(request: &Request<'_>, facts: &Facts, verdicts: &mut [Verdict]) {
    let reason = |i: usize| {
        let row = &facts.rows[i];
        match row.meta? {
            Seen::Locked => Some(Reason::Locked),
            Seen::Unavailable => Some(Reason::RefdbUnavailable),
            Seen::Value(_) => {
                (row.deletion && row.is_of_deleted_change() && request.updates[i].meta_there != Some(false))
                    .then_some(Reason::OutdatedMeta)
            }
        }
    };
    let kept = (0..verdicts.len()).filter(|i| verdicts[*i].is_keep());
    let held: Vec<(usize, RefName, Reason)> =
        kept.filter_map(|i| Some((i, meta_of(&request.updates[i].name)?, reason(i)?))).collect();
    if held.is_empty() {
        return;
    }
    // Of those on offer, a `/meta` that is held back has held back the others already.
    let offered: HashSet<&RefName> = request.updates.iter().map(|update| &update.name).collect();
    for (i, _, reason) in held.into_iter().filter(|(_, meta, _)| !offered.contains(meta)) {
        verdicts[i] = Verdict::Discard { reason, by: HOST.into() };
    }
}

/// For a transport: the kept `/meta` refs that must wait until the other kept refs of their change have arrived.
///
/// Returns the indices into `names` of those metas, each with the indices of the refs that it waits for.
pub fn metas_after<'n>(names: impl IntoIterator<Item = &'n RefName>) -> Vec<(usize, Vec<usize>)> {
    let mut changes: HashMap<&[u8], (Option<usize>, Vec<usize>)> = HashMap::new();
    for (i, name) in names.into_iter().enumerate() {
        let Some(change) = ChangeRef::of(name) else {
            continue;
        };
        let (meta, others) = changes.entry(change.change).or_default();
        match change.part {
            ChangePart::Meta => *meta = Some(i),
            _ => others.push(i),
        }
    }
    let mut waiting: Vec<_> = changes
        .into_values()
        .filter(|(_, others)| !others.is_empty())
        .filter_map(|(meta, others)| meta.map(|m| (m, others)))
        .collect();
    waiting.sort_unstable();
    waiting
}
