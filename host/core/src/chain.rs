//! A chain of filters over one batch: each sees what the ones before it left, and the first discard counts.
//!
//! Decisions, replays and comparisons of two sets all ask filters through here, so that they cannot differ.

use std::sync::Arc;

use crate::{Answer, FilterError, FilterSet, Reason, RefBatch, RefFilter};

/// What a chain says about one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nobody objects.
    Keep,
    /// A filter wants to see it again after the wait.
    Recheck {
        /// The first filter that asked.
        by: Arc<str>,
    },
    /// A filter holds it back.
    Discard {
        /// Why, as the filter gave it: not yet checked against the host's table.
        reason: Arc<str>,
        /// The first filter that said so.
        by: Arc<str>,
    },
}

/// One look of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// One per ref of the batch.
    pub said: Vec<Said>,
    /// What failed on the way, for the log.
    pub problems: Vec<String>,
}

/// A ref about which two chains differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its index in the batch.
    pub index: usize,
    /// What the first chain said.
    pub was: Said,
    /// What the other one says.
    pub now: Said,
}

/// Where two looks at one batch differ in verdict or reason; which filter said it does not count.
pub fn changes(was: &[Said], now: &[Said]) -> Vec<Change> {
    let same = |a: &Said, b: &Said| match (a, b) {
        (Said::Keep, Said::Keep) | (Said::Recheck { .. }, Said::Recheck { .. }) => true,
        (Said::Discard { reason: a, .. }, Said::Discard { reason: b, .. }) => a == b,
        _ => false,
    };
    let pairs = was.iter().zip(now).enumerate().filter(|(_, (a, b))| !same(a, b));
    pairs.map(|(index, (was, now))| Change { index, was: was.clone(), now: now.clone() }).collect()
}

/// Asks the filters of `set` for the batch's direction, in name order. A filter that fails discards what it saw with
/// `filter-failed`; a ref that one filter wants to see again and another discards is discarded.
pub async fn look(set: &FilterSet, batch: &Arc<RefBatch>) -> Look {
    let mut look = Look { said: vec![Said::Keep; batch.len()], problems: Vec::new() };
    // `None` while nothing is discarded: the batch goes on as it is, without a copy.
    let mut alive: Option<Vec<u32>> = None;
    for filter in set.chain(batch.direction) {
        let part = match &alive {
            None => batch.clone(),
            Some(alive) if alive.is_empty() => break,
            Some(alive) => Arc::new(batch.subset(alive)),
        };
        let discarded = ask(filter.as_ref(), part, alive.as_deref(), &mut look).await;
        if discarded {
            let is_alive = |i: &u32| !matches!(look.said[*i as usize], Said::Discard { .. });
            alive = Some((0..batch.len() as u32).filter(is_alive).collect());
        }
    }
    if let Some(observer) = &set.observer {
        observer.looked(set, batch, &look.said);
    }
    look
}

/// Asks one filter about the refs `alive` (all of them without a list) and notes its answer. Whether it discarded any.
async fn ask(filter: &dyn RefFilter, part: Arc<RefBatch>, alive: Option<&[u32]>, look: &mut Look) -> bool {
    let by: Arc<str> = filter.name().into();
    let at = |i: u32| alive.map_or(i, |alive| alive[i as usize]) as usize;
    let len = part.len();
    let answer = match checked_answer(filter, part).await {
        Ok(answer) => answer,
        Err(e) => {
            look.problems.push(format!("filter `{by}`: {e}"));
            let all = (0..len as u32).collect();
            let reason = Reason::FilterFailed.as_str().to_owned();
            Answer { discards: vec![(all, reason)], ..Answer::default() }
        }
    };
    look.problems.extend(answer.problems.into_iter().map(|problem| format!("filter `{by}`: {problem}")));
    for i in answer.rechecks {
        let said = &mut look.said[at(i)];
        if *said == Said::Keep {
            *said = Said::Recheck { by: by.clone() };
        }
    }
    let mut discarded = false;
    for (indices, reason) in answer.discards {
        let reason: Arc<str> = reason.into();
        for i in indices {
            let said = &mut look.said[at(i)];
            if !matches!(said, Said::Discard { .. }) {
                *said = Said::Discard { reason: reason.clone(), by: by.clone() };
                discarded = true;
            }
        }
    }
    discarded
}

/// A filter is a stranger: an index outside the batch is a failure, whoever let it through.
async fn checked_answer(filter: &dyn RefFilter, batch: Arc<RefBatch>) -> Result<Answer, FilterError> {
    let len = batch.len();
    let answer = filter.look(batch).await?;
    let indices = answer.discards.iter().flat_map(|(indices, _)| indices).chain(&answer.rechecks);
    match indices.copied().find(|i| *i as usize >= len) {
        Some(i) => Err(FilterError(format!("it named ref {i} of a batch of {len}"))),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_another_verdict_or_reason() {
        let discard = |reason: &str, by: &str| Said::Discard { reason: reason.into(), by: by.into() };
        let was = [Said::Keep, discard("a", "x"), discard("a", "x"), Said::Keep];
        let now = [Said::Keep, discard("a", "y"), discard("b", "x"), Said::Recheck { by: "x".into() }];
        let indices: Vec<usize> = changes(&was, &now).into_iter().map(|c| c.index).collect();
        assert_eq!(indices, [2, 3]);
    }
}
