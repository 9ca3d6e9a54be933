//! What the global ref-db holds about one ref.

use crate::Oid;

/// The newest value of a ref as all sites know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GlobalRef {
    /// The ref-db never heard of the ref.
    #[default]
    Untracked,
    /// The ref was deleted, and the deletion is recorded.
    Deleted,
    /// The ref is at this object.
    At(Oid),
}

impl GlobalRef {
    /// The object, if there is one.
    pub fn oid(self) -> Option<Oid> {
        match self {
            GlobalRef::At(oid) => Some(oid),
            GlobalRef::Untracked | GlobalRef::Deleted => None,
        }
    }

    /// The value that stands for a ref that is at `oid`, or gone.
    pub fn at_or_deleted(oid: Option<Oid>) -> GlobalRef {
        oid.map_or(GlobalRef::Deleted, GlobalRef::At)
    }
}

/// Most values that one entry lists as superseded. With the longest object ids they fit into a node of ZooKeeper, which
/// holds 1 MiB; `refgate refdb forget` makes room.
pub const MAX_SUPERSEDED: usize = 10_000;

/// One record: the value and the values that it superseded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The newest value.
    pub value: GlobalRef,
    /// Values that were once global and were replaced by something that does not descend from them, oldest first.
    /// They, and what they descend from, may be overwritten at gated sites and pure mirrors.
    pub superseded: Vec<Oid>,
}

impl Entry {
    /// A record with nothing superseded.
    pub fn new(value: GlobalRef) -> Entry {
        Entry { value, superseded: Vec::new() }
    }

    /// The record after a compare-and-put from this one to `new`.
    ///
    /// `keeps` says that the old value is an ancestor of the new one; when the writer cannot tell it is `false` and the
    /// old value is listed (listing too much of what was once global is harmless, listing too little only holds refs back).
    ///
    /// `None` when the list is full: a value that is not listed would be held back elsewhere for ever, and nobody told.
    pub fn replaced_by(&self, new: GlobalRef, keeps: bool) -> Option<Entry> {
        let mut superseded = self.superseded.clone();
        if let GlobalRef::At(old) = self.value
            && new != self.value
            && !keeps
            && !superseded.contains(&old)
        {
            if superseded.len() >= MAX_SUPERSEDED {
                return None;
            }
            superseded.push(old);
        }
        Some(Entry { value: new, superseded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(digit: u8) -> Oid {
        Oid::from_hex(&[digit; 40]).unwrap()
    }

    #[test]
    fn only_what_is_lost_is_listed() {
        let after = |entry: &Entry, new, keeps| entry.replaced_by(new, keeps).unwrap();
        let a = Entry::new(GlobalRef::At(oid(b'a')));
        assert!(after(&a, GlobalRef::At(oid(b'b')), true).superseded.is_empty());
        let forced = after(&a, GlobalRef::At(oid(b'b')), false);
        assert_eq!(forced.superseded, [oid(b'a')]);
        let deleted = after(&forced, GlobalRef::Deleted, false);
        assert_eq!(deleted.superseded, [oid(b'a'), oid(b'b')]);
        let back = after(&deleted, GlobalRef::At(oid(b'a')), false);
        assert_eq!(after(&back, GlobalRef::At(oid(b'c')), false).superseded, [oid(b'a'), oid(b'b')]);
        assert!(after(&a, a.value, false).superseded.is_empty());
    }

    #[test]
    fn a_full_list_takes_what_it_need_not_list_and_nothing_else() {
        let nth = |n: usize| {
            let mut raw = [7; 20];
            raw[..8].copy_from_slice(&n.to_be_bytes());
            Oid::from_bytes(&raw).unwrap()
        };
        let superseded: Vec<Oid> = (0..MAX_SUPERSEDED).map(nth).collect();
        let full = Entry { value: GlobalRef::At(oid(b'a')), superseded };
        let b = GlobalRef::At(oid(b'b'));
        assert_eq!((full.replaced_by(b, false), full.replaced_by(GlobalRef::Deleted, false)), (None, None));
        assert_eq!(full.replaced_by(b, true).unwrap().superseded, full.superseded);
        assert_eq!(full.replaced_by(full.value, false).as_ref(), Some(&full));
        let listed = Entry { value: GlobalRef::At(nth(0)), ..full.clone() };
        assert_eq!(listed.replaced_by(b, false).unwrap().superseded, full.superseded);
        let one_more = Entry { superseded: full.superseded[1..].to_vec(), ..full };
        assert_eq!(one_more.replaced_by(b, false).unwrap().superseded.len(), MAX_SUPERSEDED);
    }
}
