//! How every plugin stands.

use super::{SwapOptions, Swapper};
use crate::directory::Refused;
use crate::set::{Loaded, Plan};
use crate::state::Quarantined;
use crate::{Fault, LoadError, Runtime, Unused};

/// How a plugin stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes part in decisions.
    Live,
    /// It is part of the program and has nothing to do without settings.
    Idle,
    /// It watches.
    Shadow,
    /// Nothing is set for it yet, and it needs settings: it takes no part. What it says.
    Waiting(String),
    /// It could be used, but its set cannot become live because of another plugin.
    Ready,
    /// It is not used, and why.
    Quarantined(String),
}

/// A plugin, or the directory when `name` is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginStatus {
    /// The plugin.
    pub name: String,
    /// The worlds that it implements; none when it could not be loaded.
    pub worlds: Vec<&'static str>,
    /// Its file; `None` for an embedded one.
    pub file: Option<String>,
    /// `sha256:…`, when it could be read.
    pub digest: Option<String>,
    /// How it stands.
    pub standing: Standing,
}

/// How the plugins of a directory stand, see [`Swapper::survey`].
#[derive(Clone, Debug)]
pub struct Survey {
    /// In name order.
    pub plugins: Vec<PluginStatus>,
    /// The number that the set has or would get.
    pub generation: u64,
    /// Why a command would refuse it.
    pub refused: Option<LoadError>,
    /// Settings for plugins that are not there.
    pub unused: Vec<Unused>,
    /// Why nothing is known of what was saved, if something was.
    pub forgotten: Option<LoadError>,
}

impl Swapper {
    /// How every plugin of the directory stands, without making anything live.
    ///
    /// # Errors
    /// The machine can run no plugin at all.
    pub fn survey(runtime: &Runtime, options: SwapOptions) -> Result<Survey, LoadError> {
        let swapper = Swapper::empty(runtime, options);
        let forgotten = swapper.read_state();
        let (saved_ids, next) = (swapper.saved_ids(), swapper.next_id());
        let (mut plan, mut refused) = match swapper.listing() {
            Ok(listing) => {
                let settings = swapper.inner().settings.clone();
                Plan::of_usable(listing, &settings, &swapper.options.embedded, &swapper.options.provenance)
            }
            Err(refused) => (Plan::default(), refused),
        };
        plan.urgent = swapper.urgent();
        let unused = std::mem::take(&mut plan.unused);
        let mut ready = None;
        if swapper.inner().quarantined(&plan.ids()).is_some() {
            swapper.resume_saved(None)?;
        } else {
            let (loaded, more) = plan.load_usable(&swapper.runtime.shared, &Loaded::default(), &|| false);
            refused.extend(more);
            if refused.is_empty() {
                let is_saved = saved_ids.as_ref() == Some(&loaded.live_ids());
                swapper.make_live(loaded, if is_saved { next - 1 } else { next });
            } else {
                ready = Some(loaded);
            }
        }
        let error = refused.first().map(|r| r.error.clone());
        if let Some(error) = error.clone().filter(|e| e.fault == Fault::Machine) {
            return Err(error);
        }
        if error.is_some() && saved_ids.is_some() {
            // What is saved may suit today's settings no more; then nothing is live.
            let _ = swapper.resume_saved(None);
        }
        let mut inner = swapper.inner();
        inner.refused = refused;
        let plugins = of(&inner.loaded, &inner.quarantine, &inner.refused, ready.as_ref(), Standing::Ready);
        Ok(Survey { plugins, generation: inner.generation, refused: error, unused, forgotten })
    }
}

/// In name order; of one name first what is live. `aside` is a set that is not live, and how its plugins stand.
pub(super) fn of(
    loaded: &Loaded,
    quarantine: &[Quarantined],
    refused: &[Refused],
    aside: Option<&Loaded>,
    standing: Standing,
) -> Vec<PluginStatus> {
    let members = |loaded: &Loaded, aside: Option<&Standing>| -> Vec<PluginStatus> {
        let status = |(member, plugin): &(crate::set::Member, crate::LoadedPlugin)| PluginStatus {
            name: member.id.name.clone(),
            worlds: plugin.worlds().iter().map(|w| w.name()).collect(),
            file: member.staged.as_ref().map(|s| s.path.display().to_string()),
            digest: Some(member.id.wasm.clone()),
            standing: match (aside, member.is_idle()) {
                (_, true) => Standing::Idle,
                (Some(aside), false) => aside.clone(),
                (None, false) => Standing::Live,
            },
        };
        loaded.members.iter().map(status).collect()
    };
    let mut all = members(loaded, None);
    let live = loaded.live_ids();
    let aside_waiting = aside.map(|aside| &aside.waiting).into_iter().flatten();
    let aside = aside.map(|aside| (members(aside, Some(&standing)), aside.live_ids()));
    for (status, id) in aside.into_iter().flat_map(|(status, ids)| status.into_iter().zip(ids)) {
        if !live.contains(&id) {
            all.push(status);
        }
    }
    let waiting = loaded.waiting.iter().chain(aside_waiting);
    all.extend(waiting.map(|(member, error)| PluginStatus {
        name: member.id.name.clone(),
        worlds: Vec::new(),
        file: member.staged.as_ref().map(|s| s.path.display().to_string()),
        digest: Some(member.id.wasm.clone()),
        standing: Standing::Waiting(error.to_string()),
    }));
    let unused = |name: &str, digest: Option<String>, reason: String| PluginStatus {
        name: name.to_owned(),
        worlds: Vec::new(),
        file: None,
        digest,
        standing: Standing::Quarantined(reason),
    };
    for one in refused {
        all.push(unused(&one.name, one.digest.clone(), one.error.to_string()));
    }
    for one in quarantine {
        if one.is_absence() && live.iter().any(|id| id.name == one.name) {
            // It is live, as it was before it went.
            continue;
        }
        if !refused.iter().any(|r| r.name == one.name && r.digest.as_deref().unwrap_or_default() == one.wasm)
        {
            let digest = (!one.wasm.is_empty()).then(|| one.wasm.clone());
            all.push(unused(&one.name, digest, one.reason.clone()));
        }
    }
    // Stable: what is live stays before what is not.
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
