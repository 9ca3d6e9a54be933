//! Commits of one run: a graph with merges, small enough that the history of a commit is one word.

use std::fmt;

use refgate_core::Oid;

/// A commit by its number: 0 to 127.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(u8);

/// A set of commits.
pub type Set = u128;

/// The value of a ref.
pub type Value = Option<Commit>;

impl Commit {
    /// The set of this one alone.
    pub fn bit(self) -> Set {
        1 << self.0
    }

    /// As the decision names it.
    pub fn oid(self) -> Oid {
        let mut bytes = [0; 20];
        bytes[19] = self.0 + 1;
        Oid::from_bytes(&bytes).expect("never zero")
    }

    /// Undoes [`Commit::oid`].
    pub fn of(oid: Oid) -> Commit {
        Commit(oid.as_bytes()[19] - 1)
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// What a commit is for: a `/meta` names the patch sets of its change.
#[derive(Clone, Debug, Default)]
struct Node {
    history: Set,
    parents: Vec<Commit>,
    patch_sets: Vec<Commit>,
}

/// The commits that anybody made so far.
#[derive(Default)]
pub struct Dag {
    nodes: Vec<Node>,
}

impl Dag {
    /// Makes a commit. A run makes fewer than 128.
    pub fn commit(&mut self, parents: &[Commit]) -> Commit {
        assert!(self.nodes.len() < 128, "a run makes fewer commits than a word has bits");
        let new = Commit(self.nodes.len() as u8);
        let history = parents.iter().fold(new.bit(), |all, p| all | self.history(*p));
        self.nodes.push(Node { history, parents: parents.to_vec(), patch_sets: Vec::new() });
        new
    }

    /// Makes a `/meta` commit that names `patch_sets`, the first of which is number 1.
    pub fn meta(&mut self, parent: Value, patch_sets: Vec<Commit>) -> Commit {
        let parents: Vec<Commit> = parent.into_iter().collect();
        let new = self.commit(&parents);
        self.nodes[usize::from(new.0)].patch_sets = patch_sets;
        new
    }

    /// What a `/meta` names.
    pub fn patch_sets(&self, meta: Commit) -> &[Commit] {
        &self.nodes[usize::from(meta.0)].patch_sets
    }

    /// The parents of a commit.
    pub fn parents(&self, commit: Commit) -> &[Commit] {
        &self.nodes[usize::from(commit.0)].parents
    }

    /// The commit and all its ancestors.
    pub fn history(&self, commit: Commit) -> Set {
        self.nodes[usize::from(commit.0)].history
    }

    /// The same of a ref that may be absent.
    pub fn reach(&self, value: Value) -> Set {
        value.map_or(0, |c| self.history(c))
    }

    /// Whether `old` is contained in `new`; an absent ref is contained in everything.
    pub fn contains(&self, new: Value, old: Value) -> bool {
        old.is_none_or(|old| self.reach(new) & old.bit() != 0)
    }

    /// The members of a set, oldest first.
    pub fn members(&self, set: Set) -> Vec<Commit> {
        (0..self.nodes.len() as u8).map(Commit).filter(|c| set & c.bit() != 0).collect()
    }
}

/// A value in a trace.
pub fn show(value: Value) -> String {
    value.map_or_else(|| "-".to_owned(), |commit| format!("{commit:?}"))
}
