//! What dead processes leave behind: lock files of git that stop every later write, and refs that keep objects for
//! records that are gone.
//!
//! git's locks are plain files, so the death of their holder frees nothing. git also closes some of them while it still
//! means to use them; therefore age counts, too, not only whether anybody has the file open.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use refgate_git::{GitError, Repository};

use crate::Error;
use crate::gated::Journal;
use crate::gated::journal::KEEP;
use crate::replicate::blocking;

/// No git command holds a lock of refs this long: a transaction of 500,000 refs takes seconds.
const OLD: Duration = Duration::from_secs(600);

/// Something that a dead process left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOver {
    /// The file below the git directory, or the ref.
    pub name: String,
    /// What it is.
    pub what: &'static str,
    /// Why it cannot be removed, if it cannot.
    pub kept: Option<String>,
    file: Option<Seen>,
}

/// A lock file as it was looked at: another one of the same name is another lock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    inode: u64,
    modified: Option<SystemTime>,
}

impl Seen {
    fn of(path: &Path, meta: &fs::Metadata) -> Seen {
        Seen { path: path.to_owned(), inode: meta.ino(), modified: meta.modified().ok() }
    }

    fn remove(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(meta) if Seen::of(&self.path, &meta) == *self => fs::remove_file(&self.path),
            Ok(_) => Err(io::Error::other("somebody has taken the lock anew")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// Finds old lock files of refs that no process has open, and refs that keep objects for no record.
pub(super) async fn find(repository: &Repository, now: SystemTime) -> Result<Vec<LeftOver>, Error> {
    let repository = repository.clone();
    let found = blocking(move || {
        let dir = repository.common_dir();
        let mut found = Vec::new();
        for path in lock_files(dir)? {
            let Some(meta) = old(&path, now) else { continue };
            let kept = match holder(&meta) {
                Holder::Nobody => None,
                Holder::Somebody => continue,
                Holder::Unknown(why) => Some(why),
            };
            let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            let file = Some(Seen::of(&path, &meta));
            found.push(LeftOver { name, what: "lock of a dead process", kept, file });
        }
        let what = "keeps objects for no record";
        match Journal::of(&repository).left_over() {
            Ok(edits) => found.extend(edits.into_iter().map(|edit| LeftOver {
                name: edit.name.to_string(),
                what,
                kept: None,
                file: None,
            })),
            // Until somebody has looked at a damaged record nothing is released.
            Err(e) => found.push(LeftOver { name: KEEP.into(), what, kept: Some(e.message), file: None }),
        }
        Ok(found)
    });
    Ok(found.await?)
}

/// Removes them, and says of each why not if it could not.
pub(super) async fn remove(repository: &Repository, found: Vec<LeftOver>) -> Result<Vec<LeftOver>, Error> {
    let repository = repository.clone();
    let removed = blocking(move || {
        let mut found = found;
        for one in found.iter_mut().filter(|one| one.kept.is_none()) {
            if let Some(Err(e)) = one.file.as_ref().map(Seen::remove) {
                one.kept = Some(format!("it cannot be removed: {e}"));
            }
        }
        if found.iter().any(|one| one.file.is_none() && one.kept.is_none()) {
            Journal::of(&repository).sweep()?;
        }
        Ok(found)
    });
    Ok(removed.await?)
}

/// The files by which git locks refs: one beside each loose ref, one for all packed ones, one for a reftable.
fn lock_files(dir: &Path) -> Result<Vec<PathBuf>, GitError> {
    let single = ["HEAD.lock", "packed-refs.lock", "reftable/tables.list.lock"];
    let mut found: Vec<PathBuf> =
        single.iter().map(|name| dir.join(name)).filter(|path| path.is_file()).collect();
    let mut dirs = vec![dir.join("refs")];
    while let Some(dir) = dirs.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            // Removed since it was seen.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(GitError::io("read the directory", &dir, &e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| GitError::io("read the directory", &dir, &e))?;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(kind) if kind.is_file() && entry.path().extension().is_some_and(|e| e == "lock") => {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The file, if it was not touched for long.
fn old(path: &Path, now: SystemTime) -> Option<fs::Metadata> {
    let meta = fs::metadata(path).ok()?;
    let age = now.duration_since(meta.modified().ok()?).ok()?;
    (age >= OLD).then_some(meta)
}

/// Who has a file open.
enum Holder {
    Nobody,
    Somebody,
    /// Nobody can tell; the text says why.
    Unknown(String),
}

/// Looks through the open files of all processes. Those of other users may be closed to us; only a process of the user
/// that owns the file matters, because that user made it.
fn holder(file: &fs::Metadata) -> Holder {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Holder::Unknown("this system does not tell which files are open; remove it by hand".into());
    };
    let mut seen = false;
    for process in processes.flatten() {
        let pid = process.file_name();
        if !pid.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        match fs::read_dir(process.path().join("fd")) {
            Ok(handles) => {
                seen = true;
                let same = |meta: fs::Metadata| (meta.dev(), meta.ino()) == (file.dev(), file.ino());
                if handles.flatten().any(|handle| fs::metadata(handle.path()).is_ok_and(same)) {
                    return Holder::Somebody;
                }
            }
            // It has ended, or is another user's.
            Err(_) if process.metadata().is_ok_and(|meta| meta.uid() == file.uid()) => {
                let pid = pid.to_string_lossy();
                return Holder::Unknown(format!(
                    "process {pid} may have it open; run as its user, or as root"
                ));
            }
            Err(_) => {}
        }
    }
    match seen {
        true => Holder::Nobody,
        false => Holder::Unknown("this system does not tell which files are open; remove it by hand".into()),
    }
}
