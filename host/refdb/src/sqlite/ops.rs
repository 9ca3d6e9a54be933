//! The operations on one connection, each in one transaction.

use std::collections::HashMap;

use refgate_core::{
    Atomicity, Cursor, Edit, Entry, GlobalRef, Lookup, Outcome, Page, Project, RefDbError, RefDbErrorKind,
    RefName, escape,
};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::codec;
use super::error::about;
use super::file::StoreFile;
use super::worker::{Call, Failure};

const ONE: &str = "SELECT value, superseded FROM entry WHERE project = ?1 AND name = ?2";

pub(super) fn get_many(
    call: &mut Call<'_>,
    project: &Project,
    refs: &[RefName],
) -> Result<Vec<Lookup>, RefDbError> {
    call.read(|tx| {
        refs.iter()
            .map(|name| {
                Ok(match read(tx, project, name)? {
                    Ok(entry) => Lookup::Entry(entry),
                    Err(why) => Lookup::Unreadable(why),
                })
            })
            .collect()
    })
}

/// The entry of one ref, untracked when there is no row; the inner error says why the row is none.
fn read(tx: &Transaction<'_>, project: &Project, name: &RefName) -> rusqlite::Result<Result<Entry, String>> {
    let found = tx
        .prepare_cached(ONE)?
        .query_row(params![project.as_str(), name.as_bytes()], |row| Ok(decode(row, 0)))
        .optional()?;
    Ok(found.unwrap_or_else(|| Ok(Entry::default())))
}

/// Columns `value` and `superseded`, the first of them at `at`.
fn decode(row: &Row<'_>, at: usize) -> Result<Entry, String> {
    let blob = |i| {
        row.get_ref(i)
            .ok()
            .and_then(|v| v.as_blob().ok())
            .ok_or_else(|| "its columns are not bytes".to_owned())
    };
    codec::entry(blob(at)?, blob(at + 1)?)
}

fn write(tx: &Transaction<'_>, project: &Project, name: &RefName, entry: &Entry) -> rusqlite::Result<()> {
    // Callers refuse `Untracked`, so there always is a value.
    let value = codec::value(entry.value).unwrap_or_default();
    tx.prepare_cached(
        "INSERT OR REPLACE INTO entry (project, name, value, superseded) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![project.as_str(), name.as_bytes(), value, codec::superseded(&entry.superseded)])?;
    Ok(())
}

fn unreadable(file: &StoreFile, project: &Project, name: &[u8], why: &str) -> Failure {
    let name = escape(name);
    Failure::Entry(about(
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
            "SELECT name, value, superseded FROM entry WHERE project = ?1 AND name {compare} ?2 ORDER BY name LIMIT ?3"
        ))?;
        let mut rows = rows.query(params![project.as_str(), from, sql_limit])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_blob().unwrap_or_default();
            if !name.starts_with(prefix) {
                break;
            }
            let found = decode(row, 1).map_or_else(Lookup::Unreadable, Lookup::Entry);
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
                let entry = read(tx, project, &edit.name)?
                    .map_err(|why| unreadable(file, project, edit.name.as_bytes(), &why))?;
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
) -> Result<Vec<Outcome>, RefDbError> {
    let file = call.file();
    call.write(|tx| {
        let mut outcomes = Vec::with_capacity(edits.len());
        let mut first_seen = HashMap::new();
        for edit in edits {
            let entry = read(tx, project, &edit.name)?
                .map_err(|why| unreadable(file, project, edit.name.as_bytes(), &why))?;
            first_seen.entry(&edit.name).or_insert(entry.value);
            if edit.expected.holds(entry.value) {
                write(tx, project, &edit.name, &entry.replaced_by(edit.new, edit.fast_forward))?;
                outcomes.push(Outcome::Applied);
            } else {
                outcomes.push(Outcome::Mismatch { actual: entry.value });
            }
        }
        let applied = outcomes.iter().filter(|o| **o == Outcome::Applied).count();
        if atomicity == Atomicity::AllOrNothing && applied < edits.len() {
            // Rolled back: what is there is what was there before the first edit of each ref.
            let untouched = edits.iter().map(|edit| Outcome::Mismatch { actual: first_seen[&edit.name] });
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
    call.write(|tx| Ok((write(tx, project, name, &Entry::new(value))?, true)))
}

pub(super) fn remove_ref(call: &mut Call<'_>, project: &Project, name: &RefName) -> Result<bool, RefDbError> {
    call.write(|tx| {
        let removed = tx.execute(
            "DELETE FROM entry WHERE project = ?1 AND name = ?2",
            params![project.as_str(), name.as_bytes()],
        )? > 0;
        Ok((removed, removed))
    })
}

pub(super) fn remove_project(call: &mut Call<'_>, project: &Project) -> Result<u64, RefDbError> {
    call.write(|tx| {
        let removed = tx.execute("DELETE FROM entry WHERE project = ?1", [project.as_str()])?;
        Ok((removed as u64, removed > 0))
    })
}

pub(super) fn add_site(call: &mut Call<'_>, site: &str) -> Result<(), RefDbError> {
    call.write(|tx| {
        let added = tx.execute("INSERT OR IGNORE INTO site (name) VALUES (?1)", [site])?;
        Ok(((), added > 0))
    })
}

pub(super) fn sites(call: &mut Call<'_>) -> Result<Vec<String>, RefDbError> {
    call.read(|tx| {
        let mut statement = tx.prepare_cached("SELECT name FROM site ORDER BY name")?;
        let names = statement.query_map([], |row| row.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    })
}
