//! Catch-up: a gated site sets its refs to what the ref-db holds, from its own object store.
//!
//! A gated write moves the ref-db first and the local ref second; a site that died in between finishes the write here.
//! It is a fetch whose other side is the ref-db: the same table decides, so that nothing unaccounted for is overwritten.

use std::collections::HashSet;

use refgate_core::decision::{RefUpdate, Request, decide};
use refgate_core::refdb::scan_all;
use refgate_core::table::RemoteValue;
use refgate_core::{
    Class, Deadline, Direction, Entry, FilterSet, GlobalRef, Lookup, Oid, Project, RefName, ReloadWait,
    SiteKind,
};
use refgate_git::{EditOutcome, RefEdit, Repository};

use super::offers::Value;
use super::push::local_refs;
use super::{Site, blocking};
use crate::Error;

/// Brings the local refs of `project` up to the ref-db as far as the objects are here. Returns how many refs moved.
///
/// Does nothing at a site that is not gated. A ref-db that cannot be read is no error here: the decision that follows
/// says so for every ref.
pub async fn catch_up(site: &Site, project: &Project, repository: &Repository) -> Result<usize, Error> {
    let config = site.gate.config();
    if config.site.writes != SiteKind::Gated || !config.ref_database.enabled {
        return Ok(0);
    }
    let Ok(entries) = all_entries(site, project).await else {
        return Ok(0);
    };
    let ours = local_refs(repository).await?;
    let mut updates = Vec::new();
    for (name, entry) in entries {
        let local = match ours.get(&name) {
            Some(Value::Symbolic) => continue,
            Some(Value::At(oid)) => Some(*oid),
            None => None,
        };
        let checked = Class::of(project, &name, &config.rules) == Class::Checked;
        if checked && entry.value != GlobalRef::Untracked && local != entry.value.oid() {
            updates.push(RefUpdate {
                remote_name: name.clone(),
                name,
                local,
                remote: RemoteValue::Known(entry.value.oid()),
                forced: true,
                force_ignored: false,
            });
        }
    }
    keep_complete(repository, &mut updates).await?;
    if updates.is_empty() {
        return Ok(0);
    }
    let request = Request {
        direction: Direction::Fetch,
        project,
        peer: "",
        format: repository.object_format(),
        updates,
        kind: SiteKind::Gated,
        source_of_truth: false,
        mirror: true,
        gate: true,
        floor: true,
        rules: &config.rules,
        wait: ReloadWait { min_ms: 0, max_random_ms: 0 },
        refdb_timeout: config.ref_database.timeout,
    };
    // No filters: this is the site's own write, and the floor is the whole rule.
    let decision = decide(request, site.gate.sources(None), &FilterSet::default()).await;
    let kept = decision.refs.iter().filter(|r| r.verdict.is_keep());
    let edits: Vec<RefEdit> =
        kept.map(|r| RefEdit { name: r.name.clone(), old: r.old, new: r.new, group: None }).collect();
    if edits.is_empty() {
        return Ok(0);
    }
    let repository = repository.clone();
    let outcomes =
        blocking(move || repository.update_refs(&edits, "refgate: catch up with the ref-db")).await?;
    Ok(outcomes.iter().filter(|o| **o == EditOutcome::Applied).count())
}

/// Drops what this site cannot set because it does not have the object with all that it needs.
async fn keep_complete(repository: &Repository, updates: &mut Vec<RefUpdate>) -> Result<(), Error> {
    let value = |update: &RefUpdate| match update.remote {
        RemoteValue::Known(value) => value,
        RemoteValue::Unknown => None,
    };
    let oids: Vec<Oid> = updates.iter().filter_map(value).collect();
    if oids.is_empty() {
        return Ok(());
    }
    let repository = repository.clone();
    let complete: HashSet<Oid> = blocking(move || {
        let absent: HashSet<Oid> = repository.missing(&oids)?.into_iter().collect();
        let here: Vec<Oid> = oids.into_iter().filter(|oid| !absent.contains(oid)).collect();
        let complete = repository.complete(&here)?;
        Ok(here.into_iter().zip(complete).filter(|(_, whole)| *whole).map(|(oid, _)| oid).collect())
    })
    .await?;
    updates.retain(|u| value(u).is_none_or(|oid| complete.contains(&oid)));
    Ok(())
}

/// Every entry of a project that can be read; what cannot is left to the decision, which says so.
pub(crate) async fn all_entries(
    site: &Site,
    project: &Project,
) -> Result<Vec<(RefName, Entry)>, refgate_core::RefDbError> {
    let timeout = site.gate.config().ref_database.timeout;
    let deadline = || Deadline::after(site.gate.clock().as_ref(), timeout);
    let found = scan_all(site.gate.refdb().as_ref(), project, b"", deadline).await?;
    let entry = |(name, found)| match found {
        Lookup::Entry(entry) => Some((name, entry)),
        Lookup::Text(_) | Lookup::Locked | Lookup::Unreadable(_) => None,
    };
    Ok(found.into_iter().filter_map(entry).collect())
}
