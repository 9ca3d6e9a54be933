//! An sqlite file that somebody else wrote: refused, or an error of one entry, in bounded time and memory.

mod common;

use std::path::PathBuf;

use common::*;
use refgate_core::{Expected, GlobalRef, Lookup, RefDbErrorKind};
use refgate_refdb::OpenMode::{Create, Existing};
use rusqlite::Connection;

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }
    fn path(&self) -> PathBuf {
        self.0.path().join("r.sqlite")
    }
    fn store(&self) -> Store {
        Store(open_sqlite(&self.path(), Create).unwrap().db)
    }
    /// What the other one does to the file.
    fn does(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
}

/// A query without an end, as a view in the place of a table.
const VIEW: &str = "DROP TABLE entry; CREATE VIEW entry (project, name, value, superseded, text) AS \
    WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n) SELECT 'p', CAST(x AS BLOB), x, x, x FROM n";
/// Swallows every write of an entry.
const IGNORES: &str = "CREATE TRIGGER t BEFORE INSERT ON entry BEGIN SELECT RAISE(IGNORE); END";

const FOREIGN: [(&str, &str); 9] = [
    (VIEW, "view `entry`"),
    (IGNORES, "trigger `t`"),
    ("CREATE TABLE x (y)", "table `x`"),
    ("CREATE INDEX i ON entry (length(value))", "index `i`"),
    ("CREATE VIRTUAL TABLE v USING fts5(a)", "`v`"),
    ("ANALYZE", "sqlite_stat"),
    ("DROP TABLE site", "no table `site`"),
    (
        "ALTER TABLE site ADD COLUMN x INTEGER GENERATED ALWAYS AS (length(name))",
        "table `site` is another one",
    ),
    ("CREATE VIEW \"a\u{1b}]0;b\" AS SELECT 1", "%1B]0;b"),
];

#[test]
fn anything_but_the_tables_of_a_ref_db_is_refused_by_name() {
    for (sql, part) in FOREIGN {
        let dir = Dir::new();
        drop(dir.store());
        dir.does(sql);
        for mode in [Existing, Create] {
            let start = now();
            let e = open_sqlite(&dir.path(), mode).unwrap_err();
            assert_eq!(e.kind, RefDbErrorKind::Corrupt, "{sql}: {e}");
            assert!(e.message.contains(part) && e.message.contains("tables of a ref-db"), "{sql}: {e}");
            assert!(!e.message.contains('\u{1b}'), "{e:?}");
            assert!(start.elapsed().as_secs() < 3, "{sql}");
        }
    }
}

#[test]
fn the_same_while_the_file_is_open_and_nothing_is_called_applied() {
    for (sql, part) in FOREIGN {
        let dir = Dir::new();
        let store = dir.store();
        store.put("p", "refs/a", at(1));
        dir.does(sql);
        let (p, a) = (project("p"), name("refs/a"));
        let start = now();
        let reads = block_on(store.0.get_many(&p, std::slice::from_ref(&a), within(5_000))).unwrap_err();
        let edits = [edit("refs/a", Expected::Exactly(at(1)), at(2))];
        let each = refgate_core::Atomicity::Each;
        let writes = block_on(store.0.compare_and_put(&p, &edits, each, within(5_000))).unwrap_err();
        for e in [reads, writes] {
            assert_eq!(e.kind, RefDbErrorKind::Corrupt, "{sql}: {e}");
            assert!(e.message.contains(part), "{sql}: {e}");
        }
        assert!(start.elapsed().as_secs() < 5, "{sql}");
    }
}

#[test]
fn cells_that_are_too_long_spoil_their_entry_alone_and_are_not_read() {
    let dir = Dir::new();
    let store = dir.store();
    for r in ["refs/a", "refs/b", "refs/c", "refs/d"] {
        store.put("p", r, at(1));
    }
    // Far above what a row may have, and one value more than refgate lists.
    dir.does(
        "UPDATE entry SET superseded = zeroblob(20000000) WHERE name = CAST('refs/b' AS BLOB); \
         UPDATE entry SET value = zeroblob(100000) WHERE name = CAST('refs/c' AS BLOB);",
    );
    let too_many = Connection::open(dir.path()).unwrap();
    let row = [&[20u8], at(9).oid().unwrap().as_bytes()].concat();
    too_many
        .execute("UPDATE entry SET superseded = ?1 WHERE name = CAST('refs/d' AS BLOB)", [row.repeat(10_001)])
        .unwrap();
    let start = now();
    let found = store.lookups("p", &["refs/a", "refs/b", "refs/c", "refs/d"]);
    assert!(matches!(&found[0], Lookup::Entry(e) if e.value == at(1)));
    for (found, why) in
        found[1..].iter().zip(["longer than 10000", "do not hold an entry", "longer than 10000"])
    {
        assert!(matches!(found, Lookup::Unreadable(said) if said.contains(why)), "{found:?}, not {why}");
    }
    assert_eq!(store.scan("p", "", None, 9).len(), 4);
    assert!(start.elapsed().as_secs() < 10);
    store.put("p", "refs/b", at(3));
    assert_eq!(store.value("p", "refs/b"), at(3));
}

#[test]
fn another_journal_mode_is_put_right_and_stops_nobody() {
    let dir = Dir::new();
    drop(dir.store());
    dir.does("PRAGMA journal_mode = DELETE");
    let other = Connection::open(dir.path()).unwrap();
    other.query_row("SELECT count(*) FROM entry", [], |_| Ok(())).unwrap();
    let store = dir.store();
    store.put("p", "refs/a", at(1));
    assert_eq!(store.value("p", "refs/a"), at(1));
    drop(store);
    drop(other);
    drop(dir.store());
    let mode: String = Connection::open(dir.path())
        .unwrap()
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    assert_eq!(dir.store().value("p", "refs/b"), GlobalRef::Untracked);
}
