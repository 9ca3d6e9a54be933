//! A project that was made anew: the ref-db still records the one that was here before, and of that nothing is here.

use std::collections::HashSet;

use refgate_core::ports::Repo;
use refgate_core::refdb::scan_all;
use refgate_core::{Class, Deadline, Lookup, Oid, Project, RefDb, RefName, Rules};

use crate::Error;
use crate::replicate::push::local_refs;

/// Local refs whose entries are read before all of the project is: one that is recorded answers the question.
const PROBE: usize = 100;

/// How much of what the ref-db records is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The refs that it records at a value.
    pub recorded: usize,
    /// Those of them that are here, at whatever value. One that is may only be behind.
    pub names: usize,
    /// Those whose recorded value is in the object store.
    pub values: usize,
}

impl Found {
    /// How many refs are recorded, when the repository looks as if it was made anew.
    pub fn made_anew(self) -> Option<usize> {
        (self.names == 0 && self.values == 0).then_some(self.recorded).filter(|recorded| *recorded > 0)
    }
}

/// How many refs the ref-db records, when nothing of them is here.
///
/// # Errors
/// A ref-db or a repository that cannot be read.
pub async fn look(
    refdb: &RefDb,
    rules: &Rules,
    project: &Project,
    repository: &dyn Repo,
    deadline: impl Fn() -> Deadline + Send,
) -> Result<Option<usize>, Error> {
    let ours = local_refs(repository).await?;
    let tracked = ours.keys().filter(|name| Class::of(project, name, rules) == Class::Checked);
    let probe: Vec<RefName> = tracked.take(PROBE).cloned().collect();
    if !probe.is_empty() {
        let found = refdb.get_many(project, &probe, deadline()).await?;
        if found.iter().any(|found| value(found).is_some()) {
            return Ok(None);
        }
    }
    let entries = scan_all(refdb, project, b"", deadline).await?;
    let names: HashSet<RefName> = ours.into_keys().collect();
    Ok(count(&entries, project, rules, repository, &names).await?.made_anew())
}

/// The same in numbers, with everything read already: `ours` are the names of the local refs.
///
/// # Errors
/// A repository that cannot be read.
pub async fn count(
    entries: &[(RefName, Lookup)],
    project: &Project,
    rules: &Rules,
    repository: &dyn Repo,
    ours: &HashSet<RefName>,
) -> Result<Found, Error> {
    let tracked = entries.iter().filter(|(name, _)| Class::of(project, name, rules) == Class::Checked);
    let recorded: Vec<(&RefName, Oid)> =
        tracked.filter_map(|(name, found)| Some((name, value(found)?))).collect();
    let names = recorded.iter().filter(|(name, _)| ours.contains(*name)).count();
    let oids: Vec<Oid> = recorded.iter().map(|(_, oid)| *oid).collect();
    let missing: HashSet<Oid> = repository.missing(&oids).await?.into_iter().collect();
    let values = recorded.iter().filter(|(_, oid)| !missing.contains(oid)).count();
    Ok(Found { recorded: recorded.len(), names, values })
}

fn value(found: &Lookup) -> Option<Oid> {
    found.entry()?.value.oid()
}

/// What it looks like, for people.
pub fn told(project: &Project, recorded: usize) -> String {
    format!(
        "the ref-db records {recorded} refs of `{project}`, and none of them is here: it looks as if this repository was \
         made anew"
    )
}

/// What an operator can do about it.
pub fn hint(project: &Project) -> String {
    format!(
        "if the project begins anew at all sites: `refgate refdb start-over {project}` shows what is given up. If the old \
         one is to come back: fetch it from another site before anybody writes here"
    )
}
