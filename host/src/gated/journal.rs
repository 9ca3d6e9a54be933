//! Records of writes that have begun: one file per push, below `refgate/journal` of the git directory, with refs that keep
//! the new objects from being pruned.
//!
//! A record is on disk before the ref-db moves and goes away when the write has ended, well or badly. One that stays
//! belongs to a process that died or did not learn the outcome; what became of it stands in the ref-db.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use refgate_core::{Oid, Project, RefName};
use refgate_git::{EditOutcome, GitError, RefEdit, Repository};
use serde::{Deserialize, Serialize};

use super::failpoint;

/// Below this are the refs that keep objects of unfinished writes, by the id of the record.
pub const KEEP: &str = "refs/refgate/keep/";

/// A write that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Unique in the repository; letters, digits and `-`.
    pub id: String,
    /// The project, as the ref-db knows it.
    pub project: Project,
    /// The refs, patch sets first.
    pub refs: Vec<RecordedRef>,
}

/// One ref of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRef {
    /// The ref.
    pub name: RefName,
    /// The local value before; `None`: there was none.
    pub old: Option<Oid>,
    /// The value after; `None`: deleted.
    pub new: Option<Oid>,
    /// Whether the ref-db records this ref. One that it does not record moves only with the recorded ones.
    pub tracked: bool,
    /// Refs of one group move together or not at all: a change, or a whole atomic push.
    pub group: Option<u32>,
}

/// The records of one repository.
#[derive(Clone, Debug)]
pub struct Journal {
    repository: Repository,
    dir: PathBuf,
}

impl Journal {
    /// The records of `repository`.
    pub fn of(repository: &Repository) -> Journal {
        Journal { repository: repository.clone(), dir: repository.common_dir().join("refgate/journal") }
    }

    /// Writes the record, then makes the refs that keep the new objects, and returns when both are on disk, with the
    /// directories that hold their names. The objects have to be there before.
    ///
    /// In this order, so that a ref that keeps something always has a record, which leads whoever cleans up to it.
    ///
    /// # Errors
    /// No record is left behind.
    pub fn begin(&self, record: &Record) -> Result<(), GitError> {
        self.write(record)?;
        failpoint::kill_at("record");
        self.keep(record).inspect_err(|_| {
            // The first error is the one to tell; a record without effect is dropped by the next catch-up.
            let _ = self.end(record);
        })
    }

    fn write(&self, record: &Record) -> Result<(), GitError> {
        let text = serde_json::to_vec_pretty(&Stored::from(record))
            .map_err(|e| GitError::new(format!("cannot write the record of a push: {e}")))?;
        let path = self.path(&record.id);
        self.repository.files().replace(&path, &text)
    }

    /// All records, oldest name first. A file that cannot be read as one is an error: it may stand for a write that has
    /// to be finished.
    pub fn list(&self) -> Result<Vec<Record>, GitError> {
        let (records, mut damaged) = self.list_readable()?;
        if damaged.is_empty() { Ok(records) } else { Err(damaged.remove(0)) }
    }

    /// All records that can be read, oldest name first, and an error for each file that cannot.
    pub fn list_readable(&self) -> Result<(Vec<Record>, Vec<GitError>), GitError> {
        let mut names: Vec<PathBuf> = match fs::read_dir(&self.dir) {
            Ok(entries) => entries
                .map(|entry| entry.map(|e| e.path()))
                .collect::<io::Result<_>>()
                .map_err(|e| GitError::io("read the directory", &self.dir, &e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
            Err(e) => return Err(GitError::io("read the directory", &self.dir, &e)),
        };
        names.retain(|path| path.extension().is_some_and(|e| e == "json"));
        names.sort();
        let (mut records, mut damaged) = (Vec::new(), Vec::new());
        for found in names.iter().map(|path| read(path)) {
            match found {
                Ok(record) => records.extend(record),
                Err(e) => damaged.push(e),
            }
        }
        Ok((records, damaged))
    }

    /// Ends a write: removes the refs that kept its objects, then its record.
    ///
    /// In this order, so that a process that dies in between leaves a record, which the next catch-up sees, and not refs,
    /// which only a reading of all refs would show.
    ///
    /// # Errors
    /// What keeps something of it here. The write has ended all the same, so this is a matter to tell, and no reason to stop:
    /// whoever sees the record next tries again.
    pub fn end(&self, record: &Record) -> Result<(), GitError> {
        self.end_all(std::slice::from_ref(record)).pop().unwrap_or(Ok(()))
    }

    /// The same for many, in the few transactions that [`Repository::update_refs`] takes: git waits a second for a lock
    /// that a dead process has left, once for all of them. One outcome per record.
    pub fn end_all(&self, records: &[Record]) -> Vec<Result<(), GitError>> {
        let released = self.release(records, |edits| self.repository.update_refs(edits, ""));
        failpoint::kill_at("released");
        let removed = records.iter().zip(released).map(|(record, released)| {
            released?;
            let path = self.path(&record.id);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    Err(GitError::io("remove the record", &path, &e))
                }
                _ => Ok(()),
            }
        });
        removed.collect()
    }

    /// Whether [`end_all`](Self::end_all) could release what these records keep. Nothing is changed.
    pub fn would_end(&self, records: &[Record]) -> Vec<Result<(), GitError>> {
        self.release(records, |edits| self.repository.writer().try_out(edits))
    }

    /// Per record what keeps its refs here, after `apply` had to remove the refs of all.
    fn release(
        &self,
        records: &[Record],
        apply: impl FnOnce(&[RefEdit]) -> Result<Vec<EditOutcome>, GitError>,
    ) -> Vec<Result<(), GitError>> {
        let mut released: Vec<Result<(), GitError>> = Vec::new();
        let (mut edits, mut owners) = (Vec::new(), Vec::new());
        for (i, record) in records.iter().enumerate() {
            released.push(kept(record).map(|kept| {
                edits.extend(kept.map(|(name, oid)| RefEdit {
                    name,
                    old: Some(oid),
                    new: None,
                    group: None,
                }));
                owners.resize(edits.len(), i);
            }));
        }
        let outcomes = match edits.is_empty() {
            true => Ok(Vec::new()),
            false => apply(&edits),
        };
        match outcomes {
            Ok(outcomes) => {
                for ((edit, i), outcome) in edits.iter().zip(owners).zip(outcomes) {
                    if let (EditOutcome::Rejected(why), Ok(())) = (outcome, &released[i]) {
                        released[i] = Err(GitError::new(format!("`{}` stays: {why}", edit.name)));
                    }
                }
            }
            Err(e) => owners.into_iter().for_each(|i| released[i] = Err(e.clone())),
        }
        released
    }

    /// Removes the refs that keep objects for records that do not exist: a process died between the two. Reads all refs.
    /// Gives back those that stay, and why.
    ///
    /// # Errors
    /// Refs or records that cannot be read; then none is removed.
    pub fn sweep(&self) -> Result<Vec<(RefName, String)>, GitError> {
        let edits = self.left_over()?;
        if edits.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = self.repository.update_refs(&edits, "")?;
        let stays = edits.into_iter().zip(outcomes).filter_map(|(edit, outcome)| match outcome {
            EditOutcome::Applied => None,
            EditOutcome::Rejected(why) => Some((edit.name, why)),
        });
        Ok(stays.collect())
    }

    /// The removal of each ref that keeps an object for a record that does not exist. Reads all refs.
    pub fn left_over(&self) -> Result<Vec<RefEdit>, GitError> {
        // In this order: a record that appears after the refs were read has no ref among them.
        let refs = self.repository.refs()?;
        let known: BTreeSet<String> = self.list()?.into_iter().map(|record| record.id).collect();
        let mut left_over = Vec::new();
        for (name, target) in refs.iter() {
            let Some(rest) = name.strip_prefix(KEEP.as_bytes()) else { continue };
            let id = rest.split(|b| *b == b'/').next().unwrap_or_default();
            if !known.iter().any(|k| k.as_bytes() == id) {
                let name = RefName::new(name).map_err(|e| GitError::new(e.to_string()))?;
                left_over.push(RefEdit { name, old: target.oid(), new: None, group: None });
            }
        }
        Ok(left_over)
    }

    fn keep(&self, record: &Record) -> Result<(), GitError> {
        let kept = kept(record)?;
        let edits: Vec<RefEdit> =
            kept.map(|(name, oid)| RefEdit { name, old: None, new: Some(oid), group: None }).collect();
        if edits.is_empty() {
            return Ok(());
        }
        let outcomes = self.repository.update_refs(&edits, "")?;
        let refused = edits.iter().zip(outcomes).find_map(|(edit, outcome)| match outcome {
            EditOutcome::Applied => None,
            EditOutcome::Rejected(why) => Some(format!("cannot write `{}`: {why}", edit.name)),
        });
        refused.map_or(Ok(()), |why| Err(GitError::new(why)))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }
}

/// The refs that keep the new objects of a write.
fn kept(record: &Record) -> Result<impl Iterator<Item = (RefName, Oid)>, GitError> {
    let oids: BTreeSet<Oid> = record.refs.iter().filter_map(|one| one.new).collect();
    let named = |oid: Oid| {
        let name = RefName::new(format!("{KEEP}{}/{oid}", record.id));
        Ok((name.map_err(|e| GitError::new(e.to_string()))?, oid))
    };
    Ok(oids.into_iter().map(named).collect::<Result<Vec<_>, GitError>>()?.into_iter())
}

/// `None` when it went away: its write has ended meanwhile.
fn read(path: &Path) -> Result<Option<Record>, GitError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(GitError::io("read the record", path, &e)),
    };
    let damaged = |why: String| {
        GitError::new(format!("the record of a push `{}` cannot be read: {why}", path.display()))
            .hint("look at the refs of the repository with `refgate refdb check`, then move the file away")
    };
    let stored: Stored = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    Record::try_from(stored).map(Some).map_err(damaged)
}

/// A record as it is on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The version of this form.
    version: u32,
    id: String,
    project: String,
    refs: Vec<StoredRef>,
}

#[derive(Serialize, Deserialize)]
struct StoredRef {
    /// With `%XX` for bytes that are not UTF-8.
    name: String,
    old: Option<String>,
    new: Option<String>,
    tracked: bool,
    group: Option<u32>,
}

impl From<&Record> for Stored {
    fn from(record: &Record) -> Stored {
        let hex = |oid: Option<Oid>| oid.map(|oid| oid.to_string());
        let one = |one: &RecordedRef| StoredRef {
            name: one.name.to_string(),
            old: hex(one.old),
            new: hex(one.new),
            tracked: one.tracked,
            group: one.group,
        };
        Stored {
            version: 1,
            id: record.id.clone(),
            project: record.project.as_str().to_owned(),
            refs: record.refs.iter().map(one).collect(),
        }
    }
}

impl TryFrom<Stored> for Record {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Record, String> {
        if stored.version != 1 {
            return Err(format!("its form has version {}, this refgate knows 1", stored.version));
        }
        let oid = |text: Option<String>| {
            text.map(|text| Oid::from_hex(text.as_bytes()).map_err(|e| format!("`{text}`: {e}"))).transpose()
        };
        let one = |one: StoredRef| {
            let name = RefName::from_escaped(&one.name).map_err(|e| e.to_string())?;
            let (old, new) = (oid(one.old)?, oid(one.new)?);
            Ok(RecordedRef { name, old, new, tracked: one.tracked, group: one.group })
        };
        Ok(Record {
            id: stored.id,
            project: Project::new(stored.project).map_err(|e| e.to_string())?,
            refs: stored.refs.into_iter().map(one).collect::<Result<_, String>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn repository(dir: &Path) -> (Repository, Oid) {
        let repository =
            Repository::create(&dir.join("p.git"), refgate_core::ObjectFormat::Sha1, None, None).unwrap();
        let git = |args: &[&str]| {
            let output = Command::new("git").arg("--git-dir").arg(repository.git_dir()).args(args).output();
            String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
        };
        let tree = git(&["hash-object", "-t", "tree", "-w", "/dev/null"]);
        let oid = git(&["-c", "user.name=n", "-c", "user.email=e", "commit-tree", "-m", "m", &tree]);
        (repository.clone(), oid.parse().unwrap())
    }

    fn refs(repository: &Repository) -> Vec<String> {
        repository.refs().unwrap().iter().map(|(name, _)| String::from_utf8_lossy(name).into()).collect()
    }

    fn record(id: &str, new: Oid) -> Record {
        let name = RefName::new(b"refs/heads/\xff%").unwrap();
        let one = RecordedRef { name, old: None, new: Some(new), tracked: true, group: Some(3) };
        let gone = RecordedRef { old: Some(new), new: None, tracked: false, group: None, ..one.clone() };
        Record { id: id.into(), project: Project::new("team/app").unwrap(), refs: vec![one, gone] }
    }

    #[test]
    fn a_record_is_read_back_and_leaves_nothing_when_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (repository, oid) = repository(dir.path());
        let journal = Journal::of(&repository);
        assert_eq!(journal.list().unwrap(), []);
        let (one, two) = (record("1", oid), record("2", oid));
        journal.begin(&two).unwrap();
        journal.begin(&one).unwrap();
        assert_eq!(journal.list().unwrap(), [one, two.clone()]);
        assert_eq!(refs(&repository), [format!("{KEEP}1/{oid}"), format!("{KEEP}2/{oid}")]);
        let one = record("1", oid);
        journal.end(&one).unwrap();
        journal.end(&one).unwrap();
        assert_eq!(journal.list().unwrap(), [two]);
        assert_eq!(refs(&repository), [format!("{KEEP}2/{oid}")]);
    }

    #[test]
    fn refs_without_a_record_are_swept_and_damaged_records_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (repository, oid) = repository(dir.path());
        let journal = Journal::of(&repository);
        journal.begin(&record("1", oid)).unwrap();
        journal.begin(&record("2", oid)).unwrap();
        fs::remove_file(journal.path("1")).unwrap();
        journal.sweep().unwrap();
        assert_eq!(refs(&repository), [format!("{KEEP}2/{oid}")]);
        fs::write(journal.path("3"), "{").unwrap();
        let e = journal.list().unwrap_err();
        assert!(e.message.contains("3.json") && e.hint.is_some(), "{e}");
        assert!(journal.sweep().is_err(), "nothing is released while a record is unknown");
        assert_eq!(refs(&repository).len(), 1);
    }

    #[test]
    fn an_object_that_is_not_here_leaves_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let (repository, _) = repository(dir.path());
        let journal = Journal::of(&repository);
        let absent = Oid::from_hex(&[b'a'; 40]).unwrap();
        assert!(journal.begin(&record("1", absent)).is_err());
        assert_eq!(journal.list().unwrap(), []);
    }
}
