//! What happened to the live set, in words.

use std::fmt;

use super::ShadowCounts;
use crate::Unused;
use crate::state::Quarantined;

/// Something happened at a look at the plugin directory.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another set decides.
    Live {
        /// Its number.
        generation: u64,
        /// Plugins that are new or changed.
        new: Vec<String>,
        /// Plugins that are gone.
        gone: Vec<String>,
        /// What was tried before, in words.
        proof: Option<String>,
    },
    /// After a restart the set decides that did before.
    Resumed {
        /// Its number.
        generation: u64,
    },
    /// A plugin, or the directory when `name` is empty, cannot be used; the live set stays.
    Refused {
        /// The plugin.
        name: String,
        /// `sha256:…`, when it could be read.
        digest: Option<String>,
        /// Why, and what to do.
        reason: String,
    },
    /// A build was rolled back earlier and is not used; the saved set decides.
    LeftAside {
        /// The plugin.
        name: String,
        /// Why it was rolled back.
        reason: String,
        /// What was rolled back is that its file went.
        gone: bool,
    },
    /// A new plugin needs settings, and nothing is set for it yet: it takes no part.
    Waiting {
        /// The plugin.
        name: String,
        /// What it says.
        reason: String,
    },
    /// Settings for a plugin that is not there.
    Unused(Unused),
    /// Commands would refuse the set; writes of clients go on.
    KeptForWrites {
        /// What is wrong.
        reason: String,
        /// The set that was live last; `None`: there is none that can be used, and what loads has to do.
        generation: Option<u64>,
    },
    /// The set before decides again.
    RolledBack {
        /// The set that was live.
        from: u64,
        /// The number of the set that decides now.
        to: u64,
        /// The plugins that differ.
        plugins: Vec<String>,
        /// Why.
        reason: String,
    },
    /// A new set watches before it becomes live.
    Shadowing {
        /// Plugins that are new in it.
        plugins: Vec<String>,
        /// How many looks it watches.
        looks: u64,
    },
    /// A set has watched for long enough and becomes live.
    Shadowed {
        /// What it saw.
        counts: ShadowCounts,
    },
    /// What should survive a restart could not be written or read; decisions go on.
    StateFailed {
        /// Why.
        error: String,
    },
}

impl Event {
    pub(super) fn left_aside(one: Quarantined) -> Event {
        let gone = one.is_absence();
        Event::LeftAside { name: one.name, reason: one.reason, gone }
    }

    /// Whether somebody has to act.
    pub fn is_warning(&self) -> bool {
        match self {
            Event::Refused { .. }
            | Event::LeftAside { .. }
            | Event::Waiting { .. }
            | Event::Unused(_)
            | Event::KeptForWrites { .. }
            | Event::RolledBack { .. }
            | Event::StateFailed { .. } => true,
            // A policy that is taken away holds nothing back any more.
            Event::Live { gone, .. } => !gone.is_empty(),
            Event::Resumed { .. } | Event::Shadowing { .. } | Event::Shadowed { .. } => false,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Live { generation, new, gone, proof } => {
                write!(f, "generation {generation} is live")?;
                if !new.is_empty() {
                    write!(f, "; new: {}", new.join(", "))?;
                }
                if !gone.is_empty() {
                    write!(f, "; gone, and with them what they held back: {}", gone.join(", "))?;
                }
                proof.as_ref().map_or(Ok(()), |proof| write!(f, "; {proof}"))
            }
            Event::Resumed { generation } => {
                write!(f, "generation {generation} is live, as before the restart")
            }
            Event::Refused { reason, .. } => write!(f, "{reason}; the live set stays"),
            Event::Waiting { name, reason } => write!(
                f,
                "plugin `{name}` takes no part yet, nothing is set for it: {reason}; write `[settings]` into `{name}.toml` \
                 beside it, or a section `[plugin \"{name}\"]`"
            ),
            Event::Unused(unused) => write!(f, "plugin `{}`: {unused}", unused.name),
            Event::KeptForWrites { reason, generation: Some(generation) } => {
                write!(
                    f,
                    "{reason}; writes of clients go on with generation {generation}, which was live last"
                )
            }
            Event::KeptForWrites { reason, generation: None } => {
                write!(f, "{reason}; writes of clients go on with what can be used")
            }
            Event::LeftAside { name, reason, gone: true } => write!(
                f,
                "plugin `{name}` decides though its file is gone: going without it was rolled back: {reason}; put the file \
                 back, or run `refgate plugins release {name}`"
            ),
            Event::LeftAside { name, reason, gone: false } => write!(
                f,
                "plugin `{name}` is left aside, it was rolled back: {reason}; put another build there, or run `refgate \
                 plugins release {name}`"
            ),
            Event::RolledBack { from, to, plugins, reason } => write!(
                f,
                "generation {from} was rolled back, generation {to} is live; taken back: {}; {reason}",
                plugins.join(", ")
            ),
            Event::Shadowing { plugins, looks } => {
                write!(f, "a set with {} watches {looks} looks before it becomes live", plugins.join(", "))
            }
            Event::Shadowed { counts } => write!(
                f,
                "the new set watched {} looks: it changed {} of {} verdicts, and failed in {} looks",
                counts.looks, counts.changed, counts.refs, counts.failed
            ),
            Event::StateFailed { error } => {
                write!(f, "{error}; decisions go on, a restart may not find this set")
            }
        }
    }
}
