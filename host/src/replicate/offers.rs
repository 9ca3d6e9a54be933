//! Which refs are offered: all that the refspecs name and that differ, and what the ref-db records as deleted.

use std::collections::HashMap;

use refgate_core::decision::RefUpdate;
use refgate_core::table::RemoteValue;
use refgate_core::{Class, Deadline, Direction, GlobalRef, Lookup, Mapped, Oid, Project, RefName, Refspecs};

use super::{Options, Site};
use crate::Error;

/// A ref of one side: its value, or that it is symbolic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    At(Oid),
    Symbolic,
}

/// Names of refs with what they hold.
pub(crate) type Listing = HashMap<RefName, Value>;

/// Refs that belong to one repository and are offered only when a refspec names them expressly.
const PRIVATE: [&[u8]; 3] = [b"refs/stash", b"refs/remotes/", b"refs/replace/"];

/// Refs that refgate keeps for itself, but for what it rescued.
const OWN: &[u8] = b"refs/refgate/";
const RESCUED: &[u8] = b"refs/refgate/rescued/";

/// Whether the source ref `name` may be offered, or recorded in the ref-db, at all.
pub fn offerable(name: &RefName, refspecs: &Refspecs) -> bool {
    let bytes = name.as_bytes();
    if !bytes.starts_with(b"refs/") || (bytes.starts_with(OWN) && !bytes.starts_with(RESCUED)) {
        return false;
    }
    let private =
        PRIVATE.iter().any(|p| bytes.starts_with(p) && (p.ends_with(b"/") || bytes.len() == p.len()));
    !private || refspecs.names_expressly(name)
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
        for (name, value) in self.source() {
            let Value::At(new) = value else { continue };
            let Some(to) = self.refspecs.destination(name).filter(|_| self.wants(name)) else { continue };
            let old = match self.destination().get(&to.name) {
                Some(Value::Symbolic) => continue,
                Some(Value::At(old)) => Some(*old),
                None => None,
            };
            if old != Some(*new) {
                updates.push(self.update(name.clone(), Some(*new), to, old));
            }
        }
        updates
    }

    /// What might be deleted: refs of the destination whose source is gone. The ref-db has the last word.
    pub fn deletions(&self) -> Vec<RefUpdate> {
        let mut deletions = Vec::new();
        for (name, value) in self.destination() {
            let Value::At(old) = value else { continue };
            let Some(from) = self.refspecs.source(name) else { continue };
            if self.wants(&from.name) && !self.source().contains_key(&from.name) {
                let source = from.name.clone();
                deletions.push(self.update(source, None, Mapped { name: name.clone(), ..from }, Some(*old)));
            }
        }
        deletions
    }

    fn update(&self, source: RefName, new: Option<Oid>, to: Mapped, old: Option<Oid>) -> RefUpdate {
        let (forced, force_ignored) = (to.forced, to.force_ignored);
        let ((name, local), (remote_name, remote)) = match self.direction {
            Direction::Push => ((source, new), (to.name, old)),
            Direction::Fetch => ((to.name, old), (source, new)),
        };
        RefUpdate { name, remote_name, local, remote: RemoteValue::Known(remote), forced, force_ignored }
    }
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
    ) -> Result<(Vec<RefUpdate>, Option<String>), Error> {
        let mut updates = sides.updates();
        let mut problem = None;
        // With the gate off nothing is read, and nothing is deleted.
        if mirror && self.gate.is_on(sides.direction) {
            let (mut deletions, why) = self.recorded_deletions(project, sides.deletions()).await;
            updates.append(&mut deletions);
            problem = why;
        }
        Ok((sorted(updates, sides.direction)?, problem))
    }

    /// Of possible deletions, those that the ref-db records: one bulk read.
    ///
    /// When it cannot be read, none is offered and the second value says why.
    async fn recorded_deletions(
        &self,
        project: &Project,
        possible: Vec<RefUpdate>,
    ) -> (Vec<RefUpdate>, Option<String>) {
        let answers = match self.entries(project, &possible).await {
            Ok(answers) => answers,
            Err(why) => return (Vec::new(), Some(format!("deletions were not looked at: {why}"))),
        };
        let deleted = |lookup: &Lookup| matches!(lookup, Lookup::Entry(e) if e.value == GlobalRef::Deleted);
        let kept = possible.into_iter().zip(answers).filter(|(_, lookup)| deleted(lookup));
        (kept.map(|(update, _)| update).collect(), None)
    }

    /// The ref-db's entries for `updates`, in one bulk read.
    pub(super) async fn entries(
        &self,
        project: &Project,
        updates: &[RefUpdate],
    ) -> Result<Vec<Lookup>, String> {
        if updates.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<RefName> = updates.iter().map(|u| u.name.clone()).collect();
        let deadline = Deadline::after(self.gate.clock().as_ref(), self.gate.config().ref_database.timeout);
        self.gate.refdb().get_many(project, &names, deadline).await.map_err(|e| e.to_string())
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
