//! `refdb accept`, `close`, `open` and `copy`: the ref-db as a whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use refgate_core::refdb::{Mark, check_message};
use refgate_core::{Deadline, RefDb};
use refgate_host::copy::{self, Copied};
use refgate_host::known::{Known, Record, Standing, mark_of};
use refgate_host::{Error, open_refdb};
use refgate_refdb::{Location, OpenMode, make_place, redacted};
use serde_json::{Value, json};

use super::super::site;
use super::Db;
use crate::output::{Cell, Mood, Output, hint, note, warn};
use crate::progress::bar;
use crate::system::system;

/// How long one call of a copy may take: pages of it are large.
const COPY_CALL: Duration = Duration::from_secs(60);

/// `refgate refdb accept`: shows what this site knows of its ref-db and what is there, and with `yes` goes on with that.
pub async fn accept(file: &Path, yes: bool, output: &Output) -> Result<u8, Error> {
    let (config, clock) = (site::config(file)?, system()?.clock);
    let known = Known::of(&config);
    let before = known.read();
    let db = open_refdb(&config, false, clock.clone()).await?.db;
    let deadline = || Deadline::after(clock.as_ref(), config.ref_database.timeout);
    let Some(now) = mark_of(&db) else {
        let name = db.capabilities().name;
        return Err(Error::usage(format!(
            "a ref-db `{name}:` has no identity, so there is nothing to accept"
        )));
    };
    let standing = before.clone().map(|before| Standing::of(before, &now));
    let (state, record) = match &standing {
        Ok(Standing::New) => ("new", None),
        Ok(Standing::Same) => ("same", before.unwrap_or_default()),
        Ok(Standing::Older(record)) => ("older", Some(record.clone())),
        Ok(Standing::Other(record)) => ("other", Some(record.clone())),
        Err(_) => ("unreadable", None),
    };
    let mut there = now;
    if yes && !matches!(standing, Ok(Standing::Same)) {
        if matches!(standing, Ok(Standing::Older(_))) {
            // What is written from now on would soon take its revision past what the others saw.
            db.renew_identity(deadline()).await?;
            db.sites(deadline()).await?;
            there = mark_of(&db).unwrap_or(there);
        }
        known.accept(&there, clock.unix_time())?;
    }
    let store = redacted(config.ref_database.url.as_deref().unwrap_or_default());
    if output.json {
        output.document(&json!({
            "command": "refdb accept", "refdb": store, "state": state, "accepted": yes,
            "known": record.as_ref().map(record_json), "there": mark_json(&there),
        }));
    } else {
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        if let Some(record) = &record {
            let (revision, seen) = (record.revision.to_string(), record.time());
            rows.push(vec![
                "this site saw".into(),
                record.store.as_str().into(),
                record.identity.as_str().into(),
                revision.into(),
                seen.into(),
            ]);
        }
        let revision = there.revision.to_string();
        rows.push(vec![
            "there is".into(),
            store.as_str().into(),
            there.identity.as_str().into(),
            revision.into(),
            "now".into(),
        ]);
        output.table(&["", "REF-DB", "IDENTITY", "REVISION", "WHEN"], &rows);
    }
    if let Err(e) = &standing {
        warn(&e.message);
    }
    Ok(match (state, yes) {
        ("same" | "new", _) => {
            tell(output, "this is the ref-db that this site knows");
            0
        }
        (_, true) => {
            tell(output, "accepted: this site goes on with what is there");
            if state == "older" {
                hint(
                    "it has another identity now, so that the other sites notice, too: look there, and run `refgate refdb accept --yes` at each",
                );
            }
            0
        }
        ("older", false) => {
            tell(output, "not accepted: what is there is older than what this site saw, so nothing moves");
            hint(
                "`refgate refdb check PROJECT` shows what differs, `refgate refdb publish PROJECT` records what is newer here; then `refgate refdb accept --yes`",
            );
            3
        }
        (_, false) => {
            tell(output, "not accepted: this site does not know what is there, so nothing moves");
            hint(
                "if it is the right one: `refgate refdb check PROJECT`, `refgate refdb publish PROJECT` where it lacks something, then `refgate refdb accept --yes`",
            );
            3
        }
    })
}

fn tell(output: &Output, text: &str) {
    if !output.json {
        output.text(text);
    }
}

fn record_json(record: &Record) -> Value {
    json!({"refdb": record.store, "identity": record.identity, "revision": record.revision, "seen": record.time()})
}

fn mark_json(mark: &Mark) -> Value {
    json!({"identity": mark.identity, "revision": mark.revision})
}

/// `refgate refdb close` and `open`: says what is so afterwards, as it was read back.
pub async fn set_closed(db: &Db, message: Option<&str>, output: &Output) -> Result<u8, Error> {
    if let Some(message) = message {
        check_message(message).map_err(|why| Error::usage(format!("`{}`: {why}", message.escape_debug())))?;
    }
    db.refdb.set_closed(message, db.deadline()).await?;
    let now = db.refdb.closed(db.deadline()).await?;
    if now.as_deref() != message {
        let now = now.map_or("open".to_owned(), |message| format!("closed: {message}"));
        return Err(Error::failed(format!("somebody else was faster: the ref-db is {now}")));
    }
    let command = if message.is_some() { "refdb close" } else { "refdb open" };
    match (&now, output.json) {
        (_, true) => output.document(&json!({"command": command, "closed": now})),
        (Some(message), false) => {
            output.text(&format!("closed for all sites, no write lands any more: {message}"));
            hint("`refgate refdb open` ends it");
        }
        (None, false) => output.text("open: the ref-db takes writes"),
    }
    Ok(0)
}

/// `refgate refdb copy`: exit code 3 when the two differ in the end.
pub async fn copy(from: String, to: String, output: &Output) -> Result<u8, Error> {
    let clock = system()?.clock;
    let open = async |url: &str, mode: OpenMode| {
        let (location, clock) = (Location::new(url, PathBuf::new()), clock.clone());
        let opened = tokio::task::spawn_blocking(move || {
            if mode == OpenMode::Create {
                make_place(&location)?;
            }
            refgate_refdb::open(&location, mode, clock)
        });
        opened
            .await
            .map_err(|died| Error::failed(format!("a worker thread died: {died}")))?
            .map_err(Error::from)
    };
    let source: RefDb = open(&from, OpenMode::Existing).await?.db;
    let target = open(&to, OpenMode::Create).await?;
    let (from, to) = (redacted(&from), redacted(&to));
    if target.created {
        note(&format!("created the ref-db {to}"));
    }
    let deadline = || Deadline::after(clock.as_ref(), COPY_CALL);
    if source.closed(deadline()).await?.is_none() {
        warn(&format!("`{from}` is open: what is written meanwhile may be missing in the copy"));
        hint("`refgate refdb close` at a site that uses it stops writes at all sites");
    }
    let bar = Bar::default();
    let done = copy::copy(&source, &target.db, &deadline, &bar).await;
    bar.end();
    show(&done?, (&from, &to), output)
}

fn show(done: &Copied, (from, to): (&str, &str), output: &Output) -> Result<u8, Error> {
    if output.json {
        let differences: Vec<Value> = done
            .differences
            .iter()
            .map(|d| json!({"project": d.project.as_str(), "ref": d.name.to_string(), "from": d.from, "to": d.to}))
            .collect();
        output.document(&json!({
            "command": "refdb copy", "from": from, "to": to, "projects": done.projects, "equal": done.equal,
            "written": done.written, "sites": done.sites, "closed": done.closed, "differences": differences,
        }));
    } else {
        if !done.differences.is_empty() {
            let cell = |text: &str| Cell::new(text.to_owned(), Mood::Held);
            let rows: Vec<Vec<Cell>> = done
                .differences
                .iter()
                .map(|d| {
                    vec![d.project.as_str().into(), d.name.to_string().into(), cell(&d.from), cell(&d.to)]
                })
                .collect();
            output.table(&["PROJECT", "REF", "SOURCE", "COPY"], &rows);
        }
        output.text(&format!(
            "{} entries of {} projects and {} sites are the same in both ({} written now), {} different",
            done.equal,
            done.projects,
            done.sites,
            done.written,
            done.differences.len()
        ));
    }
    match done.differences.is_empty() {
        true => Ok(0),
        false => {
            hint("close the source with `refgate refdb close`, and copy into an empty place");
            Ok(3)
        }
    }
}

/// One bar per stage.
#[derive(Default)]
struct Bar(std::sync::Mutex<Option<ProgressBar>>);

impl Bar {
    fn put(&self, next: Option<ProgressBar>) {
        let mut bar = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *bar, next) {
            before.finish_and_clear();
        }
    }

    fn end(&self) {
        self.put(None);
    }
}

impl copy::Progress for Bar {
    fn stage(&self, what: &str, projects: usize) {
        self.put(Some(bar(projects as u64, what)));
    }

    fn step(&self) {
        if let Some(bar) = &*self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            bar.inc(1);
        }
    }
}
