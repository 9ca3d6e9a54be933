//! What was forgotten, what will be, and what stays; and the JSON document.

use std::time::{SystemTime, UNIX_EPOCH};

use refgate_core::{Entry, GlobalRef, Project, RefName};
use refgate_git::utc;
use serde_json::{Value, json};

/// What became of the entries of a project that hold something old.
#[derive(Clone, Debug)]
pub struct Report {
    /// The project.
    pub project: Project,
    /// Nothing was noted or forgotten.
    pub dry_run: bool,
    /// The entries that record a deletion or have a list of superseded values, by name.
    pub rows: Vec<Forgotten>,
    /// Sites that used the ref-db and that the configuration does not name.
    pub unknown_sites: Vec<String>,
    /// What else a person should know.
    pub problems: Vec<String>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The ref.
    pub name: RefName,
    /// Its entry as it was read.
    pub entry: Entry,
    /// What became of it.
    pub fate: Fate,
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays; the text says why.
    Kept(String),
    /// No site shows an old value, for the first time. Without `--yes` it was not noted.
    Noted {
        /// A run that begins then or later may forget it.
        until: SystemTime,
    },
    /// The same as an earlier run saw, and too early.
    Waiting {
        /// A run that begins then or later may forget it.
        until: SystemTime,
    },
    /// It would be forgotten with `--yes`.
    Due,
    /// It was forgotten.
    Forgotten,
}

impl Fate {
    /// As in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Fate::Kept(_) => "kept",
            Fate::Noted { .. } => "noted",
            Fate::Waiting { .. } => "waiting",
            Fate::Due => "due",
            Fate::Forgotten => "forgotten",
        }
    }

    /// Why, or when.
    pub fn why(&self) -> Option<String> {
        let time = |time: &SystemTime| utc(time.duration_since(UNIX_EPOCH).unwrap_or_default());
        match self {
            Fate::Kept(why) => Some(why.clone()),
            Fate::Noted { until } | Fate::Waiting { until } => Some(format!("not before {}", time(until))),
            Fate::Due | Fate::Forgotten => None,
        }
    }
}

impl Report {
    /// The document of `--json`.
    pub fn to_json(&self) -> Value {
        let refs = self.rows.iter().map(|row| {
            let value = match row.entry.value {
                GlobalRef::At(oid) => oid.to_string(),
                GlobalRef::Deleted => "deleted".into(),
                GlobalRef::Untracked => "untracked".into(),
            };
            let superseded: Vec<String> = row.entry.superseded.iter().map(ToString::to_string).collect();
            json!({
                "ref": row.name.to_string(), "value": value, "superseded": superseded,
                "result": row.fate.name(), "why": row.fate.why(),
            })
        });
        json!({
            "command": "refdb forget",
            "project": self.project.as_str(),
            "dry_run": self.dry_run,
            "refs": refs.collect::<Vec<_>>(),
            "unknown_sites": self.unknown_sites,
            "problems": self.problems,
        })
    }
}
