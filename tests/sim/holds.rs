//! With all rules on, every property holds in every family; and the families are not idle.

use std::collections::BTreeMap;

use crate::config::{CONFIGS, config};
use crate::run::run;
use crate::search::{holds, known, shipped};

macro_rules! families {
    ($(fn $function:ident() $name:literal),+ $(,)?) => {
        $(#[test]
        fn $function() {
            holds(config($name));
        })+

        #[test]
        fn every_family_is_tried() {
            let tried = [$($name),+];
            let all: Vec<&str> = CONFIGS.iter().map(|c| c.name).collect();
            assert_eq!(tried.as_slice(), all);
        }
    };
}

families! {
    fn gated() "gated",
    fn unlocked() "unlocked",
    fn wide() "wide",
    fn push_only() "push-only",
    fn fetch_only() "fetch-only",
    fn mirrors() "mirrors",
    fn ungated() "ungated",
    fn mixed() "mixed",
    fn unseeded() "unseeded",
    fn changes() "changes",
    fn changes_unlocked() "changes-unlocked",
    fn forgetting() "forget",
    fn forced() "forced",
    fn no_catch_up() "no-catch-up",
    fn bare() "bare",
    fn late() "late",
    fn forgetting_again() "forget-again",
    fn deleted_changes() "deleted-changes",
    fn policies() "policies",
    fn marked() "marked",
}

#[test]
fn known_seeds_hold_with_all_rules_on() {
    let filters = shipped();
    let known = known();
    assert!(known.len() >= 20, "{} seeds were read", known.len());
    for k in known {
        let outcome = run(k.config, None, &filters, k.seed, false);
        assert_eq!(outcome.broken, None, "configuration `{}`, seed {}", k.config.name, k.seed);
    }
}

#[test]
fn a_seed_is_one_run() {
    let filters = shipped();
    for config in CONFIGS {
        for seed in 0..20 {
            let once = run(config, None, &filters, seed, true);
            let again = run(config, None, &filters, seed, true);
            assert_eq!(once.trace, again.trace, "configuration `{}`, seed {seed}", config.name);
        }
    }
}

/// What a run can count. A simulation in which one of these never happens checks less than it says.
const EVENTS: &[&str] = &[
    "catch-up deleted a change",
    "catch-up moved a ref",
    "fetch: applied",
    "fetch: moved meanwhile",
    "fetch: refused by the check",
    "forgotten",
    "held: local-diverged",
    "held: by a policy",
    "held: not-up-to-date",
    "held: outdated-meta",
    "held: refdb-unavailable",
    "held: remote-diverged",
    "kept at the second look",
    "kept deletion",
    "killed",
    "push: applied",
    "push: meta held back, a patch set was refused",
    "push: moved meanwhile",
    "push: refused by the check",
    "push: created under the mark",
    "put: answer lost",
    "put: applied late",
    "put: too late",
    "record dropped by catch-up",
    "record rolled forward",
    "seed",
    "write: behind the ref-db",
    "write: marked",
    "write: lost the race",
    "write: moved meanwhile",
    "write: outcome unknown",
    "write: ref-db down",
    "write: success",
    "write: ungated",
    "write: untracked",
];

#[test]
fn everything_that_can_happen_happens() {
    let filters = shipped();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for config in CONFIGS {
        for seed in 0..300 {
            for (event, times) in run(config, None, &filters, seed, false).counts {
                *counts.entry(event).or_default() += times;
            }
        }
    }
    let never: Vec<&&str> = EVENTS.iter().filter(|event| !counts.contains_key(**event)).collect();
    assert!(never.is_empty(), "never happened: {never:?}; {counts:#?}");
}
