//! What is said to be done is on disk. git waits for the files that `core.fsync` names and never for the directories that
//! hold their names, so those are ours.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::libc;
use nix::unistd::syncfs;
use refgate_core::RefName;

use super::owner::Owner;
use super::settings::{Core, Parts};
use super::sync;
use crate::{GitError, Repository, command};

/// What `core.fsync` is for refgate's own git where nobody has set it: all that a ref needs, the ref included.
pub const ON_DISK: &str = "committed";

/// From so many directories on, one call for the whole file system is cheaper than one for each.
const MANY: usize = 64;
/// A directory that did not change for so long before the one that changed last was written out by the kernel, or by
/// whoever changed it.
const RECENT: Duration = Duration::from_secs(60);

impl Core {
    /// Whether refgate waits for directories that hold names of such files: where git was told not to wait for the files,
    /// that would be of no use.
    fn waits_for(&self, parts: Parts) -> bool {
        self.fsync.is_none_or(|fsync| fsync.has(parts))
    }

    /// Lets a git wait for what it writes, where nobody has said what it is to wait for.
    pub(crate) fn wait(&self, git: &mut Command) {
        if self.fsync.is_none() {
            git.arg("-c").arg(format!("core.fsync={ON_DISK}"));
        }
    }
}

impl Repository {
    /// Waits until the names of objects that came just now are on disk; their contents are git's (`core.fsync`).
    ///
    /// # Errors
    /// What cannot be written to the disk.
    pub fn settle_objects(&self) -> Result<(), GitError> {
        match self.files().core()?.waits_for(Parts::OBJECTS) {
            true => settle(self.common_dir(), object_dirs(&self.common_dir().join("objects"))),
            false => Ok(()),
        }
    }

    /// Waits until the names of refs that were just moved are on disk.
    pub(crate) fn settle_refs<'a>(&self, moved: impl Iterator<Item = &'a RefName>) -> Result<(), GitError> {
        if !self.files().core()?.waits_for(Parts::REFERENCE) {
            return Ok(());
        }
        let root = self.common_dir();
        // A deletion may have rewritten `packed-refs`, and where refs are tables, they are in one directory.
        let mut dirs = BTreeSet::from([root.to_owned(), root.join("reftable")]);
        let mut any = false;
        for name in moved {
            any = true;
            let mut dir = Path::new(OsStr::from_bytes(name.as_bytes())).parent();
            // What is there already has its parents there as well.
            while let Some(above) = dir.filter(|dir| !dir.as_os_str().is_empty())
                && dirs.insert(root.join(above))
            {
                dir = above.parent();
            }
        }
        if any { settle(root, dirs) } else { Ok(()) }
    }
}

/// `git` that brings objects into the repository at `git_dir`, as the caller, whose credentials the remote wants to see.
/// [`after_transfer`] has to follow.
pub(crate) fn git_for_transfer(git_dir: &Path) -> Result<Command, GitError> {
    let mut git = command::git_as_caller_in(git_dir);
    Core::read(git_dir)?.wait(&mut git);
    if Owner::to_serve(git_dir).is_some() {
        // Loose objects would lie in directories of this user, where nobody else could put one. Packs are given away.
        git.args(["-c", "fetch.unpackLimit=1"]);
    }
    Ok(git)
}

/// Gives what [`git_for_transfer`] brought to the owner of the repository, and waits until it is on disk.
pub(crate) fn after_transfer(git_dir: &Path) -> Result<(), GitError> {
    let objects = git_dir.join("objects");
    if let Some(owner) = Owner::to_serve(git_dir) {
        let packs = objects.join("pack");
        let given = give(&packs, owner, libc::O_DIRECTORY)
            .and_then(|()| fs::read_dir(&packs)?.try_for_each(|entry| give(&entry?.path(), owner, 0)));
        given.map_err(|e| GitError::io("give to the owner of the repository what is in", &packs, &e))?;
    }
    match Core::read(git_dir)?.waits_for(Parts::OBJECTS) {
        true => settle(git_dir, object_dirs(&objects)),
        false => Ok(()),
    }
}

/// Gives away what belongs to root, and nothing that a link leads to: the owner of the repository might have made it.
fn give(path: &Path, owner: Owner, flags: libc::c_int) -> io::Result<()> {
    let opened =
        File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | flags).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ELOOP) => {
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    match meta.uid() == 0 && (meta.is_dir() || meta.is_file() && meta.nlink() == 1) {
        true => fchown(&file, Some(owner.uid), Some(owner.gid)),
        false => Ok(()),
    }
}

/// The directories that hold names of objects.
fn object_dirs(objects: &Path) -> BTreeSet<PathBuf> {
    let loose = (0..=255u8).map(|byte| objects.join(format!("{byte:02x}")));
    loose.chain([objects.to_owned(), objects.join("pack")]).collect()
}

/// Waits until the names in those of `dirs` that changed lately are on disk; one that is not there had none.
fn settle(root: &Path, dirs: BTreeSet<PathBuf>) -> Result<(), GitError> {
    let changed = |dir: PathBuf| {
        let meta = fs::metadata(&dir).ok().filter(fs::Metadata::is_dir)?;
        Some((meta.modified().ok()?, dir))
    };
    let dirs: Vec<(SystemTime, PathBuf)> = dirs.into_iter().filter_map(changed).collect();
    let Some(newest) = dirs.iter().map(|(time, _)| *time).max() else { return Ok(()) };
    let recent = |time: &SystemTime| newest.duration_since(*time).is_ok_and(|age| age < RECENT);
    let recent: Vec<&PathBuf> = dirs.iter().filter(|(time, _)| recent(time)).map(|(_, dir)| dir).collect();
    if recent.len() < MANY {
        return recent.into_iter().try_for_each(|dir| sync(dir));
    }
    let whole = File::open(root).and_then(|dir| syncfs(&dir).map_err(io::Error::from));
    whole.map_err(|e| GitError::io("write to the disk", root, &e))
}
