//! Reads a recording, line by line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use refgate_core::RefBatch;
use refgate_core::chain::Said;

use super::format::{FORMAT, Header, LookLine, VERSION};
use crate::Error;

/// A recording that is being read.
pub struct Recording {
    shown: String,
    reader: BufReader<File>,
    /// The number of the last line that was read, from 1.
    number: usize,
    /// A line that cannot be read is forgiven when it is the last one and cut off, or when a header follows it.
    torn: Option<(usize, String)>,
    /// Lines that were left aside, and why.
    pub notes: Vec<String>,
}

/// What filters were asked, and what they said.
pub struct RecordedLook {
    /// The line of the recording, from 1.
    pub line: usize,
    /// What was asked.
    pub batch: Arc<RefBatch>,
    /// What was said of each ref.
    pub said: Vec<Said>,
}

impl Recording {
    /// Opens a file that `--record` wrote.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(file: &Path) -> Result<Recording, Error> {
        let shown = file.display().to_string();
        let open = File::open(file)
            .map_err(|e| Error::usage(format!("cannot read the recording `{shown}`: {e}")))?;
        Ok(Recording { shown, reader: BufReader::new(open), number: 0, torn: None, notes: Vec::new() })
    }

    /// The next look; `None` at the end.
    ///
    /// # Errors
    /// A file that cannot be read as a recording, with the line.
    pub fn next_look(&mut self) -> Result<Option<RecordedLook>, Error> {
        loop {
            let next = self.line().map_err(|e| self.refuse(self.number + 1, &e.to_string()))?;
            let Some((text, whole)) = next else { break };
            let number = self.number;
            let header = serde_json::from_slice::<Header>(&text).ok();
            if let Some((line, why)) = self.torn.take() {
                match header {
                    Some(_) => self.notes.push(cut_off(line)),
                    None => return Err(self.refuse(line, &why)),
                }
            }
            match header {
                Some(h) if h.format != FORMAT || h.version != VERSION => {
                    let (format, version) = (h.format, h.version);
                    let why = format!("it is a {format} of version {version}, not {FORMAT} of {VERSION}");
                    return Err(self.refuse(number, &why));
                }
                Some(_) => continue,
                None if number == 1 => return Err(self.refuse(1, &format!("it is no header of a {FORMAT}"))),
                None => {}
            }
            let look = serde_json::from_slice::<LookLine>(&text).map_err(|e| e.to_string());
            match look.and_then(LookLine::into_batch) {
                Ok((batch, said)) => return Ok(Some(RecordedLook { line: number, batch, said })),
                Err(_) if !whole => self.notes.push(cut_off(number)),
                Err(why) => self.torn = Some((number, why)),
            }
        }
        match self.torn.take() {
            Some((line, why)) => Err(self.refuse(line, &why)),
            None if self.number == 0 => Err(self.refuse(1, "the file is empty")),
            None => Ok(None),
        }
    }

    /// A line, and whether it ends with a line feed.
    fn line(&mut self) -> std::io::Result<Option<(Vec<u8>, bool)>> {
        let mut text = Vec::new();
        if self.reader.read_until(b'\n', &mut text)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let whole = text.last() == Some(&b'\n');
        Ok(Some((text, whole)))
    }

    fn refuse(&self, line: usize, why: &str) -> Error {
        Error::usage(format!("line {line} of `{}` cannot be read: {why}", self.shown))
            .hint("a recording is written by `--record`; cut the line out to read the others")
    }
}

fn cut_off(line: usize) -> String {
    format!("line {line} is cut off, as when a process is killed while it writes; it is left aside")
}
