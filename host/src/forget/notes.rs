//! What earlier runs saw: entries of which no site showed an old value, and when. One file below the repository.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use refgate_core::{Entry, GlobalRef, RefName};
use refgate_git::{GitError, Repository};
use serde::{Deserialize, Serialize};

use super::Moment;
use crate::Error;
use crate::replicate::blocking;

/// Entries as they were seen.
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<String, Note>);

/// One entry. It is compared as it is written, so that another list is another entry.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// The value: an object id, or `deleted`.
    value: String,
    superseded: Vec<String>,
    /// Seconds since 1970.
    seen: u64,
    /// The boot in which it was seen, and seconds since then. A note of an older release has none, and is as of another boot.
    #[serde(default)]
    boot: String,
    #[serde(default)]
    since_boot: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// The version of this form.
    version: u32,
    refs: BTreeMap<String, Note>,
}

impl Notes {
    /// When exactly this entry was seen without old values.
    pub fn take(&mut self, name: &RefName, entry: &Entry) -> Option<Moment> {
        let note = self.0.remove(&name.to_string())?;
        let since = Moment {
            wall: UNIX_EPOCH.checked_add(Duration::from_secs(note.seen))?,
            boot: note.boot.clone(),
            since_boot: Duration::from_secs(note.since_boot),
        };
        (note == Note::of(entry, &since)).then_some(since)
    }

    pub fn add(&mut self, name: &RefName, entry: &Entry, seen: &Moment) {
        self.0.insert(name.to_string(), Note::of(entry, seen));
    }
}

impl Note {
    fn of(entry: &Entry, seen: &Moment) -> Note {
        // Rounded up: never earlier than it was.
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        Note {
            value: match entry.value {
                GlobalRef::At(oid) => oid.to_string(),
                GlobalRef::Deleted | GlobalRef::Untracked => "deleted".into(),
            },
            superseded: entry.superseded.iter().map(ToString::to_string).collect(),
            seen: seconds(seen.wall.duration_since(UNIX_EPOCH).unwrap_or_default()),
            boot: seen.boot.clone(),
            since_boot: seconds(seen.since_boot),
        }
    }
}

fn path(repository: &Repository) -> PathBuf {
    repository.common_dir().join("refgate/forget.json")
}

pub(super) async fn read(repository: &Repository) -> Result<Notes, Error> {
    let path = path(repository);
    let read = blocking(move || {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Notes::default()),
            Err(e) => return Err(GitError::io("read", &path, &e)),
        };
        let damaged = |why: String| {
            GitError::new(format!("`{}` cannot be read: {why}", path.display()))
                .hint("remove the file; what was seen before then counts from the next run on")
        };
        let stored: Stored = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        match stored.version {
            1 => Ok(Notes(stored.refs)),
            other => Err(damaged(format!("its form has version {other}, this refgate knows 1"))),
        }
    });
    Ok(read.await?)
}

/// Of two runs at a time the later one's notes stand; what the other saw is seen again.
pub(super) async fn write(repository: &Repository, notes: Notes) -> Result<(), Error> {
    let (here, path) = (repository.clone(), path(repository));
    let written = blocking(move || {
        let failed = |e: io::Error| GitError::io("write", &path, &e);
        if notes.0.is_empty() {
            return match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(e)),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec_pretty(&Stored { version: 1, refs: notes.0 })
            .map_err(|e| failed(io::Error::other(e)))?;
        here.files().replace(&path, &text)
    });
    Ok(written.await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_core::Oid;

    #[test]
    fn only_exactly_the_same_entry_was_seen() {
        let oid = |digit: u8| Oid::from_hex(&[digit; 40]).unwrap();
        let name = RefName::new("refs/heads/x").unwrap();
        let moment = |wall, up| Moment {
            wall: UNIX_EPOCH + Duration::from_millis(wall),
            boot: "b".into(),
            since_boot: Duration::from_millis(up),
        };
        let seen = moment(5_500, 2_001);
        let entry = Entry { value: GlobalRef::Deleted, superseded: vec![oid(b'a')] };
        let noted = |entry: &Entry| {
            let mut notes = Notes::default();
            notes.add(&name, entry, &seen);
            notes
        };
        assert_eq!(
            noted(&entry).take(&name, &entry),
            Some(moment(6_000, 3_000)),
            "never earlier than it was"
        );
        let longer = Entry { superseded: vec![oid(b'a'), oid(b'b')], ..entry.clone() };
        let other = Entry { value: GlobalRef::At(oid(b'c')), ..entry.clone() };
        assert_eq!(noted(&entry).take(&name, &longer), None);
        assert_eq!(noted(&entry).take(&name, &other), None);
        assert_eq!(noted(&entry).take(&RefName::new("refs/heads/y").unwrap(), &entry), None);
    }
}
