//! What of a policy its cases have exercised: directions, looks, state bits, reasons and settings; not lines of code.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use refgate_core::chain::Said;
use refgate_core::state::NAMES;
use refgate_core::{
    BoxFuture, FilterError, FilterSet, Matched, Observer, Project, ProjectMatcher, Reason, RefBatch,
};
use refgate_runtime::World;

use super::run::MakeFilters;
use crate::config::Config;

/// What the plugins that are tested say about themselves.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Their names.
    pub plugins: BTreeSet<String>,
    /// The worlds that they implement.
    pub worlds: BTreeSet<World>,
    /// The reasons that they give, of the manifests.
    pub reasons: BTreeSet<String>,
    /// The settings that they take, as `PLUGIN.KEY`, of the schemas.
    pub settings: BTreeSet<String>,
}

/// One thing that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// `directions`, `looks`, `states`, `reasons`, `matches`, `settings` or `refused settings`; `undeclared reasons` for
    /// those that were given and that no manifest declares, all of them `covered`.
    pub what: &'static str,
    /// What cases have exercised.
    pub covered: Vec<String>,
    /// What none has.
    pub missing: Vec<String>,
}

/// Collects while cases run.
#[derive(Default)]
pub struct Coverage {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    directions: BTreeSet<&'static str>,
    looks: BTreeSet<String>,
    states: BTreeSet<String>,
    /// Each with the plugin that gave it.
    reasons: BTreeSet<(String, String)>,
    settings: BTreeSet<String>,
    refused: BTreeSet<String>,
    matches: BTreeSet<String>,
}

impl Coverage {
    /// Makes filters that are watched.
    pub fn watching<'m>(
        self: Arc<Self>,
        make: &'m MakeFilters<'m>,
    ) -> impl Fn(&Config) -> Result<FilterSet, String> + Sync + 'm {
        move |config| {
            let set = make(config);
            self.with(|seen| {
                // What is refused is exercised, too.
                for (plugin, settings) in &crate::filters::settings(config) {
                    seen.settings.extend(settings.keys().map(|key| format!("{plugin}.{key}")));
                }
                seen.refused.extend(set.as_ref().err().into_iter().flat_map(|said| blamed(said)));
            });
            let mut set = set?;
            let watched = |matcher: Arc<dyn ProjectMatcher>| -> Arc<dyn ProjectMatcher> {
                Arc::new(Watched { matcher, coverage: self.clone() })
            };
            set.projects = set.projects.into_iter().map(watched).collect();
            set.observer = Some(self.clone());
            Ok(set)
        }
    }

    /// What was exercised, and what of `declared` was not.
    pub fn parts(&self, declared: &Declared) -> Vec<Part> {
        self.with(|seen| {
            let mut parts = Vec::new();
            let mut directions = Vec::new();
            for world in &declared.worlds {
                directions.extend(match world {
                    World::PushFilter => Some("push"),
                    World::FetchFilter => Some("fetch"),
                    World::ProjectMatcher => None,
                });
            }
            let matcher = declared.worlds.contains(&World::ProjectMatcher);
            let mut asked = seen.directions.clone();
            // Beside the one that is tested others may be asked.
            asked.retain(|d| directions.contains(d) || (matcher && *d == "project"));
            let all = directions.iter().copied().chain(matcher.then_some("project"));
            parts.push(part("directions", all.map(str::to_owned), asked.iter().map(|d| (*d).to_owned())));
            let of = |direction: &&str, list: &BTreeSet<String>| -> Vec<String> {
                list.iter().filter(|l| l.starts_with(*direction)).cloned().collect()
            };
            if !directions.is_empty() {
                let looks = directions.iter().flat_map(|d| [format!("{d} 0"), format!("{d} 1")]);
                parts.push(part("looks", looks, directions.iter().flat_map(|d| of(d, &seen.looks))));
                let states = directions.iter().flat_map(|d| NAMES.map(|state| format!("{d} {state}")));
                parts.push(part("states", states, directions.iter().flat_map(|d| of(d, &seen.states))));
                // Refgate's own are everybody's; beside the plugins that are tested others may speak.
                let own = |reason: &str| Reason::ALL.iter().any(|one| one.as_str() == reason);
                let (known, strange): (BTreeSet<_>, BTreeSet<_>) = seen
                    .reasons
                    .iter()
                    .filter(|(_, by)| declared.plugins.contains(by))
                    .map(|(reason, _)| reason.clone())
                    .partition(|reason| declared.reasons.contains(reason) || own(reason));
                parts.push(part("reasons", declared.reasons.iter().cloned(), known.into_iter()));
                if !strange.is_empty() {
                    parts.push(part("undeclared reasons", std::iter::empty(), strange.into_iter()));
                }
            }
            if matcher {
                let both = ["selected", "not selected"].map(str::to_owned);
                parts.push(part("matches", both.into_iter(), seen.matches.iter().cloned()));
            }
            let settings = || declared.settings.iter().cloned();
            parts.push(part("settings", settings(), seen.settings.iter().cloned()));
            let refused = settings().filter(|setting| seen.refused.contains(setting));
            parts.push(part("refused settings", settings(), refused));
            parts
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Seen) -> T) -> T {
        f(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is wrong in ``plugin `FILE`: it refuses its settings: /KEY…: WHY`` and in what follows, as `PLUGIN.KEY`.
fn blamed(said: &str) -> Vec<String> {
    let file = Path::new(said.split('`').nth(1).unwrap_or_default());
    let plugin = file.file_stem().unwrap_or_default().to_string_lossy();
    let words = said.split("; ").flat_map(|problem| problem.split(": "));
    let keys = words.filter_map(|word| word.strip_prefix('/')?.split('/').next());
    keys.map(|key| format!("{plugin}.{key}")).collect()
}

fn part(what: &'static str, all: impl Iterator<Item = String>, seen: impl Iterator<Item = String>) -> Part {
    let covered: Vec<String> = seen.collect();
    let missing = all.filter(|one| !covered.contains(one)).collect();
    Part { what, covered, missing }
}

impl Observer for Coverage {
    fn looked(&self, _: &FilterSet, batch: &Arc<RefBatch>, said: &[Said]) {
        if batch.is_empty() {
            return;
        }
        let direction = batch.direction.name();
        let bits = batch.states.iter().fold(0, |all, state| all | state);
        self.with(|seen| {
            seen.directions.insert(direction);
            seen.looks.insert(format!("{direction} {}", batch.attempt));
            let set = (0u32..).zip(NAMES).filter(|(bit, _)| bits >> bit & 1 == 1);
            seen.states.extend(set.map(|(_, name)| format!("{direction} {name}")));
            seen.reasons.extend(said.iter().filter_map(|said| match said {
                Said::Discard { reason, by } => Some((reason.to_string(), by.to_string())),
                _ => None,
            }));
        });
    }
}

/// A matcher whose answers are noted.
struct Watched {
    matcher: Arc<dyn ProjectMatcher>,
    coverage: Arc<Coverage>,
}

impl ProjectMatcher for Watched {
    fn name(&self) -> &str {
        self.matcher.name()
    }

    fn matches(&self, projects: Arc<[Project]>) -> BoxFuture<'_, Result<Matched, FilterError>> {
        Box::pin(async move {
            let answer = self.matcher.matches(projects).await?;
            self.coverage.with(|seen| {
                seen.directions.insert("project");
                for selected in &answer.selected {
                    seen.matches.insert(if *selected { "selected" } else { "not selected" }.to_owned());
                }
            });
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::blamed;

    #[test]
    fn what_is_wrong_is_read_from_what_is_said() {
        let said = "plugin `plugins/freeze.wasm`: it refuses its settings: /window/0: `x: y` is none; /offset: is refused";
        assert_eq!(blamed(said), ["freeze.window", "freeze.offset"]);
        assert_eq!(blamed("plugin `freeze`: it refuses its settings: /ref: is empty"), ["freeze.ref"]);
        assert!(blamed("plugin `freeze.wasm`: it is empty").is_empty());
    }
}
