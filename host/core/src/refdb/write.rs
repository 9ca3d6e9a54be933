//! Guarded writes: what a store is asked to write, and what follows from what it holds. Pure functions, the same for all
//! stores.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{Atomicity, Edit, Expected, LockToken, Lookup, Outcome, RefDbError, RefDbErrorKind};
use crate::{Entry, GlobalRef, Project, RefName};

/// One write of one ref, done only where its guard holds and its lock is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The ref.
    pub name: RefName,
    /// What must be there.
    pub guard: Guard,
    /// What is to be there.
    pub new: New,
    /// A lock that must still be held at the moment of the write.
    pub fence: Option<LockToken>,
}

/// What must be there for a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Whatever it is, readable or not.
    Anything,
    /// Something, readable or not.
    Something,
    /// An entry with such a value.
    Value(Expected),
    /// Exactly this entry, its list of superseded values included.
    Entry(Entry),
    /// Exactly this text, as [`Lookup::text`] gives it.
    Text(Option<String>),
}

/// What a [`Write`] puts there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum New {
    /// A value, never [`GlobalRef::Untracked`]. The list of superseded values stays, and the value that is replaced is added
    /// to it unless it is an ancestor of the new one.
    Value {
        /// The value.
        value: GlobalRef,
        /// Whether the value that is replaced is an ancestor of it.
        fast_forward: bool,
    },
    /// A whole entry; an untracked one forgets the ref.
    Entry(Entry),
    /// A text that [`check_text`](super::check_text) takes.
    Text(String),
}

/// What a store keeps for a ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// An entry, never an untracked one.
    Entry(Entry),
    /// A text that is no object id.
    Text(String),
}

/// How a [`Write`] came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Written.
    Applied,
    /// Not written, because this is there. In an all-or-nothing call, a write whose guard would have held carries what was
    /// there before the call.
    Mismatch(Lookup),
    /// Not written, because the lock of [`Write::fence`] is not held any more.
    Fenced,
    /// Not written, because the list of superseded values is full.
    Full,
}

impl Write {
    /// A write that needs no lock.
    pub fn new(name: RefName, guard: Guard, new: New) -> Write {
        Write { name, guard, new, fence: None }
    }

    /// Whether it takes away what is there.
    pub fn is_removal(&self) -> bool {
        matches!(&self.new, New::Entry(entry) if entry.value == GlobalRef::Untracked)
    }
}

impl From<&Edit> for Write {
    fn from(edit: &Edit) -> Write {
        Write {
            name: edit.name.clone(),
            guard: Guard::Value(edit.expected),
            new: New::Value { value: edit.new, fast_forward: edit.fast_forward },
            fence: edit.fence.clone(),
        }
    }
}

impl From<Stored> for Lookup {
    fn from(stored: Stored) -> Lookup {
        match stored {
            Stored::Entry(entry) => Lookup::Entry(entry),
            Stored::Text(text) => Lookup::Text(text),
        }
    }
}

impl From<Written> for Outcome {
    fn from(written: Written) -> Outcome {
        match written {
            Written::Applied => Outcome::Applied,
            Written::Mismatch(found) => {
                Outcome::Mismatch { actual: found.entry().map_or(GlobalRef::Untracked, |entry| entry.value) }
            }
            Written::Fenced => Outcome::Fenced,
            Written::Full => Outcome::Full,
        }
    }
}

impl Guard {
    fn holds(&self, found: &Lookup) -> Result<bool, String> {
        Ok(match self {
            Guard::Anything => true,
            Guard::Something => found.exists(),
            Guard::Value(expected) => expected.holds(found.to_entry()?.value),
            Guard::Entry(entry) => found.to_entry()? == entry,
            Guard::Text(text) => found.text()? == *text,
        })
    }
}

impl New {
    /// What is there afterwards, `None` for nothing; or nothing at all when the list of superseded values is full.
    fn after(&self, found: &Lookup) -> Option<Option<Stored>> {
        let entry = match self {
            New::Text(text) => return Some(Some(Stored::Text(text.clone()))),
            New::Entry(entry) => entry.clone(),
            New::Value { value, fast_forward } => match found.entry() {
                Some(entry) => entry.replaced_by(*value, *fast_forward)?,
                None => Entry::new(*value),
            },
        };
        Some((entry.value != GlobalRef::Untracked).then_some(Stored::Entry(entry)))
    }
}

/// What a call would do to what is there.
#[derive(Debug)]
pub struct Evaluation {
    /// One per write.
    pub outcomes: Vec<Written>,
    /// What to put in the place of what is there, each ref once; `None` forgets it. Includes refs that stay as they are.
    pub changes: BTreeMap<RefName, Option<Stored>>,
}

impl Evaluation {
    /// Whether every write is to be applied.
    pub fn applies_all(&self) -> bool {
        self.outcomes.iter().all(|outcome| *outcome == Written::Applied)
    }
}

/// What is there and is no entry, or no text, where a guard needs one.
#[derive(Debug)]
pub struct Unreadable {
    name: RefName,
    why: String,
}

impl Unreadable {
    pub(super) fn new(name: &RefName, why: String) -> Unreadable {
        Unreadable { name: name.clone(), why }
    }

    /// The error of the call, at the store that messages call `store`.
    pub fn error(self, store: &str, project: &Project) -> RefDbError {
        let Unreadable { name, why } = self;
        RefDbError::new(
            RefDbErrorKind::Corrupt,
            format!(
                "ref-db `{store}`: the entry of `{name}` in `{project}` cannot be read: {why}; \
                 write it anew with `refgate refdb put`, or forget it with `refgate refdb rm`"
            ),
        )
    }
}

/// Plays `writes` in order on what is `there`, so that a ref that occurs twice sees its first write; `held` says whether a
/// lock is.
///
/// # Errors
/// What takes the whole call with it: something that a guard cannot be compared with.
pub fn evaluate(
    writes: &[Write],
    atomicity: Atomicity,
    there: impl Fn(&RefName) -> Lookup,
    held: impl Fn(&LockToken) -> bool,
) -> Result<Evaluation, Unreadable> {
    // What was there before, and what is to be there.
    let mut refs: BTreeMap<&RefName, (Lookup, Option<Option<Stored>>)> = BTreeMap::new();
    let mut outcomes = Vec::with_capacity(writes.len());
    for write in writes {
        let (before, after) = refs.entry(&write.name).or_insert_with(|| (there(&write.name), None));
        let changed = after.as_ref().map(|after| after.clone().map_or(Lookup::UNTRACKED, Lookup::from));
        let found = changed.as_ref().unwrap_or(before);
        let holds = write.guard.holds(found).map_err(|why| Unreadable::new(&write.name, why))?;
        outcomes.push(if write.fence.as_ref().is_some_and(|token| !held(token)) {
            Written::Fenced
        } else if !holds {
            Written::Mismatch(found.clone())
        } else {
            match write.new.after(found) {
                Some(new) => {
                    *after = Some(new);
                    Written::Applied
                }
                None => Written::Full,
            }
        });
    }
    let all = outcomes.iter().all(|outcome| *outcome == Written::Applied);
    if atomicity == Atomicity::AllOrNothing && !all {
        for (write, outcome) in writes.iter().zip(&mut outcomes) {
            if !matches!(outcome, Written::Fenced | Written::Full) {
                *outcome = Written::Mismatch(refs[&write.name].0.clone());
            }
        }
        return Ok(Evaluation { outcomes, changes: BTreeMap::new() });
    }
    let changes = refs.into_iter().filter_map(|(name, (_, after))| Some((name.clone(), after?)));
    Ok(Evaluation { outcomes, changes: changes.collect() })
}
