//! When it is certain that a write cannot land any more.
//!
//! Its refs can be locked, so its process has ended or answered. A store on this machine has nothing of it left then. One
//! on the network may still get what the process has sent: a write is given up only when it was seen dead long enough
//! ago. The time is that of the file system, which also the other processes of this site see.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refgate_core::refdb::Reach;
use refgate_core::{Edit, Outcome, Project};
use refgate_git::{Files, GitError, Repository};

use super::deadline;
use crate::Site;
use crate::gated::Record;

/// Longer than a network store keeps the session of a dead client (ZooKeeper: 40 s unless configured otherwise), and
/// than a kernel goes on sending what a dead process has left (Linux: about two minutes).
const LONGEST: Duration = Duration::from_secs(600);

/// Whether none of `edits`, the writes of `record` that did not land, can land from now on; else what is waited for.
///
/// The caller holds the locks of all refs of the record. Without `act` nothing is noted.
pub(super) async fn surely_dead(
    site: &Site,
    project: &Project,
    repository: &Repository,
    record: &Record,
    edits: &[Edit],
    act: bool,
) -> Result<(), String> {
    let refdb = site.gate.refdb();
    if refdb.capabilities().reach == Reach::Network {
        let age = age(repository.files(), &dir(repository), &record.id, act).map_err(|e| e.message)?;
        if age < LONGEST {
            let left = (LONGEST - age).as_secs();
            return Err(format!("its write may still reach the ref-db for {left} s"));
        }
    }
    let outcomes = refdb.resolve(project, edits, deadline(site)).await;
    let outcomes = outcomes.map_err(|e| format!("the ref-db does not say what became of it: {e}"))?;
    match outcomes.iter().all(|o| matches!(o, Outcome::Mismatch { .. })) {
        true => Ok(()),
        false => Err("its write landed at this moment".into()),
    }
}

/// Forgets when the writer of a record was first seen dead.
pub(super) fn forget(repository: &Repository, id: &str) {
    // What stays is removed by the next run, and no record ever has the same id.
    let _ = fs::remove_file(dir(repository).join(id));
}

/// The same for all that have no record any more.
pub(super) fn forget_all_but(repository: &Repository, known: &BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(dir(repository)) else { return };
    for name in entries.flatten().map(|entry| entry.file_name()) {
        if name.to_str().is_none_or(|name| !known.contains(name)) {
            let _ = fs::remove_file(dir(repository).join(name));
        }
    }
}

fn dir(repository: &Repository) -> PathBuf {
    repository.common_dir().join("refgate/dead-writers")
}

/// For how long the writer of a record has been known to be dead: since the first call with `act`.
fn age(files: &Files, dir: &Path, id: &str, act: bool) -> Result<Duration, GitError> {
    let mark = dir.join(id);
    let changed = |file: io::Result<fs::Metadata>| file.and_then(|meta| meta.modified());
    let failed = |e: io::Error| GitError::io("read the time of", &mark, &e);
    let since = match changed(fs::metadata(&mark)) {
        Ok(since) => since,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !act => return Ok(Duration::ZERO),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            changed(files.open_or_make(&mark)?.metadata()).map_err(failed)?
        }
        Err(e) => return Err(failed(e)),
    };
    // A clock that was set back makes the wait longer, never shorter.
    Ok(files.time_in(dir)?.duration_since(since).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_core::ObjectFormat;

    #[test]
    fn a_writer_is_dead_since_it_was_first_seen_so() {
        let root = tempfile::tempdir().unwrap();
        let here = Repository::create(&root.path().join("r.git"), ObjectFormat::Sha1, None, None).unwrap();
        let dir = dir(&here);
        let age = |dir: &Path, id: &str, act| age(here.files(), dir, id, act);
        assert_eq!(age(&dir, "1", false).unwrap(), Duration::ZERO);
        assert!(!dir.exists(), "a look notes nothing");
        assert!(age(&dir, "1", true).unwrap() < LONGEST);
        let mark = fs::File::options().write(true).open(dir.join("1")).unwrap();
        let seen = mark.metadata().unwrap().modified().unwrap();
        mark.set_modified(seen - LONGEST).unwrap();
        assert!(age(&dir, "1", true).unwrap() >= LONGEST);
        assert!(age(&dir, "2", true).unwrap() < LONGEST, "each for itself");
        mark.set_modified(seen + Duration::from_secs(3600)).unwrap();
        assert_eq!(age(&dir, "1", true).unwrap(), Duration::ZERO, "the clock was set back");
    }
}
