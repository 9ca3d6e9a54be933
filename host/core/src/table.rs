//! The two decision tables, as pure functions of one row.
//!
//! Under them no accepted commit is lost, no global value moves back, and sites converge: the simulation in `tests/sim`
//! searches for runs that show otherwise. Tests and documents have all rows from `tests/cases/table.txt`.

use crate::{
    Direction, Enforcement, GlobalRef, Oid, Project, Reason, RefName, Rules, VERSION_REF, is_excluded,
    is_own, is_private,
};

/// What the ref-db said about a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its value.
    Value(GlobalRef),
    /// Locked by another writer.
    Locked,
    /// Could not be read.
    Unavailable,
}

/// How much of the ref-db applies to a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `refs/multi-site/version`: kept without any read.
    Exempt,
    /// IGNORED by a rule: not checked.
    Ignored,
    /// Never stored in the ref-db (built-in exclusions, names that belong to one repository): untracked everywhere.
    Excluded,
    /// Everything else.
    Checked,
}

impl Class {
    /// In the order of the tests: the version ref, built-in exclusions, then rules.
    pub fn of(project: &Project, name: &RefName, rules: &Rules) -> Class {
        if name.as_bytes() == VERSION_REF {
            Class::Exempt
        } else if is_excluded(name) || is_own(name) || (is_private(name) && !rules.names_expressly(name)) {
            Class::Excluded
        } else if rules.enforcement(project, name) == Enforcement::Ignored {
            Class::Ignored
        } else {
            Class::Checked
        }
    }
}

/// What the remote holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteValue {
    /// Nobody listed it: a caller with names only.
    Unknown,
    /// The ref, or its absence.
    Known(Option<Oid>),
}

/// Whether the value to be overwritten may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounted {
    /// Not asked yet.
    Unasked,
    /// There is nothing to overwrite.
    Absent,
    /// What replaces it contains it.
    Ancestor,
    /// It was once global, or is an ancestor of what was, and the destination takes that for granted.
    Superseded,
    /// It was once global, but the destination is ungated.
    SupersededUngated,
    /// Overwriting it could lose somebody's commits.
    No,
    /// The repository could not tell.
    Unreadable,
}

/// Everything a verdict about one ref rests on.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which table.
    pub direction: Direction,
    /// Whether the ref-db matters.
    pub class: Class,
    /// 0 or 1: which look.
    pub attempt: u32,
    /// What was offered is a deletion.
    pub deletion: bool,
    /// The refspec has a `+`.
    pub forced: bool,
    /// The refspec has a `+` and names more than `refs/*`.
    pub force_ignored: bool,
    /// The destination is a tag: it may be created, and changed only by force.
    pub tag: bool,
    /// G.
    pub global: Seen,
    /// What the ref-db holds as the `/meta` of the change that this is another ref of; `None` when it is none, or when the
    /// `/meta` is not checked.
    pub meta: Option<Seen>,
    /// L as judged: on push the offered value at the first look.
    pub local: Option<Oid>,
    /// R.
    pub remote: RemoteValue,
    /// Of the remote's value on push, of the local one on fetch.
    pub accounted: Accounted,
    /// Fetch: L descends from R.
    pub ahead: bool,
    /// Fetch from a source of truth: R descends from G.
    pub extends_global: bool,
}

/// What the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It depends on whether the value to be overwritten is accounted for.
    Ask,
    /// May go.
    Keep,
    /// May not go.
    Discard(Reason),
    /// May go if a wait and a reload help; else this reason.
    Recheck(Reason),
}

impl Judgement {
    /// The reason for which a ref would be discarded now.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Judgement::Ask | Judgement::Keep => None,
            Judgement::Discard(reason) | Judgement::Recheck(reason) => Some(reason),
        }
    }
}

/// The value at the destination that an update overwrites.
pub(crate) fn overwritten(direction: Direction, local: Option<Oid>, remote: RemoteValue) -> Option<Oid> {
    match (direction, remote) {
        (Direction::Push, RemoteValue::Known(remote)) => remote,
        (Direction::Push, RemoteValue::Unknown) => None,
        (Direction::Fetch, _) => local,
    }
}

/// The value that an update that is no deletion puts in its place.
pub(crate) fn replacement(
    direction: Direction,
    local: Option<Oid>,
    remote: RemoteValue,
    global: Seen,
) -> Option<Oid> {
    match (direction, remote, global) {
        (Direction::Push, ..) => local,
        (Direction::Fetch, RemoteValue::Known(remote), _) => remote,
        (Direction::Fetch, RemoteValue::Unknown, Seen::Value(global)) => global.oid(),
        (Direction::Fetch, RemoteValue::Unknown, _) => None,
    }
}

impl Row {
    /// The value to be overwritten at the destination.
    pub fn overwritten(&self) -> Option<Oid> {
        overwritten(self.direction, self.local, self.remote)
    }

    /// The value that would replace it; none for a deletion, even if its ref is back.
    pub fn replacement(&self) -> Option<Oid> {
        match self.deletion {
            true => None,
            false => replacement(self.direction, self.local, self.remote, self.global),
        }
    }

    /// The ref-db knows nothing of the ref, or counts for nothing.
    pub fn is_untracked(&self) -> bool {
        self.tracked() == Ok(GlobalRef::Untracked)
    }

    /// The ref-db records the `/meta` of its change as deleted: then the whole change is, and this ref with it.
    pub fn is_of_deleted_change(&self) -> bool {
        let reached = matches!(self.class, Class::Checked | Class::Excluded);
        reached && self.meta == Some(Seen::Value(GlobalRef::Deleted))
    }

    /// Applies the table of the row's direction.
    pub fn judge(&self) -> Judgement {
        if let Some(reason) = self.turned() {
            return Judgement::Discard(reason);
        }
        let judgement = match (self.class, self.direction) {
            (Class::Exempt, _) => Judgement::Keep,
            (_, Direction::Push) => self.judge_push(),
            (_, Direction::Fetch) => self.judge_fetch(),
        };
        match judgement {
            // One reload, never two.
            Judgement::Recheck(reason) if self.attempt > 0 => Judgement::Discard(reason),
            other => other,
        }
    }

    /// Why an offer cannot go that the reload found to be something else: a deletion never becomes an update, nor an update
    /// a deletion, whatever the ref-db says by then.
    fn turned(&self) -> Option<Reason> {
        let source = match (self.direction, self.remote) {
            _ if self.attempt == 0 => return None,
            (Direction::Push, _) => self.local,
            (Direction::Fetch, RemoteValue::Known(remote)) => remote,
            (Direction::Fetch, RemoteValue::Unknown) => return None,
        };
        match (self.deletion, source) {
            (true, None) | (false, Some(_)) => None,
            (false, None) if self.direction == Direction::Push => Some(Reason::LocalRefMissing),
            _ => Some(Reason::NotUpToDate),
        }
    }

    fn judge_push(&self) -> Judgement {
        use Judgement::{Discard, Recheck};
        if self.remote == RemoteValue::Known(self.local) {
            return Discard(Reason::AlreadyUpToDate);
        }
        match (self.tracked(), self.local) {
            (Err(reason), _) => Discard(reason),
            (Ok(GlobalRef::Untracked), None) => Discard(Reason::UntrackedDeletion),
            (Ok(GlobalRef::Untracked), Some(_)) => self.overwrite_untracked(),
            (Ok(GlobalRef::At(global)), Some(local)) if global == local => self.overwrite(),
            (Ok(GlobalRef::Deleted), None) => self.overwrite(),
            (Ok(GlobalRef::Deleted), Some(_)) if self.is_of_deleted_change() => {
                Discard(Reason::DeletedGlobally)
            }
            (Ok(_), _) => Recheck(Reason::NotUpToDate),
        }
    }

    fn judge_fetch(&self) -> Judgement {
        use Judgement::{Discard, Recheck};
        let known = match self.remote {
            RemoteValue::Known(remote) if remote == self.local => return Discard(Reason::AlreadyUpToDate),
            RemoteValue::Known(remote) => remote,
            RemoteValue::Unknown => return self.judge_fetch_by_name(),
        };
        match (self.tracked(), known) {
            (Err(reason), _) => Discard(reason),
            (Ok(GlobalRef::Untracked), None) => Discard(Reason::UntrackedDeletion),
            (Ok(GlobalRef::Untracked), Some(_)) if self.ahead => Discard(Reason::AlreadyUpToDate),
            (Ok(GlobalRef::Untracked), Some(_)) => self.overwrite_untracked(),
            (Ok(GlobalRef::At(_)), Some(_)) if self.extends_global => self.overwrite_or_recheck(),
            (Ok(GlobalRef::At(global)), _) if self.local == Some(global) => Discard(Reason::AlreadyUpToDate),
            (Ok(GlobalRef::At(global)), Some(remote)) if remote == global => self.overwrite_or_recheck(),
            (Ok(GlobalRef::At(_)), _) => Recheck(Reason::NotUpToDate),
            (Ok(GlobalRef::Deleted), Some(_)) => Discard(Reason::DeletedGlobally),
            (Ok(GlobalRef::Deleted), None) => self.overwrite(),
        }
    }

    /// For a caller that did not list the remote: the pinned value of the ref-db, or nothing.
    fn judge_fetch_by_name(&self) -> Judgement {
        use Judgement::{Discard, Recheck};
        match self.tracked() {
            Err(reason) => Discard(reason),
            Ok(GlobalRef::Untracked) => self.overwrite_untracked(),
            Ok(GlobalRef::At(global)) if self.local == Some(global) => Discard(Reason::AlreadyUpToDate),
            Ok(GlobalRef::At(_)) if self.attempt == 0 => Recheck(Reason::NotUpToDate),
            Ok(GlobalRef::At(_)) => self.overwrite(),
            Ok(GlobalRef::Deleted) => Discard(Reason::DeletedGlobally),
        }
    }

    /// G as far as the class lets it matter.
    fn tracked(&self) -> Result<GlobalRef, Reason> {
        if self.is_of_deleted_change() {
            return Ok(GlobalRef::Deleted);
        }
        match (self.class, self.global) {
            (Class::Checked, Seen::Value(global)) => Ok(global),
            (Class::Checked, Seen::Locked) => Err(Reason::Locked),
            (Class::Checked, Seen::Unavailable) => Err(Reason::RefdbUnavailable),
            _ => Ok(GlobalRef::Untracked),
        }
    }

    /// The accounted test of a tracked ref.
    fn overwrite(&self) -> Judgement {
        if self.tag && !self.forced && !self.deletion && self.overwritten().is_some() {
            return Judgement::Discard(Reason::NonFastForward);
        }
        match self.accounted {
            Accounted::Unasked => Judgement::Ask,
            Accounted::Absent | Accounted::Ancestor => Judgement::Keep,
            Accounted::Unreadable => Judgement::Discard(Reason::RepositoryUnreadable),
            _ if !self.forced && !self.deletion => Judgement::Discard(Reason::NonFastForward),
            Accounted::Superseded => Judgement::Keep,
            Accounted::SupersededUngated | Accounted::No => Judgement::Discard(self.diverged()),
        }
    }

    /// The same where the local value may yet become one that is accounted for.
    fn overwrite_or_recheck(&self) -> Judgement {
        match self.overwrite() {
            Judgement::Discard(reason) => Judgement::Recheck(reason),
            other => other,
        }
    }

    /// The accounted test of an untracked ref: only what is contained may be overwritten.
    fn overwrite_untracked(&self) -> Judgement {
        match self.accounted {
            Accounted::Superseded | Accounted::SupersededUngated | Accounted::No
                if self.class == Class::Ignored && self.force_ignored =>
            {
                Judgement::Keep
            }
            _ => self.overwrite(),
        }
    }

    fn diverged(&self) -> Reason {
        match self.direction {
            Direction::Push => Reason::RemoteDiverged,
            Direction::Fetch => Reason::LocalDiverged,
        }
    }
}

mod state;
#[cfg(test)]
mod tests;
