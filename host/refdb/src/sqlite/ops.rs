//! The operations on one connection, each in one transaction.

use std::collections::HashMap;

use refgate_core::refdb::{MAX_TEXT, check_entry, check_text, too_many_superseded};
use refgate_core::{
    Atomicity, Cursor, Edit, Entry, GlobalRef, Lookup, Outcome, Page, Project, RefDbError, RefDbErrorKind,
    RefName, TextOutcome, escape,
};
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::codec;
use super::error::about;
use super::file::StoreFile;
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
    call.read(|tx| Ok(refs.iter().map(|name| read(tx, project, name)).collect::<rusqlite::Result<_>>()?))
}

/// What is there for one ref; an untracked entry when there is no row.
fn read(tx: &Transaction<'_>, project: &Project, name: &RefName) -> rusqlite::Result<Lookup> {
    let found = tx
        .prepare_cached(&format!("SELECT {} FROM entry WHERE project = ?1 AND name = ?2", columns()))?
        .query_row(params![project.as_str(), name.as_bytes()], |row| Ok(decode(row, 0)))
        .optional()?;
    Ok(found.unwrap_or_else(|| Lookup::Entry(Entry::default())))
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

/// The entry of one ref, where nothing else will do.
fn read_entry(
    tx: &Transaction<'_>,
    file: &StoreFile,
    project: &Project,
    name: &RefName,
) -> Result<Entry, Failure> {
    let why = match read(tx, project, name)? {
        Lookup::Entry(entry) => return Ok(entry),
        Lookup::Text(_) => "it is a text, not an object id",
        Lookup::Unreadable(why) => &{ why },
        Lookup::Locked => "it is locked",
    };
    Err(unreadable(file, project, name.as_bytes(), why))
}

fn write(tx: &Transaction<'_>, project: &Project, name: &RefName, entry: &Entry) -> rusqlite::Result<()> {
    // Callers refuse `Untracked`, so there always is a value.
    let value = codec::value(entry.value).unwrap_or_default();
    tx.prepare_cached(
        "INSERT OR REPLACE INTO entry (project, name, value, superseded, text) VALUES (?1, ?2, ?3, ?4, NULL)",
    )?
    .execute(params![project.as_str(), name.as_bytes(), value, codec::superseded(&entry.superseded)])
    .and_then(worker::one)
}

fn unreadable(file: &StoreFile, project: &Project, name: &[u8], why: &str) -> Failure {
    let name = escape(name);
    Failure::Told(about(
        RefDbErrorKind::Corrupt,
        file.path(),
        &format!(
            "the entry of `{name}` in `{project}` cannot be read: {why}; \
             write it anew with `refgate refdb put`, or forget it with `refgate refdb rm`"
        ),
    ))
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
            let name = RefName::new(name).map_err(|e| unreadable(file, project, name, e.why))?;
            page.push((name, found));
        }
        let next = (page.len() == limit).then(|| page.last()).flatten();
        let next = next.map(|(name, _)| Cursor { after: name.clone(), revision: 0 });
        Ok(Page { rows: page, next })
    })
}

pub(super) fn resolve(
    call: &mut Call<'_>,
    project: &Project,
    edits: &[Edit],
) -> Result<Vec<Outcome>, RefDbError> {
    let file = call.file();
    call.read(|tx| {
        edits
            .iter()
            .map(|edit| {
                let entry = read_entry(tx, file, project, &edit.name)?;
                Ok(match entry.value == edit.new {
                    true => Outcome::Applied,
                    false => Outcome::Mismatch { actual: entry.value },
                })
            })
            .collect()
    })
}

pub(super) fn compare_and_put(
    call: &mut Call<'_>,
    project: &Project,
    edits: &[Edit],
    atomicity: Atomicity,
    machine: &Machine,
) -> Result<Vec<Outcome>, RefDbError> {
    let file = call.file();
    call.record(|tx| {
        let mut outcomes = Vec::with_capacity(edits.len());
        let mut first_seen = HashMap::new();
        for edit in edits {
            let entry = read_entry(tx, file, project, &edit.name)?;
            first_seen.entry(&edit.name).or_insert(entry.value);
            let held = match &edit.fence {
                Some(token) => lock::is_held(tx, machine, project, token)?,
                None => true,
            };
            if !held {
                outcomes.push(Outcome::Fenced);
            } else if edit.expected.holds(entry.value) {
                outcomes.push(match entry.replaced_by(edit.new, edit.fast_forward) {
                    Some(after) => {
                        write(tx, project, &edit.name, &after)?;
                        Outcome::Applied
                    }
                    None => Outcome::Full,
                });
            } else {
                outcomes.push(Outcome::Mismatch { actual: entry.value });
            }
        }
        let applied = outcomes.iter().filter(|o| **o == Outcome::Applied).count();
        if atomicity == Atomicity::AllOrNothing && applied < edits.len() {
            // Rolled back: what is there is what was there before the first edit of each ref.
            let untouched = edits.iter().zip(outcomes).map(|(edit, outcome)| match outcome {
                Outcome::Fenced | Outcome::Full => outcome,
                _ => Outcome::Mismatch { actual: first_seen[&edit.name] },
            });
            return Ok((untouched.collect(), false));
        }
        Ok((outcomes, applied > 0))
    })
}

pub(super) fn put(
    call: &mut Call<'_>,
    project: &Project,
    name: &RefName,
    value: GlobalRef,
) -> Result<(), RefDbError> {
    call.record(|tx| Ok((write(tx, project, name, &Entry::new(value))?, true)))
}

pub(super) fn swap_entry(
    call: &mut Call<'_>,
    project: &Project,
    name: &RefName,
    from: &Entry,
    to: &Entry,
) -> Result<bool, RefDbError> {
    let file = call.file();
    check_entry(name, to)?;
    call.record(|tx| {
        let there = read_entry(tx, file, project, name)? == *from;
        match to.value {
            _ if !there => {}
            // It may have been untracked before.
            GlobalRef::Untracked => drop(forget(tx, project, name)?),
            GlobalRef::Deleted | GlobalRef::At(_) => write(tx, project, name, to)?,
        }
        Ok((there, there))
    })
}

/// What is stored, as text.
fn read_text(
    tx: &Transaction<'_>,
    file: &StoreFile,
    project: &Project,
    name: &RefName,
) -> Result<Option<String>, Failure> {
    if let Lookup::Text(text) = read(tx, project, name)? {
        return Ok(Some(text));
    }
    Ok(match read_entry(tx, file, project, name)?.value {
        GlobalRef::Untracked => None,
        GlobalRef::Deleted => Some("0".repeat(40)),
        GlobalRef::At(oid) => Some(oid.to_string()),
    })
}

pub(super) fn get_text(
    call: &mut Call<'_>,
    project: &Project,
    name: &RefName,
) -> Result<Option<String>, RefDbError> {
    let file = call.file();
    call.read(|tx| read_text(tx, file, project, name))
}

pub(super) fn compare_and_put_text(
    call: &mut Call<'_>,
    project: &Project,
    name: &RefName,
    expected: Option<&str>,
    new: &str,
) -> Result<TextOutcome, RefDbError> {
    let file = call.file();
    call.record(|tx| {
        let actual = read_text(tx, file, project, name)?;
        if actual.as_deref() != expected {
            return Ok((TextOutcome::Mismatch { actual }, false));
        }
        tx.prepare_cached(
            "INSERT OR REPLACE INTO entry (project, name, value, superseded, text) VALUES (?1, ?2, ?3, x'', ?4)",
        )?
        .execute(params![project.as_str(), name.as_bytes(), codec::NO_VALUE, new])
        .and_then(worker::one)?;
        Ok((TextOutcome::Applied, true))
    })
}

/// Tells whether there was a row.
fn forget(tx: &Transaction<'_>, project: &Project, name: &RefName) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM entry WHERE project = ?1 AND name = ?2";
    Ok(tx.prepare_cached(sql)?.execute(params![project.as_str(), name.as_bytes()])? > 0)
}

pub(super) fn remove_ref(call: &mut Call<'_>, project: &Project, name: &RefName) -> Result<bool, RefDbError> {
    call.record(|tx| {
        let removed = forget(tx, project, name)?;
        Ok((removed, removed))
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
