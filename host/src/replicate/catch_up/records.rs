//! What a record says of its refs, once the ref-db and the local refs are known: pure functions of facts.
//!
//! A record is finished as a whole: refs that the ref-db does not record (patch sets) follow the recorded ones of their
//! group, and move together with them, so that no `/meta` is ever seen without what it names.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use refgate_core::{Edit, Entry, Expected, GlobalRef, Lookup, Oid, Project, RefName};
use refgate_git::RefEdit;

use super::Moved;
use super::changes::change_of;
use crate::gated::{Record, RecordedRef};

/// Everything that the fate of a record rests on, read under the locks of its refs.
pub(super) struct Facts<'a> {
    pub project: &'a Project,
    pub entries: &'a HashMap<RefName, Lookup>,
    /// Local values; a ref that does not exist is left out, or `None`.
    pub local: HashMap<RefName, Option<Oid>>,
    /// Pairs whose first is an ancestor of the second, of those that [`questions`] asks for.
    pub contained: &'a HashSet<(Oid, Oid)>,
    /// Objects that are here with all that they need.
    pub complete: &'a HashSet<Oid>,
}

/// Where the compare-and-put of one recorded ref stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Landed {
    /// The ref-db holds the new value, or one that came after it.
    Yes,
    /// It never came, or may still come.
    No,
    /// The ref-db holds something that has nothing to do with this write.
    Elsewhere,
    /// The entry cannot be read.
    Unknown,
}

/// What is left to be done about a record.
#[derive(Debug)]
pub(super) enum Rest {
    /// Its write has ended.
    Nothing,
    /// Something is to be done at this site; the text says what.
    Here(String),
    /// These writes did not land so far.
    MayLand(Vec<Edit>),
}

/// The questions about history that the records raise: is the first contained in the second?
pub(super) fn questions(records: &[Record], entries: &HashMap<RefName, Lookup>) -> Vec<(Oid, Oid)> {
    let mut pairs = BTreeSet::new();
    for one in records.iter().flat_map(|record| &record.refs).filter(|one| one.tracked) {
        if let (Some(new), Some(entry)) = (one.new, entries.get(&one.name).and_then(Lookup::entry)) {
            pairs.extend(
                entry.value.oid().into_iter().chain(entry.superseded.iter().copied()).map(|oid| (new, oid)),
            );
        }
    }
    pairs.into_iter().collect()
}

/// Whether `value` is what the ref-db held before a write over the local value `old`.
fn is_before(value: GlobalRef, old: Option<Oid>) -> bool {
    match (value, old) {
        // What is forgotten cannot be what a write has left.
        (GlobalRef::Untracked, _) | (GlobalRef::Deleted, None) => true,
        (GlobalRef::At(global), Some(old)) => global == old,
        _ => false,
    }
}

impl Facts<'_> {
    fn entry(&self, name: &RefName) -> Option<&Entry> {
        self.entries.get(name).and_then(Lookup::entry)
    }

    fn local(&self, name: &RefName) -> Option<Oid> {
        self.local.get(name).copied().flatten()
    }

    fn landed(&self, one: &RecordedRef) -> Landed {
        let Some(entry) = self.entry(&one.name) else { return Landed::Unknown };
        if entry.value == GlobalRef::at_or_deleted(one.new) {
            return Landed::Yes;
        }
        if is_before(entry.value, one.old) {
            return Landed::No;
        }
        let within = |new: Oid| {
            let later = entry.value.oid().into_iter().chain(entry.superseded.iter().copied());
            later.into_iter().any(|oid| oid == new || self.contained.contains(&(new, oid)))
        };
        match one.new {
            Some(new) if within(new) => Landed::Yes,
            _ => Landed::Elsewhere,
        }
    }

    /// What is left of a record, after everything has moved that could.
    pub(super) fn rest(&self, record: &Record) -> Rest {
        if record.project != *self.project {
            return Rest::Here(format!("it is of the project `{}`", record.project));
        }
        let mut open = Vec::new();
        for one in record.refs.iter().filter(|one| one.tracked) {
            let global = self.entry(&one.name).map(|entry| entry.value).unwrap_or_default();
            let here = self.local(&one.name) == global.oid();
            match self.landed(one) {
                Landed::Unknown => return Rest::Here(format!("the entry of `{}` cannot be read", one.name)),
                // Once the ref-db has moved on, the write is over, whatever the local ref holds.
                Landed::Yes if here || global != GlobalRef::at_or_deleted(one.new) => {}
                Landed::Yes => return Rest::Here(format!("`{}` is not yet at its new value", one.name)),
                Landed::Elsewhere if !here => {
                    return Rest::Here(format!("`{}` is not yet at what the ref-db holds", one.name));
                }
                Landed::No | Landed::Elsewhere => {
                    let old = one
                        .old
                        .map_or(Expected::AbsentOrDeleted, |oid| Expected::Exactly(GlobalRef::At(oid)));
                    open.push(Edit::new(one.name.clone(), old, GlobalRef::at_or_deleted(one.new)));
                }
            }
        }
        for group in groups(record).into_values().filter(|group| self.landed_in_part(group)) {
            if let Some(late) = group.untracked.iter().find(|one| self.local(&one.name) != one.new) {
                return Rest::Here(match self.all_landed(&group) {
                    true => format!("`{}` is not yet at its new value", late.name),
                    // A writer makes such groups all or nothing; this one was written by something else.
                    false => format!("only some refs that `{}` belongs to are in the ref-db", late.name),
                });
            }
        }
        if open.is_empty() { Rest::Nothing } else { Rest::MayLand(open) }
    }

    fn landed_in_part(&self, group: &Group<'_>) -> bool {
        group.tracked.iter().any(|one| self.landed(one) == Landed::Yes)
    }

    fn all_landed(&self, group: &Group<'_>) -> bool {
        !group.tracked.is_empty() && group.tracked.iter().all(|one| self.landed(one) == Landed::Yes)
    }

    /// Why the untracked refs of a group cannot get their new values.
    fn obstacle(&self, group: &Group<'_>) -> Option<String> {
        group.untracked.iter().find_map(|one| {
            let here = self.local(&one.name);
            let shown = |oid: Option<Oid>| oid.map_or("absent".to_owned(), |oid| oid.to_string());
            if here == one.new {
                None
            } else if here != one.old {
                Some(format!("`{}` is {}, not {}", one.name, shown(here), shown(one.new)))
            } else if one.new.is_some_and(|oid| !self.complete.contains(&oid)) {
                Some(format!("the object {} of `{}` is not here", shown(one.new), one.name))
            } else {
                None
            }
        })
    }
}

/// The refs of one group of a record.
#[derive(Default)]
struct Group<'r> {
    tracked: Vec<&'r RecordedRef>,
    untracked: Vec<&'r RecordedRef>,
}

fn groups(record: &Record) -> BTreeMap<u32, Group<'_>> {
    let mut groups: BTreeMap<u32, Group<'_>> = BTreeMap::new();
    // A ref that the ref-db does not record and that has no group: nothing says that its write was accepted.
    for one in &record.refs {
        let Some(group) = one.group else { continue };
        let group = groups.entry(group).or_default();
        if one.tracked { group.tracked.push(one) } else { group.untracked.push(one) }
    }
    groups
}

/// What moves, and which records are stuck.
pub(super) struct Plan {
    edits: Vec<RefEdit>,
    /// Why, by the id of the record.
    pub blocked: BTreeMap<String, String>,
}

impl Plan {
    /// `kept` is what the table lets through of the refs that are behind.
    pub(super) fn of(records: &[Record], facts: &Facts<'_>, mut kept: BTreeMap<RefName, Moved>) -> Plan {
        let mut plan = Plan { edits: Vec::new(), blocked: BTreeMap::new() };
        let mut next = 0;
        for record in records.iter().filter(|record| record.project == *facts.project) {
            for group in groups(record).into_values() {
                if group.untracked.is_empty() || !facts.all_landed(&group) {
                    continue;
                }
                let behind = |one: &&&RecordedRef| {
                    facts.local(&one.name) != facts.entry(&one.name).and_then(|entry| entry.value.oid())
                };
                let stuck = group.tracked.iter().filter(behind).find(|one| !kept.contains_key(&one.name));
                let why = match stuck {
                    Some(one) => Some(format!("`{}` cannot be set to what the ref-db holds", one.name)),
                    None => facts.obstacle(&group),
                };
                let tracked: Vec<Moved> =
                    group.tracked.iter().filter_map(|one| kept.remove(&one.name)).collect();
                // What is left of a deleted change is behind by itself, too.
                group.untracked.iter().for_each(|one| drop(kept.remove(&one.name)));
                if let Some(why) = why {
                    plan.blocked.insert(record.id.clone(), why);
                    continue;
                }
                let late = group.untracked.iter().filter(|one| facts.local(&one.name) != one.new);
                let late = late.map(|one| Moved { name: one.name.clone(), old: one.old, new: one.new });
                plan.edits.extend(late.chain(tracked).map(|moved| edit(moved, Some(next))));
                next += 1;
            }
        }
        let mut changes: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for moved in kept.into_values() {
            let change = change_of(&moved.name).map(|change| {
                *changes.entry(change).or_insert_with(|| {
                    next += 1;
                    next - 1
                })
            });
            plan.edits.push(edit(moved, change));
        }
        plan
    }

    /// The moves, those of a group together.
    pub(super) fn edits(&self) -> Vec<RefEdit> {
        self.edits.clone()
    }
}

fn edit(moved: Moved, group: Option<u32>) -> RefEdit {
    RefEdit { name: moved.name, old: moved.old, new: moved.new, group }
}
