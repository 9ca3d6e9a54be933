//! The configuration: git-config syntax, the keys of Gerrit's `multi-site.config` and refgate's own.
//!
//! A file is read, checked as a whole and never written. Every problem is reported with its file and line.

mod error;
mod files;
mod keys;
mod parse;
mod passwords;
mod read;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refgate_core::{Refspecs, ReloadWait, Rules, SiteKind};
use refgate_git::Limits;
use refgate_refdb::Access;
use refgate_runtime::{CompileLimits, Require};

pub use error::{ConfigError, ConfigErrors, Origin};
pub use keys::{KeyDoc, Kind, Subsection};
pub use parse::Item;
pub use table::reference;

/// Everything that a configuration says, with defaults filled in. Paths are resolved against the file that says them.
#[derive(Clone, Debug)]
pub struct Config {
    /// This site.
    pub site: Site,
    /// The global ref-db and the switches of the gate.
    pub ref_database: RefDatabase,
    /// `[ref-database "enforcementRules"]`.
    pub rules: Rules,
    /// `projects.pattern`, in file order; empty means all projects. Not compiled yet.
    pub patterns: Vec<String>,
    /// The wait before the reload on push.
    pub push_wait: ReloadWait,
    /// The wait before the reload on fetch.
    pub fetch_wait: ReloadWait,
    /// Where plugins are and which must be there.
    pub plugins: Plugins,
    /// `[plugin "NAME"]`: one value is a string, several are an array. Keys are as first written; in another case it is
    /// the same key.
    pub plugin_settings: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// The other sites.
    pub remotes: BTreeMap<String, Remote>,
    /// Entries that refgate accepts and does not use, in file order.
    pub unused: Vec<Item>,
    effective: Vec<Effective>,
}

/// `[site]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The name of this site.
    pub name: Option<String>,
    /// The directory of the repositories; `git` beside the file by default.
    pub base_path: PathBuf,
    /// How client writes here relate to the ref-db.
    pub writes: SiteKind,
    /// How long a local git may do nothing that can be seen.
    pub git_timeout: Duration,
    /// The file with the secret that the sites share, one in each line.
    pub secret_file: Option<PathBuf>,
}

/// `[ref-database]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefDatabase {
    /// Whether there is a gate at all.
    pub enabled: bool,
    /// As written; a path in it is relative to [`RefDatabase::base_dir`].
    pub url: Option<String>,
    /// The directory of the file that names the url.
    pub base_dir: PathBuf,
    /// Who this site is at a ref-db server, as far as the url does not say.
    pub access: Access,
    /// Whether pushes are gated, if [`enabled`](RefDatabase::enabled).
    pub push_gate: bool,
    /// Whether fetches are gated, if [`enabled`](RefDatabase::enabled).
    pub fetch_gate: bool,
    /// The deadline of one call.
    pub timeout: Duration,
    /// How many hours lie at least between the two runs of forgetting: longer than any push or fetch lasts.
    pub forget_after_hours: u32,
}

/// `[plugins]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugins {
    /// Where `.wasm` files are; without it only the embedded filters count.
    pub directory: Option<PathBuf>,
    /// Names of plugins whose file must be there.
    pub require: Vec<String>,
    /// Who has to answer for plugin files.
    pub verify: Require,
    /// The keys whose signatures count, in the format of git's allowed signers.
    pub signers: Option<PathBuf>,
    /// Where the live set is saved; `None` without a plugin directory, unless it was written.
    pub state: Option<PathBuf>,
    /// What compiling one plugin may take, where the program compiles them in a process of their own.
    pub compile: CompileLimits,
    /// Case files that a new set has to pass before a running host uses it.
    pub cases: Vec<PathBuf>,
    /// Looks that a new set only watches; 0 for none.
    pub shadow_looks: u64,
    /// Most verdicts that a new set may change, in percent of the refs.
    pub max_changed_percent: f64,
    /// Failed calls after which a running host takes a new plugin back; 0 is never.
    pub rollback_failures: u64,
    /// The time within which they have to fail.
    pub rollback_within: Duration,
    /// Where looks of filters are recorded; nowhere without it.
    pub record: Option<PathBuf>,
    /// Bytes of a recording after which nothing is added.
    pub record_max: u64,
}

/// `[remote "NAME"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// A URL, `host:path`, or an absolute path, with `${name}` for the project. Always
    /// there after [`Config::load`].
    pub url: Option<String>,
    /// What is pushed.
    pub push: Refspecs,
    /// What is fetched.
    pub fetch: Refspecs,
    /// Whether deletions that the ref-db records are replicated.
    pub mirror: bool,
    /// How client writes there relate to the ref-db.
    pub writes: SiteKind,
    /// Whether the remote may be ahead of the ref-db.
    pub source_of_truth: bool,
    /// How long it is waited for.
    pub limits: Limits,
    /// The operator's word that the remote hides no ref: what it does not list is not there.
    pub shows_all_refs: bool,
}

impl Default for Remote {
    /// What a remote is of which nothing is said.
    fn default() -> Remote {
        Remote {
            url: None,
            push: Refspecs::everything(),
            fetch: Refspecs::everything(),
            mirror: true,
            writes: SiteKind::Ungated,
            source_of_truth: false,
            limits: Limits::default(),
            shows_all_refs: false,
        }
    }
}

/// One value that counts, for `config check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The full key, `section.subsection.key`.
    pub key: String,
    /// The value as written; who one is at a URL is hidden.
    pub value: String,
    /// Where it was written; `None` for a default.
    pub origin: Option<Origin>,
}

impl Config {
    /// Reads and checks the file at `path` and what it includes.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first thing. A file that others can write is refused too.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let items = files::read_file(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let config = read::config(&items, base);
        let lonely = read::remotes_without_url(&items);
        match config {
            Ok(config) if lonely.is_empty() => Ok(config),
            Ok(_) => Err(ConfigErrors(lonely)),
            Err(mut errors) => {
                errors.0.extend(lonely);
                errors.0.sort();
                Err(errors)
            }
        }
    }

    /// From entries that do not come from a configuration file, as in a case file; `base_dir` is what default paths are
    /// relative to. A remote needs no url here.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_items(items: &[Item], base_dir: &Path) -> Result<Config, ConfigErrors> {
        read::config(items, base_dir)
    }

    /// Every value that counts and where it comes from, in the order of [`reference()`].
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// A warning when only one site ever used the ref-db although another one writes through it: then that one probably
    /// names another ref-db. `sites` are those that used it.
    pub fn lonely(&self, sites: &[String]) -> Option<String> {
        let other = self.remotes.iter().find(|(_, remote)| remote.writes == SiteKind::Gated)?.0;
        match sites {
            [only] => Some(format!(
                "only the site `{only}` ever used this ref-db, and `{other}` is said to write through it: do both name the same \
                 one?"
            )),
            _ => None,
        }
    }

    /// What an operator should look at, though nothing is wrong with it for certain.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        let refdb = &self.ref_database;
        if !(refdb.enabled && refdb.push_gate && refdb.fetch_gate) {
            let direction = match (refdb.enabled, refdb.push_gate, refdb.fetch_gate) {
                (true, true, _) => " on fetch",
                (true, _, true) => " on push",
                _ => "",
            };
            out.push(format!("the gate is switched off{direction}: nothing is checked against the ref-db"));
        }
        for (name, remote) in &self.remotes {
            if remote.url.as_deref().is_some_and(|url| !url.contains("${name}")) {
                out.push(format!(
                    "remote.{name}.url has no `${{name}}`: every project goes to the same repository"
                ));
            }
        }
        out.extend(passwords::warnings(self));
        out
    }
}
