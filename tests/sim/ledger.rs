//! What was promised to clients, kept apart from the state, and the properties that are checked after every step.

use refgate_core::GlobalRef;

use crate::dag::{Commit, Set, Value, show};
use crate::refs::{COUNT, META, Ref, short};
use crate::world::World;

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `P1` to `P7`, `C1`, `C2`, `D1`, `H1`.
    pub property: &'static str,
    /// On what.
    pub text: String,
}

/// Promises per ref.
#[derive(Default)]
pub struct Ledger {
    /// Commits whose clients were told success and that no accepted write replaced since.
    owed: [Set; COUNT],
    /// Commits of writes that took effect and whose clients wait for their answer.
    pending: [Set; COUNT],
    /// Commits that an accepted gated write replaced or deleted and that did not come back by one.
    pub gone: [Set; COUNT],
    /// What the ref-db holds.
    pub global: [GlobalRef; COUNT],
    /// How often the ref-db moved.
    pub moves: [u32; COUNT],
    /// Commits that were made as patch sets.
    pub patch_sets: Set,
    /// The first property that did not hold.
    pub broken: Option<Violation>,
}

impl Ledger {
    /// Notes a violation; the first one counts.
    pub fn breaks(&mut self, property: &'static str, text: String) {
        self.broken.get_or_insert(Violation { property, text });
    }
}

/// The commit of a ref-db value.
pub fn commit(global: GlobalRef) -> Value {
    global.oid().map(Commit::of)
}

/// The ref-db value of a ref that is at a commit, or gone.
pub fn global(value: Value) -> GlobalRef {
    GlobalRef::at_or_deleted(value.map(Commit::oid))
}

/// A ref-db value in a trace.
pub fn word(global: GlobalRef) -> String {
    match global {
        GlobalRef::Untracked => "untracked".to_owned(),
        GlobalRef::Deleted => "deleted".to_owned(),
        GlobalRef::At(oid) => show(Some(Commit::of(oid))),
    }
}

impl World {
    /// A write of a client takes effect: its client had seen `old`, so what only `old` leads to may go.
    pub fn takes_effect(&mut self, name: Ref, old: Value, new: Value) {
        let replaced = self.dag.reach(old) & !self.dag.reach(new);
        self.ledger.owed[name] &= !replaced;
        self.ledger.pending[name] &= !replaced;
        self.ledger.pending[name] |= new.map_or(0, Commit::bit);
    }

    /// The client of a write is told success.
    pub fn told(&mut self, name: Ref, new: Value) {
        let bit = new.map_or(0, Commit::bit) & self.ledger.pending[name];
        self.ledger.pending[name] &= !bit;
        self.ledger.owed[name] |= bit;
    }

    /// The ref-db moves from `old` by a client's write.
    pub fn global_moves(&mut self, name: Ref, old: GlobalRef, new: GlobalRef) {
        self.takes_effect(name, commit(old), commit(new));
        let there = self.dag.reach(commit(new));
        self.ledger.gone[name] |= self.dag.reach(commit(old));
        self.ledger.gone[name] &= !there;
        self.ledger.global[name] = new;
        self.ledger.moves[name] += 1;
    }

    /// The ref-db moves by something that is not a client's write.
    pub fn global_moves_alone(&mut self, name: Ref, new: GlobalRef) {
        let old = self.ledger.global[name];
        let visible = self.sites.iter().any(|site| global(site.refs[name]) == old);
        if visible && !self.dag.contains(commit(new), commit(old)) {
            let text = format!("{}: {} went back to {} without a client", short(name), word(old), word(new));
            self.ledger.breaks("P2", text);
        }
        self.ledger.gone[name] &= !self.dag.reach(commit(new));
        self.ledger.global[name] = new;
    }

    /// P3: what replication sets a tracked ref to is what the ref-db held at the last look.
    pub fn sends(&mut self, name: Ref, seen: GlobalRef, new: Value) {
        if seen != GlobalRef::Untracked && commit(seen) != new {
            let text = format!("{}: {} was sent, the ref-db held {}", short(name), show(new), word(seen));
            self.ledger.breaks("P3", text);
        }
    }

    /// After every step: P1, C1.
    pub fn check(&mut self) {
        for name in 0..COUNT {
            let mut kept = self.dag.reach(commit(self.ledger.global[name]));
            for site in &self.sites {
                kept |= self.dag.reach(site.refs[name]);
                let records = site.journal.iter().flat_map(|record| &record.changes);
                // The keep-ref of a record.
                kept |= records.filter(|c| c.name == name).fold(0, |all, c| all | self.dag.reach(c.new));
            }
            let lost = self.ledger.owed[name] & !kept;
            if lost != 0 {
                let lost = self.dag.members(lost);
                self.ledger.breaks("P1", format!("{}: accepted, and no ref has it: {lost:?}", short(name)));
            }
        }
        for site in 0..self.sites.len() {
            let Some(meta) = self.value(site, META) else { continue };
            for (name, named) in self.dag.patch_sets(meta).iter().enumerate() {
                if self.value(site, name) != Some(*named) {
                    let text = format!(
                        "site {}: meta {meta:?} names {named:?} as {}, which is {}",
                        World::site_name(site),
                        short(name),
                        show(self.value(site, name))
                    );
                    self.ledger.breaks("C1", text);
                    return;
                }
            }
        }
    }
}
