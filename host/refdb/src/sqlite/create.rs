//! Makes a new ref-db: whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use refgate_core::{RefDbError, RefDbErrorKind};
use rusqlite::{Connection, OpenFlags};

use super::error::{about, before_commit};
use super::file::set_journal_mode;
use super::network::refuse_network;
use super::schema;

/// Makes an empty ref-db at `path` when nothing is there; tells whether it did.
pub(super) fn create_if_missing(path: &Path, network: bool) -> Result<bool, RefDbError> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(false);
    }
    let failed = |e: io::Error| about(RefDbErrorKind::Unavailable, path, &format!("cannot be made: {e}"));
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(about(RefDbErrorKind::Config, path, "this is not the path of a file"));
    };
    if !dir.is_dir() {
        return Err(about(
            RefDbErrorKind::Config,
            path,
            "its directory does not exist; make the directory first",
        ));
    }
    refuse_network(dir, network)?;
    // Under a name of its own and then linked into place, so that nobody ever sees half a ref-db and of two makers one
    // finds the other's.
    let half = Scratch::new(dir, name).map_err(failed)?;
    fill(&half.0).map_err(|e| before_commit(path, &e))?;
    match fs::hard_link(&half.0, path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(e) => return Err(failed(e)),
    }
    drop(half);
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(true)
}

/// Makes the directory of `path` and those that are missing above it.
pub(crate) fn make_place(path: &Path) -> Result<(), RefDbError> {
    let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) else { return Ok(()) };
    make_dir(dir).map_err(|e| {
        about(RefDbErrorKind::Config, path, &format!("its directory `{}` cannot be made: {e}", dir.display()))
    })
}

fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(above)?;
    match fs::create_dir(dir) {
        Ok(()) => give_away(&fs::File::open(dir)?, above),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

/// What root makes in another user's directory is that user's, else nobody but root could write.
fn give_away(made: &fs::File, dir: &Path) -> io::Result<()> {
    let owner = fs::metadata(dir)?;
    match made.metadata()?.uid() == 0 && owner.uid() != 0 {
        true => Ok(fchown(made, Some(owner.uid()), Some(owner.gid()))?),
        false => Ok(()),
    }
}

/// For those who may write in the directory. Nobody else can use a ref-db, and whoever has the file open can lock it, also
/// if he may only read it. The bits of the group stand for access lists, too.
fn narrow(made: &fs::File, dir: &Path) -> io::Result<()> {
    // In a sticky directory, as `/tmp`, nobody may change what is another's.
    let shared = fs::metadata(dir)?.mode() & 0o1020 == 0o020;
    let group = shared && made.metadata()?.mode() & 0o060 == 0o060;
    made.set_permissions(fs::Permissions::from_mode(if group { 0o660 } else { 0o600 }))
}

fn fill(path: &Path) -> Result<(), rusqlite::Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    set_journal_mode(&connection)?;
    schema::fill(&connection)?;
    // Everything has to be in the main file, which is the one that is linked. Closing would do that, too, and say nothing
    // when the disk is full.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, e)| e)
}

/// A new file beside the final one, removed with all that SQLite put beside it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path, name: &OsStr) -> io::Result<Scratch> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let mut half = OsString::from(".");
            half.push(name);
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            half.push(format!(".{}-{n}.new", std::process::id()));
            let half = dir.join(half);
            // Nothing for others, whatever the umask says: ref names may be nobody's business, and who can write the file can
            // move any ref. A group is what several accounts share it by.
            let mut options = fs::OpenOptions::new();
            match options.write(true).create_new(true).mode(0o660).open(&half) {
                Ok(file) => {
                    let scratch = Scratch(half);
                    // SQLite gives the files beside it the owner and the mode that this one has.
                    give_away(&file, dir)?;
                    narrow(&file, dir)?;
                    return Ok(scratch);
                }
                // Left behind by a dead process with this id.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for suffix in ["-wal", "-shm", "-journal", ""] {
            let mut path = self.0.clone().into_os_string();
            path.push(suffix);
            // Most of them do not exist; one that stays is a hidden file that nothing reads.
            let _ = fs::remove_file(path);
        }
    }
}
