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
    fn held_back_is_not_unwanted() {
        let unwanted = ["already-up-to-date", "deleted-globally", "project-not-matched"];
        for reason in Reason::ALL {
            assert_eq!(reason.is_retryable(), !unwanted.contains(&reason.as_str()), "{reason}");
        }
        assert!(!Reason::Own("mine".into()).is_retryable());
    }
}
