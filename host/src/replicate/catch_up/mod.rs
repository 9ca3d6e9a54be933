//! Catch-up: a gated site sets its refs to what the ref-db holds, from its own object store, and finishes the writes that
//! its journal has records of.
//!
//! A gated write moves the ref-db first and the local ref second; a site that died in between finishes the write here.
//! It is a fetch whose other side is the ref-db: the same table decides, so that nothing unaccounted for is overwritten.
//! Everything moves under the site's locks on its refs. A ref that somebody holds is left alone: a live writer will
//! finish its own write.

mod changes;
mod death;
mod records;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use refgate_core::decision::{Decision, RefUpdate, Request, decide};
use refgate_core::refdb::scan_all;
use refgate_core::{
    Deadline, Direction, FilterSet, GlobalRef, Lookup, Oid, Project, RefDbError, RefDbErrorKind, RefName,
    ReloadWait, SiteKind, is_meta, meta_of,
};
use refgate_git::{EditOutcome, GitError, RefEdit, RefLocks, Repository};

use super::offers::Value;
use super::push::local_refs;
use super::{Site, blocking};
use crate::gated::{Journal, Record};
use crate::{Error, names};
use changes::{change_of, updates};
use records::{Facts, Plan};

pub(crate) use changes::{behind, global_of, is_of_deleted_change, rest_of_changes};

/// What catch-up did.
#[derive(Clone, Debug, Default)]
pub struct CaughtUp {
    /// The refs that moved; in a look that moves nothing, those that would.
    pub moved: Vec<Moved>,
    /// The records of writes that had begun, and what became of each.
    pub records: Vec<RecordState>,
    /// Refs that differ from the ref-db and that somebody at this site is moving at this moment.
    pub busy: Vec<RefName>,
    /// Refs that should be at what the ref-db holds, and that the repository does not let be moved.
    pub stuck: Vec<Stuck>,
    /// What a person should know: records that cannot be read or finished.
    pub problems: Vec<String>,
}

/// One local ref that catch-up moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The ref.
    pub name: RefName,
    /// Its value before.
    pub old: Option<Oid>,
    /// Its value after; `None`: deleted.
    pub new: Option<Oid>,
}

/// A ref that stays behind the ref-db until somebody removes what is in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The ref.
    pub name: RefName,
    /// What is in the way, and what to do.
    pub why: String,
}

/// A record and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordState {
    /// The id of the record.
    pub id: String,
    /// Its refs.
    pub refs: Vec<RefName>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its write has ended, well or without effect, and the record is gone; in a look that moves nothing, it would go.
    Ended,
    /// Somebody holds one of its refs: the write may still be going on.
    Busy,
    /// Its write may still land, or is not finished here yet; the text says what is waited for.
    Waiting(String),
    /// It cannot be finished without a person; the text says why.
    Blocked(String),
}

/// Brings the local refs of `project` up to the ref-db as far as the objects are here, and finishes the writes that the
/// journal has records of.
///
/// Does nothing at a site that is not gated, nor for a project that does not replicate. A ref-db that cannot be read is
/// no error here: the decision that follows says so for every ref.
pub async fn catch_up(site: &Site, project: &Project, repository: &Repository) -> Result<CaughtUp, Error> {
    run(site, project, repository, None, true).await
}

/// The same for some refs only, and for all records.
pub async fn catch_up_refs(
    site: &Site,
    project: &Project,
    repository: &Repository,
    names: &[RefName],
) -> Result<CaughtUp, Error> {
    run(site, project, repository, Some(names), true).await
}

/// What [`catch_up`] would do now; moves nothing.
pub(crate) async fn would_catch_up(
    site: &Site,
    project: &Project,
    repository: &Repository,
) -> Result<CaughtUp, Error> {
    run(site, project, repository, None, false).await
}

async fn run(
    site: &Site,
    project: &Project,
    repository: &Repository,
    only: Option<&[RefName]>,
    act: bool,
) -> Result<CaughtUp, Error> {
    let config = site.gate.config();
    if config.site.writes != SiteKind::Gated
        || !config.ref_database.enabled
        || site.gate.matches(project).await != Ok(true)
    {
        return Ok(CaughtUp::default());
    }
    let mut out = CaughtUp::default();
    let journal = Journal::of(repository);
    let (records, damaged) = list(&journal).await?;
    out.problems.extend(damaged.iter().map(told));
    let known: BTreeSet<String> = records.iter().map(|record| record.id.clone()).collect();
    let recorded: Vec<RefName> =
        records.iter().flat_map(|r| r.refs.iter().map(|one| one.name.clone())).collect();

    let Ok(entries) = entries(site, project, only, &recorded).await else { return Ok(out) };
    let ours = match only {
        None => local_refs(repository).await?,
        Some(_) => {
            let mut ours = values(repository, entries.iter().map(|(name, _)| name.clone()).collect()).await?;
            // A change that is deleted goes whole, whatever of it is asked for.
            let deleted = |found: &Lookup| found.entry().is_some_and(|e| e.value == GlobalRef::Deleted);
            let gone = entries.iter().filter(|(_, found)| deleted(found)).map(|(name, _)| name.clone());
            ours.extend(rest_of_changes(repository, &gone.collect::<Vec<_>>()).await?);
            ours
        }
    };
    let mut wanted = behind(project, site, entries.iter().map(|(name, found)| (name, found)), &ours);
    // A `/meta` goes with its patch sets: by a record, or by a fetch. That its objects are here says nothing about theirs.
    wanted.retain(|name, value| value.is_none() || !is_meta(name) || recorded.contains(name));
    if wanted.is_empty() && records.is_empty() {
        return Ok(out);
    }
    let objects = wanted.values().copied().flatten();
    let objects: Vec<Oid> =
        objects.chain(records.iter().flat_map(|r| r.refs.iter().filter_map(|one| one.new))).collect();
    let complete = complete(repository, objects).await?;
    wanted.retain(|_, value| value.is_none_or(|oid| complete.contains(&oid)));
    let names: BTreeSet<RefName> = wanted.keys().cloned().chain(recorded).collect();
    let names: Vec<RefName> = names.into_iter().collect();
    let (locks, got) = try_lock(repository, &names).await?;
    let held: HashSet<RefName> =
        names.iter().zip(&got).filter(|(_, got)| **got).map(|(n, _)| n.clone()).collect();

    // From here on nobody else moves these refs; what was read before may be out of date.
    let (records, _) = list(&journal).await?;
    let (mine, others): (Vec<Record>, Vec<Record>) = records.into_iter().partition(|record| {
        known.contains(&record.id) && record.refs.iter().all(|one| held.contains(&one.name))
    });
    let busy: HashSet<RefName> =
        others.iter().flat_map(|r| r.refs.iter().map(|one| one.name.clone())).collect();
    out.records.extend(others.iter().map(|record| state(record, Fate::Busy)));
    let free = |name: &RefName| held.contains(name) && !busy.contains(name);
    // A change moves whole: with one of its refs the others wait.
    let stuck: HashSet<Vec<u8>> = wanted.keys().filter(|name| !free(name)).filter_map(change_of).collect();
    let (wanted, waits): (BTreeMap<_, _>, BTreeMap<_, _>) = wanted
        .into_iter()
        .partition(|(name, _)| free(name) && change_of(name).is_none_or(|c| !stuck.contains(&c)));
    out.busy.extend(waits.into_keys());
    let held: Vec<RefName> = held.into_iter().filter(|name| !busy.contains(name)).collect();
    let Ok(entries) = read(site, project, &held).await else { return Ok(out) };
    let local = values(repository, held).await?;
    let broken = |record: &Record| {
        record
            .refs
            .iter()
            .find(|one| local.get(&one.name) == Some(&Value::Broken))
            .map(|one| one.name.clone())
    };
    let (mine, unread): (Vec<Record>, Vec<Record>) = mine.into_iter().partition(|r| broken(r).is_none());
    for record in unread {
        let why = broken(&record).map(|name| format!("`{name}` cannot be read")).unwrap_or_default();
        out.problems.push(blocked(&record, &why));
        out.records.push(state(&record, Fate::Blocked(why)));
    }
    let updates = updates(site, project, &wanted, &entries, &local);
    let judged = judge(site, project, repository, updates).await;
    let kept = judged.refs.into_iter().filter(|one| one.verdict.is_keep());
    let kept: BTreeMap<RefName, Moved> =
        kept.map(|one| (one.name.clone(), Moved { name: one.name, old: one.old, new: one.new })).collect();
    let contained = ancestry(repository, records::questions(&mine, &entries)).await?;
    let mut facts = Facts {
        project,
        entries: &entries,
        local: local_values(&local),
        contained: &contained,
        complete: &complete,
    };
    let plan = Plan::of(&mine, &facts, kept);
    let moves = plan.edits();
    let mut created: HashSet<RefName> =
        moves.iter().filter(|edit| edit.old.is_none()).map(|edit| edit.name.clone()).collect();
    let (outcomes, locks) = apply(repository, moves, locks, act).await?;
    for (edit, outcome) in outcomes {
        match outcome {
            EditOutcome::Applied => {
                created.remove(&edit.name);
                facts.local.insert(edit.name.clone(), edit.new);
                out.moved.push(Moved { name: edit.name, old: edit.old, new: edit.new });
            }
            EditOutcome::Rejected(why) => out.stuck.push(Stuck { name: edit.name, why }),
        }
    }
    out.problems.extend(names::stands_in_the_way(&created, &ours));
    for record in &mine {
        let fate = fate(site, project, repository, record, &plan, &facts, act).await;
        if let Fate::Blocked(why) = &fate {
            out.problems.push(blocked(record, why));
        }
        if act && fate == Fate::Ended {
            end(&journal, record).await?;
            death::forget(repository, &record.id);
        }
        out.records.push(state(record, fate));
    }
    if act {
        death::forget_all_but(repository, &known);
    }
    drop(locks);
    Ok(out)
}

/// What is to become of a record after everything has moved that can.
async fn fate(
    site: &Site,
    project: &Project,
    repository: &Repository,
    record: &Record,
    plan: &Plan,
    facts: &Facts<'_>,
    act: bool,
) -> Fate {
    if let Some(why) = plan.blocked.get(&record.id) {
        return Fate::Blocked(why.clone());
    }
    match facts.rest(record) {
        records::Rest::Nothing => Fate::Ended,
        records::Rest::Here(why) => Fate::Waiting(why),
        records::Rest::MayLand(edits) => {
            match death::surely_dead(site, project, repository, record, &edits, act).await {
                Ok(()) => Fate::Ended,
                Err(why) => Fate::Waiting(why),
            }
        }
    }
}

fn blocked(record: &Record, why: &str) -> String {
    format!("the record of a push `{}` cannot be finished: {why}", record.id)
}

fn state(record: &Record, fate: Fate) -> RecordState {
    RecordState {
        id: record.id.clone(),
        refs: record.refs.iter().map(|one| one.name.clone()).collect(),
        fate,
    }
}

fn told(e: &GitError) -> String {
    match &e.hint {
        Some(hint) => format!("{}; {hint}", e.message),
        None => e.message.clone(),
    }
}

async fn list(journal: &Journal) -> Result<(Vec<Record>, Vec<GitError>), Error> {
    let journal = journal.clone();
    Ok(blocking(move || journal.list_readable()).await?)
}

async fn end(journal: &Journal, record: &Record) -> Result<(), Error> {
    let (journal, record) = (journal.clone(), record.clone());
    Ok(blocking(move || journal.end(&record)).await?)
}

/// The entries that matter: all, or those of some refs; and those of the refs of records.
async fn entries(
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

/// The fetch table on local refs against the ref-db, by this site's own kind. Reads both anew.
pub(crate) async fn judge(
    site: &Site,
    project: &Project,
    repository: &Repository,
    updates: Vec<RefUpdate>,
) -> Decision {
    let config = site.gate.config();
    let request = Request {
        direction: Direction::Fetch,
        project,
        peer: "",
        format: repository.object_format(),
        updates,
        kind: config.site.writes,
        source_of_truth: false,
        mirror: true,
        gate: true,
        floor: true,
        rules: &config.rules,
        wait: ReloadWait { min_ms: 0, max_random_ms: 0 },
        refdb_timeout: config.ref_database.timeout,
    };
    // No filters: this is the site's own write, and the floor is the whole rule.
    decide(request, site.gate.sources(None), &FilterSet::default()).await
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

fn local_values(local: &HashMap<RefName, Value>) -> HashMap<RefName, Option<Oid>> {
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

/// Moves refs, or without `act` tries it and gives it up; gives back what came of each. The locks go along: should the
/// caller be cancelled, they are held until git is done.
async fn apply(
    repository: &Repository,
    edits: Vec<RefEdit>,
    locks: RefLocks,
    act: bool,
) -> Result<(Vec<(RefEdit, EditOutcome)>, RefLocks), Error> {
    if edits.is_empty() {
        return Ok((Vec::new(), locks));
    }
    let repository = repository.clone();
    let done = blocking(move || {
        let outcomes = match act {
            true => repository.update_refs(&edits, "refgate: catch up with the ref-db")?,
            false => repository.writer().try_out(&edits)?,
        };
        Ok((edits.into_iter().zip(outcomes).collect(), locks))
    });
    Ok(done.await?)
}
