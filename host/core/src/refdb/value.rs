//! What goes into a ref-db call and what comes out of it.

use std::fmt;

use super::{LockToken, RefDbError, RefDbErrorKind};
use crate::{Entry, GlobalRef, MAX_SUPERSEDED, RefName};

/// What a read found for one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The record.
    Entry(Entry),
    /// A text that is no object id, such as the counter that Gerrit keeps under `refs/multi-site/version/value`.
    Text(String),
    /// Another writer holds the ref; its value may be about to change.
    Locked,
    /// There is something, but it cannot be read as an entry; the text says why.
    Unreadable(String),
}

impl Lookup {
    /// What is found where nothing is stored.
    pub const UNTRACKED: Lookup =
        Lookup::Entry(Entry { value: GlobalRef::Untracked, superseded: Vec::new() });

    /// The record, if it could be read as one.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Lookup::Entry(entry) => Some(entry),
            Lookup::Text(_) | Lookup::Locked | Lookup::Unreadable(_) => None,
        }
    }

    /// Whether something is stored; a record of a deletion is something.
    pub fn exists(&self) -> bool {
        !matches!(self, Lookup::Entry(entry) if entry.value == GlobalRef::Untracked)
    }

    /// The record, or why there is none to compare with.
    pub(super) fn to_entry(&self) -> Result<&Entry, String> {
        match self {
            Lookup::Entry(entry) => Ok(entry),
            Lookup::Text(_) => Err("it is a text, not an object id".to_owned()),
            Lookup::Locked => Err("it is locked".to_owned()),
            Lookup::Unreadable(why) => Err(why.clone()),
        }
    }

    /// What is stored, as text: an object id in hexadecimal, a deletion as 40 zeros, any other text as it is. `None` when
    /// nothing is stored.
    ///
    /// # Errors
    /// Why what is there cannot be read.
    pub fn text(&self) -> Result<Option<String>, String> {
        if let Lookup::Text(text) = self {
            return Ok(Some(text.clone()));
        }
        Ok(match self.to_entry()?.value {
            GlobalRef::Untracked => None,
            GlobalRef::Deleted => Some("0".repeat(40)),
            GlobalRef::At(oid) => Some(oid.to_string()),
        })
    }
}

/// Where the next page of a scan begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last name of the page before.
    pub after: RefName,
    /// The revision of the store that all pages show, where the store has such a thing; else 0.
    pub revision: u64,
}

/// Some entries of a scan, in byte order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What was found; never [`GlobalRef::Untracked`].
    pub rows: Vec<(RefName, Lookup)>,
    /// Where to go on; `None` after the last page.
    pub next: Option<Cursor>,
}

/// What must hold for an [`Edit`] to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Never stored.
    Absent,
    /// Exactly this value; `Exactly(Untracked)` is the same as `Absent`.
    Exactly(GlobalRef),
    /// Never stored, or recorded as deleted: what creating a ref means.
    AbsentOrDeleted,
    /// Never stored, or this value: Gerrit's rule for adopting a ref.
    AbsentOr(GlobalRef),
}

impl Expected {
    /// Whether `actual` meets the expectation.
    pub fn holds(self, actual: GlobalRef) -> bool {
        match self {
            Expected::Absent => actual == GlobalRef::Untracked,
            Expected::Exactly(value) => actual == value,
            Expected::AbsentOrDeleted => actual.oid().is_none(),
            Expected::AbsentOr(value) => actual == GlobalRef::Untracked || actual == value,
        }
    }
}

/// One conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The ref.
    pub name: RefName,
    /// What must be there.
    pub expected: Expected,
    /// What to write: an object or [`GlobalRef::Deleted`]. `Untracked` is refused.
    pub new: GlobalRef,
    /// Whether the value that is replaced is an ancestor of the new one. When it is not, or the writer cannot tell, the
    /// replaced value is listed as superseded in the same write.
    pub fast_forward: bool,
    /// A lock that must still be held at the moment of the write.
    pub fence: Option<LockToken>,
}

impl Edit {
    /// A write that lists what it replaces as superseded and needs no lock.
    pub fn new(name: RefName, expected: Expected, new: GlobalRef) -> Edit {
        Edit { name, expected, new, fast_forward: false, fence: None }
    }

    /// Whether the replaced value is an ancestor of the new one.
    #[must_use]
    pub fn fast_forward(mut self, is: bool) -> Edit {
        self.fast_forward = is;
        self
    }

    /// Only while the lock that `token` came from is held.
    #[must_use]
    pub fn fenced(mut self, token: LockToken) -> Edit {
        self.fence = Some(token);
        self
    }
}

/// Whether edits stand or fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomicity {
    /// Each edit on its own.
    Each,
    /// All edits or none. When one does not match, the outcome of the others is `Mismatch` with their actual value.
    AllOrNothing,
}

/// How a conditional write came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Written.
    Applied,
    /// Not written, because this is there. In an all-or-nothing call, an edit that would have matched carries the value
    /// that it expected.
    Mismatch {
        /// The value in the store.
        actual: GlobalRef,
    },
    /// Not written, because the lock of [`Edit::fence`] is not held any more. In an all-or-nothing call every edit whose
    /// lock is lost says so.
    Fenced,
    /// Not written, because the value that is there would have to be listed, and the list of superseded values is full (see
    /// [`MAX_SUPERSEDED`](crate::MAX_SUPERSEDED)). In an all-or-nothing call every edit of which that is so says so.
    Full,
}

/// How a conditional write of a text came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextOutcome {
    /// Written.
    Applied,
    /// Not written, because this is there.
    Mismatch {
        /// The text in the store; `None` when there is nothing.
        actual: Option<String>,
    },
}

/// Longest text that [`compare_and_put_text`](super::RefDb::compare_and_put_text) takes, in bytes.
pub const MAX_TEXT: usize = 4096;

/// Why `text` is refused as a text: anything but 1 to [`MAX_TEXT`] printable ASCII characters.
///
/// What looks like an object id (40 or 64 hexadecimal digits) is refused too: it would be read back as one.
pub fn check_text(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("an empty text is the same as none");
    }
    if text.len() > MAX_TEXT {
        return Err("a text has at most 4096 bytes");
    }
    if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Err("a text has printable ASCII characters only");
    }
    if matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("this is an object id; write it as a value");
    }
    Ok(())
}

/// Who can use one store at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One process.
    Process,
    /// The processes of one machine.
    Machine,
    /// Any number of machines.
    Network,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reach::Process => "one process",
            Reach::Machine => "one machine",
            Reach::Network => "any number of machines",
        })
    }
}

/// What is refused as a whole entry: one that lists more than [`MAX_SUPERSEDED`] values.
///
/// # Errors
/// [`TooLarge`](RefDbErrorKind::TooLarge).
pub(super) fn check_entry(name: &RefName, entry: &Entry) -> Result<(), RefDbError> {
    match too_many_superseded(entry.superseded.len()) {
        None => Ok(()),
        Some(why) => Err(RefDbError::new(RefDbErrorKind::TooLarge, format!("the entry of `{name}`: {why}"))),
    }
}

/// Why a list of `count` superseded values is none that refgate wrote; `None` when it can be.
pub fn too_many_superseded(count: usize) -> Option<String> {
    (count > MAX_SUPERSEDED).then(|| {
        format!("its list of superseded values is longer than {MAX_SUPERSEDED}, which refgate never writes")
    })
}

/// Why `message` is refused as the message of a store that is closed: anything but 1 to [`MAX_TEXT`] bytes in one
/// line.
pub fn check_message(message: &str) -> Result<(), &'static str> {
    match message {
        "" => Err("an empty message says nothing"),
        _ if message.len() > MAX_TEXT => Err("a message has at most 4096 bytes"),
        _ if message.chars().any(char::is_control) => Err("a message is one line"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short_ascii_and_no_object_ids() {
        assert!(check_text("1793707205").is_ok());
        assert!(check_text(&"x".repeat(MAX_TEXT)).is_ok());
        for bad in ["", "tab\t", "é", &"a".repeat(40), &"0".repeat(64), &"x".repeat(MAX_TEXT + 1)] {
            assert!(check_text(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn messages_are_one_line() {
        assert!(check_message("we move to etcd, back at 18:00 — é").is_ok());
        for bad in ["", "two\nlines", "\u{1b}[2J", &"x".repeat(MAX_TEXT + 1)] {
            assert!(check_message(bad).is_err(), "{bad:?}");
        }
    }
}
