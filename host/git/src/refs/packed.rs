//! The `packed-refs` file: one sorted text with most refs of most repositories.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use refgate_core::{ObjectFormat, Oid, RefName, escape};

use super::{RefList, Target};
use crate::GitError;

/// One reading of the file. git replaces the file as a whole, so a reading is one moment in time.
pub(super) struct Packed {
    path: PathBuf,
    format: ObjectFormat,
    text: Vec<u8>,
    /// Where the lines begin, after the header.
    body: usize,
    /// Whether the header promises byte order.
    sorted: bool,
}

impl Packed {
    /// Reads the file; a missing one holds no refs.
    pub(super) fn read(dir: &Path, format: ObjectFormat) -> Result<Packed, GitError> {
        let path = dir.join("packed-refs");
        let read = || match fs::metadata(&path)?.is_file() {
            true => fs::read(&path),
            // Reading a pipe would wait for whoever writes it.
            false => Err(io::Error::other("it is no file")),
        };
        let text = match read() {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(GitError::io("read", &path, &e)),
        };
        let mut packed = Packed { path, format, text, body: 0, sorted: false };
        if packed.text.last().is_some_and(|last| *last != b'\n') {
            return Err(packed.damaged("its last line has no end"));
        }
        if packed.text.starts_with(b"#") {
            packed.header()?;
        }
        packed.check()?;
        Ok(packed)
    }

    /// Reads the first line: what the file promises, one word each.
    fn header(&mut self) -> Result<(), GitError> {
        let end = self.line_end(0);
        let traits = self.text[..end].strip_prefix(b"# pack-refs with:");
        let Some(traits) = traits.filter(|rest| rest.is_empty() || rest.starts_with(b" ")) else {
            return Err(self.damaged("its first line is no header that git writes"));
        };
        let mut words = traits.split(|b| *b == b' ').filter(|word| !word.is_empty());
        // Git passes over words that it does not know. A ref among them is one that nobody would see.
        if !words.clone().all(|word| word.iter().all(|b| b.is_ascii_lowercase() || *b == b'-')) {
            return Err(self.damaged("its first line holds more than a header: the end of the line is lost"));
        }
        self.sorted = words.any(|word| word == b"sorted");
        self.body = end + 1;
        Ok(())
    }

    /// Whether every line is one where it may stand: a lookup sees a few of them only, and must not say "no such ref" where
    /// a list says that the file is damaged.
    fn check(&self) -> Result<(), GitError> {
        let hex = self.format.oid_len() * 2;
        let (mut at, mut before, mut follows_a_ref) = (self.body, &b""[..], false);
        while at < self.text.len() {
            let end = self.line_end(at);
            let line = &self.text[at..end];
            if line.starts_with(b"^") {
                if !follows_a_ref {
                    return Err(self.damaged_at(at, "it is the peeled id of a ref that is not there"));
                }
                if line.len() != hex + 1 {
                    return Err(self.damaged_at(at, "it is not a peeled id"));
                }
                follows_a_ref = false;
            } else {
                let Some(name) = line.get(hex + 1..).filter(|name| !name.is_empty() && line[hex] == b' ')
                else {
                    return Err(self.damaged_at(at, "it is not an object id, a space and a name"));
                };
                if self.sorted && before >= name {
                    return Err(self.damaged_at(at, match before == name {
                        true => "its ref is there twice",
                        false => "it stands behind one that it belongs before, though the first line says `sorted`",
                    }));
                }
                (before, follows_a_ref) = (name, true);
            }
            at = end + 1;
        }
        Ok(())
    }

    /// Every ref below `refs/`.
    pub(super) fn list(&self) -> Result<RefList, GitError> {
        let mut list = RefList::new(self.format);
        let body = &self.text[self.body..];
        let lines = memchr::memchr_iter(b'\n', body).count();
        // Each line is an id, a space, a name and the end of the line; peeled ids make this a little too much.
        list.reserve(lines, body.len().saturating_sub(lines * (self.format.oid_len() * 2 + 2)));
        let mut at = self.body;
        while at < self.text.len() {
            let end = self.line_end(at);
            if self.text[at] == b'^' {
                // What an annotated tag leads to. Nobody asks for it here, but a line that is no id is damage.
                Oid::from_hex(&self.text[at + 1..end]).map_err(|e| self.damaged_at(at, &e.to_string()))?;
            } else {
                let (oid, name) = self.parse(at, end)?;
                if name.starts_with(b"refs/") {
                    list.push(name, Target::Oid(oid));
                }
            }
            at = end + 1;
        }
        list.sorted(&format!("`{}`", self.path.display()))
    }

    /// The values of a few refs.
    pub(super) fn get(&self, names: &[&RefName]) -> Result<Vec<Option<Target>>, GitError> {
        if self.sorted {
            return names.iter().map(|name| Ok(self.bisect(name.as_bytes())?.map(Target::Oid))).collect();
        }
        let list = self.list()?;
        Ok(names.iter().map(|name| list.get(name.as_bytes())).collect())
    }

    fn bisect(&self, wanted: &[u8]) -> Result<Option<Oid>, GitError> {
        let (mut low, mut high) = (self.body, self.text.len());
        while low < high {
            let mut at = self.line_start(low, low + (high - low) / 2);
            // A peeled id belongs to the line before it.
            while at > low && self.text[at] == b'^' {
                at = self.line_start(low, at - 1);
            }
            let end = self.line_end(at);
            let (oid, name) = self.parse(at, end)?;
            match name.cmp(wanted) {
                Ordering::Equal => return Ok(Some(oid)),
                Ordering::Greater => high = at,
                Ordering::Less => {
                    low = end + 1;
                    while low < high && self.text[low] == b'^' {
                        low = self.line_end(low) + 1;
                    }
                }
            }
        }
        Ok(None)
    }

    /// The id and the name in the line `at..end`.
    fn parse(&self, at: usize, end: usize) -> Result<(Oid, &[u8]), GitError> {
        let line = &self.text[at..end];
        let hex = self.format.oid_len() * 2;
        if line.len() <= hex + 1 || line[hex] != b' ' {
            return Err(self.damaged_at(at, "it is not an object id, a space and a name"));
        }
        let oid = Oid::from_hex(&line[..hex]).map_err(|e| self.damaged_at(at, &e.to_string()))?;
        let name = &line[hex + 1..];
        check_name(name).map_err(|why| self.damaged_at(at, &why))?;
        Ok((oid, name))
    }

    /// Where the line with the byte `at` begins, not before `low`, which begins a line itself.
    fn line_start(&self, low: usize, at: usize) -> usize {
        memchr::memrchr(b'\n', &self.text[low..at]).map_or(low, |end| low + end + 1)
    }

    /// Where the line that begins at `at` ends: every line has an end, see [`Packed::read`].
    fn line_end(&self, at: usize) -> usize {
        memchr::memchr(b'\n', &self.text[at..]).map_or(self.text.len(), |length| at + length)
    }

    fn damaged_at(&self, at: usize, why: &str) -> GitError {
        let number = self.text[..at].iter().filter(|b| **b == b'\n').count() + 1;
        // Under another name it may be somebody's private file, which this process may read and the reader of this may not.
        let own = fs::symlink_metadata(&self.path).is_ok_and(|found| found.is_file() && found.nlink() == 1);
        match own {
            true => {
                let shown = escape(&self.text[at..self.line_end(at).min(at + 200)]);
                self.damaged(&format!("line {number}, `{shown}`: {why}"))
            }
            false => self.damaged(&format!("line {number}: {why}")),
        }
    }

    fn damaged(&self, why: &str) -> GitError {
        GitError::new(format!("`{}` is damaged: {why}", self.path.display()))
            .hint("keep a copy of the file, then remove the bad line or restore the file from a backup")
    }
}

/// Whether git takes the name. Nearly all names are plain and need no allocation.
pub(super) fn check_name(name: &[u8]) -> Result<(), String> {
    let mut before = b'/';
    let plain = name.iter().all(|&b| {
        let good = b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'/' && before != b'/';
        before = b;
        good
    });
    match plain && before != b'/' {
        true => Ok(()),
        false => RefName::new(name).map(|_| ()).map_err(|e| e.to_string()),
    }
}
