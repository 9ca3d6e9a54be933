//! The set of one generation: embedded plugins, files of the plugin directory, what is said about each, settings.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use refgate_core::{FilterSet, PluginId};
use serde_json::{Map, Value};

use crate::directory::{Found, Listing, Refused, Staged};
use crate::engine::Shared;
use crate::filter::{FailureSink, WasmFilter};
use crate::inspect::World;
use crate::machine;
use crate::plugin::{LoadedPlugin, Origin, PluginSource};
use crate::{Fault, Limits, LoadError, Manifest, OnFailure, Policy, Provenance, Require, digest};

/// Settings by plugin name.
pub type Settings = BTreeMap<String, Map<String, Value>>;

/// A plugin that is part of the program.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedPlugin {
    /// Its name.
    pub name: &'static str,
    /// The world that it implements.
    pub world: World,
    /// The component.
    pub wasm: &'static [u8],
    /// Lets everything pass when it has no settings; it is then listed, but neither compiled nor asked.
    pub inert_without_settings: bool,
}

/// What tells two builds of one plugin apart: its code, what is said about it, and its settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemberId {
    pub(crate) name: String,
    /// `sha256:…` of the component.
    pub(crate) wasm: String,
    /// `sha256:…` of its `NAME.toml`.
    pub(crate) policy: Option<String>,
    /// `sha256:…` of its settings.
    pub(crate) settings: String,
}

impl MemberId {
    /// Whether both come from the same files, whatever their settings.
    pub(crate) fn is_same_build(&self, other: &MemberId) -> bool {
        (&self.name, &self.wasm, &self.policy) == (&other.name, &other.wasm, &other.policy)
    }
}

/// One plugin of a set that is not started yet.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) shipped: Option<EmbeddedPlugin>,
    /// `None` for the embedded one.
    pub(crate) staged: Option<Staged>,
    pub(crate) policy_text: Option<String>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) settings: Map<String, Value>,
}

/// A set that is not started yet, in name order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) members: Vec<Member>,
    /// Names with settings and without a plugin, each with the plugins that there are.
    pub(crate) unused: Vec<Unused>,
    /// Plugins that must not wait for their settings, because they decide already or have to be there. Without it none may
    /// wait: where nothing is known of what decided before, a policy would go unnoticed.
    pub(crate) urgent: Option<BTreeSet<String>>,
}

/// Settings for a plugin that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The plugin that they are for.
    pub name: String,
    /// The plugins that there are.
    pub plugins: Vec<String>,
}

impl std::fmt::Display for Unused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.plugins.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        write!(f, "there are settings for it, but no such plugin; plugins are {all}")
    }
}

/// A started set, and what it was made from.
#[derive(Clone, Default)]
pub(crate) struct Loaded {
    pub(crate) members: Vec<(Member, LoadedPlugin)>,
    /// New plugins for which nothing is set yet and that need settings, with what they say: they take no part.
    pub(crate) waiting: Vec<(Member, LoadError)>,
    /// By name: what answered before the present build.
    last_good: BTreeMap<String, LoadedPlugin>,
}

impl Plan {
    /// Puts together what was found with the embedded plugins, if all of it can be used.
    pub(crate) fn new(
        listing: Listing,
        settings: &Settings,
        embedded: &[EmbeddedPlugin],
        provenance: &Provenance,
    ) -> Result<Plan, Vec<Refused>> {
        let (plan, refused) = Plan::of_usable(listing, settings, embedded, provenance);
        if refused.is_empty() { Ok(plan) } else { Err(refused) }
    }

    /// The same of what can be used, and everything that cannot.
    pub(crate) fn of_usable(
        listing: Listing,
        settings: &Settings,
        embedded: &[EmbeddedPlugin],
        provenance: &Provenance,
    ) -> (Plan, Vec<Refused>) {
        let Listing { mut found, mut refused } = listing;
        for shipped in embedded {
            found.entry(shipped.name.to_owned()).or_default();
        }
        // A `NAME.toml` whose `NAME.wasm` is still to come says nothing yet.
        found.retain(|name, f| f.wasm.is_some() || embedded.iter().any(|e| e.name == name));
        let mut plan = Plan::default();
        // They may be there first: a policy is in force when its file is there, too.
        for name in settings.keys().filter(|name| !found.contains_key(*name)) {
            if !refused.iter().any(|r| r.name == *name) {
                plan.unused.push(Unused { name: name.clone(), plugins: found.keys().cloned().collect() });
            }
        }
        for (name, found) in found {
            let shipped = embedded.iter().find(|e| e.name == name).copied();
            let vouched = vouch(provenance, &name, &found, shipped);
            let member = vouched.and_then(|()| Member::new(&name, found, settings.get(&name), shipped));
            match member {
                Ok(member) => plan.members.push(member),
                Err((digest, error)) => refused.push(Refused { name, digest, error }),
            }
        }
        (plan, refused)
    }

    pub(crate) fn ids(&self) -> Vec<MemberId> {
        self.members.iter().map(|m| m.id.clone()).collect()
    }

    /// Starts every plugin; those that `before` has running already go on as they are. All that do not start are named.
    /// When it is given up, that is all that is said.
    pub(crate) fn load(
        self,
        shared: &Arc<Shared>,
        before: &Loaded,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Loaded, Vec<Refused>> {
        let (loaded, refused) = self.load_usable(shared, before, given_up);
        if refused.is_empty() { Ok(loaded) } else { Err(refused) }
    }

    /// The same, with those that do start.
    pub(crate) fn load_usable(
        self,
        shared: &Arc<Shared>,
        before: &Loaded,
        given_up: &dyn Fn() -> bool,
    ) -> (Loaded, Vec<Refused>) {
        let (mut loaded, mut refused) = (Loaded::default(), Vec::new());
        let Plan { members, urgent, .. } = self;
        for member in members {
            let name = member.id.name.clone();
            let old = before.members.iter().find(|(m, _)| m.id.name == name);
            let plugin = match old {
                Some((same, plugin)) if same.id == member.id => {
                    if let Some(last) = before.last_good.get(&name) {
                        loaded.last_good.insert(name, last.clone());
                    }
                    plugin.clone()
                }
                _ => {
                    if let Some((_, plugin)) = old {
                        loaded.last_good.insert(name.clone(), plugin.clone());
                    }
                    match member.load(shared, given_up) {
                        Ok(plugin) => plugin,
                        Err(error) if matches!(error.fault, Fault::Machine | Fault::GivenUp) => {
                            // It is about all of them, and the others would say the same.
                            return (loaded, vec![Refused::machine(error)]);
                        }
                        Err(error) if error.fault == Fault::Settings && member.may_wait(urgent.as_ref()) => {
                            loaded.waiting.push((member, error));
                            continue;
                        }
                        Err(error) => {
                            refused.push(Refused { name, digest: Some(member.id.wasm.clone()), error });
                            continue;
                        }
                    }
                }
            };
            loaded.members.push((member, plugin));
        }
        if let Err(cause) = machine::check_spare() {
            refused.insert(0, Refused::machine(LoadError::machine(cause)));
        }
        (loaded, refused)
    }
}

impl Member {
    pub(crate) fn new(
        name: &str,
        found: Found,
        config: Option<&Map<String, Value>>,
        shipped: Option<EmbeddedPlugin>,
    ) -> Result<Member, (Option<String>, LoadError)> {
        let wasm = match (&found.wasm, shipped) {
            (Some(staged), _) => staged.digest.clone(),
            (None, Some(shipped)) => digest(shipped.wasm),
            (None, None) => String::new(),
        };
        let shown = found.wasm.as_ref().map_or_else(|| name.to_owned(), |s| s.path.display().to_string());
        let (text, policy) = found.policy.map_or((None, Policy::default()), |(text, p)| (Some(text), p));
        let both = |key: &String| policy.settings.contains_key(key);
        let mut settings = policy.settings.clone();
        for (key, value) in config.into_iter().flatten() {
            if both(key) {
                let cause = format!(
                    "its setting `{key}` stands in the configuration file and in `{name}.toml`: take it out of one of them"
                );
                return Err((Some(wasm), LoadError::settings(&shown, cause)));
            }
            settings.insert(key.clone(), value.clone());
        }
        let id = MemberId {
            name: name.to_owned(),
            wasm,
            policy: text.as_ref().map(|text| digest(text.as_bytes())),
            settings: digest(Value::Object(settings.clone()).to_string().as_bytes()),
        };
        Ok(Member { id, shipped, staged: found.wasm, policy_text: text, policy: Arc::new(policy), settings })
    }

    pub(crate) fn source(&self, host: Limits) -> PluginSource {
        let (origin, bytes) = match (&self.staged, &self.shipped) {
            (Some(staged), _) => (Origin::File(staged.path.clone()), Cow::Owned(staged.wasm.clone())),
            (None, Some(shipped)) => (Origin::Embedded, Cow::Borrowed(shipped.wasm)),
            (None, None) => (Origin::Embedded, Cow::Borrowed(&[][..])),
        };
        PluginSource {
            name: self.id.name.clone(),
            origin,
            bytes,
            settings: self.settings.clone(),
            limits: Some(self.policy.limits.over(host)),
            isolation: self.policy.isolation,
        }
    }

    fn load(&self, shared: &Arc<Shared>, given_up: &dyn Fn() -> bool) -> Result<LoadedPlugin, LoadError> {
        match (&self.staged, self.shipped) {
            // With settings a plugin is loaded at once, so that bad ones are found now and not at the first decision.
            (None, Some(shipped)) if self.settings.is_empty() && !self.must_start() => {
                Ok(LoadedPlugin::later(shared, self.source(shared.limits), shipped.world))
            }
            (None, _) => LoadedPlugin::load(shared, self.source(shared.limits), given_up),
            (Some(staged), shipped) => {
                let plugin = LoadedPlugin::load(shared, self.source(shared.limits), given_up)?;
                let missing = shipped.filter(|shipped| !plugin.worlds().contains(&shipped.world));
                match missing {
                    None => Ok(plugin),
                    Some(shipped) => {
                        let cause = format!(
                            "it has the name of the embedded {} but is none: give the file another name",
                            shipped.world
                        );
                        Err(LoadError::plugin(&staged.path.display().to_string(), cause))
                    }
                }
            }
        }
    }

    /// Whether it is a new file for which nothing is set yet.
    fn may_wait(&self, urgent: Option<&BTreeSet<String>>) -> bool {
        let known = |urgent: &BTreeSet<String>| urgent.contains(&self.id.name);
        self.settings.is_empty() && self.shipped.is_none() && urgent.is_some_and(|urgent| !known(urgent))
    }

    /// Whether it is started when it is loaded though nothing about it can be wrong: what the machine cannot hold has to be
    /// known before a decision.
    fn must_start(&self) -> bool {
        machine::is_tight() && !self.is_idle()
    }

    /// Listed, and not asked.
    pub(crate) fn is_idle(&self) -> bool {
        self.staged.is_none()
            && self.settings.is_empty()
            && self.shipped.is_some_and(|s| s.inert_without_settings)
    }
}

/// Whether somebody answers for a plugin; a plugin of the program is part of it, and only a pinned digest counts there.
pub(crate) fn vouch(
    provenance: &Provenance,
    name: &str,
    found: &Found,
    shipped: Option<EmbeddedPlugin>,
) -> Result<(), (Option<String>, LoadError)> {
    let pinned = found.policy.as_ref().map_or(&[][..], |(_, policy)| &policy.digests);
    let (shown, wasm, checked) = match (&found.wasm, shipped) {
        (Some(staged), _) => {
            let sig = staged.signature.as_deref();
            let checked = provenance.check(name, &staged.wasm, pinned, sig);
            let policy = found.policy.as_ref().map(|(_, policy)| policy);
            let checked = checked.and_then(|_| match provenance.require {
                Require::Signature => answers_for(name, &staged.wasm, policy),
                _ => Ok(()),
            });
            (staged.path.display().to_string(), staged.digest.clone(), checked)
        }
        (None, Some(shipped)) => {
            let checked = Provenance::default().check(name, shipped.wasm, pinned, None).map(drop);
            (name.to_owned(), digest(shipped.wasm), checked)
        }
        (None, None) => return Ok(()),
    };
    checked.map_err(|cause| (Some(wasm), LoadError::plugin(&shown, cause)))
}

/// Whether a signed plugin is the one that its file is called after. A signature says who made it: another plugin of the
/// same author has as good a one. One that calls itself nothing cannot be told apart.
fn answers_for(name: &str, wasm: &[u8], policy: Option<&Policy>) -> Result<(), String> {
    // What cannot be read is refused later, in words of its own.
    let Some(own) = Manifest::read(wasm).ok().flatten().and_then(|manifest| manifest.name) else {
        return Ok(());
    };
    let meant = policy.and_then(|policy| policy.plugin.as_deref()).unwrap_or(name);
    if own == meant {
        return Ok(());
    }
    let own = own.escape_debug();
    Err(format!(
        "it is signed, and it calls itself `{own}`, not `{meant}`: it may be another plugin of the same author; put the right file \
         there, or, if this one is meant, write `plugin = \"{own}\"` into `{name}.toml`"
    ))
}

/// The first of several reasons, where one has to do.
pub(crate) fn first(refused: Vec<Refused>) -> LoadError {
    let nothing = || LoadError::plugin("?", "it is refused");
    refused.into_iter().next().map_or_else(nothing, |refused| refused.error)
}

impl Loaded {
    /// What it was made from, those that wait among them.
    pub(crate) fn ids(&self) -> Vec<MemberId> {
        let waiting = self.waiting.iter().map(|(m, _)| m.id.clone());
        let mut all: Vec<MemberId> = self.live_ids().into_iter().chain(waiting).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// What takes part in decisions.
    pub(crate) fn live_ids(&self) -> Vec<MemberId> {
        self.members.iter().map(|(m, _)| m.id.clone()).collect()
    }

    /// As decisions use it. One pass in name order puts every chain into name order.
    pub(crate) fn set(&self, generation: u64, failures: Option<&FailureSink>) -> FilterSet {
        let mut set = FilterSet { generation, ..FilterSet::default() };
        for (member, plugin) in &self.members {
            let reasons = Arc::new(plugin.manifest().map(|m| m.reasons.clone()).unwrap_or_default());
            for world in plugin.worlds().iter().copied() {
                set.plugins.push(PluginId {
                    name: plugin.name().to_owned(),
                    world: world.name(),
                    digest: plugin.digest().to_owned(),
                    reasons: reasons.clone(),
                });
                if member.is_idle() {
                    continue;
                }
                let last_good = match member.policy.on_failure {
                    OnFailure::LastGood => self.last_good.get(plugin.name()).map(|l| l.plugin().clone()),
                    _ => None,
                };
                let filter = Arc::new(WasmFilter {
                    plugin: plugin.plugin().clone(),
                    world,
                    policy: member.policy.clone(),
                    last_good,
                    failures: failures.cloned(),
                });
                match world {
                    World::PushFilter => set.push.push(filter),
                    World::FetchFilter => set.fetch.push(filter),
                    World::ProjectMatcher => set.projects.push(filter),
                }
            }
        }
        set
    }
}
