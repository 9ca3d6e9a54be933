//! Which refs are offered: all that the refspecs name and that differ, and what the ref-db records as deleted.

use std::collections::{HashMap, HashSet};

use refgate_core::table::RemoteValue;
use refgate_core::{
    Class, Deadline, Direction, GlobalRef, Held, Lookup, Mapped, Moves, Oid, Project, Reason, RefName,
    RefUpdate, Refspecs, meta_of, offerable,
};
use refgate_git::{ListedRef, Target};

use super::catch_up::{is_of_deleted_change, read};
use super::{Options, Site};
use crate::Error;

/// A ref of one side: its value, that it is symbolic, or that it is there and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    At(Oid),
    Symbolic,
    Broken,
}

impl Value {
    /// What a ref of a repository on this machine holds.
    pub(crate) fn of(target: &Target) -> Value {
        match target {
            Target::Oid(oid) => Value::At(*oid),
            Target::Symbolic => Value::Symbolic,
            Target::Broken(_) => Value::Broken,
        }
    }

    /// The object, unless the ref is symbolic.
    pub(crate) fn oid(self) -> Option<Oid> {
        match self {
            Value::At(oid) => Some(oid),
            Value::Symbolic | Value::Broken => None,
        }
    }
}

/// Names of refs with what they hold.
pub(crate) type Listing = HashMap<RefName, Value>;

/// What a remote lists, by name.
pub(crate) fn listing(listed: Vec<ListedRef>) -> Listing {
    let value = |one: &ListedRef| match one.oid {
        _ if one.symbolic => Value::Symbolic,
        Some(oid) => Value::At(oid),
        None => Value::Broken,
    };
    listed.into_iter().map(|one| (one.name.clone(), value(&one))).collect()
}

/// The two sides of a transfer: the refs of each by their own names, and what leads from one to the other.
pub(super) struct Sides<'a> {
    pub direction: Direction,
    pub local: &'a Listing,
    pub remote: &'a Listing,
    pub refspecs: &'a Refspecs,
    pub options: &'a Options,
}

impl Sides<'_> {
    fn source(&self) -> &Listing {
        match self.direction {
            Direction::Push => self.local,
            Direction::Fetch => self.remote,
        }
    }

    fn destination(&self) -> &Listing {
        match self.direction {
            Direction::Push => self.remote,
            Direction::Fetch => self.local,
        }
    }

    fn wants(&self, source: &RefName) -> bool {
        offerable(source, self.refspecs) && self.options.wants(source)
    }

    /// What is offered: every source ref under the refspecs that differs at the destination.
    pub fn updates(&self) -> Vec<RefUpdate> {
        let mut updates = Vec::new();
        let of_remote = |name: &RefName| self.remote.get(name) == Some(&Value::Broken);
        for (name, value) in self.source() {
            // What cannot be read is offered all the same: the decision reads it again, and says why it does not go.
            let new = match value {
                Value::At(new) => Some(*new),
                Value::Broken => None,
                Value::Symbolic => continue,
            };
            let Some(to) = self.refspecs.destination(name).filter(|_| self.wants(name)) else { continue };
            if of_remote(match self.direction {
                Direction::Push => &to.name,
                Direction::Fetch => name,
            }) {
                continue;
            }
            let old = match self.destination().get(&to.name) {
                Some(Value::Symbolic) => continue,
                Some(Value::At(old)) => Some(*old),
                Some(Value::Broken) | None => None,
            };
            if old != new || new.is_none() {
                updates.push(self.update(name.clone(), new, to, old));
            }
        }
        updates
    }

    /// Holds back the refs that `remote` has and cannot read: nobody can say what it holds, so there is nothing to decide.
    pub fn add_unreadable(&self, remote: &str, moves: &mut Moves) {
        let hint = format!(
            "`{remote}` lists it without a value: the ref is damaged there (`git fsck` in that repository names the file); move \
             the file away or set the ref anew at `{remote}`, then run again"
        );
        let held = Held { hint: Some(hint), ..Held::by_host(Reason::RepositoryUnreadable) };
        for (name, _) in self.remote.iter().filter(|(_, value)| **value == Value::Broken) {
            let update = match self.direction {
                Direction::Push => {
                    self.refspecs.source(name).filter(|from| self.wants(&from.name)).map(|from| {
                        let local = match self.local.get(&from.name) {
                            Some(Value::At(oid)) => Some(*oid),
                            _ => None,
                        };
                        self.update(from.name.clone(), local, Mapped { name: name.clone(), ..from }, None)
                    })
                }
                Direction::Fetch => (self.refspecs.destination(name).filter(|_| self.wants(name)))
                    .map(|to| self.update(name.clone(), None, to, None)),
            };
            if let Some(update) = update {
                moves.add(update);
                moves.hold(moves.len() - 1, held.clone());
            }
        }
    }

    /// What might be deleted: refs of the destination whose source is gone, and the other refs of a change whose `/meta` is
    /// gone on one side, for a change goes whole. The ref-db has the last word.
    pub fn deletions(&self) -> Vec<Possible> {
        let mut deletions = Vec::new();
        for (name, value) in self.destination() {
            let Value::At(old) = value else { continue };
            let Some(from) = self.refspecs.source(name).filter(|from| self.wants(&from.name)) else {
                continue;
            };
            let gone = !self.source().contains_key(&from.name);
            let meta = self.meta_of(&from.name, name);
            if gone || meta.is_some_and(|(here, there)| !here || there != Some(true)) {
                let source = from.name.clone();
                let update = self.update(source, None, Mapped { name: name.clone(), ..from }, Some(*old));
                let meta_there = meta.and_then(|(_, there)| there);
                deletions.push(Possible { update: RefUpdate { meta_there, ..update }, gone });
            }
        }
        deletions
    }

    /// Of the change that a ref is another ref of: whether its `/meta` is at the source, and at the destination; that is not
    /// known when no refspec leads there.
    fn meta_of(&self, source: &RefName, destination: &RefName) -> Option<(bool, Option<bool>)> {
        let (from, to) = match self.direction {
            Direction::Push => {
                let meta = meta_of(source)?;
                let to = self.refspecs.destination(&meta).map(|to| to.name);
                (Some(meta), to)
            }
            Direction::Fetch => {
                let meta = meta_of(destination)?;
                (self.refspecs.source(&meta).map(|from| from.name), Some(meta))
            }
        };
        let here = from.is_some_and(|name| self.source().contains_key(&name));
        Some((here, to.map(|name| self.destination().contains_key(&name))))
    }

    fn update(&self, source: RefName, new: Option<Oid>, to: Mapped, old: Option<Oid>) -> RefUpdate {
        let (forced, force_ignored) = (to.forced, to.force_ignored);
        let ((name, local), (remote_name, remote)) = match self.direction {
            Direction::Push => ((source, new), (to.name, old)),
            Direction::Fetch => ((to.name, old), (source, new)),
        };
        let remote = RemoteValue::Known(remote);
        RefUpdate { name, remote_name, local, remote, forced, force_ignored, meta_there: None }
    }
}

/// A ref that might be deleted.
pub(super) struct Possible {
    update: RefUpdate,
    /// It is not at the source. One that is there can only go with its change.
    gone: bool,
}

/// Puts offers into one order, that of the local names: the order of reports, and of everything that follows.
///
/// # Errors
/// Two refs that the refspecs send to one: nobody could say which of them should be there.
fn sorted(mut updates: Vec<RefUpdate>, direction: Direction) -> Result<Vec<RefUpdate>, Error> {
    let destination = |update: &RefUpdate| match direction {
        Direction::Push => update.remote_name.clone(),
        Direction::Fetch => update.name.clone(),
    };
    updates.sort_by_cached_key(destination);
    if let Some([one, other]) = updates.windows(2).find(|pair| destination(&pair[0]) == destination(&pair[1]))
    {
        let source = |update: &RefUpdate| match direction {
            Direction::Push => update.name.clone(),
            Direction::Fetch => update.remote_name.clone(),
        };
        let (a, b, there) = (source(one), source(other), destination(one));
        return Err(Error::usage(format!("the refspecs send both `{a}` and `{b}` to `{there}`"))
            .hint("change the refspecs of the remote, or choose one with --ref"));
    }
    updates.sort_by(|a, b| (&a.name, &a.remote_name).cmp(&(&b.name, &b.remote_name)));
    Ok(updates)
}

impl Site {
    /// All offers of a transfer, in order, and what could not be looked at.
    pub(super) async fn offers(
        &self,
        project: &Project,
        sides: &Sides<'_>,
        mirror: bool,
    ) -> Result<(Moves, Option<String>), Error> {
        let mut updates = sides.updates();
        let mut problem = None;
        // With the gate off nothing is read, and nothing is deleted.
        if mirror && self.gate.is_on(sides.direction) {
            let (mut deletions, why) = self.recorded_deletions(project, sides.deletions()).await;
            // What goes with its change is not updated as well.
            let gone: HashSet<&RefName> = deletions.iter().map(|update| &update.name).collect();
            updates.retain(|update| !gone.contains(&update.name));
            updates.append(&mut deletions);
            problem = why;
        }
        Ok((Moves::of(sides.direction, sorted(updates, sides.direction)?), problem))
    }

    /// Of possible deletions, those that the ref-db records: one bulk read.
    ///
    /// When it cannot be read, none is offered and the second value says why.
    async fn recorded_deletions(
        &self,
        project: &Project,
        possible: Vec<Possible>,
    ) -> (Vec<RefUpdate>, Option<String>) {
        let names: Vec<RefName> = possible.iter().map(|one| one.update.name.clone()).collect();
        let entries = match read(self, project, &names).await {
            Ok(entries) => entries,
            Err(why) => return (Vec::new(), Some(format!("deletions were not looked at: {why}"))),
        };
        let is_deleted = |name: &RefName| {
            entries.get(name).and_then(Lookup::entry).is_some_and(|e| e.value == GlobalRef::Deleted)
        };
        let recorded = |one: &Possible| {
            let name = &one.update.name;
            is_of_deleted_change(self, project, name, &entries) || (one.gone && is_deleted(name))
        };
        (possible.into_iter().filter(recorded).map(|one| one.update).collect(), None)
    }

    /// The ref-db's entries for `names`, in one bulk read.
    pub(super) async fn entries(&self, project: &Project, names: &[RefName]) -> Result<Vec<Lookup>, String> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let deadline = Deadline::after(self.gate.clock().as_ref(), self.gate.config().ref_database.timeout);
        self.gate.refdb().get_many(project, names, deadline).await.map_err(|e| e.to_string())
    }
}

/// Whether a ref's verdict can depend on its objects, so that a fetch has to bring them first.
pub(super) fn needs_objects(class: Class, lookup: &Lookup, remote: Oid, source_of_truth: bool) -> bool {
    match (class, lookup) {
        (Class::Checked, Lookup::Entry(entry)) => match entry.value {
            GlobalRef::At(global) => global == remote || source_of_truth,
            GlobalRef::Deleted => false,
            GlobalRef::Untracked => true,
        },
        (Class::Checked, Lookup::Text(_) | Lookup::Locked | Lookup::Unreadable(_)) => false,
        _ => true,
    }
}
