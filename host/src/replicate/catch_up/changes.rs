//! What of this site is not as the ref-db has it. A change is one thing: where its `/meta` is recorded as deleted, all its refs
//! are.

use std::collections::{BTreeMap, HashMap, HashSet};

use refgate_core::ports::Repo;
use refgate_core::table::RemoteValue;
use refgate_core::{ChangeRef, Class, GlobalRef, Lookup, Oid, Project, RefName, RefUpdate, is_meta, meta_of};

use crate::Error;
use crate::replicate::Site;
use crate::replicate::offers::Value;

/// The refs that the ref-db tracks and that are at another value here, with the value that it holds; and what is left here
/// of changes that it records as deleted.
pub(crate) fn behind<'e>(
    project: &Project,
    site: &Site,
    entries: impl IntoIterator<Item = (&'e RefName, &'e Lookup)>,
    ours: &HashMap<RefName, Value>,
) -> BTreeMap<RefName, Option<Oid>> {
    let tracked: Vec<(&RefName, GlobalRef)> = entries
        .into_iter()
        .filter_map(|(name, found)| Some((name, found.entry()?.value)))
        .filter(|(name, _)| class_of(site, project, name) == Class::Checked)
        .collect();
    let deleted: HashSet<&RefName> = tracked
        .iter()
        .filter(|(name, value)| *value == GlobalRef::Deleted && is_meta(name))
        .map(|(name, _)| *name)
        .collect();
    let left = |name: &RefName| {
        !deleted.is_empty()
            && meta_of(name).is_some_and(|meta| deleted.contains(&meta))
            && class_of(site, project, name) != Class::Ignored
    };
    let mut behind = BTreeMap::new();
    for (name, value) in tracked {
        let local = match ours.get(name) {
            // What cannot be read is in the way as it is; the table says so of a ref that is offered.
            Some(Value::Symbolic | Value::Broken) => continue,
            Some(Value::At(oid)) => Some(*oid),
            None => None,
        };
        if value != GlobalRef::Untracked && local != value.oid() && !left(name) {
            behind.insert(name.clone(), value.oid());
        }
    }
    let left = ours.iter().filter(|(name, value)| value.oid().is_some() && left(name));
    behind.extend(left.map(|(name, _)| (name.clone(), None)));
    behind
}

/// What is to be judged: refs that are still behind, and whose entry is the one that was looked at.
pub(super) fn updates(
    site: &Site,
    project: &Project,
    wanted: &BTreeMap<RefName, Option<Oid>>,
    entries: &HashMap<RefName, Lookup>,
    local: &HashMap<RefName, Value>,
) -> Vec<RefUpdate> {
    let here = |name: &RefName| match local.get(name) {
        Some(Value::At(oid)) => Some(*oid),
        _ => None,
    };
    let still = wanted.iter().filter(|(name, value)| {
        global_of(site, project, name, entries) == Some(GlobalRef::at_or_deleted(**value))
    });
    let behind = still.filter(|(name, value)| here(name) != **value);
    behind
        .map(|(name, value)| RefUpdate {
            // A `/meta` that is here and deleted is wanted, too, so it has been read.
            meta_there: meta_of(name).map(|meta| local.contains_key(&meta)),
            ..RefUpdate::new(name.clone(), here(name), RemoteValue::Known(*value)).forced()
        })
        .collect()
}

/// Whether `name` is another ref of a change whose `/meta` is recorded as deleted, by entries that [`read`] gave.
pub(crate) fn is_of_deleted_change(
    site: &Site,
    project: &Project,
    name: &RefName,
    entries: &HashMap<RefName, Lookup>,
) -> bool {
    let deleted = |meta: &RefName| {
        let value = entries.get(meta).and_then(Lookup::entry).map(|entry| entry.value);
        value == Some(GlobalRef::Deleted) && class_of(site, project, meta) == Class::Checked
    };
    class_of(site, project, name) != Class::Ignored && meta_of(name).is_some_and(|meta| deleted(&meta))
}

/// What the ref-db holds of `name`, by entries that [`read`] gave: a ref of a deleted change is deleted. `None`: it cannot be
/// told.
pub(crate) fn global_of(
    site: &Site,
    project: &Project,
    name: &RefName,
    entries: &HashMap<RefName, Lookup>,
) -> Option<GlobalRef> {
    let value = |name: &RefName| entries.get(name).and_then(Lookup::entry).map(|entry| entry.value);
    let class = class_of(site, project, name);
    let meta = meta_of(name).filter(|_| class != Class::Ignored);
    match meta.filter(|meta| class_of(site, project, meta) == Class::Checked) {
        Some(meta) if value(&meta)? == GlobalRef::Deleted => Some(GlobalRef::Deleted),
        _ if class == Class::Checked => value(name),
        _ => Some(GlobalRef::Untracked),
    }
}

fn class_of(site: &Site, project: &Project, name: &RefName) -> Class {
    Class::of(project, name, &site.gate.config().rules)
}

/// The local refs of the changes that `metas` belong to, beside the `/meta` of each.
pub(crate) async fn rest_of_changes(
    repository: &dyn Repo,
    metas: &[RefName],
) -> Result<HashMap<RefName, Value>, Error> {
    let dirs: Vec<Vec<u8>> = metas.iter().filter(|name| is_meta(name)).filter_map(change_of).collect();
    if dirs.is_empty() {
        return Ok(HashMap::new());
    }
    let refs = repository.refs_below(&dirs).await?;
    let others = refs.into_iter().filter(|(name, _)| !is_meta(name));
    Ok(others.map(|(name, target)| (name, Value::of(&target))).collect())
}

pub(super) fn change_of(name: &RefName) -> Option<Vec<u8>> {
    ChangeRef::of(name).map(|c| c.change.to_vec())
}
