//! What others than refgate write to the refs of a repository, from git's hook `reference-transaction`: noted afterwards
//! (audit), or refused before (backstop).
//!
//! The hook tells less than it seems (git 2.47, githooks(5) and runs of it): an old value of zeros stands for "not given"
//! as often as for "new", housekeeping looks like deletions, and `verify` does, too. JGit, gitoxide and libgit2 run no
//! hooks at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use refgate_core::{Class, Deadline, GlobalRef, Lookup, Oid, Project, RefName, is_own};
use refgate_git::{Files, GitError, Repository};
use serde::{Deserialize, Serialize};

use crate::replicate::blocking;
use crate::{Error, Site};

/// What is kept of the notes, in bytes; then the file becomes the older one, and the one before goes.
const MAX_BYTES: u64 = 256 * 1024;

/// One line of the hook that may be a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The ref.
    pub name: RefName,
    /// The value before, if it was given.
    pub old: Option<Oid>,
    /// The value after; `None`: a deletion, or no change at all.
    pub new: Option<Oid>,
}

/// A change that the ref-db does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// Seconds since 1970.
    pub time: u64,
    /// The ref, `%XX` for bytes that are not UTF-8.
    #[serde(rename = "ref")]
    pub name: String,
    /// The value before, if git gave it.
    pub old: Option<String>,
    /// The value after; none: deleted.
    pub new: Option<String>,
    /// What the ref-db held: an oid, `deleted`, `untracked`; none when it could not be read.
    pub global: Option<String>,
}

/// The changes among the lines that git gives the hook: `old new name`. Left out is what cannot be one: `HEAD`, values
/// that name refs, and refs that never replicate. What the ref-db does not record is left out later, by the rules. Nothing on both sides may be a deletion without an old value.
pub fn changes(input: &[u8]) -> Vec<Change> {
    let replicates = |name: &RefName| name.as_bytes().starts_with(b"refs/") && !is_own(name);
    let change = |line: &[u8]| {
        let mut parts = line.splitn(3, |b| *b == b' ');
        let (old, new, name) = (parts.next()?, parts.next()?, parts.next()?);
        let (old, new) = (Oid::parse_or_zero(old).ok()?, Oid::parse_or_zero(new).ok()?);
        let name = RefName::new(name).ok().filter(replicates)?;
        (old != new || old.is_none()).then_some(Change { name, old, new })
    };
    input.split(|b| *b == b'\n').filter_map(change).collect()
}

/// After a transaction: notes the changes that the ref-db does not know, and returns them. `time` is in seconds since 1970.
///
/// # Errors
/// A repository that cannot be read, or notes that cannot be written. Nobody is kept from writing by that.
pub async fn committed(
    site: &Site,
    project: &Project,
    repository: &Repository,
    changes: Vec<Change>,
    time: u64,
) -> Result<Vec<Drift>, Error> {
    let (changes, local) = recorded(site, project, repository, changes).await?;
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let seen = entries(site, project, &changes).await.ok();
    let noted = Notes::of(repository).read()?;
    let mut found = Vec::new();
    for (i, (change, local)) in changes.iter().zip(local).enumerate() {
        // Packing refs looks like a deletion, and a deletion may come as no change at all: the ref itself tells.
        if change.new.is_none() && local.is_some() {
            continue;
        }
        let global = seen.as_ref().and_then(|seen| match seen.get(i) {
            Some(Lookup::Entry(entry)) => Some(entry.value),
            _ => None,
        });
        let known = match global {
            Some(GlobalRef::Untracked) => change.new.is_none(),
            Some(global) => global.oid() == change.new,
            None => false,
        };
        let hex = |oid: Option<Oid>| oid.map(|oid| oid.to_string());
        let drift = Drift {
            time,
            name: change.name.to_string(),
            old: hex(change.old),
            new: hex(change.new),
            global: global.map(shown),
        };
        // Packing lists every ref without an old value: what was noted already is not noted once more.
        let again = change.old.is_none()
            && noted.iter().rev().find(|n| n.name == drift.name).is_some_and(|n| n.new == drift.new);
        // Without the ref-db, a line without an old value could be any of all refs.
        let vague = global.is_none() && change.old.is_none();
        if !known && !again && !vague {
            found.push(drift);
        }
    }
    Notes::of(repository).add(&found)?;
    Ok(found)
}

/// Before a transaction: the changes that must not happen, each with why. A deletion passes, for git cannot tell it from
/// housekeeping here; so does a value that is there already.
///
/// # Errors
/// A repository or a ref-db that cannot be read: then nothing may happen.
pub async fn prepared(
    site: &Site,
    project: &Project,
    repository: &Repository,
    changes: Vec<Change>,
) -> Result<Vec<(RefName, String)>, Error> {
    let (changes, local) = recorded(site, project, repository, changes).await?;
    let moved =
        changes.into_iter().zip(local).filter(|(change, local)| change.new.is_some() && change.new != *local);
    let changes: Vec<Change> = moved.map(|(change, _)| change).collect();
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let seen = entries(site, project, &changes).await?;
    let veto = |(change, seen): (Change, Lookup)| match seen {
        Lookup::Entry(entry) if entry.value.oid() == change.new => None,
        Lookup::Entry(entry) => Some((change.name, format!("the ref-db has {}", shown(entry.value)))),
        Lookup::Locked => Some((change.name, "another writer holds it in the ref-db".to_owned())),
        Lookup::Text(_) | Lookup::Unreadable(_) => {
            Some((change.name, "its entry in the ref-db cannot be read".to_owned()))
        }
    };
    Ok(changes.into_iter().zip(seen).filter_map(veto).collect())
}

/// The changes of refs that the ref-db records, with what they hold now.
async fn recorded(
    site: &Site,
    project: &Project,
    repository: &Repository,
    mut changes: Vec<Change>,
) -> Result<(Vec<Change>, Vec<Option<Oid>>), Error> {
    let config = site.gate.config();
    changes.retain(|change| Class::of(project, &change.name, &config.rules) == Class::Checked);
    if changes.is_empty() || !config.ref_database.enabled || !site.gate.matches(project).await? {
        return Ok((Vec::new(), Vec::new()));
    }
    let names: Vec<RefName> = changes.iter().map(|change| change.name.clone()).collect();
    let here = repository.clone();
    let local = blocking(move || here.values(&names)).await?;
    // A ref that cannot be read holds nothing that could excuse a change.
    Ok((changes, local.into_iter().map(|value| value.ok().flatten()).collect()))
}

async fn entries(site: &Site, project: &Project, changes: &[Change]) -> Result<Vec<Lookup>, Error> {
    let names: Vec<RefName> = changes.iter().map(|change| change.name.clone()).collect();
    let deadline = Deadline::after(site.gate.clock().as_ref(), site.gate.config().ref_database.timeout);
    Ok(site.gate.refdb().get_many(project, &names, deadline).await?)
}

fn shown(global: GlobalRef) -> String {
    match global {
        GlobalRef::Untracked => "untracked".into(),
        GlobalRef::Deleted => "deleted".into(),
        GlobalRef::At(oid) => oid.to_string(),
    }
}

/// The notes of one repository: `refgate/drift.jsonl` below the git directory, one JSON object per line.
pub(super) struct Notes {
    path: PathBuf,
    files: Files,
}

impl Notes {
    pub(super) fn of(repository: &Repository) -> Notes {
        Notes::below(repository.common_dir())
    }

    fn below(git_dir: &Path) -> Notes {
        Notes { path: git_dir.join("refgate/drift.jsonl"), files: Files::below(git_dir) }
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("older.jsonl")
    }

    /// Oldest first. A line that is none of ours is left out: the notes are help, not a record.
    pub(super) fn read(&self) -> Result<Vec<Drift>, GitError> {
        let mut all = Vec::new();
        for path in [&self.older(), &self.path] {
            match fs::read_to_string(path) {
                Ok(text) => all.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok())),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(GitError::io("read", path, &e)),
            }
        }
        Ok(all)
    }

    fn add(&self, found: &[Drift]) -> Result<(), GitError> {
        if found.is_empty() {
            return Ok(());
        }
        let failed = |e: io::Error| GitError::io("write", &self.path, &e);
        if fs::metadata(&self.path).is_ok_and(|meta| meta.len() > MAX_BYTES) {
            fs::rename(&self.path, self.older()).map_err(failed)?;
        }
        let mut text = Vec::new();
        for drift in found {
            let line = serde_json::to_vec(drift).map_err(|e| failed(io::Error::other(e)))?;
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        // A transaction of all refs must not fill the disk, either.
        let cut = text.len().min(MAX_BYTES as usize);
        let end = text[..cut].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut file = self.files.open_to_append(&self.path)?;
        // In one piece, so that two hooks do not mix their lines.
        file.write_all(&text[..end]).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_core::ObjectFormat;

    #[test]
    fn only_what_may_be_a_change_of_a_ref_that_replicates_counts() {
        let (a, b, zero) = ("a".repeat(40), "b".repeat(40), "0".repeat(40));
        let input = [
            format!("{a} {b} refs/heads/main"),
            format!("{zero} {b} refs/heads/new"),
            format!("{a} {zero} refs/heads/gone"),
            format!("{zero} {zero} refs/heads/nothing"),
            format!("{a} {a} refs/heads/same"),
            format!("{a} {b} HEAD"),
            format!("{zero} ref:refs/heads/x refs/heads/symbolic"),
            format!("{zero} {b} refs/refgate/keep/1/{b}"),
            format!("{zero} {b} refs/refgate/rescued/1/x"),
            "junk".into(),
        ];
        let names: Vec<String> =
            changes(input.join("\n").as_bytes()).iter().map(|c| c.name.to_string()).collect();
        assert_eq!(
            names,
            [
                "refs/heads/main",
                "refs/heads/new",
                "refs/heads/gone",
                "refs/heads/nothing",
                "refs/refgate/rescued/1/x"
            ]
        );
    }

    #[test]
    fn notes_are_bounded_and_keep_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let repository =
            Repository::create(&dir.path().join("r.git"), ObjectFormat::Sha1, None, None).unwrap();
        let notes = Notes::of(&repository);
        assert_eq!(notes.read().unwrap(), []);
        let drift =
            |time: u64| Drift { time, name: "refs/heads/x".repeat(20), old: None, new: None, global: None };
        for time in 0..4000 {
            notes.add(&[drift(time)]).unwrap();
        }
        let read = notes.read().unwrap();
        assert_eq!(read.last(), Some(&drift(3999)));
        assert!(read.len() < 4000 && read.windows(2).all(|w| w[0].time + 1 == w[1].time));
        let bytes = |path: &Path| fs::metadata(path).unwrap().len();
        assert!(bytes(&notes.path) + bytes(&notes.older()) < 3 * MAX_BYTES);
        notes.add(&(0..10_000).map(drift).collect::<Vec<_>>()).unwrap();
        assert!(bytes(&notes.path) <= 2 * MAX_BYTES);
    }
}
