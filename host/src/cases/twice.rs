//! A verdict is a function of the batch: the same case on a fresh instance and on one that has served others.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use refgate_core::{Clock, FilterSet};

use super::format::Case;
use super::run::{MakeFilters, run_noting};
use crate::config::Config;

/// Sets that stay between cases, by the settings that they were made with.
#[derive(Default)]
pub struct Reused {
    sets: Mutex<BTreeMap<String, FilterSet>>,
}

impl Reused {
    fn set(&self, config: &Config, make: &MakeFilters<'_>) -> Result<FilterSet, String> {
        let key = format!("{:?} {:?}", config.plugin_settings, config.patterns);
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.get(&key) {
            return Ok(set.clone());
        }
        let set = make(config)?;
        sets.insert(key, set.clone());
        Ok(set)
    }
}

/// Runs a case on fresh instances, and then twice on those that served the cases before it. What differs from the
/// expectation, and what differs between them.
pub async fn run_twice(
    case: &Case,
    make: &MakeFilters<'_>,
    clock: &dyn Clock,
    reused: &Reused,
) -> Vec<String> {
    let (mut diff, fresh) = run_noting(case, make, clock).await;
    for _ in 0..2 {
        let again = |config: &Config| reused.set(config, make);
        let (_, used) = run_noting(case, &again, clock).await;
        if used != fresh {
            let only =
                |a: &[String], b: &[String]| a.iter().filter(|l| !b.contains(l)).cloned().collect::<Vec<_>>();
            let lines = [("a fresh", only(&fresh, &used)), ("a used", only(&used, &fresh))];
            for (instance, lines) in lines {
                let lines = if lines.is_empty() {
                    "nothing that the other did not say".into()
                } else {
                    lines.join("; ")
                };
                diff.push(format!("the filter keeps state between calls: {instance} instance said {lines}"));
            }
            return diff;
        }
    }
    diff
}
