//! The columns of one look: what a filter gets to see, laid out so that the host copies whole ranges.

use crate::{Direction, Project};

/// Bits of a state word, for the direction at hand. Bit `n` of the WIT text is `1 << n`.
pub mod state {
    /// The host's table says keep.
    pub const MAY_GO: u32 = 1 << 0;
    /// No local ref.
    pub const NO_LOCAL: u32 = 1 << 1;
    /// Untracked by the ref-db, or counted as such.
    pub const UNTRACKED: u32 = 1 << 2;
    /// The ref-db could not be read.
    pub const REFDB_UNAVAILABLE: u32 = 1 << 3;
    /// The update deletes the ref.
    pub const DELETION: u32 = 1 << 4;
    /// The refspec has a `+`.
    pub const FORCED: u32 = 1 << 5;
    /// `refs/changes/NN/NNNN/meta`.
    pub const CHANGE_META: u32 = 1 << 6;
    /// `refs/multi-site/version`.
    pub const EXEMPT: u32 = 1 << 7;
    /// Recorded as deleted.
    pub const DELETED: u32 = 1 << 8;
    /// The remote's value is known.
    pub const REMOTE_KNOWN: u32 = 1 << 9;
    /// The remote holds the ref-db's value.
    pub const REMOTE_AT_GLOBAL: u32 = 1 << 10;
    /// The value to be overwritten is not accounted for.
    pub const NOT_ACCOUNTED: u32 = 1 << 11;
    /// Waiting and looking again may help.
    pub const RECHECK_HELPS: u32 = 1 << 12;
    /// Both sides agree already.
    pub const NOTHING_TO_DO: u32 = 1 << 13;
    /// Locked in the ref-db.
    pub const LOCKED: u32 = 1 << 14;
    /// Not checked: IGNORED by a rule.
    pub const IGNORED: u32 = 1 << 15;
    /// The update overwrites a value that the new one does not contain.
    pub const NOT_FAST_FORWARD: u32 = 1 << 16;
    /// What is on offer is not what the ref-db records, or is no longer there to be sent.
    pub const NOT_UP_TO_DATE: u32 = 1 << 17;

    /// The names of the bits in their order, as the SDK calls them.
    pub const NAMES: [&str; 18] = [
        "MAY_GO",
        "NO_LOCAL",
        "UNTRACKED",
        "REFDB_UNAVAILABLE",
        "DELETION",
        "FORCED",
        "CHANGE_META",
        "EXEMPT",
        "DELETED",
        "REMOTE_KNOWN",
        "REMOTE_AT_GLOBAL",
        "NOT_ACCOUNTED",
        "RECHECK_HELPS",
        "NOTHING_TO_DO",
        "LOCKED",
        "IGNORED",
        "NOT_FAST_FORWARD",
        "NOT_UP_TO_DATE",
    ];
}

/// One batch as filters see it. All columns have [`RefBatch::len`] items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefBatch {
    /// Which filters are asked.
    pub direction: Direction,
    /// The project.
    pub project: Project,
    /// The site at the other end; empty when not known.
    pub peer: String,
    /// 20 or 32.
    pub oid_len: usize,
    /// 0 on the first look, 1 after the wait and the reload.
    pub attempt: u32,
    /// The time of day when the look began, in milliseconds since 1970 (UTC): one value for all filters and calls of a
    /// look; the second look has its own.
    pub now_ms: u64,
    /// One state word per ref, see [`state`].
    pub states: Vec<u32>,
    /// The local ref names, back to back.
    pub names: Vec<u8>,
    /// Exclusive end of each name in `names`.
    pub name_ends: Vec<u32>,
    /// What would be there afterwards, `oid_len` bytes each, zeros when nothing.
    pub new_oids: Vec<u8>,
    /// What would be overwritten at the destination.
    pub old_oids: Vec<u8>,
    /// The local values.
    pub local_oids: Vec<u8>,
    /// The ref-db's values.
    pub global_oids: Vec<u8>,
    /// Equal numbers for refs that stand or fall together.
    pub groups: Vec<u32>,
}

impl RefBatch {
    /// How many refs there are.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The name of ref `i`.
    ///
    /// # Panics
    /// When `i >= len`.
    pub fn name(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.name_ends[i - 1] as usize };
        &self.names[start..self.name_ends[i] as usize]
    }

    /// Ascending indices of the refs with `state & mask == value`.
    pub fn select(&self, mask: u32, value: u32) -> Vec<u32> {
        (0u32..).zip(&self.states).filter(|(_, s)| *s & mask == value).map(|(i, _)| i).collect()
    }

    /// Ascending indices of the refs whose name starts with `prefix`.
    pub fn select_prefix(&self, prefix: &[u8]) -> Vec<u32> {
        (0..self.len()).filter(|i| self.name(*i).starts_with(prefix)).map(|i| i as u32).collect()
    }

    /// A batch of the refs `indices` alone, in that order.
    ///
    /// # Panics
    /// When an index is not below `len`.
    pub fn subset(&self, indices: &[u32]) -> RefBatch {
        let oids = |column: &[u8]| {
            let mut some = Vec::with_capacity(indices.len() * self.oid_len);
            for i in indices {
                let start = *i as usize * self.oid_len;
                some.extend_from_slice(&column[start..start + self.oid_len]);
            }
            some
        };
        let words = |column: &[u32]| indices.iter().map(|i| column[*i as usize]).collect();
        let (mut names, mut name_ends) = (Vec::new(), Vec::with_capacity(indices.len()));
        for i in indices {
            names.extend_from_slice(self.name(*i as usize));
            name_ends.push(names.len() as u32);
        }
        RefBatch {
            direction: self.direction,
            project: self.project.clone(),
            peer: self.peer.clone(),
            oid_len: self.oid_len,
            attempt: self.attempt,
            now_ms: self.now_ms,
            states: words(&self.states),
            names,
            name_ends,
            new_oids: oids(&self.new_oids),
            old_oids: oids(&self.old_oids),
            local_oids: oids(&self.local_oids),
            global_oids: oids(&self.global_oids),
            groups: words(&self.groups),
        }
    }
}
