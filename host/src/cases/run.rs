//! Runs one case and says how it differs from what was expected.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::decision::{Decision, Request, Sources, decide};
use refgate_core::{Clock, Direction, FilterSet, Move, Moves, Oid, Project, RefName, Refspecs, SiteKind};

use super::format::{Case, CaseDirection, Expect, Value};
use super::world::World;
use crate::config::{Config, ConfigErrors, Item, Origin};

/// Makes the filters for a configuration; an error is a configuration error that a case may expect.
pub type MakeFilters<'a> = dyn Fn(&Config) -> Result<FilterSet, String> + Sync + 'a;

/// The seed of every case: the same draw of the wait in every run.
const SEED: u64 = 1;

/// What a case came out as.
enum Outcome {
    Decided(Box<Decision>),
    Matched(bool),
    Refused(String),
}

/// Runs a case; an empty list says that it passed. `clock` only gives the virtual one its origin.
pub async fn run(case: &Case, make: &MakeFilters<'_>, clock: &dyn Clock) -> Vec<String> {
    run_noting(case, make, clock).await.0
}

/// The same, and everything that came out, in words.
pub(super) async fn run_noting(
    case: &Case,
    make: &MakeFilters<'_>,
    clock: &dyn Clock,
) -> (Vec<String>, Vec<String>) {
    let outcome = outcome(case, make, clock.now()).await;
    let mut diff = Vec::new();
    compare(&case.expect, &outcome, &mut diff);
    (diff, outcome.words())
}

impl Outcome {
    fn words(&self) -> Vec<String> {
        match self {
            Outcome::Refused(said) => vec![format!("refused: {said}")],
            Outcome::Matched(matched) => vec![format!("match = {matched}")],
            Outcome::Decided(decision) => {
                let verdict = |one: Move<'_>| match one.held() {
                    None => format!("`{}` kept at {}", one.name(), show(one.new())),
                    Some(held) => format!("`{}` discarded: {} (by {})", one.name(), held.reason, held.by),
                };
                let waits = format!("{} waits", decision.waits.len());
                decision.moves.iter().map(verdict).chain([waits]).collect()
            }
        }
    }
}

async fn outcome(case: &Case, make: &MakeFilters<'_>, start: Instant) -> Outcome {
    let project = match Project::new(case.project.clone()) {
        Ok(project) => project,
        Err(e) => return Outcome::Refused(e.to_string()),
    };
    let config = match items(case).and_then(|items| Config::from_items(&items, Path::new("."))) {
        Ok(config) => config,
        Err(e) => return Outcome::Refused(e.to_string()),
    };
    let filters = match make(&config) {
        Ok(filters) => filters,
        Err(e) => return Outcome::Refused(e),
    };
    let direction = match case.direction {
        CaseDirection::Push => Direction::Push,
        CaseDirection::Fetch => Direction::Fetch,
        CaseDirection::Project => return matched(&filters, project).await,
    };
    let remote = case.remote.as_deref().and_then(|name| config.remotes.get(name));
    let everything = Refspecs::everything();
    let refspecs = match (remote, direction) {
        (Some(remote), Direction::Push) => &remote.push,
        (Some(remote), Direction::Fetch) => &remote.fetch,
        (None, _) => &everything,
    };
    let world = World::new(case, direction, refspecs, start);
    let moves = Moves::of(direction, world.updates());
    let gate = match direction {
        Direction::Push => config.ref_database.push_gate,
        Direction::Fetch => config.ref_database.fetch_gate,
    };
    let request = Request {
        direction,
        project: &project,
        peer: case.remote.as_deref().unwrap_or_default(),
        format: moves.format(),
        kind: match direction {
            Direction::Push => remote.map_or(SiteKind::Gated, |r| r.writes),
            Direction::Fetch => config.site.writes,
        },
        source_of_truth: remote.is_some_and(|r| r.source_of_truth),
        mirror: remote.is_none_or(|r| r.mirror),
        gate: config.ref_database.enabled && gate,
        rules: &config.rules,
        wait: match direction {
            Direction::Push => config.push_wait,
            Direction::Fetch => config.fetch_wait,
        },
        refdb_timeout: config.ref_database.timeout,
    };
    let rng = Mutex::new(SmallRng::seed_from_u64(SEED));
    let sources = Sources { refdb: &world, local: &world, remote: Some(&world), clock: &world, rng: &rng };
    Outcome::Decided(Box::new(decide(request, moves, sources, &filters).await))
}

async fn matched(filters: &FilterSet, project: Project) -> Outcome {
    for matcher in &filters.projects {
        match matcher.matches([project.clone()].into()).await {
            Ok(answer) if answer.selected == [true] => {}
            Ok(_) => return Outcome::Matched(false),
            Err(e) => return Outcome::Refused(e.to_string()),
        }
    }
    Outcome::Matched(true)
}

/// The case's keys, and what a case takes for granted: this site and the remote are gated.
fn items(case: &Case) -> Result<Vec<Item>, ConfigErrors> {
    let origin = Origin::new(Path::new("case"), 0);
    let has = |key: &str| case.config.keys().any(|k| k.eq_ignore_ascii_case(key));
    let mut items = Vec::new();
    if !has("site.writes") {
        items.push(Item::from_dotted("site.writes", "gated", &origin)?);
    }
    if let Some(key) =
        case.remote.as_ref().map(|name| format!("remote.{name}.writes")).filter(|key| !has(key))
    {
        items.push(Item::from_dotted(&key, "gated", &origin)?);
    }
    for (key, values) in &case.config {
        for value in values.values() {
            items.push(Item::from_dotted(key, value, &origin)?);
        }
    }
    Ok(items)
}

fn compare(expect: &Expect, outcome: &Outcome, diff: &mut Vec<String>) {
    match (outcome, &expect.error) {
        (Outcome::Refused(said), Some(part)) if said.contains(part.as_str()) => return,
        (Outcome::Refused(said), Some(part)) => {
            return diff.push(format!("expected an error with {part:?}, got {said:?}"));
        }
        (Outcome::Refused(said), None) => return diff.push(format!("the configuration was refused: {said}")),
        (_, Some(part)) => diff.push(format!("expected an error with {part:?}, there was none")),
        (_, None) => {}
    }
    match outcome {
        Outcome::Matched(matched) => {
            if expect.matches.is_some_and(|m| m != *matched) {
                diff.push(format!("expected match = {}, got {matched}", !matched));
            }
            let refs = expect.keep.is_some() || expect.discard.is_some() || expect.waits.is_some();
            if refs || expect.wait_ms.is_some() {
                diff.push("a project case has no refs and no waits to expect".into());
            }
        }
        Outcome::Decided(decision) => {
            if expect.matches.is_some() {
                diff.push("`match` is for cases with direction `project`".into());
            }
            compare_kept(expect, decision, diff);
            compare_discarded(expect, decision, diff);
            compare_waits(expect, decision, diff);
        }
        Outcome::Refused(_) => {}
    }
}

fn compare_kept(expect: &Expect, decision: &Decision, diff: &mut Vec<String>) {
    let Some(expected) = &expect.keep else { return };
    let kept: Vec<(&RefName, Option<Oid>)> =
        decision.moves.iter().filter(|one| one.is_kept()).map(|one| (one.name(), one.new())).collect();
    let names: Vec<&RefName> = kept.iter().map(|k| k.0).collect();
    let wanted: Vec<&RefName> = expected.iter().map(|k| &k.name.0).collect();
    if names != wanted {
        diff.push(format!("kept: expected {wanted:?}, got {names:?}"));
        return;
    }
    for (one, (name, new)) in expected.iter().zip(kept) {
        let Some(value) = one.new else { continue };
        let value = value.and_then(|Value(oid)| oid);
        if value != new {
            diff.push(format!("kept `{name}`: expected {}, got {}", show(value), show(new)));
        }
    }
}

fn compare_discarded(expect: &Expect, decision: &Decision, diff: &mut Vec<String>) {
    let Some(expected) = &expect.discard else { return };
    let mut left: Vec<(&RefName, &str)> =
        decision.moves.iter().filter_map(|one| Some((one.name(), one.reason()?.as_str()))).collect();
    for one in expected {
        let fits = |(name, reason): &(&RefName, &str)| {
            **name == one.name.0 && one.reason.as_deref().is_none_or(|r| r == *reason)
        };
        let at =
            left.iter().position(fits).or_else(|| left.iter().position(|(name, _)| **name == one.name.0));
        let wanted = one.reason.as_deref().unwrap_or("any reason");
        match at.map(|at| left.swap_remove(at)) {
            None => diff.push(format!("discarded: expected `{}` ({wanted}), it was not", one.name.0)),
            Some(got) if !fits(&got) => {
                diff.push(format!("discarded `{}`: expected {wanted}, got {}", one.name.0, got.1));
            }
            Some(_) => {}
        }
    }
    for (name, reason) in left {
        diff.push(format!("discarded: `{name}` ({reason}) was not expected"));
    }
}

fn compare_waits(expect: &Expect, decision: &Decision, diff: &mut Vec<String>) {
    let waits: Vec<u64> = decision.waits.iter().map(|w| w.ms).collect();
    if expect.waits.is_some_and(|n| n != waits.len()) {
        diff.push(format!("waits: expected {}, got {}", expect.waits.unwrap_or_default(), waits.len()));
    }
    if let Some((least, most)) = expect.wait_ms {
        if waits.is_empty() && expect.waits.is_none() {
            diff.push(format!("waits: expected {least} to {most} ms, there was none"));
        }
        for ms in waits.iter().filter(|ms| !(least..=most).contains(*ms)) {
            diff.push(format!("wait: expected {least} to {most} ms, got {ms} ms"));
        }
    }
}

fn show(oid: Option<Oid>) -> String {
    oid.map_or("a deletion".into(), |oid| oid.to_string())
}
