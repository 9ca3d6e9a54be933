//! Catch-up: a gated site sets its refs to what the ref-db holds, from its own object store, and finishes the writes that
//! its journal has records of.
//!
//! A gated write moves the ref-db first and the local ref second; a site that died in between finishes the write here, and
//! asks nobody: it was accepted. Any other ref that is behind is a fetch whose other side is the ref-db: the same table and
//! the same filters decide, so that nothing unaccounted for is overwritten and no policy of this site is passed by.
//! Everything moves under the site's locks on its refs, which nobody holds while a filter runs. A ref that somebody holds is
//! left alone: a live writer will finish its own write.

mod asked;
mod changes;
mod death;
mod facts;
mod records;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use refgate_core::ports::{EditOutcome, GitError, Guard, RefEdit, Repo};
use refgate_core::table::RemoteValue;
use refgate_core::{
    Direction, FilterSet, GlobalRef, Lookup, Move, Moves, Oid, Project, RefName, RefUpdate, SiteKind, is_meta,
};
use refgate_git::Repository;

use super::offers::Value;
use super::push::local_refs;
use super::{Site, blocking};
use crate::gated::{Journal, Record};
use crate::{Error, names};
use asked::Asked;
use changes::{change_of, updates};
use facts::{entries, local_values};
use records::{Facts, Plan};

pub(crate) use changes::{behind, global_of, is_of_deleted_change, rest_of_changes};
pub(crate) use facts::{all_entries, ancestry, complete, deadline, judge, read, values};

/// What catch-up did.
#[derive(Clone, Debug)]
pub struct CaughtUp {
    /// The refs that moved; in a look that moves nothing, those that would.
    pub moved: Vec<Moved>,
    /// The refs that are behind, with their objects at hand, and that a filter of this site or the table holds back.
    pub held: Moves,
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

impl Moved {
    /// As an update from the ref-db.
    pub(crate) fn update(&self) -> RefUpdate {
        RefUpdate::new(self.name.clone(), self.old, RemoteValue::Known(self.new)).forced()
    }
}

impl Default for CaughtUp {
    fn default() -> CaughtUp {
        CaughtUp {
            moved: Vec::new(),
            held: Moves::new(Direction::Fetch),
            records: Vec::new(),
            busy: Vec::new(),
            stuck: Vec::new(),
            problems: Vec::new(),
        }
    }
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
    /// Its write has ended, and the record cannot be cleared away; the text says why. It stops nothing.
    Kept(String),
}

/// Brings the local refs of `project` up to the ref-db as far as the objects are here and the filters of this site let it
/// pass, and finishes the writes that the journal has records of.
///
/// Does nothing in a repository that is not gated (see [`Site::kind`]), nor for a project that does not replicate. A ref-db
/// that cannot be read is no error here: the decision that follows says so for every ref.
pub async fn catch_up(site: &Site, project: &Project, repository: &Repository) -> Result<CaughtUp, Error> {
    let kind = site.kind(project, repository).await?;
    of_kind(site, project, repository, kind.writes).await
}

/// The same in a repository whose kind was looked at.
pub(crate) async fn of_kind(
    site: &Site,
    project: &Project,
    repository: &Repository,
    kind: SiteKind,
) -> Result<CaughtUp, Error> {
    run(site, project, repository, kind, None, true).await
}

/// The same for some refs only, and for all records. For what a hook runs: nobody looks for the hook then.
pub async fn catch_up_refs(
    site: &Site,
    project: &Project,
    repository: &Repository,
    names: &[RefName],
) -> Result<CaughtUp, Error> {
    run(site, project, repository, site.gate.config().site.writes, Some(names), true).await
}

/// What [`catch_up`] would do now in a repository of that kind; moves nothing.
pub(crate) async fn would_catch_up(
    site: &Site,
    project: &Project,
    repository: &Repository,
    kind: SiteKind,
) -> Result<CaughtUp, Error> {
    run(site, project, repository, kind, None, false).await
}

async fn run(
    site: &Site,
    project: &Project,
    repository: &Repository,
    kind: SiteKind,
    only: Option<&[RefName]>,
    act: bool,
) -> Result<CaughtUp, Error> {
    if kind != SiteKind::Gated
        || !site.gate.config().ref_database.enabled
        || site.gate.matches(project).await != Ok(true)
    {
        return Ok(CaughtUp::default());
    }
    let mut out = CaughtUp::default();
    let journal = Journal::of(repository);
    let (records, damaged) = list(&journal).await?;
    out.problems.extend(damaged.iter().map(GitError::told));
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
    let asked = Asked::of(site, project, repository, kind, &records, &wanted, (&entries, &ours)).await;
    wanted.retain(|name, _| asked.lets_pass(name));
    out.problems.extend(asked.problems.iter().cloned());
    let names: BTreeSet<RefName> = wanted.keys().cloned().chain(recorded).collect();
    let names: Vec<RefName> = names.into_iter().collect();
    let (locks, got) = repository.try_lock(&names).await?;
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
    let mut updates = updates(site, project, &wanted, &entries, &local);
    // What has moved since a filter was asked about it is another update.
    updates.retain(|update| asked.is_about(update));
    // The filters have spoken; what remains to be asked is the table, under the locks.
    let judged = judge(site, project, repository, kind, updates, &FilterSet::default()).await.moves;
    let moved = |one: Move<'_>| Moved { name: one.name().clone(), old: one.old(), new: one.new() };
    let kept: BTreeMap<RefName, Moved> =
        judged.iter().filter(|one| one.is_kept()).map(|one| (one.name().clone(), moved(one))).collect();
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
    for (edit, outcome) in apply(repository, moves, &locks, act).await? {
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
    let mut ended = Vec::new();
    for record in &mine {
        let fate = fate(site, project, repository, record, &plan, &facts, act).await;
        match fate {
            Fate::Ended => ended.push(record.clone()),
            Fate::Blocked(why) => {
                out.problems.push(blocked(record, &why));
                out.records.push(state(record, Fate::Blocked(why)));
            }
            other => out.records.push(state(record, other)),
        }
    }
    end(repository, &journal, ended, act, &mut out).await?;
    if act {
        death::forget_all_but(repository, &known);
    }
    drop(locks);
    out.held = asked.held;
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

async fn list(journal: &Journal) -> Result<(Vec<Record>, Vec<GitError>), Error> {
    let journal = journal.clone();
    Ok(blocking(move || journal.list_readable()).await?)
}

/// Clears away the records of writes that have ended, or without `act` looks whether it could. What stays keeps nothing
/// from going on: it is told, and the next run tries again.
async fn end(
    repository: &Repository,
    journal: &Journal,
    ended: Vec<Record>,
    act: bool,
    out: &mut CaughtUp,
) -> Result<(), Error> {
    if ended.is_empty() {
        return Ok(());
    }
    let journal = journal.clone();
    let (ended, cleared) = blocking(move || {
        let cleared = if act { journal.end_all(&ended) } else { journal.would_end(&ended) };
        Ok((ended, cleared))
    })
    .await?;
    let mut kept: Vec<(&Record, GitError)> = Vec::new();
    for (record, cleared) in ended.iter().zip(cleared) {
        match cleared {
            Ok(()) => {
                if act {
                    death::forget(repository, &record.id);
                }
                out.records.push(state(record, Fate::Ended));
            }
            Err(e) => {
                out.records.push(state(record, Fate::Kept(e.message.clone())));
                kept.push((record, e));
            }
        }
    }
    if let Some((record, e)) = kept.first() {
        let others = match kept.len() - 1 {
            0 => String::new(),
            n => format!(", and {n} more like it"),
        };
        out.problems.push(format!(
            "the record of a push `{}` is finished and cannot be cleared away{others}: {}; nothing waits for it, and \
             `refgate refdb heal` shows what dead processes have left",
            record.id,
            e.told()
        ));
    }
    Ok(())
}

/// Moves refs, or without `act` tries it and gives it up; gives back what came of each.
async fn apply(
    repository: &dyn Repo,
    edits: Vec<RefEdit>,
    locks: &Guard,
    act: bool,
) -> Result<Vec<(RefEdit, EditOutcome)>, Error> {
    if edits.is_empty() {
        return Ok(Vec::new());
    }
    let outcomes = match act {
        true => repository.update(&edits, "refgate: catch up with the ref-db", locks).await?,
        false => repository.try_out(&edits).await?,
    };
    Ok(edits.into_iter().zip(outcomes).collect())
}
