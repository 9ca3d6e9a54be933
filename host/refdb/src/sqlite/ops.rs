//! The operations on one connection, each in one transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use refgate_core::refdb::{MAX_TEXT, Stored, Write, Written, check_text, evaluate, too_many_superseded};
use refgate_core::{
    Atomicity, Cursor, LockToken, Lookup, Page, Project, RefDbError, RefDbErrorKind, RefName, escape,
};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, OptionalExtension, Row, Transaction, params};

use super::codec;
use super::error::about;
use super::lock;
use super::machine::Machine;
use super::worker::{self, Call, Failure};

/// The columns of an entry. What is longer than anything that refgate writes is not even read.
fn columns() -> String {
    format!(
        "CASE WHEN octet_length(value) <= 32 THEN value END, \
         CASE WHEN octet_length(superseded) <= {} THEN superseded END, \
         CASE WHEN octet_length(text) > {MAX_TEXT} THEN '' ELSE text END",
        codec::LONGEST_LIST
    )
}

pub(super) fn get_many(
    call: &mut Call<'_>,
    project: &Project,
    refs: &[RefName],
) -> Result<Vec<Lookup>, RefDbError> {
    call.read(|tx| {
        let mut find = Find::new(tx, project)?;
        Ok(refs.iter().map(|name| find.one(name)).collect::<rusqlite::Result<_>>()?)
    })
}

/// Reads refs of a project one by one.
struct Find<'a> {
    statement: CachedStatement<'a>,
    project: &'a Project,
}

impl<'a> Find<'a> {
    fn new(tx: &'a Transaction<'_>, project: &'a Project) -> rusqlite::Result<Find<'a>> {
        let sql = format!("SELECT {} FROM entry WHERE project = ?1 AND name = ?2", columns());
        Ok(Find { statement: tx.prepare_cached(&sql)?, project })
    }

    /// What is there for one ref; an untracked entry when there is no row.
    fn one(&mut self, name: &RefName) -> rusqlite::Result<Lookup> {
        let which = params![self.project.as_str(), name.as_bytes()];
        let found = self.statement.query_row(which, |row| Ok(decode(row, 0))).optional()?;
        Ok(found.unwrap_or(Lookup::UNTRACKED))
    }
}

/// Columns `value`, `superseded` and `text`, the first of them at `at`.
fn decode(row: &Row<'_>, at: usize) -> Lookup {
    let unreadable = |why: &str| Lookup::Unreadable(why.to_owned());
    let (Ok(value), Ok(superseded), Ok(text)) = (row.get_ref(at), row.get_ref(at + 1), row.get_ref(at + 2))
    else {
        return unreadable("its columns are missing");
    };
    if superseded == ValueRef::Null {
        return unreadable(&too_many_superseded(usize::MAX).unwrap_or_default());
    }
    match (value.as_blob(), superseded.as_blob(), text.as_str_or_null()) {
        (Ok(codec::NO_VALUE), _, Ok(Some(text))) => match check_text(text) {
            Ok(()) => Lookup::Text(text.to_owned()),
            Err(why) => unreadable(&format!("its text is none: {why}")),
        },
        (Ok(value), Ok(superseded), Ok(None)) => {
            codec::entry(value, superseded).map_or_else(Lookup::Unreadable, Lookup::Entry)
        }
        _ => unreadable("its columns do not hold an entry"),
    }
}

/// Puts `stored` in the place of what is there.
fn put(
    tx: &Transaction<'_>,
    project: &Project,
    name: &RefName,
    stored: Option<&Stored>,
) -> rusqlite::Result<()> {
    let (project, name) = (project.as_str(), name.as_bytes());
    let (value, superseded, text) = match stored {
        None => {
            // It may have been untracked before.
            let sql = "DELETE FROM entry WHERE project = ?1 AND name = ?2";
            return tx.prepare_cached(sql)?.execute(params![project, name]).map(drop);
        }
        Some(Stored::Entry(entry)) => {
            (codec::value(entry.value).unwrap_or_default(), codec::superseded(&entry.superseded), None)
        }
        Some(Stored::Text(text)) => (codec::NO_VALUE.to_vec(), Vec::new(), Some(text)),
    };
    tx.prepare_cached(
        "INSERT OR REPLACE INTO entry (project, name, value, superseded, text) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![project, name, value, superseded, text])
    .and_then(worker::one)
}

pub(super) fn scan(
    call: &mut Call<'_>,
    project: &Project,
    prefix: &[u8],
    after: Option<&RefName>,
    limit: usize,
) -> Result<Page, RefDbError> {
    let sql_limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (from, compare) = match after {
        Some(name) if name.as_bytes() >= prefix => (name.as_bytes(), ">"),
        _ => (prefix, ">="),
    };
    let file = call.file();
    call.read(|tx| {
        let mut page = Vec::new();
        let mut rows = tx.prepare_cached(&format!(
            "SELECT name, {} FROM entry WHERE project = ?1 AND name {compare} ?2 ORDER BY name LIMIT ?3",
            columns()
        ))?;
        let mut rows = rows.query(params![project.as_str(), from, sql_limit])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_blob().unwrap_or_default();
            if !name.starts_with(prefix) {
                break;
            }
            let found = decode(row, 1);
            // Without a name there is nothing to show it under.
            let name = RefName::new(name).map_err(|e| {
                let what = format!(
                    "the entry of `{}` in `{project}` cannot be read: {}; \
                     write it anew with `refgate refdb put`, or forget it with `refgate refdb rm`",
                    escape(name),
                    e.why
                );
                Failure::Told(about(RefDbErrorKind::Corrupt, file.path(), &what))
            })?;
            page.push((name, found));
        }
        let next = (page.len() == limit).then(|| page.last()).flatten();
        let next = next.map(|(name, _)| Cursor { after: name.clone(), revision: 0 });
        Ok(Page { rows: page, next })
    })
}

pub(super) fn write(
    call: &mut Call<'_>,
    shown: &str,
    project: &Project,
    writes: &[Write],
    atomicity: Atomicity,
    machine: &Machine,
) -> Result<Vec<Written>, RefDbError> {
    call.record(|tx| {
        let mut find = Find::new(tx, project)?;
        let (mut there, mut held) = (HashMap::new(), Vec::new());
        for write in writes {
            if let Entry::Vacant(place) = there.entry(&write.name) {
                place.insert(find.one(&write.name)?);
            }
            if let Some(token) = &write.fence
                && lock::is_held(tx, machine, project, token)?
            {
                held.push(token);
            }
        }
        let lookup = |name: &RefName| there.get(name).cloned().unwrap_or(Lookup::UNTRACKED);
        let evaluation = evaluate(writes, atomicity, lookup, |token: &LockToken| held.contains(&token))
            .map_err(|e| Failure::Told(e.error(shown, project)))?;
        for (name, stored) in &evaluation.changes {
            put(tx, project, name, stored.as_ref())?;
        }
        Ok((evaluation.outcomes, !evaluation.changes.is_empty()))
    })
}

pub(super) fn remove_project(call: &mut Call<'_>, project: &Project) -> Result<u64, RefDbError> {
    call.record(|tx| {
        let removed = tx.execute("DELETE FROM entry WHERE project = ?1", [project.as_str()])?;
        Ok((removed as u64, removed > 0))
    })
}

pub(super) fn add_site(call: &mut Call<'_>, site: &str) -> Result<(), RefDbError> {
    call.record(|tx| {
        let added = tx.execute("INSERT OR IGNORE INTO site (name) VALUES (?1)", [site])?;
        Ok(((), added > 0))
    })
}

/// More sites than anybody has.
const MOST_SITES: u32 = 10_000;

pub(super) fn sites(call: &mut Call<'_>) -> Result<Vec<String>, RefDbError> {
    let file = call.file();
    call.read(|tx| {
        let mut statement = tx.prepare_cached("SELECT name FROM site ORDER BY name LIMIT ?1")?;
        let names = statement.query_map([MOST_SITES + 1], |row| row.get(0))?;
        let names: Vec<String> = names.collect::<rusqlite::Result<_>>()?;
        if names.len() > MOST_SITES as usize {
            let what = format!("it lists more than {MOST_SITES} sites; look who may write it");
            return Err(Failure::Told(about(RefDbErrorKind::Corrupt, file.path(), &what)));
        }
        Ok(names)
    })
}

pub(super) fn renew_identity(call: &mut Call<'_>) -> Result<(), RefDbError> {
    call.write(|tx| {
        let sql = "UPDATE meta SET value = lower(hex(randomblob(16))) WHERE name = 'identity'";
        worker::one(tx.execute(sql, [])?)?;
        worker::count(tx)?;
        Ok(((), true))
    })
}

/// What begins to write after this has committed finds the message in its own transaction; SQLite has one writer at a time.
pub(super) fn set_closed(call: &mut Call<'_>, message: Option<&str>) -> Result<(), RefDbError> {
    call.write(|tx| {
        match message {
            Some(message) => {
                let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES ('closed', ?1)";
                worker::one(tx.execute(sql, [message])?)?;
            }
            // It may be open.
            None => drop(tx.execute("DELETE FROM meta WHERE name = 'closed'", [])?),
        }
        worker::count(tx)?;
        Ok(((), true))
    })
}

pub(super) fn closed(call: &mut Call<'_>) -> Result<Option<String>, RefDbError> {
    call.read(|tx| Ok(worker::closed(tx)?))
}

pub(super) fn projects(
    call: &mut Call<'_>,
    after: Option<&Project>,
    limit: usize,
) -> Result<Vec<Project>, RefDbError> {
    let file = call.file();
    call.read(|tx| {
        let mut found: Vec<Project> = Vec::new();
        // One step per project, not per entry.
        let mut next =
            tx.prepare_cached("SELECT project FROM entry WHERE project > ?1 ORDER BY project LIMIT 1")?;
        while found.len() < limit {
            let last = found.last().or(after).map_or("", Project::as_str);
            let Some(name) = next.query_row([last], |row| row.get::<_, String>(0)).optional()? else { break };
            let project = Project::recorded(name.clone()).map_err(|e| {
                let what = format!("it holds entries of `{name}`, which no project can be called: {e}");
                Failure::Told(about(RefDbErrorKind::Corrupt, file.path(), &what))
            })?;
            found.push(project);
        }
        Ok(found)
    })
}
