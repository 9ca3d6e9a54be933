//! The policy of the push filter: from the state of one ref to its verdict.

use refgate_guest::state::{
    DELETED, DELETION, FORCED, LOCKED, MAY_GO, NO_LOCAL, NOT_ACCOUNTED, NOT_UP_TO_DATE, NOTHING_TO_DO,
    RECHECK_HELPS, REFDB_UNAVAILABLE, UNTRACKED,
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
    } else if attempt > 0 && is(NO_LOCAL) && !is(DELETION) {
        // The ref was there at the first look. An update never becomes a deletion on the way, whatever the ref-db says.
        "local-ref-missing"
    } else if is(LOCKED) {
        "locked"
    } else if is(REFDB_UNAVAILABLE) {
        "refdb-unavailable"
    } else if is(UNTRACKED) && is(DELETION) {
        "untracked-deletion"
    } else if is(UNTRACKED) && is(DELETED) {
        // Not the ref itself is recorded as deleted but its change.
        "deleted-globally"
    } else if is(NOT_ACCOUNTED) && !is(DELETION) && !is(FORCED) {
        "non-fast-forward"
    } else if is(NOT_ACCOUNTED) {
        "remote-diverged"
    } else {
        return None;
    };
    Some(Verdict::Discard(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Push;
    use refgate_guest::testing::{TestBatch, run_push, settings};
    use refgate_guest::{NoSettings, PushFilter};

    const fn no(reason: &'static str) -> Option<Verdict> {
        Some(Verdict::Discard(reason))
    }
    const AGAIN: Option<Verdict> = Some(Verdict::Recheck);

    /// State, then the verdicts of the first and the second look.
    const CASES: &[(u32, Option<Verdict>, Option<Verdict>)] = &[
        (MAY_GO, None, None),
        (MAY_GO | FORCED | DELETION, None, None),
        (RECHECK_HELPS | NOT_UP_TO_DATE, AGAIN, no("not-up-to-date")),
        (RECHECK_HELPS | NOT_UP_TO_DATE | NO_LOCAL | DELETION, AGAIN, no("not-up-to-date")),
        (RECHECK_HELPS | NOT_ACCOUNTED | FORCED, AGAIN, no("remote-diverged")),
        (NOTHING_TO_DO | LOCKED, no("already-up-to-date"), no("already-up-to-date")),
        // A deletion whose ref is back, whatever the ref-db says.
        (NOT_UP_TO_DATE | DELETION | UNTRACKED, no("not-up-to-date"), no("not-up-to-date")),
        (NOT_UP_TO_DATE | DELETION | LOCKED, no("not-up-to-date"), no("not-up-to-date")),
        (NOT_UP_TO_DATE | DELETED | FORCED, no("not-up-to-date"), no("not-up-to-date")),
        (LOCKED | REFDB_UNAVAILABLE, no("locked"), no("locked")),
        (LOCKED | NO_LOCAL, no("locked"), no("local-ref-missing")),
        (REFDB_UNAVAILABLE | NO_LOCAL, no("refdb-unavailable"), no("local-ref-missing")),
        (REFDB_UNAVAILABLE | NO_LOCAL | DELETION, no("refdb-unavailable"), no("refdb-unavailable")),
        (UNTRACKED | DELETION | NO_LOCAL, no("untracked-deletion"), no("untracked-deletion")),
        (NO_LOCAL, None, no("local-ref-missing")),
        (NO_LOCAL | UNTRACKED | FORCED, None, no("local-ref-missing")),
        (NO_LOCAL | DELETION | NOT_ACCOUNTED, no("remote-diverged"), no("remote-diverged")),
        (UNTRACKED | DELETED | FORCED, no("deleted-globally"), no("deleted-globally")),
        (UNTRACKED | DELETED | NO_LOCAL, no("deleted-globally"), no("local-ref-missing")),
        (NOT_ACCOUNTED, no("non-fast-forward"), no("non-fast-forward")),
        (NOT_ACCOUNTED | UNTRACKED, no("non-fast-forward"), no("non-fast-forward")),
        (NOT_ACCOUNTED | UNTRACKED | FORCED, no("remote-diverged"), no("remote-diverged")),
        (NOT_ACCOUNTED | FORCED, no("remote-diverged"), no("remote-diverged")),
        // The history could not be read: no bit says so.
        (0, None, None),
        (FORCED | DELETED | DELETION, None, None),
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
            let mut batch = TestBatch::push("app").attempt(attempt);
            for (i, (state, ..)) in CASES.iter().enumerate() {
                batch = batch.with(format!("refs/heads/{i}"), *state);
            }
            let answer = run_push(&Push, &batch).unwrap();
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
        assert!(Push::new(settings("{}").unwrap()).is_ok());
        let problems = settings::<NoSettings>(r#"{"mode":"x"}"#).unwrap_err().to_string();
        assert!(problems.starts_with("/mode: "), "{problems}");
    }
}
