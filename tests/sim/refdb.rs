//! The ref-db as tasks see it: the product's reference model behind a network that loses answers.

use refgate_core::{Atomicity, Deadline, Edit, Entry, Expected, GlobalRef, Lookup, Outcome};

use crate::dag::Value;
use crate::ledger::word;
use crate::refs::{NAMES, PROJECT, Ref, short};
use crate::say;
use crate::task::{at_once, step};
use crate::world::{Late, Sim};

/// One compare-and-put: the ref, what must be there, what comes, and whether that contains it.
pub type Put = (Ref, GlobalRef, GlobalRef, bool);

/// What a writer learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Written.
    Applied,
    /// Something else is there.
    Mismatch,
    /// Certainly not written.
    Unavailable,
    /// The answer was lost.
    Unknown,
}

impl Sim {
    fn deadline(&self) -> Deadline {
        Deadline::after(self, std::time::Duration::from_secs(1))
    }

    /// The entries of `names` as they are now, at no cost: for checks and for the inside of a step.
    pub fn entries_now(&self, names: &[Ref]) -> Vec<Entry> {
        let asked: Vec<_> = names.iter().map(|r| NAMES[*r].clone()).collect();
        let found = at_once(self.refdb.get_many(&PROJECT, &asked, self.deadline())).expect("memory answers");
        let entry = |found: Lookup| found.entry().cloned().expect("only entries are written");
        found.into_iter().map(entry).collect()
    }

    /// One bulk read: a step, and none while the ref-db is down.
    pub async fn entries(&self, names: &[Ref]) -> Option<Vec<Entry>> {
        step().await;
        if self.world().refdb_down {
            return None;
        }
        Some(self.entries_now(names))
    }

    /// All or nothing, now.
    fn put_now(&self, puts: &[Put]) -> bool {
        let edits: Vec<Edit> = puts
            .iter()
            .map(|(name, old, new, keeps)| {
                Edit::new(NAMES[*name].clone(), Expected::Exactly(*old), *new).fast_forward(*keeps)
            })
            .collect();
        let outcomes =
            at_once(self.refdb.compare_and_put(&PROJECT, &edits, Atomicity::AllOrNothing, self.deadline()));
        outcomes.expect("memory answers").iter().all(|o| *o == Outcome::Applied)
    }

    fn put_by_client(&self, puts: &[Put]) -> bool {
        let applied = self.put_now(puts);
        let mut world = self.world();
        for (name, old, new, _) in puts {
            let what = if applied { "applied" } else { "mismatch" };
            say!(world, "ref-db {}: {} -> {}: {what}", short(*name), word(*old), word(*new));
            if applied {
                world.global_moves(*name, *old, *new);
            }
        }
        applied
    }

    /// The compare-and-put of a client's write: a step, with all that can become of its answer.
    pub async fn put(&self, record: u32, puts: &[Put]) -> Answer {
        step().await;
        let (fault, later) = {
            let mut world = self.world();
            if world.refdb_down {
                say!(world, "ref-db down: nothing was written");
                return Answer::Unavailable;
            }
            let fault = self.config.faults && world.fault(6);
            (fault, world.fault(2))
        };
        if !fault {
            return if self.put_by_client(puts) { Answer::Applied } else { Answer::Mismatch };
        }
        let mut world = self.world();
        world.count("put: answer lost");
        if later {
            say!(world, "ref-db: the answer is lost, the write may come later");
            world.late.push(Late { record, changes: puts.to_vec() });
        } else if world.fault(2) {
            say!(world, "ref-db: the answer is lost, nothing was written");
        } else {
            say!(world, "ref-db: the answer is lost, what was written stays");
            drop(world);
            self.put_by_client(puts);
        }
        Answer::Unknown
    }

    /// A write that was on its way arrives, or never will.
    pub fn late_arrives(&self, which: usize) {
        let (late, lost) = {
            let mut world = self.world();
            (world.late.swap_remove(which), world.fault(3))
        };
        if lost {
            let mut world = self.world();
            say!(world, "ref-db: a late write will never come");
            return;
        }
        let applied = self.put_by_client(&late.changes);
        self.world().count(if applied { "put: applied late" } else { "put: too late" });
    }

    /// A compare-and-put that no client asked for. Only rules that are switched off do this.
    pub fn put_alone(&self, name: Ref, old: GlobalRef, new: GlobalRef) {
        // A store takes no `untracked`: what was created can only be put back as deleted.
        let new = if new == GlobalRef::Untracked { GlobalRef::Deleted } else { new };
        if self.put_now(&[(name, old, new, false)]) {
            let mut world = self.world();
            say!(world, "ref-db {}: {} -> {}: put back", short(name), word(old), word(new));
            world.global_moves_alone(name, new);
        }
    }

    /// Forgets exactly `entry`. Tells whether it was there.
    pub fn forget_now(&self, name: Ref, entry: &Entry) -> bool {
        let (none, deadline) = (Entry::default(), self.deadline());
        let gone = at_once(self.refdb.swap_entry(&PROJECT, &NAMES[name], entry, &none, deadline));
        let gone = gone.expect("memory answers");
        if gone {
            self.world().ledger.global[name] = GlobalRef::Untracked;
        }
        gone
    }

    /// What a ref starts with.
    pub fn start_at(&self, name: Ref, entry: Entry) {
        self.world().ledger.global[name] = entry.value;
        self.memory.set(&PROJECT, &NAMES[name], entry);
    }

    /// Whether `value` may give way to what the ref-db holds, at a site that trusts its list.
    pub fn accounted(&self, value: Value, entry: &Entry) -> bool {
        let world = self.world();
        let Some(value) = value else { return true };
        let mut trusted = entry.superseded.clone();
        trusted.extend(entry.value.oid());
        trusted.iter().any(|oid| world.dag.history(crate::dag::Commit::of(*oid)) & value.bit() != 0)
    }
}
