//! Asks filters about recorded batches, and says where they differ from what was said then.

use std::path::Path;

use refgate_core::chain::{self, Said};
use refgate_core::{Direction, FilterSet, Project, escape};

use super::read::{RecordedLook, Recording};
use crate::Error;

/// A ref about which the filters say something else than in the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The line of the recording, from 1.
    pub line: usize,
    /// Which filters were asked.
    pub direction: Direction,
    /// The project.
    pub project: Project,
    /// The site at the other end; empty when not known.
    pub peer: String,
    /// 0 on the first look, 1 after the wait.
    pub attempt: u32,
    /// The ref's name, escaped.
    pub name: String,
    /// What was said then.
    pub was: Said,
    /// What is said now.
    pub now: Said,
}

/// What came out of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many looks were asked again.
    pub looks: usize,
    /// How many refs they held, each counted once per look.
    pub refs: usize,
    /// How many refs changed.
    pub changed: usize,
    /// What failed on the way.
    pub problems: Vec<String>,
    /// Lines that were left aside, and why.
    pub notes: Vec<String>,
}

/// Asks `set` about every look of the recording `file`, and hands every change to `found`. Reads line by line.
///
/// # Errors
/// A file that cannot be read as a recording, with the line. What was found before has been handed over.
pub async fn replay(file: &Path, set: &FilterSet, mut found: impl FnMut(Changed)) -> Result<Replayed, Error> {
    let mut recording = Recording::open(file)?;
    let mut done = Replayed::default();
    while let Some(RecordedLook { line, batch, said }) = recording.next_look()? {
        let now = chain::look(set, &batch).await;
        done.looks += 1;
        done.refs += batch.len();
        done.problems.extend(now.problems.into_iter().map(|p| format!("line {line}: {p}")));
        for change in chain::changes(&said, &now.said) {
            done.changed += 1;
            found(Changed {
                line,
                direction: batch.direction,
                project: batch.project.clone(),
                peer: batch.peer.clone(),
                attempt: batch.attempt,
                name: escape(batch.name(change.index)),
                was: change.was,
                now: change.now,
            });
        }
    }
    done.notes = recording.notes;
    Ok(done)
}
