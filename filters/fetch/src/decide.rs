//! The policy of the fetch filter: from the state of one ref to its verdict.

use refgate_guest::state::{
    DELETED, DELETION, FORCED, LOCKED, MAY_GO, NOT_ACCOUNTED, NOT_UP_TO_DATE, NOTHING_TO_DO, RECHECK_HELPS,
    REFDB_UNAVAILABLE, UNTRACKED,
};

/// What to say about one ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Ask again after the wait.
    Recheck,
    /// Hold it back, for this reason.
    Discard(&'static str),
}

/// The answer about a ref in `state` in pass `attempt`; `None` leaves it unnamed.
///
/// A ref that may go is unnamed, and so is one whose state names no cause: the host's own floor holds that one back.
pub fn decide(state: u32, attempt: u32) -> Option<Answer> {
    let is = |bit: u32| state & bit != 0;
    let reason = if is(MAY_GO) {
        return None;
    } else if is(RECHECK_HELPS) && attempt == 0 {
        return Some(Answer::Recheck);
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
    Some(Answer::Discard(reason))
}

#[cfg(test)]
#[path = "../../table.rs"]
mod table;

#[cfg(test)]
mod tests {
    use super::table::rows;
    use crate::Fetch;
    use refgate_guest::testing::{TestBatch, run_fetch};

    #[test]
    fn the_filter_says_what_the_table_says() {
        let rows = rows("fetch");
        for attempt in [0, 1] {
            let mut batch = TestBatch::fetch("app").attempt(attempt);
            let rows: Vec<_> = rows.iter().filter(|row| row.attempt == attempt).collect();
            for (i, row) in rows.iter().enumerate() {
                batch = batch.with(format!("refs/heads/{i}"), row.state);
            }
            let answer = run_fetch(&Fetch, &batch).unwrap();
            for (i, row) in (0..).zip(rows) {
                let said = answer.reason(i).or(answer.rechecked(i).then_some("recheck"));
                assert_eq!(said, row.says, "state {:#b}, pass {attempt}", row.state);
            }
        }
    }
}
