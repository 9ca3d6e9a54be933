//! A push as git's hook `proc-receive` gets it, from the first check to the answer: the steps of a gated write.
//!
//! | step | what | a kill here leaves |
//! |---|---|---|
//! | 0 | local policy | nothing |
//! | 1 | local locks | nothing |
//! | 2 | the local value is the client's old one, and the global value is the local one | nothing |
//! | 3 | the objects on disk, a record, and refs that keep the objects | a record without effect: dropped |
//! | 4 | compare-and-put | some or all of the ref-db moved: rolled forward |
//! | 5 | the local refs | the ref-db ahead: rolled forward |
//! | 6 | the answer, the record goes | all done, the client unsure |
//!
//! Finishing what a kill left is catch-up's. What was put into the ref-db is never put back, and a local ref is
//! never rolled back: somebody may have built on it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use refgate_core::ports::Repo;
use refgate_core::{GlobalRef, Project, RefName, meta_of};
use refgate_git::Repository;
use refgate_git::receive::Answer;

use super::journal::{Journal, Record, RecordedRef};
use super::push::{Push, Received, look_at_seal, refuse_another_refdb};
use super::refused::Refused;
use super::rows::{Row, Rows};
use super::why::Why;
use super::{failpoint, policy, write};
use crate::replicate::catch_up::{deadline, rest_of_changes};
use crate::replicate::{blocking, catch_up_refs};
use crate::{Error, Site, anew, names};

/// So many refs are worked on at a time, or all that stand or fall together: more than that are locked by spans, in which
/// everybody's refs lie.
const AT_ONCE: usize = 500;
/// So many refs may stand or fall together: they are held for less time than others wait for them.
const TOGETHER: usize = 5000;
/// How long others have their turn between two parts: longer than they wait before they look again.
const TURN: Duration = Duration::from_millis(30);
/// So many details are told in full.
const TOLD: usize = 10;

/// Does what the push asks for as far as it is allowed: the ref-db first, then the local refs.
///
/// # Errors
/// Only before anything moved, and then nothing moves; everything later is in the answers.
pub async fn receive(
    site: &Site,
    project: &Project,
    repository: &Repository,
    push: Push,
) -> Result<Received, Error> {
    let config = site.gate.config();
    let gate = config.ref_database.enabled && site.gate.matches(project).await?;
    let mut rows = Rows::new(&push.commands, push.atomic, gate, project, &config.rules);
    rows.replication = push.replication();
    let mut received = Received::default();
    failpoint::at("begun", site.gate.clock().as_ref()).await;
    if gate && push.replication() {
        if let Some(refused) = look_at_seal(site, project, &push)? {
            return Ok(refused);
        }
        refuse_another_refdb(site, push.refdb.as_deref())?;
    }
    if gate {
        // What a kill left is finished before anything else. The refs of this push catch up when local policy has let them
        // through: the objects that make it possible may have come with the push itself.
        // What it cannot finish is no matter of this pusher; `hook status` lists it.
        catch_up_refs(site, project, repository, &[]).await?;
    }
    if gate {
        // A change goes whole, and what is said of a change is said of all of it.
        let metas: Vec<RefName> = rows.doomed().map(|row| row.name.clone()).collect();
        let rest = rest_of_changes(repository, &metas).await?;
        rows.take_along(
            rest.into_iter().filter_map(|(name, value)| Some((name, value.oid()?))),
            project,
            &config.rules,
        );
    }
    // git has put the objects in their place just now. Before a record, the ref-db or a ref names them, they are to stay
    // there.
    Repo::settle_objects(repository).await?;
    policy::check(repository, &mut rows).await?;
    let mut writer = Writer { site, project, repository, push: &push, gate };
    writer.run_in_parts(&mut rows, &mut received).await?;
    writer.look_for_another_project(&mut rows).await;
    writer.tell(&rows, &mut received);
    // When it cannot, pushers have no part in it: this site's own pushes and fetches say so to its operators.
    drop(site.remember().await);
    Ok(received)
}

/// A push whose local policy is settled.
pub(super) struct Writer<'a> {
    pub(super) site: &'a Site,
    pub(super) project: &'a Project,
    pub(super) repository: &'a Repository,
    pub(super) push: &'a Push,
    pub(super) gate: bool,
}

impl Writer<'_> {
    pub(super) fn repo(&self) -> &dyn Repo {
        self.repository
    }

    /// A push of very many refs must not keep others from the repository until its end: its refs are locked, put and moved
    /// a part at a time, and others get their turn in between.
    async fn run_in_parts(&mut self, rows: &mut Rows, received: &mut Received) -> Result<(), Error> {
        let clock = self.site.gate.clock().clone();
        for place in rows.larger_than(TOGETHER) {
            rows.rows[place].refused = Some(Why::TooMany(TOGETHER));
        }
        for (i, places) in rows.parts(AT_ONCE).into_iter().enumerate() {
            if i > 0 {
                received.end_part().await;
                clock.sleep(TURN).await;
            }
            let mut part = rows.part(&places);
            let done = self.run(i, &mut part, received).await;
            match done {
                Err(e) if i == 0 => return Err(e),
                // Refs of the parts before have moved, and that has to be told.
                Err(e) => part.refuse_open(&Why::Unable(e.to_string())),
                Ok(()) => {}
            }
            rows.put_back(&places, part);
        }
        Ok(())
    }

    async fn run(&mut self, number: usize, rows: &mut Rows, received: &mut Received) -> Result<(), Error> {
        let Some(locks) = self.lock_and_judge(rows).await? else { return Ok(()) };
        received.locks = locks.clone();
        if rows.open().next().is_none() {
            return Ok(());
        }
        let clock = self.site.gate.clock().as_ref();
        failpoint::at("checked", clock).await;
        self.refuse_impossible(rows).await?;
        self.refuse_names(rows).await;
        if let Some(record) = self.record(number, rows) {
            self.site.note_use().await?;
            let journal = Journal::of(self.repository);
            let (begun, what) = (journal.clone(), record.clone());
            blocking(move || begun.begin(&what)).await?;
            received.record = Some((journal, record));
            failpoint::at("journal", clock).await;
            write::put(self.site, self.project, rows).await;
            failpoint::at("put", clock).await;
        }
        let done = write::set_local(self.site, self.project, self.repository, rows, &locks).await;
        let done = done.unwrap_or_else(|e| {
            // Which refs moved nobody can tell now; the record stays, and catch-up reads them.
            rows.refuse_open(&Why::Unknown(e.message));
            false
        });
        let unknown = rows.rows.iter().any(|row| matches!(row.refused, Some(Why::Unknown(_))));
        if !done || unknown {
            received.record = None;
        }
        failpoint::at("local", clock).await;
        Ok(())
    }

    /// A ref whose name another site's ref excludes would be held back there for ever.
    async fn refuse_names(&self, rows: &mut Rows) {
        let put = || rows.open().filter(|row| rows.is_put(row));
        let new: Vec<RefName> = put().filter(|row| row.old.is_none()).map(|row| row.name.clone()).collect();
        let gone = put().filter(|row| row.new.is_none()).map(|row| row.name.clone()).collect();
        match names::recorded(self.site, self.project, &new, &gone).await {
            Ok(found) => {
                for row in rows.open_mut() {
                    row.refused = found.get(&row.name).cloned().map(Why::InTheWay);
                }
            }
            Err(e) => {
                let new: HashSet<RefName> = new.into_iter().collect();
                for row in rows.open_mut().filter(|row| new.contains(&row.name)) {
                    row.refused = Some(Why::RefDbDown(e.message.clone()));
                }
            }
        }
        rows.settle();
    }

    /// What git would not take after the ref-db had moved is refused before: a trial of the whole transaction.
    async fn refuse_impossible(&self, rows: &mut Rows) -> Result<(), Error> {
        let limit = self.site.gate.refdb().capabilities().atomic_edits;
        for place in write::more_than(rows, limit) {
            rows.rows[place].refused = Some(Why::TooMany(limit));
        }
        rows.settle();
        let recorded = rows.recorded();
        let tried = |row: &Row| !row.is_noop() && (!rows.replication || recorded(row));
        let places: Vec<usize> = rows.open_places().into_iter().filter(|i| tried(&rows.rows[*i])).collect();
        let edits: Vec<_> = places.iter().map(|i| rows.rows[*i].edit()).collect();
        if !edits.is_empty() {
            let outcomes = self.repository.try_out(&edits).await?;
            rows.refuse_rejected(&places, outcomes);
            rows.settle();
        }
        Ok(())
    }

    /// What has to be written down: the refs that the ref-db records, and those that stand or fall with them.
    fn record(&self, number: usize, rows: &Rows) -> Option<Record> {
        let goes = rows.recorded();
        let goes = |row: &&Row| row.is_open() && !row.is_noop() && goes(row);
        let recorded = |row: &Row| RecordedRef {
            name: row.name.clone(),
            old: row.old,
            new: row.new,
            tracked: row.is_tracked(),
            group: row.group,
        };
        let ordered = rows.open_places().into_iter().map(|i| &rows.rows[i]);
        let refs: Vec<RecordedRef> = ordered.filter(goes).map(recorded).collect();
        let id = match number {
            0 => self.push.id.clone(),
            _ => format!("{}-{number}", self.push.id),
        };
        let record = Record { id, project: self.project.clone(), refs };
        Some(record).filter(|record| !record.refs.is_empty())
    }

    /// Waiting for what other sites have helps nobody when that is a project that was here before.
    async fn look_for_another_project(&self, rows: &mut Rows) {
        let behind = |row: &&mut Row| {
            matches!(row.refused, Some(Why::Behind { global: GlobalRef::At(_), local: None }))
        };
        if !rows.rows.iter_mut().any(|row| behind(&row)) {
            return;
        }
        let (gate, project) = (&self.site.gate, self.project);
        let (refdb, rules) = (gate.refdb(), &gate.config().rules);
        let found = anew::look(refdb, rules, project, self.repository, || deadline(self.site)).await;
        // When it cannot be told, what was said before is still true.
        if let Ok(Some(recorded)) = found {
            rows.rows.iter_mut().filter(behind).for_each(|row| row.refused = Some(Why::MadeAnew(recorded)));
        }
    }

    /// Step 6, but for the writing: answers and details.
    fn tell(&mut self, rows: &Rows, received: &mut Received) {
        let others: Vec<String> =
            self.site.gate.config().remotes.keys().map(|name| format!("`{name}`")).collect();
        let mut told = 0;
        for (why, command) in rows.verdicts().into_iter().zip(&self.push.commands) {
            let Some(why) = why else {
                received.answers.push(Answer::Ok);
                continue;
            };
            let reason = match self.push.replication() {
                true => why.reason_for_replication(self.project),
                false => why.reason(self.project),
            };
            // Such a name cannot stand in an answer.
            if command.name.contains(&b' ') {
                received.details.push(format!("{}: {reason}", refgate_core::escape(&command.name)));
            }
            received.answers.push(Answer::Refused(reason));
            let for_operators = why.for_operators(self.project);
            if let Some(why) = for_operators.clone().filter(|_| received.operators.len() < TOLD) {
                let time = self.site.gate.clock().unix_time().as_secs();
                let name = Some(refgate_core::escape(&command.name));
                received.operators.push(Refused { time, name, why });
            }
            // Who reads what replication says is an operator.
            let advice = why.advice(&others);
            if let Some(advice) = for_operators.filter(|_| self.push.replication()).or(advice) {
                told += 1;
                if told <= TOLD {
                    received.details.push(format!("{}: {advice}", refgate_core::escape(&command.name)));
                }
            }
        }
        if told > TOLD {
            received.details.push(format!("and {} more refs", told - TOLD));
        }
        let mut along: BTreeMap<RefName, usize> = BTreeMap::new();
        let gone = rows.open().filter(|row| row.added).filter_map(|row| meta_of(&row.name));
        gone.for_each(|meta| *along.entry(meta).or_default() += 1);
        for (meta, count) in along.iter().take(TOLD) {
            let refs = if *count == 1 { "the other ref" } else { "the other refs" };
            received.details.push(format!("{meta}: {refs} of the change ({count}) went with it"));
        }
    }
}
