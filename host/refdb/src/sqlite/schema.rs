//! The tables, and how those of an older version become today's.

#[cfg(test)]
mod tests;

use refgate_core::escape;
use rusqlite::{Connection, TransactionBehavior};

/// Marks a file as a ref-db of refgate (`rgdb`).
pub(super) const APPLICATION_ID: i32 = 0x7267_6462;
/// The version of the tables below. Version 1 had `entry` without `text`, and `site`; version 2 all but `meta`.
pub(super) const VERSION: i32 = 3;

/// What version 1 had.
const FIRST: &str = "
CREATE TABLE entry (
    project TEXT NOT NULL,
    name BLOB NOT NULL,
    value BLOB NOT NULL,
    superseded BLOB NOT NULL,
    PRIMARY KEY (project, name)
) WITHOUT ROWID, STRICT;
CREATE TABLE site (name TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID, STRICT;
";

/// What version 2 added. `owner` names one hold of one process, `expires` is in milliseconds of the machine's boot time.
const SECOND: &str = "
ALTER TABLE entry ADD COLUMN text TEXT;
CREATE TABLE lock (
    project TEXT NOT NULL,
    name BLOB NOT NULL,
    fence INTEGER NOT NULL,
    owner TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (project, name)
) WITHOUT ROWID, STRICT;
CREATE TABLE counter (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
INSERT INTO counter (name, value) VALUES ('fence', 0);
";

/// What version 3 added: who the store is, how far it has come, and under `closed` why nobody may write. Older programs
/// would neither count nor ask.
const THIRD: &str = "
CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT;
INSERT INTO meta (name, value) VALUES ('identity', lower(hex(randomblob(16))));
INSERT INTO counter (name, value) VALUES ('revision', 1);
";

/// What each version added.
const STEPS: [(i32, &str); 3] = [(1, FIRST), (2, SECOND), (3, THIRD)];

/// Makes the tables in an empty file.
pub(super) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    // The same steps as an upgrade, so that old and new files cannot differ.
    connection.execute_batch(&format!(
        "BEGIN; {FIRST} {SECOND} {THIRD} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
    ))
}

/// Brings the tables to [`VERSION`]: all of it or nothing, and once when several processes try.
pub(super) fn upgrade(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = tx.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0))?;
    for (version, what) in STEPS {
        if found < version {
            tx.execute_batch(what)?;
        }
    }
    if found < VERSION {
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
    }
    Ok(())
}

/// What differs from the tables of `version`, which must be there to the letter and alone: a view, a trigger or an index
/// would be code of whoever wrote the file. `None` when nothing does.
pub(super) fn what_differs(connection: &Connection, version: i32) -> rusqlite::Result<Option<String>> {
    let wanted = Connection::open_in_memory()?;
    for (_, sql) in STEPS.iter().filter(|(from, _)| *from <= version) {
        wanted.execute_batch(sql)?;
    }
    let (wanted, found) = (objects(&wanted)?, objects(connection)?);
    let is_in =
        |all: &[Object], one: &Object| all.iter().any(|o| (&o.kind, &o.name) == (&one.kind, &one.name));
    let foreign =
        found.iter().find(|one| !is_in(&wanted, one)).map(|one| format!("it has {one}, which is foreign"));
    let missing = || wanted.iter().find(|one| !is_in(&found, one)).map(|one| format!("it has no {one}"));
    let other =
        || wanted.iter().find(|one| !found.contains(one)).map(|one| format!("its {one} is another one"));
    Ok(foreign.or_else(missing).or_else(other))
}

/// One row of the schema.
#[derive(PartialEq, Eq)]
struct Object {
    kind: String,
    name: String,
    of: String,
    sql: String,
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`", escape(self.kind.as_bytes()), escape(self.name.as_bytes()))
    }
}

/// The first of them, which are more than there ought to be when there are others.
fn objects(connection: &Connection) -> rusqlite::Result<Vec<Object>> {
    let sql = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema LIMIT 50";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        Ok(Object { kind: row.get(0)?, name: row.get(1)?, of: row.get(2)?, sql: row.get(3)? })
    })?;
    rows.collect()
}
