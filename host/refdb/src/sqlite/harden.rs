//! What every connection is set to before its first look into a file that somebody else may have written: nothing in the
//! file is run, nothing in it takes more than a bounded room, and no statement goes on when nobody waits for it any more.

use std::sync::{Arc, Mutex, PoisonError};

use refgate_core::{Clock, Deadline};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use super::worker::Ticket;

/// Longest row, text or blob, in bytes. The longest list of superseded values takes a third of it.
pub(super) const LONGEST: i32 = 1 << 20;

/// Steps of SQLite's machine between two looks at the time: some microseconds.
const STEPS: i32 = 1000;

/// What a statement may use at most. Ours are short; a file could make them long.
const LIMITS: [(Limit, i32); 10] = [
    (Limit::SQLITE_LIMIT_LENGTH, LONGEST),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 16_384),
    (Limit::SQLITE_LIMIT_COLUMN, 50),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 50),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 10),
    (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 20),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Sets all of it. Loading of extensions is off unless it is asked for.
pub(super) fn harden(connection: &Connection) -> rusqlite::Result<()> {
    for (what, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
    ] {
        connection.set_db_config(what, on)?;
    }
    for (limit, value) in LIMITS {
        connection.set_limit(limit, value)?;
    }
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// A call, and by when it has to be answered.
pub(super) type Whom = (Arc<Ticket>, Deadline);

/// Whom a connection works for at the moment. Its statements end when that one has given up, or by his deadline.
#[derive(Clone)]
pub(super) struct Watch {
    clock: Arc<dyn Clock>,
    whom: Arc<Mutex<Option<Whom>>>,
}

impl Watch {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Watch {
        Watch { clock, whom: Arc::default() }
    }

    /// Makes the statements of `connection` ask.
    pub(super) fn over(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let watch = self.clone();
        connection.progress_handler(STEPS, Some(move || watch.is_over()))
    }

    /// Works for somebody else from now on.
    pub(super) fn works_for(&self, whom: Option<Whom>) {
        *self.whom.lock().unwrap_or_else(PoisonError::into_inner) = whom;
    }

    fn is_over(&self) -> bool {
        let whom = self.whom.lock().unwrap_or_else(PoisonError::into_inner);
        whom.as_ref().is_some_and(|(ticket, deadline)| {
            // A commit that has started is left alone: nobody could tell what became of it.
            ticket.given_up() || (ticket.is_open() && deadline.left(&*self.clock).is_zero())
        })
    }
}
