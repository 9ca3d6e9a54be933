//! The file: checked before anything is written to it, watched while it is open.
//!
//! The checks go through SQLite itself, never through a plain file handle: closing any handle of a file drops all POSIX
//! locks that the process holds on it, those of an open connection too.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use refgate_core::refdb::{Mark, Seen};
use refgate_core::{RefDbError, RefDbErrorKind};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::{about, before_commit, no_tables};
use super::harden::{Watch, harden};
use super::network::refuse_network;
use super::schema;

/// How long opening waits for another process.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A file that looked like a ref-db of ours when it was opened.
#[derive(Debug)]
pub(super) struct StoreFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    /// The newest mark that was read from it.
    pub(super) seen: Seen,
    /// SQLite's number of the tables that were looked at last; it changes with them.
    looked_at: AtomicI64,
}

impl StoreFile {
    /// Checks that `path` is a ref-db that this build can use. Writes nothing, and takes no lock.
    pub(super) fn check(path: &Path, network: bool) -> Result<StoreFile, RefDbError> {
        let wrong = |what: &str| about(RefDbErrorKind::Config, path, what);
        let metadata = fs::metadata(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => about(
                RefDbErrorKind::Unavailable,
                path,
                "no such file; correct `ref-database.url`, or make it with `refgate refdb seed PROJECT`",
            ),
            _ => about(RefDbErrorKind::Unavailable, path, &format!("cannot be opened: {e}")),
        })?;
        if metadata.is_dir() {
            return Err(wrong("this is a directory; name a file in it"));
        }
        if !metadata.is_file() {
            return Err(wrong("this is not a regular file; correct `ref-database.url`"));
        }
        refuse_network(path, network)?;
        if metadata.len() == 0 {
            return Err(wrong(
                "the file is empty; correct `ref-database.url`, or remove the file and make the ref-db anew",
            ));
        }
        let probe = open_immutable(path).map_err(|e| before_commit(path, &e))?;
        check_marks(&probe, path)?;
        Ok(StoreFile {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            seen: Seen::default(),
            looked_at: AtomicI64::new(-1),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A connection with everything set that is not stored in the file, whose statements end when `watch` says so. Brings
    /// tables of an older version to today's.
    pub(super) fn connect(&self, watch: &Watch) -> Result<Connection, RefDbError> {
        let failed = |e: rusqlite::Error| before_commit(&self.path, &e);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        harden(&connection).and_then(|()| watch.over(&mut connection)).map_err(failed)?;
        // SQLite falls back to reading alone. Ask before the first read, which would leave files beside this one.
        if connection.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
            let what = "it is read-only; make the file and its directory writable for this user";
            return Err(about(RefDbErrorKind::Config, &self.path, what));
        }
        connection.busy_timeout(OPEN_TIMEOUT).map_err(failed)?;
        // Another process may have brought the tables to a newer version that is not in the main file yet. Before anything
        // is written they are looked at.
        if self.version(&mut connection)? < schema::VERSION {
            configure(&connection).map_err(failed)?;
            schema::upgrade(&mut connection).map_err(failed)?;
            self.version(&mut connection)?;
        } else {
            configure(&connection).map_err(failed)?;
        }
        self.seen.note(None, mark(&connection).map_err(failed)?);
        Ok(connection)
    }

    /// The version of the tables, which are the ones of that version and nothing else.
    fn version(&self, connection: &mut Connection) -> Result<i32, RefDbError> {
        let tx = connection.transaction().map_err(|e| before_commit(&self.path, &e))?;
        let version = check_marks(&tx, &self.path)?;
        self.look_at_tables(&tx, version)?;
        Ok(version)
    }

    /// Fails when there is anything but the tables of `version`.
    fn look_at_tables(&self, connection: &Connection, version: i32) -> Result<(), RefDbError> {
        let failed = |e: rusqlite::Error| before_commit(&self.path, &e);
        match schema::what_differs(connection, version).map_err(failed)? {
            None => Ok(()),
            Some(what) => Err(no_tables(&self.path, &what)),
        }
    }

    /// The same in a transaction of today's version. Costs next to nothing while nobody changes the tables.
    pub(super) fn still_has_its_tables(&self, tx: &Connection) -> Result<(), RefDbError> {
        let number =
            tx.prepare_cached("PRAGMA schema_version").and_then(|mut s| s.query_row([], |row| row.get(0)));
        let number: i64 = number.map_err(|e| before_commit(&self.path, &e))?;
        if self.looked_at.load(Ordering::Acquire) != number {
            self.look_at_tables(tx, schema::VERSION)?;
            self.looked_at.store(number, Ordering::Release);
        }
        Ok(())
    }

    /// Fails when the path leads to another file by now: what is written to this one would be lost.
    pub(super) fn still_there(&self) -> Result<(), RefDbError> {
        match fs::metadata(&self.path) {
            Ok(now) if (now.dev(), now.ino()) == self.identity => Ok(()),
            Ok(_) => Err(about(
                RefDbErrorKind::Unavailable,
                &self.path,
                "the file was replaced; start refgate anew",
            )),
            Err(e) => Err(about(RefDbErrorKind::Unavailable, &self.path, &format!("the file is gone: {e}"))),
        }
    }
}

/// Who the store is, and how far it has come.
pub(super) fn mark(connection: &Connection) -> rusqlite::Result<Mark> {
    let sql = "SELECT meta.value, counter.value FROM meta, counter \
               WHERE meta.name = 'identity' AND counter.name = 'revision'";
    connection.prepare_cached(sql)?.query_row([], |row| {
        // The column is signed, and what it counts begins at 1.
        Ok(Mark { identity: row.get(0)?, revision: row.get::<_, i64>(1)?.max(0).cast_unsigned() })
    })
}

fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    let (wanted, now) = (journal_mode(rusqlite::version_number()), journal_mode_of(connection)?);
    match set_journal_mode(connection) {
        // Somebody took it out of WAL mode and has it open. That is safe as well; only readers wait for writers then.
        Err(e) if wanted == "wal" && now != wanted && is_busy(&e) => Ok(()),
        result => result,
    }
}

fn is_busy(e: &rusqlite::Error) -> bool {
    matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn journal_mode_of(connection: &Connection) -> rusqlite::Result<String> {
    connection.pragma_query_value(None, "journal_mode", |row| row.get(0))
}

/// The journal mode for a version of SQLite. Before 3.51.3 two processes that write and checkpoint in WAL mode at the
/// same instant can damage the file (sqlite.org/wal.html#walresetbug).
fn journal_mode(version: i32) -> &'static str {
    if version >= 3_051_003 { "wal" } else { "truncate" }
}

/// Puts the file into the journal mode that this SQLite is safe in.
pub(super) fn set_journal_mode(connection: &Connection) -> Result<(), rusqlite::Error> {
    let wanted = journal_mode(rusqlite::version_number());
    if journal_mode_of(connection)? == wanted {
        return Ok(());
    }
    let now: String = connection.pragma_update_and_check(None, "journal_mode", wanted, |row| row.get(0))?;
    if now == wanted {
        return Ok(());
    }
    // Only possible while no other process has the file open.
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None))
}

/// For looking only: no lock, no journal, no recovery.
fn open_immutable(path: &Path) -> Result<Connection, rusqlite::Error> {
    let mut uri = String::from("file:");
    for b in path.as_os_str().as_bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*b)),
            _ => uri.push_str(&format!("%{b:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    harden(&connection)?;
    Ok(connection)
}

/// The version of the tables; an error when this is no ref-db, or a newer one.
fn check_marks(connection: &Connection, path: &Path) -> Result<i32, RefDbError> {
    let number = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .map_err(|e| before_commit(path, &e))
    };
    if number("application_id")? != schema::APPLICATION_ID {
        let what = "this is no ref-db but a file of another program, nothing was changed; correct `ref-database.url`";
        return Err(about(RefDbErrorKind::Config, path, what));
    }
    let version = number("user_version")?;
    if (1..=schema::VERSION).contains(&version) {
        return Ok(version);
    }
    let what = match version > schema::VERSION {
        true => format!(
            "its tables have version {version}, this refgate knows {}; use the newer refgate here too",
            schema::VERSION
        ),
        false => {
            format!("its tables have version {version}, which was never released; put the right file back")
        }
    };
    Err(about(RefDbErrorKind::Config, path, &what))
}

#[cfg(test)]
mod tests {
    use super::super::create::create_if_missing;
    use super::super::lock::tests::StepClock;
    use super::*;

    #[test]
    fn the_bundled_sqlite_is_safe_in_wal_mode() {
        assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
        assert_eq!(journal_mode(rusqlite::version_number()), "wal");
        assert_eq!(journal_mode(3_051_002), "truncate");
    }

    #[test]
    fn a_new_file_is_whole_and_alone() {
        let watch = Watch::new(std::sync::Arc::new(StepClock::new()));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("100% ünï?#.sqlite");
        assert!(create_if_missing(&path, false).unwrap());
        assert!(!create_if_missing(&path, false).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        let connection = StoreFile::check(&path, false).unwrap().connect(&watch).unwrap();
        let pragma = |name: &str| -> String {
            connection
                .query_row(&format!("SELECT CAST((SELECT * FROM pragma_{name}) AS TEXT)"), [], |r| r.get(0))
                .unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal");
        assert_eq!(pragma("synchronous"), "2");
    }
}
