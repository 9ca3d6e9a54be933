//! Conditional and unconditional writes of refs: read, plan, commit, and again when somebody was faster.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use futures_util::future::try_join3;
use refgate_core::refdb::{Stored, Write, Written, evaluate};
use refgate_core::{Atomicity, LockToken, Lookup, Project, RefDbError, RefDbErrorKind, RefName};

use super::changes::{Change, changes, clear, guard, is_empty_directory, rescue};
use super::commit::{Commit, fits};
use super::ensemble::{Ensemble, WriteInFlight};
use super::error::{Trouble, trouble};
use super::layout::{Place, directories};
use super::link::Link;
use super::read::{Ask, Record};

/// Most edits in one atomic write. 500 with long names and a superseded list each stay below ZooKeeper's packet size.
pub(super) const EDITS: usize = 500;

/// Where a call writes.
pub(super) struct Target<'a> {
    pub(super) project: &'a Project,
    pub(super) place: &'a Place,
    pub(super) atomicity: Atomicity,
    pub(super) in_flight: &'a WriteInFlight,
}

impl Ensemble {
    /// Applies `writes`, whose nodes are `nodes`.
    pub(super) async fn apply(
        &self,
        target: &Target<'_>,
        writes: &[Write],
        nodes: &[(String, String)],
    ) -> Result<Vec<Written>, RefDbError> {
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut parts: VecDeque<Range<usize>> =
            (0..writes.len()).step_by(EDITS).map(|at| at..writes.len().min(at + EDITS)).collect();
        while let Some(part) = parts.pop_front() {
            match self.apply_part(target, &writes[part.clone()], &nodes[part.clone()]).await {
                Ok(done) => outcomes.extend(done),
                // Nothing of it was written, and each write stands alone.
                Err(e)
                    if e.kind == RefDbErrorKind::TooLarge
                        && target.atomicity == Atomicity::Each
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

    /// Reads, evaluates and commits, again and again until nobody comes in between. What is left as it is, is left after a
    /// read that caught up.
    async fn apply_part(
        &self,
        target: &Target<'_>,
        writes: &[Write],
        nodes: &[(String, String)],
    ) -> Result<Vec<Written>, RefDbError> {
        let Target { project, place, atomicity, in_flight } = *target;
        let nodes: HashMap<&RefName, &(String, String)> =
            writes.iter().map(|write| &write.name).zip(nodes).collect();
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
                self.held(&link, place, writes),
            )
            .await?;
            let lookup = |name: &RefName| there.get(name).map_or(Lookup::UNTRACKED, Record::lookup);
            let is_held =
                |token: &LockToken| hold_node(place, token).is_some_and(|node| held.contains(&node));
            let evaluation = match evaluate(writes, atomicity, lookup, is_held) {
                Ok(evaluation) if evaluation.applies_all() || caught_up => evaluation,
                Err(e) if caught_up => return Err(e.error(&self.settings.shown, project)),
                // It may only look like that from here: a member of the ensemble can be behind.
                Ok(_) | Err(_) => {
                    caught_up = true;
                    continue;
                }
            };
            let mut wanted = Vec::new();
            for (name, stored) in &evaluation.changes {
                if let (Some(nodes), Some(record)) = (nodes.get(name), there.get(name)) {
                    let was_directory = look_for_directory(&mut directories, nodes, record);
                    wanted.extend(match stored {
                        Some(stored) => changes(nodes, record, Some(stored), was_directory),
                        None => self.removal(&link, place, nodes, record).await?,
                    });
                }
            }
            if wanted.is_empty() {
                return Ok(evaluation.outcomes);
            }
            let applied = writes.iter().zip(&evaluation.outcomes).filter(|(_, o)| **o == Written::Applied);
            let fences = applied.filter_map(|(write, _)| hold_node(place, write.fence.as_ref()?)).collect();
            match self.commit(&link, era, &fences, &wanted, in_flight).await? {
                Commit::Done => return Ok(evaluation.outcomes),
                Commit::Raced => caught_up = true,
            }
        }
    }

    /// What takes away one ref, and nothing that is above or below it.
    async fn removal(
        &self,
        link: &Arc<Link>,
        place: &Place,
        nodes: &(String, String),
        record: &Record,
    ) -> Result<Vec<Change>, RefDbError> {
        let mut changes = changes(nodes, record, None::<&Stored>, false);
        if let Some(node) = record.value.as_ref().filter(|node| node.children == 1) {
            let guard = guard(&nodes.0);
            let found = self.ask(link, &[Ask::Data(&guard)], false).await;
            let found = found.map_err(|e| self.set_aside(link, &e))?;
            if let Some(guard) = found.into_iter().find_map(|answer| answer.node()) {
                drop(changes.splice(..1, clear(&nodes.0, node, guard.version)));
            }
        }
        let removed = |change: &Change| matches!(change, Change::Delete { path, .. } if *path == nodes.0);
        if changes.iter().any(removed) {
            changes.extend(rescue(self.above(link, place, &nodes.0).await?));
        }
        Ok(changes)
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
        writes: &[Write],
    ) -> Result<BTreeSet<String>, RefDbError> {
        let fences = writes.iter().filter_map(|write| write.fence.as_ref());
        let nodes: BTreeSet<String> = fences.filter_map(|token| hold_node(place, token)).collect();
        if nodes.is_empty() {
            return Ok(nodes);
        }
        let asks: Vec<Ask<'_>> = nodes.iter().map(|node| Ask::Data(node)).collect();
        let answers = self.ask(link, &asks, false).await.map_err(|e| self.set_aside(link, &e))?;
        let there: Vec<bool> = answers.into_iter().map(|answer| answer.node().is_some()).collect();
        Ok(nodes.into_iter().zip(there).filter(|(_, there)| *there).map(|(node, _)| node).collect())
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

    /// What is at `nodes`: nothing of an earlier connection can land once there is a writer.
    pub(super) async fn settled(&self, nodes: &[(String, String)]) -> Result<Vec<Lookup>, RefDbError> {
        let link = self.writer().await?;
        let records = self.records(&link, nodes, true).await.map_err(|e| self.set_aside(&link, &e))?;
        Ok(records.iter().map(Record::lookup).collect())
    }

    /// Adds a node without data to our own tree.
    pub(super) async fn add(&self, path: &str, in_flight: &WriteInFlight) -> Result<(), RefDbError> {
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
            if self.commit(&link, era, &BTreeSet::new(), &create, in_flight).await? == Commit::Done {
                return Ok(());
            }
        }
    }

    /// Deletes `changes` in order, in writes of a bounded size; tells whether all are gone. Stops where somebody came in
    /// between.
    pub(super) async fn delete_all(
        &self,
        changes: &[Change],
        in_flight: &WriteInFlight,
    ) -> Result<usize, RefDbError> {
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
            if self.commit(&link, era, &BTreeSet::new(), &changes[done..end], in_flight).await?
                == Commit::Raced
            {
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
}

/// Whether an empty directory was where a value belongs, now or at an earlier look of the same call.
fn look_for_directory(seen: &mut HashSet<String>, nodes: &(String, String), record: &Record) -> bool {
    if record.value.as_ref().is_some_and(is_empty_directory) {
        seen.insert(nodes.0.clone());
    }
    seen.contains(&nodes.0)
}

/// The node of a hold; `None` when there cannot be such a node.
fn hold_node(place: &Place, token: &LockToken) -> Option<String> {
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let dir = place.lock(&token.name).ok()?;
    plain(&token.holder).then(|| format!("{dir}/{}", token.holder))
}
