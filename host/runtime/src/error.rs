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
    /// It is the settings that do not suit, not the plugin.
    pub settings: bool,
}

impl LoadError {
    pub(crate) fn plugin(name: &str, cause: impl Into<String>) -> LoadError {
        LoadError { subject: format!("plugin `{name}`"), cause: cause.into(), settings: false }
    }

    pub(crate) fn settings(name: &str, cause: impl Into<String>) -> LoadError {
        LoadError { settings: true, ..LoadError::plugin(name, cause) }
    }

    pub(crate) fn directory(dir: &Path, cause: impl Into<String>) -> LoadError {
        LoadError {
            subject: format!("plugin directory `{}`", dir.display()),
            cause: cause.into(),
            settings: false,
        }
    }
}
