//! `NAME.toml` beside `NAME.wasm`: where a plugin applies, within what limits, with what settings, and what counts when it fails.

use std::time::Duration;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Isolation, Limits};

/// What an operator says about one plugin; the default is a plugin without a file.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// `sha256:…` of the components that may be there: another one is refused. None at all means any.
    pub digests: Vec<String>,
    /// What the plugin calls itself, where its file has another name.
    pub plugin: Option<String>,
    /// Projects it is asked about.
    pub projects: Scope,
    /// Remotes it is asked about; a project matcher is asked for all of them.
    pub remotes: Scope,
    /// What counts when it fails.
    pub on_failure: OnFailure,
    /// Whether instances serve more than one call.
    pub isolation: Isolation,
    /// Limits that differ from the host's.
    pub limits: LimitOverrides,
    /// Settings for `configure`.
    pub settings: Map<String, Value>,
}

/// What counts when a plugin fails to answer: a trap, a limit, an error, an answer outside the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Everything it was asked about is held back as `filter-failed`.
    #[default]
    Closed,
    /// It holds nothing back; the host's tables count all the same.
    Open,
    /// The build that was live before it is asked; `closed` when there is none or it fails too.
    LastGood,
}

/// The part of `[limits]` that was written; `None` keeps the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitOverrides {
    /// Milliseconds for a call, before the part per item.
    pub call_ms: Option<u64>,
    /// Microseconds that every ref or project adds.
    pub per_item_us: Option<u64>,
    /// Milliseconds to start and configure an instance.
    pub start_ms: Option<u64>,
    /// MiB of linear memory of an instance.
    pub memory_mib: Option<usize>,
    /// Tables of an instance.
    pub tables: Option<usize>,
    /// Elements of one table.
    pub table_elements: Option<usize>,
    /// Core instances of one instance.
    pub instances: Option<usize>,
    /// Linear memories of an instance.
    pub memories: Option<usize>,
    /// Calls into the host during one call.
    pub host_calls: Option<u64>,
    /// MiB that one call may move between host and plugin.
    pub host_mib: Option<usize>,
    /// KiB of log text in one call.
    pub log_kib: Option<usize>,
    /// Different reasons in one call.
    pub reasons: Option<usize>,
    /// Calls that an instance serves.
    pub calls_per_instance: Option<u32>,
}

impl LimitOverrides {
    /// The host's limits with these in their place.
    pub fn over(&self, host: Limits) -> Limits {
        let millis = |own: Option<u64>, host| own.map_or(host, Duration::from_millis);
        let mib = |own: Option<usize>, host| own.map_or(host, |mib| mib.saturating_mul(1 << 20));
        Limits {
            call: millis(self.call_ms, host.call),
            per_item: self.per_item_us.map_or(host.per_item, Duration::from_micros),
            start: millis(self.start_ms, host.start),
            memory: mib(self.memory_mib, host.memory),
            tables: self.tables.unwrap_or(host.tables),
            table_elements: self.table_elements.unwrap_or(host.table_elements),
            instances: self.instances.unwrap_or(host.instances),
            memories: self.memories.unwrap_or(host.memories),
            host_calls: self.host_calls.unwrap_or(host.host_calls),
            host_bytes: mib(self.host_mib, host.host_bytes),
            log: self.log_kib.map_or(host.log, |kib| kib.saturating_mul(1 << 10)),
            reasons: self.reasons.unwrap_or(host.reasons),
            calls_per_instance: self.calls_per_instance.unwrap_or(host.calls_per_instance),
            ..host
        }
    }

    /// With nothing of these a plugin could do nothing.
    fn check(&self) -> Result<(), String> {
        let zeros = [
            ("call-ms", self.call_ms == Some(0)),
            ("start-ms", self.start_ms == Some(0)),
            ("memory-mib", self.memory_mib == Some(0)),
            ("instances", self.instances == Some(0)),
            ("memories", self.memories == Some(0)),
            ("host-calls", self.host_calls == Some(0)),
            ("host-mib", self.host_mib == Some(0)),
            ("reasons", self.reasons == Some(0)),
            ("calls-per-instance", self.calls_per_instance == Some(0)),
        ];
        match zeros.into_iter().find(|(_, zero)| *zero) {
            Some((key, _)) => {
                Err(format!("`limits.{key}` is 0: no plugin can work with that; write 1 or more"))
            }
            None => Ok(()),
        }
    }
}

/// Bytes of a glob that an operator writes: a longer one may take more memory to compile than the library allows itself.
pub const GLOB_BYTES: usize = 1024;

/// A set of globs; none at all means everything. `*` crosses slashes.
#[derive(Clone, Debug, Default)]
pub struct Scope(Option<GlobSet>);

impl Scope {
    fn new(key: &str, globs: &[String]) -> Result<Scope, String> {
        if globs.is_empty() {
            return Ok(Scope(None));
        }
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            if glob.is_empty() {
                return Err(format!("`{key}` has an empty glob: leave the key out to mean everything"));
            }
            if glob.len() > GLOB_BYTES {
                let bytes = glob.len();
                return Err(format!(
                    "`{key}` has a glob of {bytes} bytes, longer than the {GLOB_BYTES} that are taken: write several globs"
                ));
            }
            set.add(Glob::new(glob).map_err(|e| format!("`{key}`: `{glob}` is not a glob: {}", e.kind()))?);
        }
        set.build().map(|set| Scope(Some(set))).map_err(|e| format!("`{key}`: {e}"))
    }

    /// Whether `name` is in it.
    pub fn covers(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|set| set.is_match(name))
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    digest: Value,
    plugin: Option<String>,
    #[serde(default)]
    projects: Vec<String>,
    #[serde(default)]
    remotes: Vec<String>,
    #[serde(default)]
    on_failure: OnFailure,
    #[serde(default)]
    isolation: Isolation,
    #[serde(default)]
    limits: LimitOverrides,
    #[serde(default)]
    settings: Map<String, Value>,
}

impl Policy {
    /// Reads the text of a `NAME.toml`. An error names the place, what is wrong and what is allowed.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        let digests = digests(&file.digest)?;
        file.limits.check()?;
        Ok(Policy {
            digests,
            plugin: file.plugin,
            projects: Scope::new("projects", &file.projects)?,
            remotes: Scope::new("remotes", &file.remotes)?,
            on_failure: file.on_failure,
            isolation: file.isolation,
            limits: file.limits,
            settings: file.settings,
        })
    }
}

impl Policy {
    /// The part that says how the plugin runs, and not what for: its own cases bring their settings with them, and do not
    /// know this site's projects and remotes.
    pub fn for_own_cases(&self) -> Policy {
        Policy { projects: Scope::default(), remotes: Scope::default(), settings: Map::new(), ..self.clone() }
    }
}

/// One digest, or several: while a plugin is replaced the old file and the new one may both be there.
fn digests(value: &Value) -> Result<Vec<String>, String> {
    let all: Option<Vec<&str>> = match value {
        Value::Null => return Ok(Vec::new()),
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => several.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let Some(all) = all.filter(|all| !all.is_empty()) else {
        return Err(
            "`digest` is neither a text nor a list of texts: write `\"sha256:…\"`, or several in `[ ]`"
                .to_owned(),
        );
    };
    for digest in &all {
        let hex = digest.strip_prefix("sha256:");
        let is_hex = |h: &str| h.len() == 64 && h.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex.is_some_and(is_hex) {
            return Err(format!(
                "`digest` is `{digest}`: write `sha256:` and 64 hex digits in lower case, as `refgate plugins inspect` \
                 prints them"
            ));
        }
    }
    Ok(all.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read() {
        let policy = Policy::parse(
            "digest = 'sha256:0000000000000000000000000000000000000000000000000000000000000000'\n\
             projects = ['team/*']\nremotes = ['site-?']\non-failure = 'last-good'\nisolation = 'fresh'\n\
             [limits]\ncall-ms = 1\n[settings]\nmax = 5\n",
        )
        .unwrap();
        assert!(policy.projects.covers("team/a/b") && !policy.projects.covers("teams"));
        assert!(policy.remotes.covers("site-b") && !policy.remotes.covers("site-bb"));
        assert_eq!((policy.on_failure, policy.isolation), (OnFailure::LastGood, Isolation::Fresh));
        let limits = policy.limits.over(Limits::default());
        assert_eq!((limits.call, limits.start), (Duration::from_millis(1), Limits::default().start));
        assert_eq!(policy.settings["max"], 5);
        let both = format!("digest = ['sha256:{}', 'sha256:{}']", "0".repeat(64), "1".repeat(64));
        assert_eq!((policy.digests.len(), Policy::parse(&both).unwrap().digests.len()), (1, 2));
        let nothing = Policy::parse("").unwrap();
        assert!(nothing.digests.is_empty());
        assert!(nothing.projects.covers("x") && nothing.remotes.covers(""));
        assert_eq!(nothing.on_failure, OnFailure::Closed);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, said) in [
            ("on-failure = 'ajar'", "unknown variant `ajar`, expected one of `closed`, `open`, `last-good`"),
            ("colour = 1", "unknown field `colour`"),
            ("[limits]\nspeed = 1", "unknown field `speed`"),
            ("[limits]\nmemory-mib = 0", "`limits.memory-mib` is 0"),
            ("digest = 'sha256:12'", "64 hex digits"),
            ("digest = ['sha256:12']", "64 hex digits"),
            ("digest = []", "a list of texts"),
            ("digest = 5", "a list of texts"),
            ("projects = ['a[']", "`a[` is not a glob"),
            ("projects = ['']", "empty glob"),
            (&format!("remotes = ['{}']", "?".repeat(1025)), "`remotes` has a glob of 1025 bytes"),
            ("a = ", "line 1"),
        ] {
            let error = Policy::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
