//! What dead processes leave behind: lock files of git that stop every later write, and refs that keep objects for
//! records that are gone.
//!
//! git's locks are plain files, so the death of their holder frees nothing. git also closes some of them while it still
//! means to use them; therefore age counts, too, not only whether anybody has the file open. The age is that by the file
//! system's own clock: that of this process, or of another machine, may be hours off. A lock that is left is named
//! at once, for it stops writes from the first second on, and removed when it can be nobody's any more.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use refgate_git::{Repository, utc};

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

    fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|meta| Seen::of(&self.path, &meta) == *self)
    }
}

/// Finds lock files of git, and refs that keep objects for no record. A lock that is not old, or that a process has open, is
/// among them with the reason why it is kept: see [`still_there`].
pub(super) async fn find(repository: &Repository) -> Result<Vec<LeftOver>, Error> {
    let repository = repository.clone();
    let found = blocking(move || {
        let dir = repository.common_dir();
        let mut found = Vec::new();
        let below = |path: &Path| path.strip_prefix(dir).unwrap_or(path).display().to_string();
        let (locks, unread) = lock_files(dir);
        for (path, e) in unread {
            let kept = Some(format!("it cannot be looked through: {e}"));
            found.push(LeftOver { name: below(&path), what: "may hold locks", kept, file: None });
        }
        // Asked after the locks were found, so that none of them is younger; and not at all where there are none.
        let now = (!locks.is_empty()).then(|| repository.files().time_in(dir));
        for path in locks {
            let Ok(meta) = fs::metadata(&path) else { continue };
            let old = match &now {
                Some(Ok(now)) => Ok(is_old(&meta, *now)),
                Some(Err(e)) => Err(&e.message),
                None => continue,
            };
            let kept = match (holder(&meta), old) {
                (Holder::Nobody, Ok(true)) => None,
                (Holder::Nobody, Ok(false)) => Some(young(&meta)),
                (Holder::Nobody, Err(why)) => Some(format!("its age is not known: {why}")),
                (Holder::Somebody(pid), _) => {
                    Some(format!("process {pid} has it open; it goes with its end"))
                }
                (Holder::Unknown(why), _) => Some(why),
            };
            let what = if kept.is_none() { "lock of a dead process" } else { "lock of a git" };
            found.push(LeftOver { name: below(&path), what, kept, file: Some(Seen::of(&path, &meta)) });
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
        let is_ref = |one: &LeftOver| one.file.is_none() && one.kept.is_none();
        if found.iter().any(is_ref) {
            // What cannot be removed keeps nothing else from being repaired.
            let stays = Journal::of(&repository).sweep();
            for one in found.iter_mut().filter(|one| is_ref(one)) {
                one.kept = match &stays {
                    Ok(stays) => (stays.iter().find(|(name, _)| name.to_string() == one.name))
                        .map(|(_, why)| format!("it cannot be removed: {why}")),
                    Err(e) => Some(format!("it cannot be removed: {}", e.message)),
                };
            }
        }
        Ok(found)
    });
    Ok(removed.await?)
}

/// Of those that were found: without locks that were given back meanwhile, which are those of running processes.
pub(super) fn still_there(mut found: Vec<LeftOver>) -> Vec<LeftOver> {
    found.retain(|one| one.kept.is_none() || one.file.as_ref().is_none_or(Seen::is_there));
    found
}

/// The files by which git locks refs and settings: one beside each loose ref, one for all packed ones and the one that is to
/// take its place, one for a reftable and for each of its tables. And what could not be looked through.
fn lock_files(dir: &Path) -> (Vec<PathBuf>, Vec<(PathBuf, io::Error)>) {
    let single = ["HEAD.lock", "config.lock", "packed-refs.lock", "packed-refs.new", "shallow.lock"];
    let mut found: Vec<PathBuf> =
        single.iter().map(|name| dir.join(name)).filter(|path| path.is_file()).collect();
    let mut unread = Vec::new();
    let mut dirs = vec![dir.join("refs"), dir.join("reftable")];
    while let Some(dir) = dirs.pop() {
        let mut look = || -> io::Result<()> {
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                    Ok(kind) if kind.is_file() && entry.path().extension().is_some_and(|e| e == "lock") => {
                        found.push(entry.path());
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        match look() {
            // Removed since it was seen, or another kind of repository.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => unread.push((dir, e)),
            Ok(()) => {}
        }
    }
    found.sort();
    (found, unread)
}

/// Whether a file was not touched for long.
fn is_old(meta: &fs::Metadata, now: SystemTime) -> bool {
    let age = meta.modified().ok().and_then(|changed| now.duration_since(changed).ok());
    age.is_some_and(|age| age >= OLD)
}

/// Why a lock that nobody has open is kept.
fn young(meta: &fs::Metadata) -> String {
    let since = meta.modified().ok().and_then(|changed| changed.duration_since(UNIX_EPOCH).ok());
    format!(
        "user {} made it at {}, and no process has it open: a process that still runs may mean to use it, or one that died has left \
         it. `--yes` removes it when it is {} minutes old; if no git runs in this repository, remove it by hand",
        meta.uid(),
        since.map_or("an unknown time".into(), utc),
        OLD.as_secs() / 60
    )
}

/// Who has a file open.
enum Holder {
    Nobody,
    /// This process.
    Somebody(String),
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
                    return Holder::Somebody(pid.to_string_lossy().into_owned());
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
