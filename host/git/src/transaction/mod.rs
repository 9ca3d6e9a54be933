//! Moving many local refs, each from a known old value, with an outcome for each: the one way in which refgate writes
//! refs of a repository, whoever asked for it.
//!
//! git's transaction is all or nothing and names one culprit. What is known to be in the way is left out before; when
//! the rest fails all the same, it is split until each culprit is alone, so that none of them keeps another ref back.

mod obstacles;
mod split;

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use refgate_core::{Oid, RefName};

use crate::{EditOutcome, GitError, LocalPolicy, RefEdit, Repository, Target};

/// Writes refs of one repository. What the repository itself refuses (a branch that a work tree has checked out, the
/// branch of `HEAD`, `receive.deny*`) is read once and holds for every edit.
#[derive(Debug)]
pub struct RefWriter<'r> {
    repository: &'r Repository,
    policy: OnceCell<LocalPolicy>,
}

impl Repository {
    /// A writer of refs; one for everything that belongs to one session.
    pub fn writer(&self) -> RefWriter<'_> {
        RefWriter { repository: self, policy: OnceCell::new() }
    }

    /// [`RefWriter::apply`] with a writer of its own.
    pub fn update_refs(&self, edits: &[RefEdit], message: &str) -> Result<Vec<EditOutcome>, GitError> {
        self.writer().apply(edits, message)
    }
}

impl RefWriter<'_> {
    /// What the repository refuses, read at the first call.
    ///
    /// # Errors
    /// Settings or work trees that cannot be read.
    pub fn policy(&self) -> Result<&LocalPolicy, GitError> {
        match self.policy.get() {
            Some(policy) => Ok(policy),
            None => {
                let policy = LocalPolicy::of(self.repository)?;
                Ok(self.policy.get_or_init(|| policy))
            }
        }
    }

    /// Applies all edits that can be applied, with `message` in the reflogs. One outcome per edit, in the same order.
    ///
    /// A symbolic ref is not written, nor what it leads to. (One that leads nowhere is listed by no command of git; where
    /// git reads the refs for us, creating a ref of its name replaces it.) Of edits of the same ref, none is applied.
    ///
    /// # Errors
    /// When the refs cannot be read at all; then it is not known which edits were applied, and reading the refs again
    /// tells.
    pub fn apply(&self, edits: &[RefEdit], message: &str) -> Result<Vec<EditOutcome>, GitError> {
        self.transact(edits, message, false)
    }

    /// Whether the repository would take these edits now, each or with its group: everything is checked and locked as for
    /// the real thing, then given up; and what git would find out only while it writes (reflogs) is looked at as well.
    /// [`EditOutcome::Applied`] stands for "would be".
    ///
    /// Of a deletion that makes room for another ref, and the creation of that ref, the second is rejected here.
    pub fn try_out(&self, edits: &[RefEdit]) -> Result<Vec<EditOutcome>, GitError> {
        self.transact(edits, "", true)
    }

    fn transact(&self, edits: &[RefEdit], message: &str, trial: bool) -> Result<Vec<EditOutcome>, GitError> {
        let (first, rest): (Vec<usize>, Vec<usize>) = {
            let in_the_way = deletions_in_the_way(edits);
            (0..edits.len()).partition(|i| in_the_way.contains(i))
        };
        let mut outcomes = vec![EditOutcome::Applied; edits.len()];
        for part in [first, rest].into_iter().filter(|part| !part.is_empty()) {
            let some: Vec<RefEdit> = part.iter().map(|i| edits[*i].clone()).collect();
            let done = Transaction::new(self, &some, message, trial).run()?;
            part.into_iter().zip(done).for_each(|(i, outcome)| outcomes[i] = outcome);
        }
        if !trial {
            // Only what would still be there after a power cut is told as done.
            let applied =
                edits.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == EditOutcome::Applied);
            self.repository.settle_refs(applied.map(|(edit, _)| &edit.name))?;
        }
        Ok(outcomes)
    }
}

/// The deletions that make room for a ref that is to be created, as `a` does for `a/b`: git refuses both in one
/// transaction, so these go first. One of a group stays with its group.
fn deletions_in_the_way(edits: &[RefEdit]) -> HashSet<usize> {
    let created: HashSet<&[u8]> = edits.iter().filter(|e| e.creates()).map(|e| e.name.as_bytes()).collect();
    let above: HashSet<&[u8]> = created.iter().flat_map(|name| parents(name)).collect();
    let in_the_way = |edit: &RefEdit| {
        let name = edit.name.as_bytes();
        edit.new.is_none()
            && edit.group.is_none()
            && (above.contains(name) || parents(name).any(|parent| created.contains(parent)))
    };
    (0..edits.len()).filter(|i| in_the_way(&edits[*i])).collect()
}

/// `refs/heads` and `refs` for `refs/heads/main`.
fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memrchr_iter(b'/', name).map(|slash| &name[..slash])
}

struct Transaction<'a> {
    writer: &'a RefWriter<'a>,
    repository: &'a Repository,
    edits: &'a [RefEdit],
    message: &'a str,
    /// Nothing is to be written.
    trial: bool,
    /// What is known by now; `None` is still to be sent, or to be read back.
    outcomes: Vec<Option<EditOutcome>>,
    /// Whether all that is known to be in the way was looked for.
    looked: bool,
    /// How many edits, or groups, git refused one after the other, each alone.
    refused_alone: usize,
}

impl<'a> Transaction<'a> {
    fn new(
        writer: &'a RefWriter<'a>,
        edits: &'a [RefEdit],
        message: &'a str,
        trial: bool,
    ) -> Transaction<'a> {
        Transaction {
            writer,
            repository: writer.repository,
            edits,
            message,
            trial,
            outcomes: vec![None; edits.len()],
            looked: false,
            refused_alone: 0,
        }
    }

    fn run(mut self) -> Result<Vec<EditOutcome>, GitError> {
        self.reject_unusable();
        self.compare()?;
        self.reject_by_policy()?;
        self.reject_late_failures()?;
        self.reject_groups();
        let units = self.units();
        let mut sent = Vec::new();
        self.settle(units, &mut sent)?;
        if self.trial {
            sent.into_iter().for_each(|i| self.outcomes[i] = Some(EditOutcome::Applied));
        } else {
            self.read_back(sent)?;
        }
        let unsent = || EditOutcome::Rejected("git did not take it, and did not say why".into());
        Ok(self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unsent)).collect())
    }

    /// The edits that are still to be sent.
    fn open(&self) -> Vec<usize> {
        (0..self.edits.len()).filter(|i| self.outcomes[*i].is_none()).collect()
    }

    /// The same, those of a group together.
    fn units(&self) -> Vec<Vec<usize>> {
        let mut units: Vec<Vec<usize>> = Vec::new();
        let mut groups: HashMap<u32, usize> = HashMap::new();
        for i in self.open() {
            let place = self.edits[i].group.map(|group| *groups.entry(group).or_insert(units.len()));
            match place.and_then(|at| units.get_mut(at)) {
                Some(unit) => unit.push(i),
                None => units.push(vec![i]),
            }
        }
        units
    }

    fn reject(&mut self, i: usize, why: impl Into<String>) {
        self.outcomes[i].get_or_insert(EditOutcome::Rejected(why.into()));
    }

    /// Leaves out what no transaction could do.
    fn reject_unusable(&mut self) {
        let mut times: HashMap<&RefName, usize> = HashMap::new();
        self.edits.iter().for_each(|edit| *times.entry(&edit.name).or_default() += 1);
        let format = self.repository.object_format();
        for (i, edit) in self.edits.iter().enumerate() {
            if !edit.name.as_bytes().starts_with(b"refs/") {
                self.reject(i, "it is not below `refs/`");
            } else if times[&edit.name] > 1 {
                self.reject(i, "it is to be changed more than once");
            } else if [edit.old, edit.new].into_iter().flatten().any(|oid| oid.format() != format) {
                self.reject(i, format!("the repository has object ids of {}", format.name()));
            }
        }
    }

    /// Reads the refs and settles what the values alone settle.
    fn compare(&mut self) -> Result<(), GitError> {
        let open = self.open();
        for (i, target) in self.read(&open)? {
            let edit = &self.edits[i];
            let now = target.as_ref().and_then(Target::oid);
            if let Some(why) = unwritable(&target) {
                self.reject(i, why);
            } else if now == edit.new {
                self.outcomes[i] = Some(EditOutcome::Applied);
            } else if now != edit.old {
                self.reject(i, format!("it is {} now and was {}", shown(now), shown(edit.old)));
            }
        }
        Ok(())
    }

    /// What git said it moved is believed when it was read.
    fn read_back(&mut self, sent: Vec<usize>) -> Result<(), GitError> {
        for (i, target) in self.read(&sent)? {
            let now = target.as_ref().and_then(Target::oid);
            self.outcomes[i] = Some(match unwritable(&target) {
                None if now == self.edits[i].new => EditOutcome::Applied,
                Some(why) => EditOutcome::Rejected(why),
                None => EditOutcome::Rejected(format!(
                    "git moved it, and it is {} now: another process wrote it at the same moment",
                    shown(now)
                )),
            });
        }
        Ok(())
    }

    fn read(&self, which: &[usize]) -> Result<Vec<(usize, Option<Target>)>, GitError> {
        let names: Vec<&RefName> = which.iter().map(|i| &self.edits[*i].name).collect();
        Ok(which.iter().copied().zip(self.repository.targets(&names)?).collect())
    }

    /// What the repository itself refuses concerns branches only.
    fn reject_by_policy(&mut self) -> Result<(), GitError> {
        let branches: Vec<usize> = self.open().into_iter().filter(|i| self.edits[*i].is_branch()).collect();
        if branches.is_empty() {
            return Ok(());
        }
        let policy = self.writer.policy()?;
        let pairs = branches.iter().filter_map(|i| self.edits[*i].old.zip(self.edits[*i].new));
        let pairs: Vec<(Oid, Oid)> = pairs.filter(|_| policy.asks_for_fast_forwards()).collect();
        let mut contained = self.repository.ancestry(&pairs)?.into_iter();
        for i in branches {
            let edit = &self.edits[i];
            let asked = policy.asks_for_fast_forwards() && edit.old.is_some() && edit.new.is_some();
            let fast_forward = !asked || contained.next().unwrap_or(false);
            if let Some(refusal) = policy.refusal(&edit.name, edit.old, edit.new, fast_forward) {
                self.reject(i, refusal.to_string());
            }
        }
        Ok(())
    }

    /// Where one of a group is left out, all are.
    fn reject_groups(&mut self) {
        let mut broken: HashMap<u32, &RefName> = HashMap::new();
        for (edit, outcome) in self.edits.iter().zip(&self.outcomes) {
            if let (Some(group), Some(EditOutcome::Rejected(_))) = (edit.group, outcome) {
                broken.entry(group).or_insert(&edit.name);
            }
        }
        if broken.is_empty() {
            return;
        }
        let held: Vec<(usize, String)> = (self.open().into_iter())
            .filter_map(|i| Some((i, broken.get(&self.edits[i].group?)?)))
            .map(|(i, name)| (i, format!("`{name}` of the same group was rejected")))
            .collect();
        held.into_iter().for_each(|(i, why)| self.reject(i, why));
    }
}

/// Why nothing is written over what is there.
fn unwritable(target: &Option<Target>) -> Option<String> {
    match target {
        Some(Target::Symbolic) => Some("it is a symbolic ref, and those are never written".into()),
        Some(Target::Broken(why)) => Some(why.to_string()),
        Some(Target::Oid(_)) | None => None,
    }
}

fn shown(oid: Option<Oid>) -> String {
    oid.map_or("absent".to_owned(), |oid| oid.to_string())
}
