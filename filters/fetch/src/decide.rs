//! The policy of the fetch filter: from the state of one ref to its verdict.

use refgate_guest::state::{
    DELETED, DELETION, FORCED, LOCKED, MAY_GO, NOT_ACCOUNTED, NOT_UP_TO_DATE, NOTHING_TO_DO, RECHECK_HELPS,
    REFDB_UNAVAILABLE, UNTRACKED,
};

/// What to say about one ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look again after the wait.
    Recheck,
    /// Hold it back, for this reason.
    Discard(&'static str),
}

/// The verdict on a ref in `state` on look `attempt`; `None` leaves it unnamed.
///
/// A ref that may go is unnamed, and so is one whose state names no cause: the host's own floor holds that one back.
pub fn decide(state: u32, attempt: u32) -> Option<Verdict> {
    let is = |bit: u32| state & bit != 0;
    let reason = if is(MAY_GO) {
        return None;
    } else if is(RECHECK_HELPS) && attempt == 0 {
        return Some(Verdict::Recheck);
    } else if is(NOTHING_TO_DO) {
        "already-up-to-date"
    } else if is(NOT_UP_TO_DATE) {
        "not-up-to-date"
    } else if is(LOCKED) {
        "locked"
    } else if is(REFDB_UNAVAILABLE) {
        "refdb-unavailable"
    } else if is(DELETED) && !is(DELETION) {
        "deleted-globally"
    } else if is(UNTRACKED) && is(DELETION) {
        "untracked-deletion"
    } else if is(NOT_ACCOUNTED) && !is(DELETION) && !is(FORCED) {
        "non-fast-forward"
    } else if is(NOT_ACCOUNTED) {
        "local-diverged"
    } else {
        return None;
    };
    Some(Verdict::Discard(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fetch;
    use refgate_guest::state::NO_LOCAL;
    use refgate_guest::testing::{TestBatch, run_fetch, settings};
    use refgate_guest::{FetchFilter, NoSettings};

    const fn no(reason: &'static str) -> Option<Verdict> {
        Some(Verdict::Discard(reason))
    }
    const AGAIN: Option<Verdict> = Some(Verdict::Recheck);

    /// State, then the verdicts of the first and the second look.
    const CASES: &[(u32, Option<Verdict>, Option<Verdict>)] = &[
        (MAY_GO, None, None),
        (MAY_GO | FORCED | DELETION, None, None),
        (RECHECK_HELPS | NOT_UP_TO_DATE, AGAIN, no("not-up-to-date")),
        // On fetch a missing local ref is normal: the update creates it.
        (RECHECK_HELPS | NOT_UP_TO_DATE | NO_LOCAL, AGAIN, no("not-up-to-date")),
        // What the remote no longer has is no deletion, and what it has again no update.
        (NOT_UP_TO_DATE | DELETED, no("not-up-to-date"), no("not-up-to-date")),
        (NOT_UP_TO_DATE | LOCKED, no("not-up-to-date"), no("not-up-to-date")),
        (NOT_UP_TO_DATE | UNTRACKED | DELETION, no("not-up-to-date"), no("not-up-to-date")),
        (DELETED | NOT_ACCOUNTED, no("deleted-globally"), no("deleted-globally")),
        (DELETED | LOCKED, no("locked"), no("locked")),
        (DELETED | DELETION | NOT_ACCOUNTED, no("local-diverged"), no("local-diverged")),
        (RECHECK_HELPS | NOT_ACCOUNTED | FORCED, AGAIN, no("local-diverged")),
        (NOTHING_TO_DO | LOCKED, no("already-up-to-date"), no("already-up-to-date")),
        (LOCKED | REFDB_UNAVAILABLE, no("locked"), no("locked")),
        (REFDB_UNAVAILABLE | NOT_ACCOUNTED, no("refdb-unavailable"), no("refdb-unavailable")),
        (UNTRACKED | DELETION | NO_LOCAL, no("untracked-deletion"), no("untracked-deletion")),
        (NO_LOCAL | UNTRACKED | FORCED, None, None),
        (DELETION | NOT_ACCOUNTED, no("local-diverged"), no("local-diverged")),
        (NOT_ACCOUNTED, no("non-fast-forward"), no("non-fast-forward")),
        (NOT_ACCOUNTED | UNTRACKED, no("non-fast-forward"), no("non-fast-forward")),
        (NOT_ACCOUNTED | UNTRACKED | FORCED, no("local-diverged"), no("local-diverged")),
        (NOT_ACCOUNTED | FORCED, no("local-diverged"), no("local-diverged")),
        // The history could not be read: no bit says so.
        (0, None, None),
        (DELETED | DELETION, None, None),
        (UNTRACKED, None, None),
    ];

    #[test]
    fn the_policy_as_a_table() {
        for (state, first, second) in CASES {
            assert_eq!(decide(*state, 0), *first, "state {state:#b}, first look");
            assert_eq!(decide(*state, 1), *second, "state {state:#b}, second look");
        }
    }

    #[test]
    fn the_filter_says_what_the_table_says() {
        for attempt in [0, 1] {
            let mut batch = TestBatch::fetch("app").attempt(attempt);
            for (i, (state, ..)) in CASES.iter().enumerate() {
                batch = batch.with(format!("refs/heads/{i}"), *state);
            }
            let answer = run_fetch(&Fetch, &batch).unwrap();
            for (i, (state, ..)) in (0..).zip(CASES) {
                let said = match answer.reason(i) {
                    Some(reason) => Some(reason.to_owned()),
                    None => answer.rechecked(i).then(|| "again".to_owned()),
                };
                let expected = decide(*state, attempt).map(|verdict| match verdict {
                    Verdict::Recheck => "again".to_owned(),
                    Verdict::Discard(reason) => reason.to_owned(),
                });
                assert_eq!(said, expected, "state {state:#b}, look {attempt}");
            }
        }
    }

    #[test]
    fn a_setting_is_an_error() {
        assert!(Fetch::new(settings("{}").unwrap()).is_ok());
        let problems = settings::<NoSettings>(r#"{"mode":"x"}"#).unwrap_err().to_string();
        assert!(problems.starts_with("/mode: "), "{problems}");
    }
}
