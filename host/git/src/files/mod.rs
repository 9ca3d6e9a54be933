//! Files and directories that refgate makes below a git directory: with the owner, group and mode that git itself would
//! give them there, so that whoever may write in the repository can go on doing so.
//!
//! - `core.sharedRepository` counts as git applies it, the set-group-id bit of directories included. Where nothing is said,
//!   the umask counts, but nothing can be written by more than the git directory itself.
//! - A file that is locked is for those who may write, and nobody else can open it ([`Files::open_or_make_lock`]).
//! - What root makes in another user's repository belongs to that user ([`owner`]).
//! - What is made is on disk with its name when the call returns, where the caller needs that ([`Files::replace`]).

pub(crate) mod access;
pub(crate) mod durable;
pub(crate) mod owner;
pub(crate) mod settings;

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use nix::libc;
use nix::unistd::Uid;

use crate::GitError;
use owner::Owner;
use settings::{Core, Shared};

/// The set-group-id bit: what is made in such a directory gets its group.
const SET_GROUP: u32 = 0o2000;

/// Makes files and directories below one git directory.
#[derive(Debug)]
pub struct Files {
    git_dir: PathBuf,
    /// Read when it is first needed: most calls find everything in its place.
    core: OnceLock<Core>,
}

impl Files {
    /// For what is to be made below `git_dir`. Nothing is read yet.
    pub fn below(git_dir: impl Into<PathBuf>) -> Files {
        Files { git_dir: git_dir.into(), core: OnceLock::new() }
    }

    /// For what is to be made below a directory that is no repository, for those who may write in it.
    ///
    /// # Errors
    /// The directory cannot be looked at.
    pub fn as_in(dir: impl Into<PathBuf>) -> Result<Files, GitError> {
        let dir = dir.into();
        let meta = fs::metadata(&dir).map_err(|e| GitError::io("look at", &dir, &e))?;
        // Read by everybody: nothing in it is secret, and whoever cannot read it can do nothing.
        let shared = Shared::Exactly(if meta.mode() & 0o020 != 0 { 0o664 } else { 0o644 });
        Ok(Files { git_dir: dir, core: OnceLock::from(Core { shared, fsync: None }) })
    }

    /// The settings of the repository that say how files are made in it.
    pub(crate) fn core(&self) -> Result<&Core, GitError> {
        if let Some(known) = self.core.get() {
            return Ok(known);
        }
        let read = Core::read(&self.git_dir)?;
        Ok(self.core.get_or_init(|| read))
    }

    /// Makes the directory `dir` and those that are missing above it. Each name is on disk when this returns.
    ///
    /// # Errors
    /// What cannot be made, with its path.
    pub fn make_dir(&self, dir: &Path) -> Result<(), GitError> {
        self.refuse_links(dir)?;
        if dir.is_dir() {
            return Ok(());
        }
        let failed = |e: io::Error| GitError::io("create the directory", dir, &e);
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.make_dir(parent)?;
        match DirBuilder::new().create(dir) {
            Ok(()) => {
                // Not what somebody may have put in its place meanwhile.
                let made = OpenOptions::new()
                    .read(true)
                    .custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY)
                    .open(dir);
                self.settle(&made.map_err(failed)?, dir, Use::Content)?;
                sync(parent)
            }
            // Another process was faster.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    /// Root must not be led out of the repository by a link that its owner made.
    fn refuse_links(&self, dir: &Path) -> Result<(), GitError> {
        // Other directories, as that of hooks, are git's, and may be links.
        let ours = dir.ancestors().take_while(|above| above.starts_with(self.git_dir.join("refgate")));
        let link = ours.filter(|above| above.is_symlink()).last();
        match link.filter(|_| Owner::to_serve(&self.git_dir).is_some()) {
            None => Ok(()),
            Some(link) => Err(GitError::new(format!(
                "`{}` is a link that the owner of the repository made, and root does not follow it",
                link.display()
            ))
            .hint("put a directory in its place, or run refgate as the owner of the repository")),
        }
    }

    /// Opens a file for writing at its end. One that is missing is made as by [`open_or_make`](Self::open_or_make).
    ///
    /// # Errors
    /// As there.
    pub fn open_to_append(&self, path: &Path) -> Result<File, GitError> {
        drop(self.open_or_make(path)?);
        let mut options = OpenOptions::new();
        let opened = options.read(true).append(true).custom_flags(libc::O_NOFOLLOW).open(path);
        opened.map_err(|e| GitError::io("open", path, &e))
    }

    /// Opens a file for reading and writing, as it is. One that is missing is made, empty, with the directories above it.
    ///
    /// # Errors
    /// What cannot be made or opened, with its path.
    pub fn open_or_make(&self, path: &Path) -> Result<File, GitError> {
        self.open(path, Use::Content)
    }

    /// The same for a file that is locked. Whoever has a file open can lock it, also if he may only read it, so this one is
    /// made for those who may write in the directory and for nobody else, whatever the umask. One that is open to more is
    /// narrowed when its owner comes by: older releases made it so.
    ///
    /// # Errors
    /// As of [`open_or_make`](Self::open_or_make).
    pub fn open_or_make_lock(&self, path: &Path) -> Result<File, GitError> {
        let file = self.open(path, Use::Lock)?;
        let meta = file.metadata().map_err(|e| GitError::io("look at", path, &e))?;
        let owner = Uid::effective();
        // A second name of it may be somebody else's file, which the owner of the repository wants root to change.
        let may_change = (owner.is_root() || owner.as_raw() == meta.uid()) && meta.nlink() == 1;
        // That the group may both read and write is meant so, and needs no look at the settings.
        let is_narrow = meta.mode() & 0o007 == 0 && meta.mode() & 0o060 != 0o040;
        if may_change && !is_narrow {
            let wanted = self.lock_mode(&meta)?;
            if meta.mode() & 0o777 & !wanted != 0 {
                // A file system without modes cannot; the lock itself is as good.
                let _ = file.set_permissions(Permissions::from_mode(wanted));
            }
        }
        Ok(file)
    }

    fn open(&self, path: &Path, using: Use) -> Result<File, GitError> {
        self.refuse_links(parent(path))?;
        // Root must not be led out of the repository by a link that its owner made.
        let open = || OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path);
        let failed = |e: io::Error| GitError::io("open", path, &e);
        match open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map_err(failed),
        }
        // Under another name first, so that nobody meets it with another owner or mode than it is to have.
        let half = self.half(path, using)?;
        let made = fs::hard_link(&half, path);
        // A link is a second name; what cannot be removed is hidden and empty.
        let _ = fs::remove_file(&half);
        match made {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed(e)),
            _ => open().map_err(failed),
        }
    }

    /// The time of day by the file system of the directory `dir`, as its files get it: on a server's disk it is the server's.
    /// Only that can be compared with the time of a file. Makes a file in `dir` and removes it.
    ///
    /// # Errors
    /// The file cannot be made or looked at.
    pub fn time_in(&self, dir: &Path) -> Result<SystemTime, GitError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let probe = dir.join(format!(".now.{}-{n}", process::id()));
        // Left by a process of this number that died; an old one would tell an old time.
        let _ = fs::remove_file(&probe);
        let made = self.open_or_make(&probe);
        let time = made.and_then(|file| {
            let time = file.metadata().and_then(|meta| meta.modified());
            time.map_err(|e| GitError::io("read the time of", &probe, &e))
        });
        let _ = fs::remove_file(&probe);
        time
    }

    /// Writes a whole file: whoever reads it finds the old text or all of the new one. Both the text and the name are on
    /// disk when this returns.
    ///
    /// # Errors
    /// What cannot be made, with its path; then the old file is as it was.
    pub fn replace(&self, path: &Path, text: &[u8]) -> Result<(), GitError> {
        self.replace_as(path, text, false)
    }

    /// The same for a program, which everybody who may read it may run.
    pub fn replace_program(&self, path: &Path, text: &[u8]) -> Result<(), GitError> {
        self.replace_as(path, text, true)
    }

    fn replace_as(&self, path: &Path, text: &[u8], program: bool) -> Result<(), GitError> {
        let half = self.half(path, Use::Content)?;
        let write = || {
            let mut file = OpenOptions::new().write(true).open(&half)?;
            if program {
                // Those may run it who may read it.
                let mode = file.metadata()?.mode();
                file.set_permissions(Permissions::from_mode((mode | (mode & 0o444) >> 2) & 0o7777))?;
            }
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&half, path)
        };
        write().map_err(|e| {
            // What cannot be removed is hidden and no file of anybody.
            let _ = fs::remove_file(&half);
            GitError::io("write", path, &e)
        })?;
        sync(parent(path))
    }

    /// An empty file beside `path`, with the directories above it, as it is to be but for its name.
    fn half(&self, path: &Path, using: Use) -> Result<PathBuf, GitError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        self.make_dir(parent(path))?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().display();
        let half = path.with_file_name(format!(".{name}.{}.{count}.new", process::id()));
        let failed = |e: io::Error| GitError::io("make", &half, &e);
        // A process of the same number may have died here.
        let _ = fs::remove_file(&half);
        // A lock that somebody opened before it was narrowed would stay his to hold.
        let mode = if using == Use::Lock { 0o660 } else { 0o666 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&half).map_err(failed)?;
        self.settle(&file, &half, using).inspect_err(|_| drop(fs::remove_file(&half)))?;
        Ok(half)
    }

    /// Gives what was just made the owner, group and mode that it has to have.
    fn settle(&self, made: &File, path: &Path, using: Use) -> Result<(), GitError> {
        let shared = self.core()?.shared;
        let settle = || {
            let meta = made.metadata()?;
            if let Some(owner) = Owner::to_serve(&self.git_dir) {
                // In a directory with the set-group-id bit it has its group already.
                let inherits = fs::metadata(parent(path))?.mode() & SET_GROUP != 0;
                fchown(made, Some(owner.uid), (!inherits).then_some(owner.gid))?;
            }
            let mode = match using {
                Use::Content if shared == Shared::Umask => {
                    let closed = 0o022 & !fs::metadata(&self.git_dir)?.mode();
                    shared.adjust(meta.mode(), meta.is_dir()) & !closed
                }
                Use::Content => shared.adjust(meta.mode(), meta.is_dir()),
                Use::Lock => self.lock_mode(&meta).map_err(io::Error::other)?,
            };
            match mode == meta.mode() & 0o7777 {
                true => Ok(()),
                false => made.set_permissions(Permissions::from_mode(mode)),
            }
        };
        settle().map_err(|e| GitError::io("set the owner and mode of", path, &e))
    }

    /// Reading and writing for those who may write in the git directory, and nothing for anybody else. The group may when
    /// `core.sharedRepository` says so, or when both umask and directory do; its bits stand for access lists, too.
    fn lock_mode(&self, file: &Metadata) -> Result<u32, GitError> {
        let dir = fs::metadata(&self.git_dir).map_err(|e| GitError::io("look at", &self.git_dir, &e))?;
        let shared = self.core()?.shared;
        let everybody = shared.with_everybody() || dir.mode() & 0o002 != 0;
        let group = shared.with_group() || file.mode() & 0o060 == 0o060 && dir.mode() & 0o020 != 0;
        Ok(match (everybody, group) {
            (true, _) => 0o666,
            (_, true) => 0o660,
            _ => 0o600,
        })
    }
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// What stands in it.
    Content,
    /// To be locked.
    Lock,
}

/// The directory that a file is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until the names in a directory are on disk.
pub(crate) fn sync(dir: &Path) -> Result<(), GitError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|e| GitError::io("write to the disk", dir, &e))
}
