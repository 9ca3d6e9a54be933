//! Holds back batches that are too large to be meant: a mistaken refspec, a mass deletion.
//!
//! `max` is the most refs of one call of the filter, `max-deletions` the most deletions among them. Refs with nothing to do
//! do not count.

use refgate_guest::state::{DELETION, NOTHING_TO_DO};
use refgate_guest::{Batch, Problem, Problems, RefFilter, Verdicts, export_push_and_fetch_filter};
use serde::Deserialize;

/// Why every ref of a batch is discarded.
pub const TOO_LARGE: &str = "batch-too-large";
/// Why the deletions of a batch are discarded.
pub const TOO_MANY_DELETIONS: &str = "too-many-deletions";

/// The settings: at least one of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Most refs, 1 or more.
    pub max: Option<usize>,
    /// Most deletions; 0 lets none through.
    pub max_deletions: Option<usize>,
}

/// The filter.
pub struct BatchSize(Settings);

impl RefFilter for BatchSize {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Problems> {
        match settings {
            Settings { max: Some(0), .. } => {
                Err(Problem::new("max", "must be 1 or more: 0 would hold everything back").into())
            }
            Settings { max: None, max_deletions: None } => {
                Err(Problem::new("max", "is missing: set `max`, `max-deletions` or both").into())
            }
            settings => Ok(BatchSize(settings)),
        }
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        // The host counts: no ref is read.
        let over = |max: Option<usize>, refs: usize| max.is_some_and(|max| refs > max);
        if over(self.0.max, batch.select(NOTHING_TO_DO, 0).len()) {
            verdicts.discard_all(TOO_LARGE);
            return Ok(());
        }
        let deletions = batch.select(DELETION | NOTHING_TO_DO, DELETION);
        if over(self.0.max_deletions, deletions.len()) {
            verdicts.discard(deletions, TOO_MANY_DELETIONS);
        }
        Ok(())
    }
}

export_push_and_fetch_filter!(BatchSize);

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_guest::state::MAY_GO;
    use refgate_guest::testing::{TestBatch, run_fetch, run_push, settings};

    /// Reasons of a batch of two updates, two deletions and a ref with nothing to do.
    fn reasons(json: &str) -> Vec<Option<String>> {
        let filter = settings(json).and_then(BatchSize::new).unwrap();
        let states = [MAY_GO, DELETION, NOTHING_TO_DO, MAY_GO | DELETION, 0];
        let batch = (0..5).fold(TestBatch::push("app"), |b, i| b.with(format!("refs/heads/{i}"), states[i]));
        let answer = run_push(&filter, &batch).unwrap();
        assert_eq!(run_fetch(&filter, &batch).unwrap(), answer, "both directions say the same");
        (0..5).map(|i| answer.reason(i).map(str::to_owned)).collect()
    }

    #[test]
    fn bounds_are_inclusive() {
        let (all, deletions) = (Some(TOO_LARGE.to_owned()), Some(TOO_MANY_DELETIONS.to_owned()));
        let none: Vec<Option<String>> = vec![None; 5];
        assert_eq!(reasons(r#"{"max":"4"}"#), none);
        assert_eq!(reasons(r#"{"max":"3"}"#), vec![all.clone(); 5]);
        assert_eq!(reasons(r#"{"max-deletions":"2"}"#), none);
        let held = [None, deletions.clone(), None, deletions, None];
        assert_eq!(reasons(r#"{"max-deletions":"1"}"#), held);
        assert_eq!(reasons(r#"{"max":"3","max-deletions":"0"}"#), vec![all; 5]);
    }

    #[test]
    fn a_bound_is_needed() {
        let wrong = |json| settings(json).and_then(BatchSize::new).err().unwrap().to_string();
        assert!(wrong("{}").starts_with("/max: is missing"));
        assert!(wrong(r#"{"max":"0"}"#).starts_with("/max: must be 1 or more"));
        assert!(wrong(r#"{"max":"-1"}"#).starts_with("/max: `-1` is not"));
        assert!(wrong(r#"{"maximum":"1"}"#).starts_with("/maximum: unknown field"));
    }
}
