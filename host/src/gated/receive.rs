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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use refgate_core::decision::RefDecision;
use refgate_core::{Class, Entry, GlobalRef, Lookup, Oid, Project, RefName, SiteKind, is_meta, meta_of};
use refgate_git::receive::{Answer, Command, Request, one_line};
use refgate_git::{GitError, GitErrorKind, RefLocks, Repository, Target};

use super::journal::{Journal, Record, RecordedRef};
use super::refused::Refused;
use super::rows::{Row, Rows};
use super::why::Why;
use super::{REFDB, REPLICATION, failpoint, judge, policy, write};
use crate::known::{TO_PUSHERS, mark_of};
use crate::replicate::catch_up::{deadline, read, rest_of_changes};
use crate::replicate::{blocking, catch_up_refs};
use crate::{Error, ErrorKind, Site, anew, names};

/// How long a push waits for refs that another process of this site holds.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// So many details are told in full.
const TOLD: usize = 10;

/// What a client, or another site, pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Unique in the repository, for the record; letters, digits and `-`.
    pub id: String,
    /// All refs or none.
    pub atomic: bool,
    /// Sent by replication: no compare-and-put, the ref-db moved when a client wrote.
    pub replication: bool,
    /// The identity of the sender's ref-db, when it says so.
    pub refdb: Option<String>,
    /// What is to be moved.
    pub commands: Vec<Command>,
}

impl Push {
    /// From what git hands on.
    pub fn new(id: impl Into<String>, request: &Request) -> Push {
        let marks = |option: &Vec<u8>| option.starts_with(REPLICATION.as_bytes());
        let refdb = |option: &Vec<u8>| Some(String::from_utf8_lossy(option).strip_prefix(REFDB)?.to_owned());
        Push {
            id: id.into(),
            atomic: request.atomic,
            replication: request.options.iter().any(marks),
            refdb: request.options.iter().find_map(refdb),
            commands: request.commands.clone(),
        }
    }
}

/// What became of a push. The refs stay locked until [`end`](Received::end), or until this is dropped.
#[derive(Debug, Default)]
pub struct Received {
    /// One per command, in their order.
    pub answers: Vec<Answer>,
    /// Lines for the pusher beside the answers.
    pub details: Vec<String>,
    /// What operators have to know of what was refused.
    pub operators: Vec<Refused>,
    record: Option<(Journal, Record)>,
    locks: Option<RefLocks>,
}

impl Received {
    /// A push of so many refs of which nothing was looked at, for a reason that the pusher can do something about.
    pub fn refused(commands: usize, reason: &str, hint: Option<&str>) -> Received {
        let answers = vec![Answer::Refused(one_line(reason)); commands];
        Received { answers, details: hint.into_iter().map(str::to_owned).collect(), ..Received::default() }
    }

    /// The same where only an operator helps: `time` is in seconds since 1970. Who reads what replication is told is one.
    pub fn unable(push: &Push, error: &Error, time: u64) -> Received {
        let hint = error.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
        let why = format!("{}{hint}", error.message);
        let told = match (push.replication, error.kind) {
            (true, _) => error.message.as_str(),
            (_, ErrorKind::Doubt) => TO_PUSHERS,
            (_, ErrorKind::Usage | ErrorKind::Failed) => "this site takes no pushes now: ask its operators",
        };
        let hint = error.hint.as_deref().filter(|_| push.replication);
        Received {
            operators: vec![Refused { time, name: None, why }],
            ..Received::refused(push.commands.len(), told, hint)
        }
    }

    /// After the answer was given: removes the record of the write.
    ///
    /// # Errors
    /// A record that cannot be removed; the next catch-up does it.
    pub async fn end(self) -> Result<(), Error> {
        failpoint::kill_at("answered");
        if let Some((journal, record)) = self.record.clone() {
            blocking(move || journal.end(&record)).await?;
        }
        failpoint::kill_at("ended");
        drop(self.locks);
        Ok(())
    }
}

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
    let mut received = Received::default();
    failpoint::at("begun", site.gate.clock().as_ref()).await;
    if gate && push.replication {
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
    let here = repository.clone();
    let (mut rows, fast_forward) = blocking(move || {
        // git has put the objects in their place just now. Before a record, the ref-db or a ref names them, they are to
        // stay there.
        here.settle_objects()?;
        let fast_forward = policy::check(&here, &mut rows)?;
        Ok((rows, fast_forward))
    })
    .await?;
    let mut writer = Writer { site, project, repository, push: &push, gate, fast_forward };
    if rows.open().next().is_some() {
        writer.run(&mut rows, &mut received).await?;
    }
    writer.look_for_another_project(&mut rows).await;
    writer.tell(&rows, &mut received);
    // When it cannot, pushers have no part in it: this site's own pushes and fetches say so to its operators.
    drop(site.remember().await);
    Ok(received)
}

/// What replication sends was recorded in the sender's ref-db, which says nothing about values in another one.
fn refuse_another_refdb(site: &Site, theirs: Option<&str>) -> Result<(), Error> {
    let ours = mark_of(site.gate.refdb().as_ref()).map(|mark| mark.identity);
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(Error::failed(
            "the receiving site uses another ref-db than the sending one: both have to name the same in `ref-database.url`",
        )),
        _ => Ok(()),
    }
}

/// A push whose local policy is settled.
struct Writer<'a> {
    site: &'a Site,
    project: &'a Project,
    repository: &'a Repository,
    push: &'a Push,
    gate: bool,
    fast_forward: Vec<bool>,
}

impl Writer<'_> {
    async fn run(&mut self, rows: &mut Rows, received: &mut Received) -> Result<(), Error> {
        received.locks = self.lock_and_judge(rows).await?;
        if received.locks.is_none() || rows.open().next().is_none() {
            return Ok(());
        }
        let clock = self.site.gate.clock().as_ref();
        failpoint::at("checked", clock).await;
        if !self.push.replication {
            self.refuse_impossible(rows).await?;
            self.refuse_names(rows).await;
            if let Some(record) = self.record(rows) {
                self.site.note_use().await?;
                let journal = Journal::of(self.repository);
                let (begun, what) = (journal.clone(), record.clone());
                blocking(move || begun.begin(&what)).await?;
                received.record = Some((journal, record));
                failpoint::at("journal", clock).await;
                write::put(self.site, self.project, rows, &self.fast_forward).await;
                failpoint::at("put", clock).await;
            }
        }
        let done =
            write::set_local(self.site, self.project, self.repository, rows, self.push.replication).await;
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

    /// Steps 1 and 2. What the ref-db is ahead of gets one chance to catch up, without locks. `None`: somebody else holds
    /// the refs.
    async fn lock_and_judge(&self, rows: &mut Rows) -> Result<Option<RefLocks>, Error> {
        let clock = self.site.gate.clock().as_ref();
        let git_dir = self.repository.common_dir();
        let mut held: HashMap<RefName, Why> = HashMap::new();
        for last in [false, true] {
            let locks = match RefLocks::acquire(git_dir, &rows.names(), LOCK_WAIT, clock).await {
                Ok(locks) => locks,
                Err(e) if e.kind == GitErrorKind::Busy => {
                    rows.refuse_open(&Why::Busy);
                    return Ok(None);
                }
                Err(e) => return Err(e.into()),
            };
            failpoint::at("locked", clock).await;
            let verdicts = self.judge(rows).await?;
            if !last && self.may_catch_up(&verdicts).await? {
                drop(locks);
                let done = catch_up_refs(self.site, self.project, self.repository, &rows.names()).await?;
                let why = |one: RefDecision| Some((one.name, Why::held_here(&one.verdict, one.global)?));
                held = done.held.into_iter().filter_map(why).collect();
                continue;
            }
            for (row, verdict) in rows.open_mut().zip(verdicts) {
                match verdict {
                    Ok(Some(entry)) => row.entry = entry,
                    Ok(None) => row.old = row.new,
                    Err(Why::Behind { .. }) if held.contains_key(&row.name) => {
                        row.refused = held.remove(&row.name);
                    }
                    Err(why) => row.refused = Some(why),
                }
            }
            // The sender sees to changes: patch sets first, then `/meta`, in sessions of their own. One that is deleted goes
            // whole.
            if self.push.replication && !rows.atomic {
                rows.ungroup();
            }
            rows.settle();
            return Ok(Some(locks));
        }
        Ok(None)
    }

    /// Per open row: the entry that it is written over, or why it is not written. `None`: the ref holds what the client
    /// wants already, as after a write that was cut short and finished by somebody else.
    async fn judge(&self, rows: &Rows) -> Result<Vec<Result<Option<Entry>, Why>>, Error> {
        let names = rows.names();
        let metas: BTreeSet<RefName> = rows.open().filter_map(|row| self.meta_of(row)).collect();
        let (here, count) = (self.repository.clone(), names.len());
        let asked: Vec<RefName> = names.into_iter().chain(metas.iter().cloned()).collect();
        let mut targets = blocking(move || here.targets(&asked.iter().collect::<Vec<_>>())).await?;
        let metas_here: HashSet<RefName> = metas
            .into_iter()
            .zip(targets.split_off(count))
            .filter(|(_, t)| t.is_some())
            .map(|(m, _)| m)
            .collect();
        let found = self.entries(rows).await;
        let seen: Vec<Result<Lookup, Why>> = rows.open().map(|row| self.seen(row, &found)).collect();
        let accounted = match self.push.replication {
            true => self.accounted(rows, &seen).await?,
            false => vec![judge::Overwrites::default(); targets.len()],
        };
        let pushed: HashMap<&RefName, Option<Oid>> =
            rows.open().filter(|row| is_meta(&row.name)).map(|row| (&row.name, row.new)).collect();
        let changes: Vec<judge::Change> = rows
            .open()
            .map(|row| match self.meta_of(row) {
                None => judge::Change::Lives,
                Some(name) => {
                    let seen = found.clone().map(|found| found.get(&name).cloned());
                    let seen =
                        seen.and_then(|seen| seen.ok_or_else(|| Why::RefDbDown("it gave no answer".into())));
                    let (here, pushed) = (metas_here.contains(&name), pushed.get(&name).copied());
                    judge::change(row, &judge::Meta { seen, here, pushed })
                }
            })
            .collect();
        let grown = self.grown(rows, &found).await?;
        let rows = rows.open().zip(targets).zip(seen).zip(accounted).zip(changes);
        Ok(rows
            .map(|((((row, target), seen), over), change)| match grown.get(&row.name) {
                Some(why) => Err(why.clone()),
                None => self.judge_row(row, target, seen, over, &change),
            })
            .collect())
    }

    /// The `/meta` of the change of a row, when its entry counts for the row.
    fn meta_of(&self, row: &Row) -> Option<RefName> {
        let counts =
            |name: &RefName| Class::of(self.project, name, &self.site.gate.config().rules) == Class::Checked;
        let reached = matches!(row.class, Class::Checked | Class::Excluded);
        meta_of(&row.name).filter(|meta| reached && counts(meta))
    }

    /// By `/meta`, why its change cannot be deleted or made anew: what else is here of it, that the push does not know of.
    async fn grown(
        &self,
        rows: &Rows,
        found: &Result<HashMap<RefName, Lookup>, Why>,
    ) -> Result<HashMap<RefName, Why>, Error> {
        let is_deleted = |name: &RefName| {
            let entry = found.as_ref().ok().and_then(|found| found.get(name)?.entry());
            entry.is_some_and(|entry| entry.value == GlobalRef::Deleted)
        };
        let is_concerned = |row: &&Row| {
            let anew = row.old.is_none() && !self.push.replication && is_deleted(&row.name);
            row.is_tracked() && is_meta(&row.name) && (row.new.is_none() || anew)
        };
        let metas: HashMap<RefName, Option<Oid>> =
            rows.open().filter(is_concerned).map(|row| (row.name.clone(), row.new)).collect();
        let known: HashSet<&RefName> =
            rows.rows.iter().filter(|row| row.old.is_some()).map(|row| &row.name).collect();
        let mut grown = HashMap::new();
        let asked: Vec<RefName> = metas.keys().cloned().collect();
        for (name, value) in rest_of_changes(self.repository, &asked).await? {
            let Some(meta) = meta_of(&name).filter(|_| value.oid().is_some() && !known.contains(&name))
            else {
                continue;
            };
            let (other, anew) = (name.to_string(), metas.get(&meta).copied().flatten().is_some());
            grown.insert(meta, if anew { Why::LeftOver(other) } else { Why::Grew(other) });
        }
        Ok(grown)
    }

    fn judge_row(
        &self,
        row: &Row,
        target: Option<Target>,
        seen: Result<Lookup, Why>,
        accounted: judge::Overwrites,
        change: &judge::Change,
    ) -> Result<Option<Entry>, Why> {
        let local = target.as_ref().and_then(Target::oid);
        let readable = matches!(target, None | Some(Target::Oid(_)));
        if readable && local == row.new && self.is_settled(row, &seen) {
            return Ok(None);
        }
        let keeps = self.gate && !self.push.replication && *change != judge::Change::Goes;
        if let Some(why) = policy::of_value(&row.name, keeps, target.as_ref(), row.old) {
            return Err(match seen {
                // What other sites have says more than that somebody was faster here.
                Ok(Lookup::Entry(entry)) if why.is_move() && self.is_stale(row, &entry, local) => {
                    Why::Behind { global: entry.value, local }
                }
                _ => why,
            });
        }
        if let judge::Change::Refused(why) = change {
            return Err(why.clone());
        }
        match self.push.replication {
            true => judge::replication(row, &seen?, accounted, change).map(Some),
            false => judge::client(row, &seen?, change).map(Some),
        }
    }

    /// The local ref is as the push wants it, and the ref-db has nothing against it.
    fn is_settled(&self, row: &Row, seen: &Result<Lookup, Why>) -> bool {
        let recorded = |lookup: &Lookup| lookup.freshness(row.new).is_up_to_date();
        self.push.replication || !row.is_tracked() || seen.as_ref().is_ok_and(recorded)
    }

    fn is_stale(&self, row: &Row, entry: &Entry, local: Option<Oid>) -> bool {
        let known = entry.value != GlobalRef::Untracked;
        !self.push.replication && row.is_tracked() && known && entry.value.oid() != local
    }

    /// What the ref-db holds for the open rows that it records, and for the `/meta` of changes.
    async fn entries(&self, rows: &Rows) -> Result<HashMap<RefName, Lookup>, Why> {
        let tracked = rows.open().filter(|row| row.is_tracked()).map(|row| row.name.clone());
        let metas = rows.open().filter_map(|row| self.meta_of(row));
        let names: Vec<RefName> = tracked.chain(metas).collect();
        read(self.site, self.project, &names).await.map_err(|e| Why::RefDbDown(e.message))
    }

    /// What the ref-db holds for a row; for one that it does not record, nothing.
    fn seen(&self, row: &Row, found: &Result<HashMap<RefName, Lookup>, Why>) -> Result<Lookup, Why> {
        if !row.is_tracked() {
            return Ok(Lookup::Entry(Entry::default()));
        }
        let found = found.as_ref().map_err(Why::clone)?;
        found.get(&row.name).cloned().ok_or_else(|| Why::RefDbDown("it gave no answer".into()))
    }

    /// For replication: whether what is here may be overwritten.
    async fn accounted(
        &self,
        rows: &Rows,
        seen: &[Result<Lookup, Why>],
    ) -> Result<Vec<judge::Overwrites>, GitError> {
        let trusts = self.site.gate.config().site.writes.trusts_superseded();
        let mut pairs: Vec<(Oid, Oid)> = Vec::new();
        let mut ends = Vec::new();
        for (row, seen) in rows.open().zip(seen) {
            if let (Some(old), Ok(Lookup::Entry(entry))) = (row.old, seen)
                && trusts
            {
                pairs.extend(entry.superseded.iter().map(|later| (old, *later)));
            }
            ends.push(pairs.len());
        }
        let here = self.repository.clone();
        let answers = blocking(move || here.ancestry(&pairs)).await?;
        let places = (0..rows.rows.len()).filter(|i| rows.rows[*i].is_open());
        let mut from = 0;
        let overwrites = places.zip(ends).map(|(place, end)| {
            let superseded = answers[from..end].contains(&true);
            from = end;
            judge::Overwrites {
                contained: rows.rows[place].old.is_none() || self.fast_forward[place],
                superseded,
            }
        });
        Ok(overwrites.collect())
    }

    /// Whether catching up could help: the ref-db is ahead, and what it holds is here.
    async fn may_catch_up(&self, verdicts: &[Result<Option<Entry>, Why>]) -> Result<bool, GitError> {
        if self.push.replication || self.site.gate.config().site.writes != SiteKind::Gated {
            return Ok(false);
        }
        let behind: Vec<Option<Oid>> = verdicts
            .iter()
            .filter_map(|verdict| match verdict {
                Err(Why::Behind { global, .. }) => Some(global.oid()),
                // What is left of a deleted change goes.
                Err(Why::LeftOver(_)) => Some(None),
                _ => None,
            })
            .collect();
        let wanted: Vec<Oid> = behind.iter().copied().flatten().collect();
        if wanted.len() < behind.len() {
            return Ok(true);
        }
        let (here, count) = (self.repository.clone(), wanted.iter().collect::<HashSet<_>>().len());
        Ok(count > 0 && blocking(move || here.missing(&wanted)).await?.len() < count)
    }

    /// A ref whose name another site's ref excludes would be held back there for ever.
    async fn refuse_names(&self, rows: &mut Rows) {
        let tracked = || rows.open().filter(|row| row.is_tracked() && !row.is_noop());
        let new: Vec<RefName> =
            tracked().filter(|row| row.old.is_none()).map(|row| row.name.clone()).collect();
        let gone = tracked().filter(|row| row.new.is_none()).map(|row| row.name.clone()).collect();
        match names::recorded(self.site, self.project, &new, &gone).await {
            Ok(found) => {
                for row in rows.open_mut() {
                    row.refused = found.get(&row.name).cloned().map(Why::InTheWay);
                }
            }
            Err(e) => {
                for row in rows.open_mut().filter(|row| row.is_tracked() && row.old.is_none()) {
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
        let places: Vec<usize> =
            rows.open_places().into_iter().filter(|i| !rows.rows[*i].is_noop()).collect();
        let edits: Vec<_> = places.iter().map(|i| rows.rows[*i].edit()).collect();
        if !edits.is_empty() {
            let here = self.repository.clone();
            let outcomes = blocking(move || here.writer().try_out(&edits)).await?;
            rows.refuse_rejected(&places, outcomes);
            rows.settle();
        }
        Ok(())
    }

    /// What has to be written down: the refs that the ref-db records, and those that stand or fall with them.
    fn record(&self, rows: &Rows) -> Option<Record> {
        let moves = |row: &&Row| row.is_open() && !row.is_noop();
        let tracked: Vec<&Row> = rows.rows.iter().filter(moves).filter(|row| row.is_tracked()).collect();
        if tracked.is_empty() {
            return None;
        }
        let groups: HashSet<u32> = tracked.iter().filter_map(|row| row.group).collect();
        let goes = |row: &&Row| row.is_tracked() || row.group.is_some_and(|group| groups.contains(&group));
        let recorded = |row: &Row| RecordedRef {
            name: row.name.clone(),
            old: row.old,
            new: row.new,
            tracked: row.is_tracked(),
            group: row.group,
        };
        let ordered = rows.open_places().into_iter().map(|i| &rows.rows[i]);
        let refs = ordered.filter(moves).filter(goes).map(recorded).collect();
        Some(Record { id: self.push.id.clone(), project: self.project.clone(), refs })
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
        let (refdb, rules) = (gate.refdb().as_ref(), &gate.config().rules);
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
            received.answers.push(Answer::Refused(why.reason(self.project)));
            let for_operators = why.for_operators(self.project);
            if let Some(why) = for_operators.clone().filter(|_| received.operators.len() < TOLD) {
                let time = self.site.gate.clock().unix_time().as_secs();
                let name = Some(refgate_core::escape(&command.name));
                received.operators.push(Refused { time, name, why });
            }
            // Who reads what replication says is an operator.
            let advice = why.advice(&others);
            if let Some(advice) = for_operators.filter(|_| self.push.replication).or(advice) {
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
