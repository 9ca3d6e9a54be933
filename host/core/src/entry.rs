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
    pub fn replaced_by(&self, new: GlobalRef, keeps: bool) -> Entry {
        let mut superseded = self.superseded.clone();
        if let GlobalRef::At(old) = self.value
            && new != self.value
            && !keeps
            && !superseded.contains(&old)
        {
            superseded.push(old);
        }
        Entry { value: new, superseded }
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
        let a = Entry::new(GlobalRef::At(oid(b'a')));
        assert!(a.replaced_by(GlobalRef::At(oid(b'b')), true).superseded.is_empty());
        let forced = a.replaced_by(GlobalRef::At(oid(b'b')), false);
        assert_eq!(forced.superseded, [oid(b'a')]);
        let deleted = forced.replaced_by(GlobalRef::Deleted, false);
        assert_eq!(deleted.superseded, [oid(b'a'), oid(b'b')]);
        let back = deleted.replaced_by(GlobalRef::At(oid(b'a')), false);
        assert_eq!(back.replaced_by(GlobalRef::At(oid(b'c')), false).superseded, [oid(b'a'), oid(b'b')]);
        assert!(a.replaced_by(a.value, false).superseded.is_empty());
    }
}
