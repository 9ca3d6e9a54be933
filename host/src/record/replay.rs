//! Asks filters about recorded batches, and says where they differ from what was said then.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use refgate_core::chain::{self, Said};
use refgate_core::{Direction, FilterSet, Project, escape};

use super::format::{FORMAT, Header, LookLine, VERSION};
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
    let shown = file.display();
    let open =
        File::open(file).map_err(|e| Error::usage(format!("cannot read the recording `{shown}`: {e}")))?;
    let mut lines = Lines { reader: BufReader::new(open), number: 0 };
    let mut done = Replayed::default();
    // A line that cannot be read is forgiven when it is the last one and cut off, or when a header follows it.
    let mut torn: Option<(usize, String)> = None;
    let refuse = |line: usize, why: &str| {
        Error::usage(format!("line {line} of `{shown}` cannot be read: {why}"))
            .hint("a recording is written by `--record`; cut the line out to replay the others")
    };
    loop {
        let next = lines.next().map_err(|e| refuse(lines.number + 1, &e.to_string()))?;
        let Some(Line { number, text, whole }) = next else { break };
        let header = serde_json::from_slice::<Header>(&text).ok();
        if let Some((line, why)) = torn.take() {
            match header {
                Some(_) => done.notes.push(cut_off(line)),
                None => return Err(refuse(line, &why)),
            }
        }
        match header {
            Some(h) if h.format != FORMAT || h.version != VERSION => {
                let why = format!("it is a {} of version {}, not {FORMAT} of {VERSION}", h.format, h.version);
                return Err(refuse(number, &why));
            }
            Some(_) => continue,
            None if number == 1 => return Err(refuse(1, &format!("it is no header of a {FORMAT}"))),
            None => {}
        }
        let look = serde_json::from_slice::<LookLine>(&text).map_err(|e| e.to_string());
        match look.and_then(LookLine::into_batch) {
            Ok((batch, was)) => {
                let now = chain::look(set, &batch).await;
                done.looks += 1;
                done.refs += batch.len();
                done.problems.extend(now.problems.into_iter().map(|p| format!("line {number}: {p}")));
                for change in chain::changes(&was, &now.said) {
                    done.changed += 1;
                    found(Changed {
                        line: number,
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
            Err(_) if !whole => done.notes.push(cut_off(number)),
            Err(why) => torn = Some((number, why)),
        }
    }
    match torn {
        Some((line, why)) => Err(refuse(line, &why)),
        None if lines.number == 0 => Err(refuse(1, "the file is empty")),
        None => Ok(done),
    }
}

fn cut_off(line: usize) -> String {
    format!("line {line} is cut off, as when a process is killed while it writes; it is left aside")
}

struct Line {
    number: usize,
    text: Vec<u8>,
    /// Whether it ends with a line feed.
    whole: bool,
}

struct Lines {
    reader: BufReader<File>,
    number: usize,
}

impl Lines {
    fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut text = Vec::new();
        if self.reader.read_until(b'\n', &mut text)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let whole = text.last() == Some(&b'\n');
        Ok(Some(Line { number: self.number, text, whole }))
    }
}
