//! Moving many refs at once, each from a known old value, with an outcome for each.
//!
//! git's transaction is all or nothing and names one culprit. So when one fails, all culprits are looked for at once
//! and left out, and the rest goes again.

mod blame;

use std::collections::{HashMap, HashSet};

use refgate_core::{Oid, RefName};

use crate::command::{git_in, run};
use crate::refs::Target;
use crate::{GitError, Repository};

/// How often what is left is sent. Each time culprits are left out; a repository that others write to all the time must
/// not keep us here for ever.
const ROUNDS: usize = 4;

/// One ref to create, move or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefEdit {
    /// The ref, below `refs/`.
    pub name: RefName,
    /// What it must hold now; `None`: it must not exist.
    pub old: Option<Oid>,
    /// What it shall hold; `None` deletes it.
    pub new: Option<Oid>,
    /// Edits of the same group happen together or not at all.
    pub group: Option<u32>,
}

impl RefEdit {
    fn creates(&self) -> bool {
        self.old.is_none() && self.new.is_some()
    }
}

/// How an edit came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditOutcome {
    /// The ref holds the new value.
    Applied,
    /// The ref was left alone; the text says why.
    Rejected(String),
}

impl Repository {
    /// Applies all edits that can be applied, with `message` in the reflogs. One outcome per edit, in the same order.
    ///
    /// A symbolic ref is not written, nor what it leads to. (One that leads nowhere is listed by no command of git; where
    /// git reads the refs for us, creating a ref of its name replaces it.) Of edits of the same ref, none is applied.
    ///
    /// # Errors
    /// When the refs cannot be read; then it is not known which edits were applied, and reading the refs again tells.
    pub fn update_refs(&self, edits: &[RefEdit], message: &str) -> Result<Vec<EditOutcome>, GitError> {
        self.transact(edits, message, false)
    }

    /// Whether git would apply these edits now, each or with its group: everything is checked and locked as for the real
    /// thing, then given up. [`EditOutcome::Applied`] stands for "would be".
    ///
    /// Of a deletion that makes room for another ref, and the creation of that ref, the second is rejected here.
    pub fn try_update_refs(&self, edits: &[RefEdit]) -> Result<Vec<EditOutcome>, GitError> {
        self.transact(edits, "", true)
    }

    fn transact(&self, edits: &[RefEdit], message: &str, trial: bool) -> Result<Vec<EditOutcome>, GitError> {
        let (first, rest): (Vec<usize>, Vec<usize>) = {
            let in_the_way = deletions_in_the_way(edits);
            (0..edits.len()).partition(|i| in_the_way.contains(i))
        };
        let mut outcomes = vec![EditOutcome::Applied; edits.len()];
        for part in [first, rest] {
            let some: Vec<RefEdit> = part.iter().map(|i| edits[*i].clone()).collect();
            let done = Transaction::new(self, &some, trial).run(message)?;
            part.into_iter().zip(done).for_each(|(i, outcome)| outcomes[i] = outcome);
        }
        if !trial {
            // Only what would still be there after a power cut is told as done.
            let applied =
                edits.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == EditOutcome::Applied);
            self.settle_refs(applied.map(|(edit, _)| &edit.name))?;
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
    repository: &'a Repository,
    edits: &'a [RefEdit],
    /// Nothing is to be written.
    trial: bool,
    /// What is known by now; `None` is still to be sent.
    outcomes: Vec<Option<EditOutcome>>,
}

impl<'a> Transaction<'a> {
    fn new(repository: &'a Repository, edits: &'a [RefEdit], trial: bool) -> Transaction<'a> {
        Transaction { repository, edits, trial, outcomes: vec![None; edits.len()] }
    }

    fn run(mut self, message: &str) -> Result<Vec<EditOutcome>, GitError> {
        self.reject_unusable();
        let mut words = String::new();
        let mut sent = usize::MAX;
        for round in 0..ROUNDS {
            self.compare()?;
            if round > 0 {
                self.reject_impossible()?;
            }
            self.reject_groups();
            let open = self.open();
            // Nobody to blame: what was in the way may have gone by now, so the same once more, but not for ever.
            if open.is_empty() || round > 1 && open.len() == sent {
                break;
            }
            sent = open.len();
            match self.send(&open, message)? {
                Ok(()) => open.iter().for_each(|i| self.outcomes[*i] = Some(EditOutcome::Applied)),
                Err(stderr) => {
                    words = blame::reason(&stderr);
                    // In the first round, looking for all culprits comes first, and finds better words.
                    if round > 0
                        && let Some(culprit) = self.named_in(&stderr, &open)
                    {
                        self.reject(culprit, words.clone());
                    }
                }
            }
        }
        // A transaction that failed half way (a full disk) has moved some refs all the same.
        self.compare()?;
        let rest = || EditOutcome::Rejected(format!("git did not take it: {words}"));
        Ok(self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(rest)).collect())
    }

    /// The edits that are still to be sent.
    fn open(&self) -> Vec<usize> {
        (0..self.edits.len()).filter(|i| self.outcomes[*i].is_none()).collect()
    }

    fn reject(&mut self, i: usize, why: impl Into<String>) {
        self.outcomes[i].get_or_insert(EditOutcome::Rejected(why.into()));
    }

    /// Reads the refs and settles what the values alone settle.
    fn compare(&mut self) -> Result<(), GitError> {
        let open = self.open();
        let names: Vec<&RefName> = open.iter().map(|i| &self.edits[*i].name).collect();
        let targets = self.repository.targets(&names)?;
        for (i, target) in open.into_iter().zip(targets) {
            let edit = &self.edits[i];
            let now = target.and_then(Target::oid);
            if target == Some(Target::Symbolic) {
                self.reject(i, "it is a symbolic ref, and those are never written");
            } else if now == edit.new {
                self.outcomes[i] = Some(EditOutcome::Applied);
            } else if now != edit.old {
                let shown = |oid: Option<Oid>| oid.map_or("absent".to_owned(), |oid| oid.to_string());
                self.reject(i, format!("it is {} now and was {}", shown(now), shown(edit.old)));
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
        let held: Vec<(usize, String)> = (self.open().into_iter())
            .filter_map(|i| Some((i, broken.get(&self.edits[i].group?)?)))
            .map(|(i, name)| (i, format!("`{name}` of the same group was rejected")))
            .collect();
        held.into_iter().for_each(|(i, why)| self.reject(i, why));
    }

    /// One transaction of git; `Err` inside is what git said when it wrote nothing.
    fn send(&self, open: &[usize], message: &str) -> Result<Result<(), Vec<u8>>, GitError> {
        let zero = self.repository.object_format().zero_hex();
        let hex = |oid: Option<Oid>| oid.map_or_else(|| zero.clone(), |oid| oid.to_string());
        let mut input = Vec::new();
        if self.trial {
            input.extend_from_slice(b"start\0");
        }
        for i in open {
            let edit = &self.edits[*i];
            // All zeros as the old value: it must not exist. As the new value: delete it.
            for part in [b"update ".as_slice(), edit.name.as_bytes(), b"\0"] {
                input.extend_from_slice(part);
            }
            input.extend_from_slice(format!("{}\0{}\0", hex(edit.new), hex(edit.old)).as_bytes());
        }
        if self.trial {
            input.extend_from_slice(b"prepare\0abort\0");
        }
        let mut command = git_in(self.repository.git_dir());
        match self.trial {
            // What is written for a trial is thrown away: no need to wait for the disk.
            true => drop(command.args(["-c", "core.fsync=none"])),
            false => self.repository.files().core()?.wait(&mut command),
        }
        // Housekeeping would run in the middle of a session, and repack what we have just looked at.
        command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "update-ref"]);
        if !message.is_empty() {
            command.args(["-m", message]);
        }
        // Should a ref become symbolic at this moment, it is this ref that changes, not the one that it leads to.
        command.args(["--no-deref", "--stdin", "-z"]);
        let output = run(command, input)?;
        Ok(match output.status.success() {
            true => Ok(()),
            false => Err(output.stderr),
        })
    }
}
