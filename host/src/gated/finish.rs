//! Finishing what others began: the records of writes whose process is gone, and refs that the ref-db is ahead of.

use std::collections::BTreeMap;

use refgate_core::{Deadline, Entry, GlobalRef, Lookup, Oid, Project, RefName, is_patch_set};
use refgate_git::{EditOutcome, RefEdit, RefLocks, Repository};

use super::judge::is_accepted;
use super::{Journal, Record, RecordedRef};
use crate::replicate::blocking;
use crate::{Error, Site, replicate};

/// Finishes the abandoned records of `repository`, then sets its refs to what the ref-db holds, as far as they are
/// accounted for and the objects are here. Returns how many refs the second step moved; it does nothing at a site that is
/// not gated.
///
/// The records come first: catch-up alone would move a `/meta` without the patch sets that were written with it.
///
/// # Errors
/// A repository or a record that cannot be read.
pub async fn bring_up_to_date(
    site: &Site,
    project: &Project,
    repository: &Repository,
) -> Result<usize, Error> {
    finish_records(site, project, repository).await?;
    replicate::catch_up(site, project, repository).await
}

/// Finishes the records that nobody is working on. One whose entries cannot be read now stays.
pub(super) async fn finish_records(
    site: &Site,
    project: &Project,
    repository: &Repository,
) -> Result<(), Error> {
    for (record, _locks) in abandoned(repository).await? {
        // A record of another project would be one of a repository that was copied or renamed.
        if record.project == *project {
            finish(site, repository, &record).await?;
        }
    }
    Ok(())
}

/// The records whose refs nobody holds, with the locks on them. Who writes holds the locks from before the record is
/// made until it is gone, and loses them when it dies.
async fn abandoned(repository: &Repository) -> Result<Vec<(Record, RefLocks)>, Error> {
    let repository = repository.clone();
    let found = blocking(move || {
        let journal = Journal::of(&repository);
        let mut found = Vec::new();
        for record in journal.list()? {
            let names: Vec<RefName> = record.refs.iter().map(|one| one.name.clone()).collect();
            let (locks, got) = RefLocks::try_acquire(repository.git_dir(), &names)?;
            if got.iter().all(|got| *got) {
                found.push((record.id, locks));
            }
        }
        // What ended between the listing and the lock is no record any more.
        let mut now = journal.list()?;
        let take =
            |id: &str, now: &mut Vec<Record>| now.iter().position(|r| r.id == id).map(|i| now.remove(i));
        Ok(found.into_iter().filter_map(|(id, locks)| Some((take(&id, &mut now)?, locks))).collect())
    });
    Ok(found.await?)
}

/// Rolls a record forward where the ref-db took the write, and drops it where it did not.
async fn finish(site: &Site, repository: &Repository, record: &Record) -> Result<(), Error> {
    let tracked: Vec<&RecordedRef> = record.refs.iter().filter(|one| one.tracked).collect();
    let names: Vec<RefName> = tracked.iter().map(|one| one.name.clone()).collect();
    let deadline = Deadline::after(site.gate.clock().as_ref(), site.gate.config().ref_database.timeout);
    let Ok(found) = site.gate.refdb().get_many(&record.project, &names, deadline).await else {
        return Ok(());
    };
    let mut entries: BTreeMap<RefName, Entry> = BTreeMap::new();
    for (name, found) in names.into_iter().zip(found) {
        let Lookup::Entry(entry) = found else { return Ok(()) };
        entries.insert(name, entry);
    }
    let (repository, record) = (repository.clone(), record.clone());
    let done = blocking(move || {
        let edits = roll_forward(&repository, &record, &entries)?;
        let outcomes = repository.update_refs(&edits, "push")?;
        // What git does not take now may go the next time.
        if outcomes.iter().all(|outcome| *outcome == EditOutcome::Applied) {
            Journal::of(&repository).end(&record)?;
        }
        Ok(())
    });
    Ok(done.await?)
}

/// The edits that are left to do: every tracked ref whose new value is the global one, and the untracked refs of each
/// group whose tracked ones were all accepted.
fn roll_forward(
    repository: &Repository,
    record: &Record,
    entries: &BTreeMap<RefName, Entry>,
) -> Result<Vec<RefEdit>, refgate_git::GitError> {
    let names: Vec<RefName> = record.refs.iter().map(|one| one.name.clone()).collect();
    let local = repository.values(&names)?;
    let mut accepted: BTreeMap<Option<u32>, bool> = BTreeMap::new();
    for one in record.refs.iter().filter(|one| one.tracked) {
        let entry = &entries[&one.name];
        let contained = match (one.new, entry.value) {
            (Some(new), GlobalRef::At(global)) => repository.ancestry(&[(new, global)])? == [true],
            _ => false,
        };
        let all = accepted.entry(one.group).or_insert(true);
        *all &= is_accepted(one.new, entry, contained);
    }
    let mut edits = Vec::new();
    for (one, local) in record.refs.iter().zip(local) {
        let wanted = match entries.get(&one.name) {
            Some(entry) => {
                entry.value == GlobalRef::at_or_deleted(one.new)
                    && is_accounted(repository, local, one.new, &entry.superseded)?
            }
            // Without a group it goes with nothing that could have been accepted.
            None => {
                one.group.is_some()
                    && accepted.get(&one.group) == Some(&true)
                    && local == one.old
                    && !(is_patch_set(&one.name) && local.is_some())
            }
        };
        if wanted && local != one.new {
            edits.push(RefEdit { name: one.name.clone(), old: local, new: one.new, group: one.group });
        }
    }
    Ok(edits)
}

/// Whether `local` may be overwritten with `new`: absent, contained in it, or once global, or contained in what was.
pub(super) fn is_accounted(
    repository: &Repository,
    local: Option<Oid>,
    new: Option<Oid>,
    superseded: &[Oid],
) -> Result<bool, refgate_git::GitError> {
    let Some(local) = local else { return Ok(true) };
    let pairs: Vec<(Oid, Oid)> = new.iter().chain(superseded).map(|later| (local, *later)).collect();
    Ok(repository.ancestry(&pairs)?.contains(&true))
}
