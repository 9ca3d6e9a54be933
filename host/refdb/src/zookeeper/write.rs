//! Conditional and unconditional writes of refs: read, plan, commit, and again when somebody was faster.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use futures_util::future::{try_join, try_join3};
use refgate_core::{
    Atomicity, Edit, Entry, GlobalRef, LockToken, Lookup, Outcome, RefDbError, RefDbErrorKind, RefName,
};

use super::commit::{Commit, fits};
use super::error::{Trouble, trouble};
use super::layout::{Place, directories};
use super::link::Link;
use super::plan::{Change, Wanted, changes, clear, entry, guard, is_empty_directory, plan, rescue};
use super::read::{Ask, Record};
use super::store::{Doubt, Store};

/// Most edits in one atomic write. 500 with long names and a superseded list each stay below ZooKeeper's packet size.
pub(super) const EDITS: usize = 500;

/// What to do with one ref, once it is read.
pub(super) enum Step<T> {
    Write(Wanted, T),
    Leave(T),
}

impl Store {
    /// Applies `edits`, whose nodes are `nodes`.
    pub(super) async fn apply(
        &self,
        place: &Place,
        edits: &[Edit],
        nodes: &[(String, String)],
        atomicity: Atomicity,
        doubt: &Doubt,
    ) -> Result<Vec<Outcome>, RefDbError> {
        let mut outcomes = Vec::with_capacity(edits.len());
        let mut parts: VecDeque<Range<usize>> =
            (0..edits.len()).step_by(EDITS).map(|at| at..edits.len().min(at + EDITS)).collect();
        while let Some(part) = parts.pop_front() {
            let (some, nodes) = (&edits[part.clone()], &nodes[part.clone()]);
            match self.apply_part(place, some, nodes, atomicity, doubt).await {
                Ok(done) => outcomes.extend(done),
                // Nothing of it was written, and each edit stands alone.
                Err(e)
                    if e.kind == RefDbErrorKind::TooLarge
                        && atomicity == Atomicity::Each
                        && part.len() > 1 =>
                {
                    let middle = part.start + part.len() / 2;
                    parts.push_front(middle..part.end);
                    parts.push_front(part.start..middle);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(outcomes)
    }

    async fn apply_part(
        &self,
        place: &Place,
        edits: &[Edit],
        nodes: &[(String, String)],
        atomicity: Atomicity,
        doubt: &Doubt,
    ) -> Result<Vec<Outcome>, RefDbError> {
        let nodes: HashMap<&RefName, &(String, String)> =
            edits.iter().map(|edit| &edit.name).zip(nodes).collect();
        // A read without catching up first is enough for what is then written by version.
        let mut caught_up = false;
        let mut directories = HashSet::new();
        loop {
            let link = self.writer().await?;
            self.session(&link).await?;
            // Asked in this order, and served so: one round trip.
            let (era, there, held) = try_join3(
                self.era(&link, caught_up),
                self.there(&link, &nodes),
                self.held(&link, place, edits),
            )
            .await?;
            let lookup = |name: &RefName| there.get(name).map(Record::lookup).unwrap_or(NOTHING);
            let is_held =
                |token: &LockToken| hold_node(place, token).is_some_and(|node| held.contains(&node));
            let plan = match plan(edits, atomicity, lookup, is_held) {
                Ok(plan) if plan.applies_all() || caught_up => plan,
                // It may only look like that from here: a member of the ensemble can be behind.
                Ok(_) | Err(_) if !caught_up => {
                    caught_up = true;
                    continue;
                }
                Ok(plan) => plan,
                Err((name, why)) => return Err(self.in_the_way(&name, &why)),
            };
            let mut wanted = Vec::new();
            for (name, entry) in plan.writes {
                if let (Some(nodes), Some(record)) = (nodes.get(&name), there.get(&name)) {
                    let was_directory = look_for_directory(&mut directories, nodes, record);
                    wanted.extend(changes(nodes, record, &Wanted::Entry(entry), was_directory));
                }
            }
            if wanted.is_empty() {
                return Ok(plan.outcomes);
            }
            let applied = edits.iter().zip(&plan.outcomes).filter(|(_, o)| **o == Outcome::Applied);
            let fences = applied.filter_map(|(edit, _)| hold_node(place, edit.fence.as_ref()?)).collect();
            match self.commit(&link, era, &fences, &wanted, doubt).await? {
                Commit::Done => return Ok(plan.outcomes),
                Commit::Raced => caught_up = true,
            }
        }
    }

    async fn there<'n>(
        &self,
        link: &Arc<Link>,
        nodes: &HashMap<&'n RefName, &(String, String)>,
    ) -> Result<HashMap<&'n RefName, Record>, RefDbError> {
        let (names, nodes): (Vec<&RefName>, Vec<(String, String)>) =
            nodes.iter().map(|(name, nodes)| (*name, (*nodes).clone())).unzip();
        let records = self.records(link, &nodes, false).await.map_err(|e| self.set_aside(link, &e))?;
        Ok(names.into_iter().zip(records).collect())
    }

    /// The holds of locks that are there.
    async fn held(
        &self,
        link: &Arc<Link>,
        place: &Place,
        edits: &[Edit],
    ) -> Result<BTreeSet<String>, RefDbError> {
        let fences = edits.iter().filter_map(|edit| edit.fence.as_ref());
        let nodes: BTreeSet<String> = fences.filter_map(|token| hold_node(place, token)).collect();
        if nodes.is_empty() {
            return Ok(nodes);
        }
        let asks: Vec<Ask<'_>> = nodes.iter().map(|node| Ask::Data(node)).collect();
        let answers = self.ask(link, &asks, false).await.map_err(|e| self.set_aside(link, &e))?;
        let there: Vec<bool> = answers.into_iter().map(|answer| answer.node().is_some()).collect();
        Ok(nodes.into_iter().zip(there).filter(|(_, there)| *there).map(|(node, _)| node).collect())
    }

    /// Reads one ref and does what `step` says, again and again until nobody comes in between. What `step` leaves as it is,
    /// it leaves after a read that caught up.
    pub(super) async fn rewrite<T>(
        &self,
        place: &Place,
        name: &RefName,
        nodes: &(String, String),
        doubt: &Doubt,
        step: impl Fn(Lookup) -> Result<Step<T>, RefDbError>,
    ) -> Result<T, RefDbError> {
        let mut caught_up = false;
        let mut directories = HashSet::new();
        loop {
            let link = self.writer().await?;
            self.session(&link).await?;
            let nodes_of = HashMap::from([(name, nodes)]);
            let (era, there) = try_join(self.era(&link, caught_up), self.there(&link, &nodes_of)).await?;
            let record = there.get(name).cloned().unwrap_or_default();
            let (wanted, value) = match step(record.lookup()) {
                Ok(Step::Write(wanted, value)) => (wanted, value),
                _ if !caught_up => {
                    caught_up = true;
                    continue;
                }
                Ok(Step::Leave(value)) => return Ok(value),
                Err(e) => return Err(e),
            };
            let was_directory = look_for_directory(&mut directories, nodes, &record);
            let mut changes = changes(nodes, &record, &wanted, was_directory);
            if changes.is_empty() {
                return Ok(value);
            }
            if wanted == Wanted::from(GlobalRef::Untracked)
                && let Some(node) = record.value.as_ref().filter(|node| node.children == 1)
            {
                let guard = guard(&nodes.0);
                let found = self.ask(&link, &[Ask::Data(&guard)], false).await;
                let found = found.map_err(|e| self.set_aside(&link, &e))?;
                if let Some(guard) = found.into_iter().find_map(|answer| answer.node()) {
                    drop(changes.splice(..1, clear(&nodes.0, node, guard.version)));
                }
            }
            let removed = |change: &Change| matches!(change, Change::Delete { path, .. } if *path == nodes.0);
            if wanted == Wanted::from(GlobalRef::Untracked) && changes.iter().any(removed) {
                changes.extend(rescue(self.above(&link, place, &nodes.0).await?));
            }
            match self.commit(&link, era, &BTreeSet::new(), &changes, doubt).await? {
                Commit::Done => return Ok(value),
                Commit::Raced => caught_up = true,
            }
        }
    }

    /// The directories above a value in its project, nearest first.
    async fn above(
        &self,
        link: &Arc<Link>,
        place: &Place,
        node: &str,
    ) -> Result<Vec<(String, Option<super::read::Node>)>, RefDbError> {
        let mut dirs = directories(&place.values, node);
        dirs.reverse();
        let asks: Vec<Ask<'_>> = dirs.iter().map(|dir| Ask::Data(dir)).collect();
        let answers = self.ask(link, &asks, false).await.map_err(|e| self.set_aside(link, &e))?;
        Ok(dirs.into_iter().map(str::to_owned).zip(answers.into_iter().map(|a| a.node())).collect())
    }

    /// What became of `edits`: nothing of an earlier connection can land once there is a writer.
    pub(super) async fn outcomes(
        &self,
        edits: &[Edit],
        nodes: &[(String, String)],
    ) -> Result<Vec<Outcome>, RefDbError> {
        let link = self.writer().await?;
        let records = self.records(&link, nodes, true).await.map_err(|e| self.set_aside(&link, &e))?;
        edits
            .iter()
            .zip(&records)
            .map(|(edit, record)| {
                let entry = entry(&edit.name, record.lookup());
                let actual = entry.map_err(|(name, why)| self.in_the_way(&name, &why))?.value;
                Ok(if actual == edit.new { Outcome::Applied } else { Outcome::Mismatch { actual } })
            })
            .collect()
    }

    /// Adds a node without data to our own tree.
    pub(super) async fn add(&self, path: &str, doubt: &Doubt) -> Result<(), RefDbError> {
        loop {
            let link = self.writer().await?;
            self.session(&link).await?;
            let era = self.era(&link, false).await?;
            let asks = [Ask::Data(path)];
            let there = self.ask(&link, &asks, false).await.map_err(|e| self.set_aside(&link, &e))?;
            if there.into_iter().any(|answer| answer.node().is_some()) {
                return Ok(());
            }
            let create = [Change::Create { path: path.to_owned(), data: Vec::new() }];
            if self.commit(&link, era, &BTreeSet::new(), &create, doubt).await? == Commit::Done {
                return Ok(());
            }
        }
    }

    /// Deletes `changes` in order, in writes of a bounded size; tells whether all are gone. Stops where somebody came in
    /// between.
    pub(super) async fn delete_all(&self, changes: &[Change], doubt: &Doubt) -> Result<usize, RefDbError> {
        let mut done = 0;
        while done < changes.len() {
            let mut end = changes.len().min(done + 2 * EDITS);
            while !fits(&BTreeSet::new(), &changes[done..end]) && end > done + 1 {
                end = done + (end - done) / 2;
            }
            let link = self.writer().await?;
            // What is removed has to be as it was read; the era is only counted on.
            self.session(&link).await?;
            let era = self.era(&link, false).await?;
            if self.commit(&link, era, &BTreeSet::new(), &changes[done..end], doubt).await? == Commit::Raced {
                break;
            }
            done = end;
        }
        Ok(done)
    }

    /// The error of a read on a connection to write with.
    pub(super) fn set_aside(&self, link: &Link, e: &zookeeper_client::Error) -> RefDbError {
        if trouble(e) == Trouble::NoAnswer {
            link.set_aside();
        }
        self.before_write(e)
    }

    /// The error for something that is no entry where one is needed.
    pub(super) fn in_the_way(&self, name: &RefName, why: &str) -> RefDbError {
        let what = format!(
            "the entry of `{name}` cannot be read: {why}; write it anew with `refgate refdb put`, \
             or forget it with `refgate refdb rm`"
        );
        self.about(RefDbErrorKind::Corrupt, &what)
    }
}

/// Whether an empty directory was where a value belongs, now or at an earlier look of the same call.
fn look_for_directory(seen: &mut HashSet<String>, nodes: &(String, String), record: &Record) -> bool {
    if record.value.as_ref().is_some_and(is_empty_directory) {
        seen.insert(nodes.0.clone());
    }
    seen.contains(&nodes.0)
}

const NOTHING: Lookup = Lookup::Entry(Entry { value: GlobalRef::Untracked, superseded: Vec::new() });

/// The node of a hold; `None` when there cannot be such a node.
fn hold_node(place: &Place, token: &LockToken) -> Option<String> {
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let dir = place.lock(&token.name).ok()?;
    plain(&token.holder).then(|| format!("{dir}/{}", token.holder))
}
