//! How every plugin stands.

use crate::directory::Refused;
use crate::set::Loaded;
use crate::state::Quarantined;

/// How a plugin stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes part in decisions.
    Live,
    /// It is part of the program and has nothing to do without settings.
    Idle,
    /// It watches.
    Shadow,
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
    let live = loaded.ids();
    let aside = aside.map(|aside| (members(aside, Some(&standing)), aside.ids()));
    for (status, id) in aside.into_iter().flat_map(|(status, ids)| status.into_iter().zip(ids)) {
        if !live.contains(&id) {
            all.push(status);
        }
    }
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
