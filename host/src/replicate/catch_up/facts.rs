//! What catch-up and heal read: the ref-db, the local refs and the objects, all in bulk; and the decision that rests on it.

use std::collections::{BTreeSet, HashMap, HashSet};

use refgate_core::decision::{Decision, Request, decide};
use refgate_core::ports::{Repo, Target};
use refgate_core::refdb::scan_all;
use refgate_core::{
    Deadline, Direction, FilterSet, Lookup, Moves, Oid, Project, RefDbError, RefDbErrorKind, RefName,
    RefUpdate, ReloadWait, SiteKind, meta_of,
};

use crate::Error;
use crate::replicate::Site;
use crate::replicate::offers::Value;

/// The name of the other side in a decision of catch-up: no remote can have it.
const NO_PEER: &str = "";

/// The entries that matter: all, or those of some refs; and those of the refs of records.
pub(super) async fn entries(
    site: &Site,
    project: &Project,
    only: Option<&[RefName]>,
    recorded: &[RefName],
) -> Result<Vec<(RefName, Lookup)>, RefDbError> {
    let Some(only) = only else { return all_entries(site, project).await };
    let names: BTreeSet<RefName> = only.iter().chain(recorded).cloned().collect();
    let found = read(site, project, &names.into_iter().collect::<Vec<_>>()).await?;
    Ok(found.into_iter().collect())
}

/// The entries of these refs, and of the `/meta` of their changes.
pub(crate) async fn read(
    site: &Site,
    project: &Project,
    names: &[RefName],
) -> Result<HashMap<RefName, Lookup>, RefDbError> {
    let names: BTreeSet<RefName> = names.iter().filter_map(meta_of).chain(names.iter().cloned()).collect();
    let names: Vec<RefName> = names.into_iter().collect();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let found = site.gate.refdb().get_many(project, &names, deadline(site)).await?;
    if found.len() != names.len() {
        let why = format!("the ref-db answered {} of {} refs", found.len(), names.len());
        return Err(RefDbError::new(RefDbErrorKind::Unavailable, why));
    }
    Ok(names.into_iter().zip(found).collect())
}

/// Everything that the ref-db holds of a project.
pub(crate) async fn all_entries(
    site: &Site,
    project: &Project,
) -> Result<Vec<(RefName, Lookup)>, RefDbError> {
    scan_all(site.gate.refdb(), project, b"", || deadline(site)).await
}

pub(crate) fn deadline(site: &Site) -> Deadline {
    Deadline::after(site.gate.clock().as_ref(), site.gate.config().ref_database.timeout)
}

/// A decision like a fetch whose other side is the ref-db: the fetch table on local refs, by the kind of this site, and what
/// `filters` say. Reads both sides anew, and does not wait: nothing is newer than what the ref-db holds.
pub(crate) async fn judge(
    site: &Site,
    project: &Project,
    repository: &dyn Repo,
    kind: SiteKind,
    updates: Vec<RefUpdate>,
    filters: &FilterSet,
) -> Decision {
    let config = site.gate.config();
    let request = Request {
        direction: Direction::Fetch,
        project,
        peer: NO_PEER,
        format: repository.object_format(),
        kind,
        source_of_truth: false,
        mirror: true,
        gate: true,
        rules: &config.rules,
        wait: ReloadWait { min_ms: 0, max_random_ms: 0 },
        refdb_timeout: config.ref_database.timeout,
    };
    let moves = Moves::of(Direction::Fetch, updates);
    decide(request, moves, site.gate.sources(None), filters).await
}

/// Those objects that are here together with all that they need.
pub(crate) async fn complete(repository: &dyn Repo, oids: Vec<Oid>) -> Result<HashSet<Oid>, Error> {
    if oids.is_empty() {
        return Ok(HashSet::new());
    }
    let absent: HashSet<Oid> = repository.missing(&oids).await?.into_iter().collect();
    let here: Vec<Oid> = oids.into_iter().filter(|oid| !absent.contains(oid)).collect();
    let complete = repository.complete(&here).await?;
    Ok(here.into_iter().zip(complete).filter(|(_, whole)| *whole).map(|(oid, _)| oid).collect())
}

/// The values of these refs; one that does not exist is left out, as in a listing.
pub(crate) async fn values(
    repository: &dyn Repo,
    names: Vec<RefName>,
) -> Result<HashMap<RefName, Value>, Error> {
    let targets = repository.targets(&names).await?;
    let value = |(name, target): (RefName, Option<Target>)| Some((name, Value::of(&target?)));
    // As in a listing of what can be offered: what a symbolic ref leads to is none of its own.
    let read = names.into_iter().zip(targets).filter_map(value);
    Ok(read.filter(|(_, value)| *value != Value::Symbolic).collect())
}

pub(super) fn local_values(local: &HashMap<RefName, Value>) -> HashMap<RefName, Option<Oid>> {
    let one = |(name, value): (&RefName, &Value)| match value {
        Value::At(oid) => Some((name.clone(), Some(*oid))),
        Value::Symbolic | Value::Broken => None,
    };
    local.iter().filter_map(one).collect()
}

/// The pairs whose first is contained in the second.
pub(crate) async fn ancestry(
    repository: &dyn Repo,
    pairs: Vec<(Oid, Oid)>,
) -> Result<HashSet<(Oid, Oid)>, Error> {
    if pairs.is_empty() {
        return Ok(HashSet::new());
    }
    let answers = repository.ancestry(&pairs).await?;
    Ok(pairs.into_iter().zip(answers).filter(|(_, yes)| *yes).map(|(pair, _)| pair).collect())
}
