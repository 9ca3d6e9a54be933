//! What happened to the live set, in words.

use std::fmt;

use super::ShadowCounts;

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
    /// Whether somebody has to act.
    pub fn is_warning(&self) -> bool {
        match self {
            Event::Refused { .. }
            | Event::LeftAside { .. }
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
            Event::LeftAside { name, reason } => write!(
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
