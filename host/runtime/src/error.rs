//! Why a plugin, or a whole set of them, is refused.

use std::path::Path;

/// A plugin or a plugin directory that cannot be used. Nothing of its set is used then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {cause}")]
pub struct LoadError {
    /// What is refused: `` plugin `FILE` `` or `` plugin directory `DIR` ``.
    pub subject: String,
    /// Why, and what to do next.
    pub cause: String,
    /// What is at fault.
    pub fault: Fault,
}

/// What is at fault when a plugin, or a set of them, cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The plugin, or the directory.
    Plugin,
    /// The settings do not suit the plugin.
    Settings,
    /// The machine refuses what every plugin needs: memory, executable memory, threads.
    Machine,
    /// Nothing: what was wanted changed before it was compiled.
    GivenUp,
}

impl LoadError {
    pub(crate) fn plugin(name: &str, cause: impl Into<String>) -> LoadError {
        LoadError { subject: format!("plugin `{name}`"), cause: cause.into(), fault: Fault::Plugin }
    }

    pub(crate) fn settings(name: &str, cause: impl Into<String>) -> LoadError {
        LoadError { fault: Fault::Settings, ..LoadError::plugin(name, cause) }
    }

    /// No plugin could run here, whichever it is.
    pub(crate) fn machine(cause: impl Into<String>) -> LoadError {
        LoadError {
            subject: "plugins cannot run here".to_owned(),
            cause: cause.into(),
            fault: Fault::Machine,
        }
    }

    /// Whoever asked does not want it any more.
    pub(crate) fn given_up(name: &str) -> LoadError {
        LoadError {
            fault: Fault::GivenUp,
            ..LoadError::plugin(name, "something changed before it was compiled")
        }
    }

    pub(crate) fn directory(dir: &Path, cause: impl Into<String>) -> LoadError {
        LoadError {
            subject: format!("plugin directory `{}`", dir.display()),
            cause: cause.into(),
            fault: Fault::Plugin,
        }
    }
}
