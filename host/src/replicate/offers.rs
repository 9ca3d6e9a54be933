//! Which refs are offered: all that the refspecs name and that differ, and what the ref-db records as deleted.

use std::collections::HashMap;

use refgate_core::decision::RefUpdate;
use refgate_core::table::RemoteValue;
use refgate_core::{Class, Deadline, Direction, GlobalRef, Lookup, Oid, Project, RefName, Refspecs};

use super::{Options, Site};
use crate::Error;

/// A ref of one side: its value, or that it is symbolic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    At(Oid),
    Symbolic,
}

/// Names of refs with what they hold.
pub(super) type Listing = HashMap<RefName, Value>;

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

/// What is offered on a push: `local` under the refspecs against what the remote advertised.
pub(super) fn push_updates(
    local: &Listing,
    remote: &Listing,
    refspecs: &Refspecs,
    options: &Options,
) -> Vec<RefUpdate> {
    let mut updates = Vec::new();
    for (name, value) in local {
        let Value::At(new) = value else { continue };
        if !offerable(name, refspecs) || !options.wants(name) {
            continue;
        }
        let Some(to) = refspecs.destination(name) else {
            continue;
        };
        let old = match remote.get(&to.name) {
            Some(Value::Symbolic) => continue,
            Some(Value::At(old)) => Some(*old),
            None => None,
        };
        if old != Some(*new) {
            updates.push(RefUpdate {
                name: name.clone(),
                remote_name: to.name,
                local: Some(*new),
                remote: RemoteValue::Known(old),
                forced: to.forced,
                force_ignored: to.force_ignored,
            });
        }
    }
    updates
}

/// What might be deleted at the remote: its refs whose source is not here. The ref-db has the last word.
pub(super) fn push_deletions(
    local: &Listing,
    remote: &Listing,
    refspecs: &Refspecs,
    options: &Options,
) -> Vec<RefUpdate> {
    let gone = remote.iter().filter_map(|(remote_name, value)| {
        let Value::At(old) = value else { return None };
        let source = refspecs.source(remote_name)?;
        let wanted = offerable(&source.name, refspecs) && options.wants(&source.name);
        (wanted && !local.contains_key(&source.name)).then(|| RefUpdate {
            name: source.name,
            remote_name: remote_name.clone(),
            local: None,
            remote: RemoteValue::Known(Some(*old)),
            forced: source.forced,
            force_ignored: source.force_ignored,
        })
    });
    gone.collect()
}

/// What is offered on a fetch: `remote` under the refspecs against the local refs.
pub(super) fn fetch_updates(
    local: &Listing,
    remote: &Listing,
    refspecs: &Refspecs,
    options: &Options,
) -> Vec<RefUpdate> {
    let mut updates = Vec::new();
    for (remote_name, value) in remote {
        let Value::At(new) = value else { continue };
        if !offerable(remote_name, refspecs) || !options.wants(remote_name) {
            continue;
        }
        let Some(to) = refspecs.destination(remote_name) else {
            continue;
        };
        let old = match local.get(&to.name) {
            Some(Value::Symbolic) => continue,
            Some(Value::At(old)) => Some(*old),
            None => None,
        };
        if old != Some(*new) {
            updates.push(RefUpdate {
                name: to.name,
                remote_name: remote_name.clone(),
                local: old,
                remote: RemoteValue::Known(Some(*new)),
                forced: to.forced,
                force_ignored: to.force_ignored,
            });
        }
    }
    updates
}

/// What might be deleted here: local refs whose source the remote does not have.
pub(super) fn fetch_deletions(
    local: &Listing,
    remote: &Listing,
    refspecs: &Refspecs,
    options: &Options,
) -> Vec<RefUpdate> {
    let gone = local.iter().filter_map(|(name, value)| {
        let Value::At(old) = value else { return None };
        let source = refspecs.source(name)?;
        let wanted = offerable(&source.name, refspecs) && options.wants(&source.name);
        (wanted && !remote.contains_key(&source.name)).then(|| RefUpdate {
            name: name.clone(),
            remote_name: source.name,
            local: Some(*old),
            remote: RemoteValue::Known(None),
            forced: source.forced,
            force_ignored: source.force_ignored,
        })
    });
    gone.collect()
}

/// Puts offers into one order, that of the local names: the order of reports, and of everything that follows.
///
/// # Errors
/// Two refs that the refspecs send to one: nobody could say which of them should be there.
pub(super) fn sorted(mut updates: Vec<RefUpdate>, direction: Direction) -> Result<Vec<RefUpdate>, Error> {
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
    /// Of possible deletions, those that the ref-db records: one bulk read.
    ///
    /// When it cannot be read, none is offered and the second value says why.
    pub(super) async fn recorded_deletions(
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
        let answers =
            self.gate.refdb().get_many(project, &names, deadline).await.map_err(|e| e.to_string())?;
        match answers.len() == names.len() {
            true => Ok(answers),
            false => Err(format!("the ref-db answered {} of {} refs", answers.len(), names.len())),
        }
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
        (Class::Checked, Lookup::Locked | Lookup::Unreadable(_)) => false,
        _ => true,
    }
}
