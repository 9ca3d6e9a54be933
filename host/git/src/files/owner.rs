//! As whom git runs in a repository. Root that replicates (cron, sudo) must not leave files that lock the owner of the
//! repository out, and git makes files of its own all the time. So root's git runs as the owner.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User};

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// Whom a directory belongs to.
    pub(crate) fn of(dir: &Path) -> Option<Owner> {
        let meta = fs::metadata(dir).ok()?;
        Some(Owner { uid: meta.uid(), gid: meta.gid() })
    }

    /// The owner of `dir`, when this process is root's and the owner is somebody else who can get there. All that is made
    /// in it is to belong to that user.
    pub(crate) fn to_serve(dir: &Path) -> Option<Owner> {
        if !Uid::effective().is_root() {
            return None;
        }
        let dir = fs::canonicalize(dir).ok()?;
        let owner = Owner::of(&dir).filter(|owner| owner.uid != 0)?;
        // Where the owner of the repository cannot go, only root ever works, and git could not start as the owner.
        dir.ancestors().all(|above| owner.may(above, 0o1)).then_some(owner)
    }

    /// Whether the mode of `path` lets this user and group do all of `what` (1 enter or run, 2 write, 4 read).
    pub(crate) fn may(self, path: &Path, what: u32) -> bool {
        let Ok(meta) = fs::metadata(path) else { return false };
        let shift = match (meta.uid() == self.uid, meta.gid() == self.gid) {
            (true, _) => 6,
            (_, true) => 3,
            _ => 0,
        };
        meta.mode() >> shift & what == what
    }

    /// Lets a program run as this user, with the settings that git keeps in this user's home directory.
    pub(crate) fn run(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
        // A user that the machine has no entry for has no home; git passes over what it may not read in root's.
        if let Ok(Some(user)) = User::from_uid(Uid::from_raw(self.uid)) {
            command.env("HOME", user.dir).env_remove("XDG_CONFIG_HOME");
        }
    }
}

/// Makes `dir` and what is missing above it, all for whom the first directory that is there belongs to, as
/// [`Owner::to_serve`] says.
pub(crate) fn make_dirs(dir: &Path) -> io::Result<Option<Owner>> {
    if dir.is_dir() {
        return Ok(Owner::to_serve(dir));
    }
    let owner = dir.parent().map_or(Ok(None), make_dirs)?;
    match fs::create_dir(dir) {
        Ok(()) => owner.map_or(Ok(()), |owner| lchown(dir, Some(owner.uid), Some(owner.gid)))?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        Err(e) => return Err(e),
    }
    Ok(owner)
}
