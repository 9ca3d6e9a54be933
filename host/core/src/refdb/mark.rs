//! Which store answered and how far it had come: what tells a store that was put back, or another one, from the one that
//! a site knows.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The identity of a store, and its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Made with the store, and the same for all who use it. Printable ASCII without spaces.
    pub identity: String,
    /// Grows with every write of an entry, and never falls while the store is what it was.
    pub revision: u64,
}

/// The newest mark that answers to one handle carried.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Option<Mark>>);

impl Seen {
    fn state(&self) -> MutexGuard<'_, Option<Mark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest one.
    pub fn newest(&self) -> Option<Mark> {
        self.state().clone()
    }

    /// An answer carried `now`. `before` is what was the newest when its question was sent, where an answer cannot be older
    /// than that: one that is older all the same shows that the store went back, and counts from then on. Otherwise an older
    /// one only came late.
    pub fn note(&self, before: Option<&Mark>, now: Mark) {
        let same = |other: &Mark| other.identity == now.identity;
        let fell = before.is_some_and(|before| same(before) && now.revision < before.revision);
        let mut newest = self.state();
        match &*newest {
            Some(known) if same(known) && known.revision >= now.revision && !fell => {}
            _ => *newest = Some(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(identity: &str, revision: u64) -> Mark {
        Mark { identity: identity.into(), revision }
    }

    #[test]
    fn what_comes_late_is_told_from_a_store_that_went_back() {
        let seen = Seen::default();
        assert_eq!(seen.newest(), None);
        seen.note(None, mark("a", 5));
        // Asked before 5 was known, answered after it.
        seen.note(Some(&mark("a", 3)), mark("a", 4));
        assert_eq!(seen.newest(), Some(mark("a", 5)));
        seen.note(Some(&mark("a", 5)), mark("a", 7));
        seen.note(Some(&mark("a", 7)), mark("a", 6));
        assert_eq!(seen.newest(), Some(mark("a", 6)), "the store went back");
        seen.note(None, mark("b", 1));
        assert_eq!(seen.newest(), Some(mark("b", 1)), "another store");
    }
}
