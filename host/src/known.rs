//! What this site knows of its ref-db: which store it is, and the newest revision that an answer carried. One small file
//! below `site.basePath`, which replication and the hooks share.
//!
//! A store that is older than that lost what was written since, and another one never had it. Either would look as if
//! sites were ahead, or as if live refs were deleted; so nothing moves until an operator has looked.

use std::fs::{self, TryLockError};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use refgate_core::RefDb;
use refgate_core::refdb::Mark;
use refgate_git::{Files, GitError};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::{Error, ErrorKind};

/// Below `site.basePath`. No project can be called so: their directories end with `.git`.
const PLACE: &str = ".refgate/refdb";

/// What those read who push, while the operators of a site look into it.
pub const TO_PUSHERS: &str =
    "this site's record is being checked by its operators, and takes no pushes until then: try again later";

/// Where a site keeps what it knows of its ref-db.
#[derive(Clone, Debug)]
pub struct Known {
    base: PathBuf,
    /// The URL of the ref-db as the configuration has it now, for messages.
    store: String,
}

/// The newest that a site saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The URL at that time, without secrets.
    pub store: String,
    /// Which store it was.
    pub identity: String,
    /// Its revision.
    pub revision: u64,
    /// When, in seconds since 1970.
    pub seen: u64,
}

/// How the ref-db compares with what the site saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The site saw none yet.
    New,
    /// The same one, and nothing is missing as far as can be told.
    Same,
    /// The same one at an older revision: a copy was put back.
    Older(Record),
    /// Another one.
    Other(Record),
}

impl Standing {
    /// How a store that is at `now` compares with what the site knew before it asked.
    pub fn of(before: Option<Record>, now: &Mark) -> Standing {
        match before {
            None => Standing::New,
            Some(record) if record.identity != now.identity => Standing::Other(record),
            Some(record) if record.revision > now.revision => Standing::Older(record),
            Some(_) => Standing::Same,
        }
    }
}

impl Record {
    /// When it was seen, for people.
    pub fn time(&self) -> String {
        let seconds = i64::try_from(self.seen).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds)
            .map_or_else(|_| "an unknown time".into(), |time| time.to_string())
    }
}

/// What a store says of itself, when that means something to another process.
pub fn mark_of(refdb: &RefDb) -> Option<Mark> {
    refdb.capabilities().durable.then(|| refdb.seen()).flatten()
}

impl Known {
    /// Of the site with this configuration.
    pub fn of(config: &Config) -> Known {
        let url = config.ref_database.url.as_deref().unwrap_or_default();
        Known { base: config.site.base_path.clone(), store: refgate_refdb::redacted(url) }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.base.join(PLACE)
    }

    /// What the site saw last.
    ///
    /// # Errors
    /// A file that cannot be read, or is damaged: then nobody knows, and nothing moves.
    pub fn read(&self) -> Result<Option<Record>, Error> {
        let path = self.path();
        let unreadable = |why: String| {
            let what = format!(
                "`{}`, where this site keeps what it knows of its ref-db, cannot be read: {why}",
                path.display()
            );
            doubt(what, "nothing was moved; make the file readable, or look at the ref-db with `refgate refdb check PROJECT` and write the file anew with `refgate refdb accept --yes`".into())
        };
        match fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(record) => Ok(Some(record)),
                Err(e) => Err(unreadable(format!("it is damaged ({e})"))),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(unreadable(e.to_string())),
        }
    }

    /// Whether the ref-db is the one that the site knew `before`, which was read before the store was asked: another process
    /// of the site may see something newer at any moment. Asks nobody: what the newest answer carried counts.
    ///
    /// # Errors
    /// One of the kind [`ErrorKind::Doubt`] when it is not, or when that cannot be told.
    pub fn check(&self, before: Result<Option<Record>, Error>, refdb: &RefDb) -> Result<(), Error> {
        let Some(now) = mark_of(refdb) else { return Ok(()) };
        let store = &self.store;
        match Standing::of(before?, &now) {
            Standing::New | Standing::Same => Ok(()),
            Standing::Older(record) => Err(doubt(
                format!(
                    "the ref-db `{store}` is older than what this site saw: it is at revision {}, and this site saw revision {} \
                     at {}; an old copy of it was put back, or its newest writes are lost",
                    now.revision,
                    record.revision,
                    record.time(),
                ),
                "nothing was moved. Put the newest copy back if there is one. Else see what differs with `refgate refdb check PROJECT` \
                 at every site, record what is newer there with `refgate refdb publish PROJECT` or `refdb put`, and go on with \
                 `refgate refdb accept` at every site"
                    .into(),
            )),
            Standing::Other(record) => {
                let there = if record.store == *store { "the same url".to_owned() } else { format!("`{}`", record.store) };
                Err(doubt(
                    format!(
                        "the ref-db `{store}` is another one than this site knows: it is `{}`, and this site used `{}` under {there}, \
                         last at {}",
                        now.identity,
                        record.identity,
                        record.time(),
                    ),
                    "nothing was moved. Correct `ref-database.url` if it is wrong. If this ref-db is the right one from now on: \
                     `refgate refdb check PROJECT` at every site, `refgate refdb publish PROJECT` where it lacks something, then \
                     `refgate refdb accept` at every site"
                        .into(),
                ))
            }
        }
    }

    /// Remembers what the newest answer carried, unless the file knows something newer, or another store. `now` is the
    /// time since 1970.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn note(&self, refdb: &RefDb, now: Duration) -> Result<(), Error> {
        let Some(mark) = mark_of(refdb) else { return Ok(()) };
        // Most runs find everything as it was. Without the directory there is nothing to protect yet.
        if !self.base.is_dir() || !self.is_news(&mark)? {
            return Ok(());
        }
        let file = self.lock_file()?;
        match file.try_lock() {
            Ok(()) if self.is_news(&mark)? => self.write(&mark, now),
            // Another process of this site remembers something at this moment, as new as this within moments. A push does
            // not wait for it: it may have been stopped.
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(e)) => Err(self.not_locked(&e)),
        }
    }

    fn is_news(&self, mark: &Mark) -> Result<bool, Error> {
        Ok(match self.read()? {
            None => true,
            Some(record) => record.identity == mark.identity && record.revision < mark.revision,
        })
    }

    /// Takes the store for the right one from now on, whatever the file says.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn accept(&self, mark: &Mark, now: Duration) -> Result<(), Error> {
        let file = self.lock_file()?;
        file.lock().map_err(|e| self.not_locked(&e))?;
        self.write(mark, now)
    }

    fn write(&self, mark: &Mark, now: Duration) -> Result<(), Error> {
        let record = Record {
            store: self.store.clone(),
            identity: mark.identity.clone(),
            revision: mark.revision,
            seen: now.as_secs(),
        };
        let text =
            serde_json::to_vec(&record).map_err(|e| Error::failed(format!("cannot be written: {e}")))?;
        Ok(Files::as_in(&self.base)?.replace(&self.path(), &text)?)
    }

    /// Two processes that write at once must not put the older one last. A lock on it goes with its process.
    fn lock_file(&self) -> Result<fs::File, Error> {
        Ok(Files::as_in(&self.base)?.open_or_make_lock(&self.path().with_extension("lock"))?)
    }

    fn not_locked(&self, e: &io::Error) -> Error {
        GitError::io("lock", &self.path().with_extension("lock"), e).into()
    }
}

fn doubt(message: String, hint: String) -> Error {
    Error { kind: ErrorKind::Doubt, hint: Some(hint), ..Error::failed(message) }
}
