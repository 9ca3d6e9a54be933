//! Many seeds of a family: how many there are, which were kept, and how a violation is told.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::FilterSet;
use refgate_host::filters::{Loader, Source};
use refgate_host::{Config as HostConfig, System};

use crate::config::{BASE, Config, Rule, config};
use crate::run::{Outcome, run};
use crate::world::Sim;

/// Seeds per family when `REFGATE_SIM_SEEDS` does not say.
const SEEDS: u64 = 3000;
/// Failing seeds among which the shortest trace is told.
const COMPARED: usize = 20;

/// A seed that found something with a rule off.
pub struct Known {
    /// The family.
    pub config: &'static Config,
    /// Its seed.
    pub seed: u64,
    /// The rule that was off.
    pub rule: String,
    /// The property that did not hold.
    pub property: String,
}

/// `seeds.txt`.
pub fn known() -> Vec<Known> {
    let parse = |line: &str| {
        let [family, seed, rule, property] = line
            .split_whitespace()
            .collect::<Vec<_>>()
            .try_into()
            .expect("four words in a line of seeds.txt");
        Known {
            config: config(family),
            seed: seed.parse().expect("a seed is a number"),
            rule: rule.to_owned(),
            property: property.to_owned(),
        }
    };
    let lines = include_str!("seeds.txt").lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(parse).collect()
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// How many seeds of each family are tried.
pub fn seeds() -> u64 {
    number("REFGATE_SIM_SEEDS").unwrap_or(SEEDS)
}

/// The shipped filters, as components.
pub fn shipped() -> FilterSet {
    let system = System {
        // Loading asks for no time.
        clock: Arc::new(Sim::new(&BASE, None, FilterSet::default(), 0, false)),
        rng: Arc::new(Mutex::new(SmallRng::seed_from_u64(1))),
        secret: Arc::new(|_| Err("there is no randomness here".to_owned())),
        // Nobody unparks the ticker: this is a sleep, and it only bounds how long a filter may run.
        pause: Arc::new(std::thread::park_timeout),
        compiler: None,
        log: Arc::new(|_, _, _| {}),
    };
    let defaults = HostConfig::from_items(&[], Path::new(".")).expect("no item is a configuration");
    let set = Loader::new(&system).and_then(|l| l.load_from(&Source::Shipped, &defaults));
    let set = set.expect("the shipped filters load");
    assert_eq!((set.push.len(), set.fetch.len()), (1, 1), "both shipped filters take part");
    set
}

/// Runs the one seed of `REFGATE_SIM_SEED`, if there is one, and prints its trace. Tells whether it did.
pub fn replays(config: &'static Config, without: Option<Rule>) -> bool {
    let Some(seed) = number("REFGATE_SIM_SEED") else { return false };
    let outcome = run(config, without, &shipped(), seed, true);
    let told = tell(config, without, seed, &outcome);
    #[expect(clippy::print_stdout, reason = "somebody asked for this trace")]
    {
        println!("{told}");
    }
    // Without a rule, finding something is what the test is for.
    assert!(without.is_some() || outcome.broken.is_none(), "{told}");
    true
}

/// Fails with the shortest trace when a seed of the family breaks a property.
pub fn holds(config: &'static Config) {
    if replays(config, None) {
        return;
    }
    let filters = shipped();
    let kept = known().into_iter().filter(|k| k.config.name == config.name).map(|k| k.seed);
    let mut failed = Vec::new();
    for seed in kept.chain(0..seeds()) {
        if run(config, None, &filters, seed, false).broken.is_some() {
            failed.push(seed);
        }
        if failed.len() == COMPARED {
            break;
        }
    }
    let traced = failed.iter().map(|seed| (*seed, run(config, None, &filters, *seed, true)));
    if let Some((seed, outcome)) = traced.min_by_key(|(_, outcome)| outcome.trace.len()) {
        panic!("{} seeds fail; the shortest:\n{}", failed.len(), tell(config, None, seed, &outcome));
    }
}

/// Fails when no seed breaks `property` without `rule`.
pub fn finds(rule: Rule, config: &'static Config, property: &str) {
    if replays(config, Some(rule)) {
        return;
    }
    let filters = shipped();
    let name = format!("{rule:?}");
    let fits = |k: &Known| k.rule == name && k.config.name == config.name && k.property == property;
    let kept = known().into_iter().filter(fits).map(|k| k.seed);
    let most = 10 * seeds().max(SEEDS);
    let broken =
        |seed| run(config, Some(rule), &filters, seed, false).broken.is_some_and(|b| b.property == property);
    assert!(
        kept.chain(0..most).any(broken),
        "without {name}, no seed of `{}` below {most} breaks {property}: the rule is redundant there, or the \
         simulation has become blind",
        config.name
    );
}

/// What failed, where, and every step that led there.
fn tell(config: &Config, without: Option<Rule>, seed: u64, outcome: &Outcome) -> String {
    let off = without.map_or_else(|| "all rules".to_owned(), |rule| format!("all rules but {rule:?}"));
    let what = match &outcome.broken {
        Some(broken) => format!("{} does not hold: {}", broken.property, broken.text),
        None => "every property holds".to_owned(),
    };
    format!(
        "configuration `{}`, seed {seed}, {off}: {what}\n{}\nreplay with REFGATE_SIM_SEED={seed} and this test alone",
        config.name,
        outcome.trace.join("\n")
    )
}
