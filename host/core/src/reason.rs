//! Why a ref was held back.

use std::fmt;

/// A stable, kebab-case reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The value on offer is not the ref-db's.
    NotUpToDate,
    /// The change's `/meta` is held back.
    OutdatedMeta,
    /// A patch set of the change is held back or was refused.
    GroupIncomplete,
    /// The remote holds a value that nothing accounts for.
    RemoteDiverged,
    /// The local ref holds a value that nothing accounts for.
    LocalDiverged,
    /// Not a fast-forward, and the refspec has no `+`.
    NonFastForward,
    /// A deletion that the ref-db does not record, or that the remote does not get (`mirror = false`).
    UntrackedDeletion,
    /// Another writer holds the ref in the ref-db.
    Locked,
    /// The ref-db could not be read.
    RefdbUnavailable,
    /// The local ref was gone at the reload.
    LocalRefMissing,
    /// The local repository could not be read.
    RepositoryUnreadable,
    /// Both sides agree, or this side is ahead.
    AlreadyUpToDate,
    /// The ref-db records that the ref was deleted.
    DeletedGlobally,
    /// The project is not replicated.
    ProjectNotMatched,
    /// A filter failed.
    FilterFailed,
    /// A filter's own reason.
    Own(String),
}

impl Reason {
    /// Every reason but a filter's own.
    pub const ALL: [Reason; 15] = [
        Reason::NotUpToDate,
        Reason::OutdatedMeta,
        Reason::GroupIncomplete,
        Reason::RemoteDiverged,
        Reason::LocalDiverged,
        Reason::NonFastForward,
        Reason::UntrackedDeletion,
        Reason::Locked,
        Reason::RefdbUnavailable,
        Reason::LocalRefMissing,
        Reason::RepositoryUnreadable,
        Reason::AlreadyUpToDate,
        Reason::DeletedGlobally,
        Reason::ProjectNotMatched,
        Reason::FilterFailed,
    ];

    /// The kebab-case name.
    pub fn as_str(&self) -> &str {
        match self {
            Reason::NotUpToDate => "not-up-to-date",
            Reason::OutdatedMeta => "outdated-meta",
            Reason::GroupIncomplete => "group-incomplete",
            Reason::RemoteDiverged => "remote-diverged",
            Reason::LocalDiverged => "local-diverged",
            Reason::NonFastForward => "non-fast-forward",
            Reason::UntrackedDeletion => "untracked-deletion",
            Reason::Locked => "locked",
            Reason::RefdbUnavailable => "refdb-unavailable",
            Reason::LocalRefMissing => "local-ref-missing",
            Reason::RepositoryUnreadable => "repository-unreadable",
            Reason::AlreadyUpToDate => "already-up-to-date",
            Reason::DeletedGlobally => "deleted-globally",
            Reason::ProjectNotMatched => "project-not-matched",
            Reason::FilterFailed => "filter-failed",
            Reason::Own(own) => own,
        }
    }

    /// The reason of that name; an unknown name is a filter's own.
    pub fn from_name(name: &str) -> Reason {
        Reason::ALL.into_iter().find(|r| r.as_str() == name).unwrap_or_else(|| Reason::Own(name.to_owned()))
    }

    /// What it means, in one sentence without a subject. A filter's own reason is explained by the manifest of the filter.
    pub fn meaning(&self) -> &'static str {
        match self {
            Reason::NotUpToDate => {
                "the value on offer is not the one in the ref-db, or the remote moved the ref while it was fetched"
            }
            Reason::OutdatedMeta => {
                "the `/meta` of the change is held back, or stays where the change is to be deleted"
            }
            Reason::GroupIncomplete => {
                "a patch set of the change is held back or was refused, or the `/meta` moved while it was decided, so it waits"
            }
            Reason::RemoteDiverged => "the remote holds a value that nothing accounts for",
            Reason::LocalDiverged => {
                "this site holds a value that nothing accounts for, so nothing is fetched over it"
            }
            Reason::NonFastForward => {
                "the update is not a fast-forward, or changes a tag, and the refspec has no `+`"
            }
            Reason::UntrackedDeletion => {
                "the ref is gone at the source, and no deletion is recorded (or `mirror = false` keeps it from going)"
            }
            Reason::Locked => "another writer holds the ref in the ref-db",
            Reason::RefdbUnavailable => "the ref-db could not be read, so nothing that needs it was sent",
            Reason::LocalRefMissing => "the local ref disappeared during the wait",
            Reason::RepositoryUnreadable => {
                "the local repository, or the part of its history that the verdict needs, could not be read"
            }
            Reason::AlreadyUpToDate => "both sides agree, or this side is ahead",
            Reason::DeletedGlobally => {
                "the ref-db records that the ref, or its change, was deleted, and it is still there"
            }
            Reason::ProjectNotMatched => "`projects.pattern` or a project matcher leaves the project out",
            Reason::FilterFailed => {
                "a filter trapped, ran into a limit, returned an error, or answered outside its contract"
            }
            Reason::Own(_) => "a filter's own reason",
        }
    }

    /// What releases a ref that is held back for it.
    pub fn release(&self) -> &'static str {
        match self {
            Reason::NotUpToDate => {
                "usually nothing to do: fetch from the site that has the value, or wait for its push. If the ref was written \
                 here on purpose and past the ref-db, run `refgate refdb publish PROJECT REF`"
            }
            Reason::OutdatedMeta => "look at the reason of the `/meta`",
            Reason::GroupIncomplete => "look at the reason of the patch set; run again",
            Reason::RemoteDiverged => {
                "find out who wrote it. Fetch and merge it, or write its value over there yourself; if the hint names \
                 `writes`, check that key"
            }
            Reason::LocalDiverged => {
                "keep the commits (merge them, or publish them with `refgate refdb publish`), then fetch again"
            }
            Reason::NonFastForward => "add `+` if branches may be rewritten, and tags changed",
            Reason::UntrackedDeletion => {
                "record it with `refgate refdb cas PROJECT REF EXPECTED deleted`, or restore the ref"
            }
            Reason::Locked => {
                "try again. No store of this release says so: its locks (`refdb lock`) fence writes and hide no value. Case files \
                 and other implementations of the ref-db can"
            }
            Reason::RefdbUnavailable => {
                "see the log for the cause; the next run sends it when the ref-db answers"
            }
            Reason::LocalRefMissing => {
                "nothing; if it was deleted through the ref-db the deletion goes next time"
            }
            Reason::RepositoryUnreadable => "see the log; run `git fsck`",
            Reason::AlreadyUpToDate => "nothing",
            Reason::DeletedGlobally => {
                "nothing; the remote loses it by a push from a site that is up to date"
            }
            Reason::ProjectNotMatched => "`refgate project match NAME` shows the pattern",
            Reason::FilterFailed => "see the log for the filter's name; fix or remove it",
            Reason::Own(_) => "ask the author of the filter; `by` names it",
        }
    }

    /// Whether the ref should be offered again later. The others say that it is not wanted at all.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Reason::Own(_)) && !self.is_final()
    }

    /// Reasons by which a filter could hide a held-back ref: it may give them only where the table says the same.
    pub fn is_final(&self) -> bool {
        matches!(self, Reason::AlreadyUpToDate | Reason::DeletedGlobally | Reason::ProjectNotMatched)
    }

    /// Whether a discard for this reason counts as held back (exit code 3): all but nothing to do.
    pub fn is_held_back(&self) -> bool {
        *self != Reason::AlreadyUpToDate
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_kebab_case() {
        for reason in Reason::ALL {
            let name = reason.as_str();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
            assert_eq!(Reason::from_name(name), reason);
        }
        assert_eq!(Reason::from_name("work-in-progress"), Reason::Own("work-in-progress".into()));
    }

    #[test]
    fn every_reason_says_what_it_means_and_what_releases_it() {
        let mut told: Vec<&str> = Reason::ALL.iter().map(Reason::meaning).collect();
        assert!(told.iter().all(|text| text.len() > 10 && !text.ends_with('.')), "{told:?}");
        assert!(Reason::ALL.iter().all(|reason| !reason.release().is_empty()));
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), Reason::ALL.len(), "two reasons say the same");
    }

    #[test]
    fn held_back_is_not_unwanted() {
        let unwanted = ["already-up-to-date", "deleted-globally", "project-not-matched"];
        for reason in Reason::ALL {
            assert_eq!(reason.is_retryable(), !unwanted.contains(&reason.as_str()), "{reason}");
        }
        assert!(!Reason::Own("mine".into()).is_retryable());
    }
}
