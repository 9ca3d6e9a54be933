//! One plugin file by itself, with its `NAME.toml`: what authors try, and what a set takes its cases from.

use std::path::Path;

use crate::plugin::PluginSource;
use crate::set::{Member, vouch};
use crate::{Limits, LoadError, NewBuild, Policy, Provenance, Settings, directory};

/// A plugin file with what `NAME.toml` beside it says.
#[derive(Clone, Debug)]
pub struct Build {
    /// Its name: the stem of the file.
    pub name: String,
    /// The component.
    pub wasm: Vec<u8>,
    /// What is said about it.
    pub policy: Policy,
}

impl Build {
    /// Reads a file as the plugin directory is read.
    ///
    /// # Errors
    /// Either file cannot be read, is no policy, or can be written by others.
    pub fn read(file: &Path) -> Result<Build, LoadError> {
        let (name, found) = directory::file(file)?;
        let wasm = found.wasm.map(|staged| staged.wasm).unwrap_or_default();
        Ok(Build { name, wasm, policy: found.policy.map(|(_, policy)| policy).unwrap_or_default() })
    }

    /// As part of a set in which it is new.
    pub fn as_new(&self) -> NewBuild<'_> {
        NewBuild { name: &self.name, wasm: &self.wasm, policy: &self.policy }
    }
}

impl PluginSource {
    /// A file alone, with its `NAME.toml` and the settings of a configuration, as the plugin directory has it.
    ///
    /// # Errors
    /// Either file cannot be read or is not as it is pinned; a key is set in both places.
    pub fn of_file(file: &Path, settings: &Settings) -> Result<PluginSource, LoadError> {
        let (name, found) = directory::file(file)?;
        vouch(&Provenance::default(), &name, &found, None).map_err(|(_, error)| error)?;
        let member = Member::new(&name, found, settings.get(&name), None).map_err(|(_, error)| error)?;
        Ok(member.source(Limits::default()))
    }
}
