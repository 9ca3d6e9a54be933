//! Steps 1 and 2 of a gated write: the locks, and under them what is here and what the ref-db holds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use refgate_core::ports::{GitError, GitErrorKind, Guard, Target};
use refgate_core::{Class, Entry, GlobalRef, Lookup, Move, Oid, RefName, SiteKind, is_meta, meta_of};

use super::receive::Writer;
use super::rows::{Row, Rows};
use super::why::Why;
use super::{failpoint, judge, policy};
use crate::Error;
use crate::replicate::catch_up::{read, rest_of_changes};
use crate::replicate::catch_up_refs;

/// How long a push waits for refs that another process of this site holds.
const LOCK_WAIT: Duration = Duration::from_secs(10);

impl Writer<'_> {
    /// Steps 1 and 2. What the ref-db is ahead of gets one chance to catch up, without locks. `None`: somebody else holds
    /// the refs.
    pub(super) async fn lock_and_judge(&self, rows: &mut Rows) -> Result<Option<Guard>, Error> {
        let clock = self.site.gate.clock().as_ref();
        let mut held: HashMap<RefName, Why> = HashMap::new();
        for last in [false, true] {
            let locks = match self.repo().lock(&rows.names(), LOCK_WAIT, clock).await {
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
                let why = |one: Move<'_>| Some((one.name().clone(), Why::held_here(one)?));
                held = done.held.iter().filter_map(why).collect();
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
        let count = names.len();
        let asked: Vec<RefName> = names.into_iter().chain(metas.iter().cloned()).collect();
        let mut targets = self.repo().targets(&asked).await?;
        let metas_here: HashSet<RefName> = metas
            .into_iter()
            .zip(targets.split_off(count))
            .filter(|(_, t)| t.is_some())
            .map(|(m, _)| m)
            .collect();
        let found = self.entries(rows).await;
        let seen: Vec<Result<Lookup, Why>> = rows.open().map(|row| self.seen(row, &found)).collect();
        let accounted = match self.push.replication() {
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
            let anew = row.old.is_none() && !self.push.replication() && is_deleted(&row.name);
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
        let keeps = self.gate && !self.push.replication() && *change != judge::Change::Goes;
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
        match self.push.replication() {
            true => judge::replication(row, &seen?, accounted, change).map(Some),
            false => judge::client(row, &seen?, change).map(Some),
        }
    }

    /// The local ref is as the push wants it, and the ref-db has nothing against it.
    fn is_settled(&self, row: &Row, seen: &Result<Lookup, Why>) -> bool {
        let recorded = |lookup: &Lookup| {
            let entry = lookup.entry();
            entry.is_some_and(|entry| entry.value == GlobalRef::Untracked || entry.value.oid() == row.new)
        };
        self.push.replication() || !row.is_tracked() || seen.as_ref().is_ok_and(recorded)
    }

    fn is_stale(&self, row: &Row, entry: &Entry, local: Option<Oid>) -> bool {
        let known = entry.value != GlobalRef::Untracked;
        !self.push.replication() && row.is_tracked() && known && entry.value.oid() != local
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
        let answers = self.repo().ancestry(&pairs).await?;
        let places = (0..rows.rows.len()).filter(|i| rows.rows[*i].is_open());
        let mut from = 0;
        let overwrites = places.zip(ends).map(|(place, end)| {
            let superseded = answers[from..end].contains(&true);
            from = end;
            judge::Overwrites {
                contained: rows.rows[place].old.is_none() || rows.rows[place].fast_forward,
                superseded,
            }
        });
        Ok(overwrites.collect())
    }

    /// Whether catching up could help: the ref-db is ahead, and what it holds is here.
    async fn may_catch_up(&self, verdicts: &[Result<Option<Entry>, Why>]) -> Result<bool, GitError> {
        if self.push.replication() || self.site.gate.config().site.writes != SiteKind::Gated {
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
        let count = wanted.iter().collect::<HashSet<_>>().len();
        Ok(count > 0 && self.repo().missing(&wanted).await?.len() < count)
    }
}
