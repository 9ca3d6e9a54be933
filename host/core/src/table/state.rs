//! What a filter sees of a row: its state word.

use super::{Accounted, Class, Judgement, RemoteValue, Row, Seen};
use crate::batch::state;
use crate::{GlobalRef, Oid, Reason};

impl Row {
    /// The state word of a row that the table judges so.
    ///
    /// `here` is the local value as it was read, which on push may differ from the offered one; `is_meta` says that the ref is
    /// the `/meta` of a change.
    pub fn state(&self, judgement: &Judgement, here: Option<Oid>, is_meta: bool) -> u32 {
        let of_deleted_change = self.is_of_deleted_change();
        let at_global = match (self.remote, self.global) {
            (RemoteValue::Known(Some(remote)), Seen::Value(global)) => global.oid() == Some(remote),
            _ => false,
        };
        let reason = judgement.reason();
        let refused =
            matches!(reason, Some(Reason::NonFastForward | Reason::RemoteDiverged | Reason::LocalDiverged));
        let own_counts = self.class == Class::Checked && !of_deleted_change;
        // Only what was asked is known, which is every ref that may go.
        let not_contained =
            matches!(self.accounted, Accounted::Superseded | Accounted::SupersededUngated | Accounted::No);
        let replaces = !self.deletion && self.overwritten().is_some();
        let not_fast_forward = replaces && (not_contained || reason == Some(&Reason::NonFastForward));
        let deleted = own_counts && self.global == Seen::Value(GlobalRef::Deleted);
        [
            (state::MAY_GO, *judgement == Judgement::Keep),
            (state::NO_LOCAL, here.is_none()),
            // Its own entry, if it has one, counts for nothing: what there is to say is said of the change.
            (state::UNTRACKED, self.is_untracked() || (of_deleted_change && !self.deletion)),
            (state::REFDB_UNAVAILABLE, own_counts && self.global == Seen::Unavailable),
            (state::DELETION, self.deletion),
            (state::FORCED, self.forced),
            (state::CHANGE_META, is_meta),
            (state::EXEMPT, self.class == Class::Exempt),
            (state::DELETED, of_deleted_change || deleted),
            (state::REMOTE_KNOWN, self.remote != RemoteValue::Unknown),
            (state::REMOTE_AT_GLOBAL, at_global),
            (state::NOT_ACCOUNTED, refused),
            (state::RECHECK_HELPS, matches!(judgement, Judgement::Recheck(_))),
            (state::NOTHING_TO_DO, reason == Some(&Reason::AlreadyUpToDate)),
            (state::LOCKED, own_counts && self.global == Seen::Locked),
            (state::IGNORED, self.class == Class::Ignored),
            (state::NOT_FAST_FORWARD, not_fast_forward),
            (state::NOT_UP_TO_DATE, reason == Some(&Reason::NotUpToDate)),
        ]
        .into_iter()
        .filter(|(_, set)| *set)
        .fold(0, |word, (bit, _)| word | bit)
    }
}
