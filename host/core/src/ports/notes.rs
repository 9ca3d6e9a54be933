//! Small files that refgate keeps beside a repository: records of writes, and what a run leaves for the next one.

use std::time::Duration;

use super::GitError;
use crate::BoxFuture;

/// Small files by name, with `/` between directories. Everything that was written survives a power cut.
pub trait Notes: Send + Sync {
    /// All notes of a directory, in the order of their names.
    fn notes<'a>(&'a self, dir: &'a str) -> BoxFuture<'a, Result<Vec<Note>, GitError>>;

    /// One note; `None`: there is none of that name.
    fn note<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Note>, GitError>>;

    /// Writes a note in one step, in the place of what was there.
    fn write_note<'a>(&'a self, name: &'a str, text: &'a [u8]) -> BoxFuture<'a, Result<(), GitError>>;

    /// Removes a note. That there is none is no error.
    fn remove_note<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), GitError>>;

    /// For how long a note has been as it is, by the clock of what keeps it, which all processes of this site share.
    /// `None`: there is none of that name. Zero when that clock was set back.
    fn age_of_note<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>, GitError>>;
}

/// A note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its name, with that of its directory.
    pub name: String,
    /// Where it is, for people.
    pub place: String,
    /// What it says, or why it cannot be read.
    pub text: Result<Vec<u8>, GitError>,
}
