//! What catch-up and heal read: the ref-db, the local refs and the objects, all in bulk; and the decision that rests on it.

use std::collections::{BTreeSet, HashMap, HashSet};

use refgate_core::decision::{Decision, Request, decide};
use refgate_core::refdb::scan_all;
use refgate_core::{
    Deadline, Direction, FilterSet, Lookup, Moves, Oid, Project, RefDbError, RefDbErrorKind, RefName,
    RefUpdate, ReloadWait, SiteKind, meta_of,
};
use refgate_git::{GitError, RefLocks, Repository};

use crate::Error;
use crate::replicate::offers::Value;
use crate::replicate::{Site, blocking};

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
    scan_all(site.gate.refdb().as_ref(), project, b"", || deadline(site)).await
}

pub(crate) fn deadline(site: &Site) -> Deadline {
    Deadline::after(site.gate.clock().as_ref(), site.gate.config().ref_database.timeout)
}

/// A decision like a fetch whose other side is the ref-db: the fetch table on local refs, by the kind of this site, and what
/// `filters` say. Reads both sides anew, and does not wait: nothing is newer than what the ref-db holds.
pub(crate) async fn judge(
    site: &Site,
    project: &Project,
    repository: &Repository,
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
pub(crate) async fn complete(repository: &Repository, oids: Vec<Oid>) -> Result<HashSet<Oid>, Error> {
    if oids.is_empty() {
        return Ok(HashSet::new());
    }
    let repository = repository.clone();
    let complete = blocking(move || {
        let absent: HashSet<Oid> = repository.missing(&oids)?.into_iter().collect();
        let here: Vec<Oid> = oids.into_iter().filter(|oid| !absent.contains(oid)).collect();
        let complete = repository.complete(&here)?;
        Ok(here.into_iter().zip(complete).filter(|(_, whole)| *whole).map(|(oid, _)| oid).collect())
    });
    Ok(complete.await?)
}

/// The values of these refs; one that does not exist is left out, as in a listing.
pub(crate) async fn values(
    repository: &Repository,
    names: Vec<RefName>,
) -> Result<HashMap<RefName, Value>, Error> {
    let repository = repository.clone();
    let read = blocking(move || {
        let values = repository.values(&names)?;
        let value = |value: Result<Option<Oid>, GitError>| match value {
            Ok(oid) => oid.map(Value::At),
            Err(_) => Some(Value::Broken),
        };
        Ok(names.into_iter().zip(values).filter_map(|(name, read)| Some((name, value(read)?))).collect())
    });
    Ok(read.await?)
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
    repository: &Repository,
    pairs: Vec<(Oid, Oid)>,
) -> Result<HashSet<(Oid, Oid)>, Error> {
    if pairs.is_empty() {
        return Ok(HashSet::new());
    }
    let repository = repository.clone();
    let asked = blocking(move || {
        let answers = repository.ancestry(&pairs)?;
        Ok(pairs.into_iter().zip(answers).filter(|(_, yes)| *yes).map(|(pair, _)| pair).collect())
    });
    Ok(asked.await?)
}

/// The locks on those of `names` that nobody holds at this moment, and for each whether it was got.
pub(crate) async fn try_lock(
    repository: &Repository,
    names: &[RefName],
) -> Result<(RefLocks, Vec<bool>), Error> {
    let (dir, names) = (repository.common_dir().to_owned(), names.to_vec());
    Ok(blocking(move || RefLocks::try_acquire(&dir, &names)).await?)
}
