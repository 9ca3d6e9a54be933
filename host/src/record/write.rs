//! Writes looks to a file, on a thread of its own: a decision hands over what it has and goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use refgate_core::chain::Said;
use refgate_core::{FilterSet, Observer, RefBatch};

use super::format::{Asked, FORMAT, Header, VERSION, line};
use crate::Error;
use crate::queue::{Place, Room, Size};

/// Bytes of a recording after which nothing is added, unless somebody says otherwise: 256 MiB.
pub const DEFAULT_MAX: u64 = 256 << 20;

/// How much may wait to be written, beside one look of any size.
const MOST: Size = Size { refs: 1 << 20, bytes: 256 << 20 };

/// Is told, in a sentence, when a recording stops early or leaves something out.
pub type Note = Box<dyn Fn(&str) + Send>;

struct Seen {
    asked: Asked,
    batch: Arc<RefBatch>,
    said: Vec<Said>,
    _place: Place,
}

enum Message {
    Look(Seen),
    /// Nothing more comes.
    End,
}

/// Appends one line per look to a file. Never holds up a decision: a look that finds no room in the queue is left out,
/// counted, and told of at the end.
pub struct Recorder {
    queue: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(super) room: Arc<Room>,
    left_out: Arc<AtomicU64>,
}

impl Recorder {
    /// Opens `file`, which is made with mode 0600 if it is not there, and continued if it is a recording. Nothing is
    /// added that would make it larger than `max` bytes.
    ///
    /// # Errors
    /// A file that cannot be opened, or that is no recording of this version.
    pub fn open(file: &Path, max: u64, note: Note) -> Result<Recorder, Error> {
        let cannot = |e: &dyn std::fmt::Display| {
            Error::usage(format!("cannot record to `{}`: {e}", file.display()))
                .hint("name a file that is not there yet, or a recording to continue")
        };
        let open = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file);
        let mut open = open.map_err(|e| cannot(&e))?;
        check(&mut open).map_err(|e| cannot(&e))?;
        let (queue, looks) = channel();
        let left_out = Arc::new(AtomicU64::new(0));
        let writer = Writer { file: open, path: file.to_owned(), max, note, left_out: left_out.clone() };
        let thread = std::thread::Builder::new().name("refgate-record".to_owned());
        let thread = thread.spawn(move || writer.run(&looks)).map_err(|e| cannot(&e))?;
        Ok(Recorder { queue, thread: Mutex::new(Some(thread)), room: Room::new(MOST), left_out })
    }

    /// Writes what is waiting, says what was left out, and records nothing more.
    pub fn finish(&self) {
        // A writer that has ended already needs no word.
        let _ = self.queue.send(Message::End);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A writer that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

impl Observer for Recorder {
    fn looked(&self, set: &FilterSet, batch: &Arc<RefBatch>, said: &[Said]) {
        let Some(place) = self.room.take(Size::of(batch, said)) else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let asked = Asked::of(set, batch.direction);
        let look = Seen { asked, batch: batch.clone(), said: said.to_vec(), _place: place };
        // After the end nothing is recorded any more.
        let _ = self.queue.send(Message::Look(look));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Whether a file that is there already can be continued.
fn check(file: &mut File) -> Result<(), String> {
    let metadata = file.metadata().map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    if metadata.len() == 0 {
        return Ok(());
    }
    let mut start = vec![0; Header::line().len()];
    let header = file.rewind().and_then(|()| file.read_exact(&mut start)).ok();
    match header.filter(|()| start == Header::line().as_bytes()) {
        Some(()) => Ok(()),
        None => Err(format!("it is there, and does not begin as a {FORMAT} of version {VERSION}")),
    }
}

struct Writer {
    file: File,
    path: PathBuf,
    max: u64,
    note: Note,
    left_out: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, looks: &Receiver<Message>) {
        let mut stopped = false;
        // The end comes after everything that waits.
        while let Ok(Message::Look(look)) = looks.recv() {
            if stopped {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            } else if let Err(why) = self.append(&look) {
                (self.note)(&format!("the recording `{}` stops here: {why}", self.path.display()));
                self.left_out.fetch_add(1, Ordering::Relaxed);
                stopped = true;
            }
        }
        let left_out = self.left_out.load(Ordering::Relaxed);
        if left_out > 0 {
            let looks = if left_out == 1 { "look is" } else { "looks are" };
            (self.note)(&format!("{left_out} {looks} not in the recording `{}`", self.path.display()));
        }
    }

    /// One line, whole or not at all. Several processes may record to one file: each line is written under a lock.
    fn append(&mut self, look: &Seen) -> Result<(), String> {
        let line = line(&look.asked, &look.batch, &look.said);
        self.file.lock().map_err(|e| e.to_string())?;
        let done = self.append_locked(&line);
        let unlocked = self.file.unlock().map_err(|e| e.to_string());
        done.and(unlocked)
    }

    fn append_locked(&mut self, line: &str) -> Result<(), String> {
        let before = self.file.metadata().map_err(|e| e.to_string())?.len();
        let mut text = String::new();
        if before == 0 {
            text.push_str(&Header::line());
        } else if !self.ends_a_line().map_err(|e| e.to_string())? {
            // A process was killed while it wrote. The header tells readers that the line before it is a torn one.
            text.push('\n');
            text.push_str(&Header::line());
        }
        text.push_str(line);
        if before + text.len() as u64 > self.max {
            return Err(format!("the next look does not fit into {} MiB", self.max >> 20));
        }
        self.file.write_all(text.as_bytes()).map_err(|e| {
            // Best effort: a part of a line that stays is tolerated by readers.
            let _ = self.file.set_len(before);
            e.to_string()
        })
    }

    fn ends_a_line(&mut self) -> io::Result<bool> {
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }
}
