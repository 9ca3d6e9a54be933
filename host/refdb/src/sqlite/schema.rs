//! The tables, and how those of an older version become today's.

#[cfg(test)]
mod tests;

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
    for (version, what) in [(2, SECOND), (3, THIRD)] {
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

/// Fails when a table or a column of version 1 is missing.
pub(super) fn first_is_there(connection: &Connection) -> rusqlite::Result<()> {
    ask(connection, &["SELECT project, name, value, superseded FROM entry", "SELECT name FROM site"])
}

/// Fails when a table or a column of [`VERSION`] is missing.
pub(super) fn all_is_there(connection: &Connection) -> rusqlite::Result<()> {
    ask(
        connection,
        &[
            "SELECT text FROM entry",
            "SELECT project, name, fence, owner, expires FROM lock",
            "SELECT value FROM counter",
            "SELECT name, value FROM meta",
        ],
    )
}

fn ask(connection: &Connection, queries: &[&str]) -> rusqlite::Result<()> {
    queries.iter().try_for_each(|sql| connection.prepare(&format!("{sql} LIMIT 1"))?.exists([]).map(drop))
}
