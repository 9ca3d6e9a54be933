//! Files of older versions become files of today, once and as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use refgate_core::{Deadline, Entry, Expected, GlobalRef, Lookup, Oid, Project, RefName};

use super::*;
use crate::sqlite::lock::tests::{StepClock, block_on};
use crate::{Location, OpenMode, open};

fn oid(n: u8) -> Oid {
    Oid::from_bytes(&[n; 20]).unwrap()
}

/// A ref-db as version 1 made it, with one entry and one site.
fn first(dir: &Path) -> PathBuf {
    let path = dir.join("r.sqlite");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection
        .execute_batch(&format!(
            "BEGIN; {FIRST} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; COMMIT;"
        ))
        .unwrap();
    let superseded = [&[20], oid(2).as_bytes()].concat();
    connection
        .execute(
            "INSERT INTO entry VALUES ('p', CAST('refs/a' AS BLOB), ?1, ?2)",
            rusqlite::params![oid(1).as_bytes(), superseded],
        )
        .unwrap();
    connection.execute("INSERT INTO site VALUES ('here')", []).unwrap();
    path
}

fn version(path: &Path) -> i32 {
    let connection = Connection::open(path).unwrap();
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn columns(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("SELECT m.name || '.' || c.name || ':' || c.type || c.pk || c.\"notnull\" FROM sqlite_schema m, pragma_table_info(m.name) c ORDER BY 1")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn an_old_file_keeps_what_it_holds_and_gets_texts_and_locks() {
    let dir = tempfile::tempdir().unwrap();
    let path = first(dir.path());
    let clock = Arc::new(StepClock::new());
    let location = Location::new("sqlite:r.sqlite", dir.path());
    // Several at once: one of them does it.
    let stores: Vec<_> = std::thread::scope(|s| {
        let openers: Vec<_> =
            (0..4).map(|_| s.spawn(|| open(&location, OpenMode::Existing, clock.clone()))).collect();
        openers.into_iter().map(|o| o.join().unwrap().unwrap().db).collect()
    });
    let db = &stores[0];
    let (p, a) = (Project::new("p").unwrap(), RefName::new("refs/a").unwrap());
    let soon = || Deadline::after(&*clock, Duration::from_secs(10));
    let found = block_on(db.get_many(&p, std::slice::from_ref(&a), soon())).unwrap();
    assert_eq!(found, [Lookup::Entry(Entry { value: GlobalRef::At(oid(1)), superseded: vec![oid(2)] })]);
    assert_eq!(block_on(db.sites(soon())).unwrap(), ["here"]);
    let lock = block_on(db.lock(&p, &a, Duration::from_secs(9), soon())).unwrap();
    let edit =
        refgate_core::Edit::new(a.clone(), Expected::Exactly(GlobalRef::At(oid(1))), GlobalRef::At(oid(3)))
            .fenced(lock.token().clone());
    let outcome = block_on(db.compare_and_put(&p, &[edit], refgate_core::Atomicity::Each, soon())).unwrap();
    assert_eq!(outcome, [refgate_core::Outcome::Applied]);
    let text = RefName::new("refs/t").unwrap();
    block_on(db.compare_and_put_text(&p, &text, None, "7", soon())).unwrap();
    block_on(lock.release(soon())).unwrap();
    drop(stores);
    assert_eq!(version(&path), VERSION);

    let new = dir.path().join("new.sqlite");
    fill(&Connection::open(&new).unwrap()).unwrap();
    assert_eq!(columns(&path), columns(&new), "old and new files are alike");
    // What a process that still knows version 1 sees of a text: no value, and no deleted ref.
    let connection = Connection::open(&path).unwrap();
    let value: Vec<u8> =
        connection.query_row("SELECT value FROM entry WHERE text IS NOT NULL", [], |row| row.get(0)).unwrap();
    assert!(!value.is_empty() && Oid::from_bytes(&value).is_err());
}

#[test]
fn a_file_of_version_2_becomes_a_store_with_an_identity() {
    let dir = tempfile::tempdir().unwrap();
    let path = first(dir.path());
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(&format!("BEGIN; {SECOND} PRAGMA user_version = 2; COMMIT;")).unwrap();
    drop(connection);
    let location = Location::new("sqlite:r.sqlite", dir.path());
    let seen = || open(&location, OpenMode::Existing, Arc::new(StepClock::new())).unwrap().db.seen().unwrap();
    let mark = seen();
    assert_eq!((mark.identity.len(), mark.revision), (32, 1));
    assert_eq!(seen(), mark, "made once");
    assert_eq!(version(&path), VERSION);
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = first(dir.path());
    // In the way of what version 2 makes last.
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE counter (x)").unwrap();
    let before = columns(&path);
    let location = Location::new("sqlite:r.sqlite", dir.path());
    let e = open(&location, OpenMode::Existing, Arc::new(StepClock::new())).unwrap_err();
    assert_eq!(e.kind, refgate_core::RefDbErrorKind::Corrupt, "{e}");
    assert_eq!((version(&path), columns(&path)), (1, before));
}
