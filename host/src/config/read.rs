//! From entries to the typed configuration: first everything is checked, then nothing can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use refgate_core::{
    Direction, Enforcement, Refspec, Refspecs, ReloadWait, Rules, SiteKind, escape, shown_address,
    without_userinfo,
};
use refgate_git::Limits;
use refgate_refdb::{Access, PasswordFrom, Tls, password_variable};
use refgate_runtime::{CompileLimits, Require};
use serde_json::{Map, Value};

use super::error::{ConfigError, ConfigErrors};
use super::keys::{self, Kind, Subsection};
use super::parse::Item;
use super::{Config, Effective, Plugins, RefDatabase, Remote, Site, values};
use super::{suggest, table};

/// Checks `items` and gives every key its value.
pub(super) fn config(items: &[Item], base: &Path) -> Result<Config, ConfigErrors> {
    let mut errors = Vec::new();
    let (used, unused): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| check(item, &mut errors));
    let rules = rules(&used, &mut errors);
    pairs(&used, &mut errors);
    if !errors.is_empty() {
        errors.sort();
        return Err(ConfigErrors(errors));
    }
    let read = Reader { items: used, base };
    // From here on git and its hooks may be started; no child needs the password of the ref-db.
    let variables = [
        read.text("ref-database", None, "passwordEnv"),
        read.text("ref-database", None, "url").and_then(|url| password_variable(&url).map(str::to_owned)),
    ];
    refgate_git::withhold(variables.into_iter().flatten().map(Into::into));
    let remotes: BTreeMap<String, Remote> =
        read.names("remote").into_iter().map(|name| (name.to_owned(), read.remote(name))).collect();
    let refspecs = remotes.values().flat_map(|remote| {
        [(Direction::Push, remote.push.clone()), (Direction::Fetch, remote.fetch.clone())]
    });
    Ok(Config {
        site: Site {
            name: read.text("site", None, "name"),
            base_path: read.path("site", "basePath").unwrap_or_else(|| base.join("git")),
            writes: read.writes("site", None),
            git_timeout: read.seconds("site", None, "gitTimeout"),
            secret_file: read.path("site", "secretFile"),
        },
        ref_database: RefDatabase {
            enabled: read.boolean("ref-database", None, "enabled"),
            url: read.text("ref-database", None, "url"),
            base_dir: read
                .last("ref-database", None, "url")
                .map_or(base.to_owned(), |i| directory(i).to_owned()),
            access: read.access(),
            push_gate: read.boolean("ref-database", None, "pushReplicationFilterEnabled"),
            fetch_gate: read.boolean("ref-database", None, "pullReplicationFilterEnabled"),
            timeout: Duration::from_millis(u64::from(read.millis("ref-database", None, "timeoutMs"))),
            forget_after_hours: values::hours(&read.or_default("ref-database", None, "forgetAfterHours"))
                .unwrap_or(u32::MAX),
        },
        rules: rules.naming(refspecs),
        patterns: read.texts("projects", None, "pattern"),
        push_wait: read.wait("push-filter"),
        fetch_wait: read.wait("fetch-filter"),
        plugins: Plugins {
            directory: read.path("plugins", "directory"),
            require: read.texts("plugins", None, "require"),
            verify: Require::from_name(&read.or_default("plugins", None, "verify")).unwrap_or_default(),
            signers: read.path("plugins", "signers"),
            state: read.path("plugins", "state").or_else(|| {
                let state = || base.join(read.or_default("plugins", None, "state"));
                read.last("plugins", None, "directory").map(|_| state())
            }),
            compile: CompileLimits {
                time: values::seconds(&read.or_default("plugins", None, "compileTimeout"))
                    .unwrap_or_default(),
                memory: values::mebibytes(&read.or_default("plugins", None, "compileMemory"))
                    .unwrap_or_default(),
            },
            cases: read.paths("plugins", "cases"),
            shadow_looks: read.count("plugins", None, "shadowLooks"),
            max_changed_percent: values::percent(&read.or_default("plugins", None, "maxChanged"))
                .unwrap_or_default(),
            rollback_failures: read.count("plugins", None, "rollbackFailures"),
            rollback_within: Duration::from_secs(read.count("plugins", None, "rollbackSeconds")),
            record: read.path("plugins", "record"),
            record_max: crate::record::DEFAULT_MAX,
        },
        plugin_settings: read.plugin_settings(),
        remotes,
        unused: unused.into_iter().cloned().collect(),
        effective: read.effective(),
    })
}

/// Whether refgate uses `item`; what is wrong with it goes to `errors`.
fn check(item: &Item, errors: &mut Vec<ConfigError>) -> bool {
    let subsection = item.subsection.as_deref();
    let Some(doc) = table::find(&item.section, subsection, &item.key) else {
        if !table::is_used(&item.section) {
            // A mistyped section must not open the gate: `[project] pattern = …` would replicate every project.
            if let Some(near) = suggest::section(&item.section).filter(|_| !table::is_known(&item.section)) {
                let message = format!("unknown section `{}`", shown(&item.section));
                errors.push(ConfigError::new(&item.origin, message, format!("did you mean `{near}`?")));
                return true;
            }
            return false;
        }
        let (message, hint) = match (item.section.as_str(), subsection) {
            ("ref-database", Some("enforcementRules")) => (
                format!("unknown policy `{}`", item.written),
                match item.key.as_str() {
                    "desired" => "Gerrit dropped DESIRED; write `REQUIRED` or `IGNORED`".to_owned(),
                    _ => "write `REQUIRED` or `IGNORED`".to_owned(),
                },
            ),
            _ => (
                format!("unknown key `{}`", shown(&item.full_key())),
                suggest::key(&item.section, subsection, &item.key),
            ),
        };
        errors.push(ConfigError::new(&item.origin, message, hint));
        return true;
    };
    // Gerrit takes anything for most of the keys that are not used here, but for times.
    if (doc.used || doc.kind == Kind::Time)
        && let Err(why) = doc.kind.check(item.value.as_deref())
    {
        let message = format!("`{}`: {}", shown(&item.full_key()), shown(&why));
        errors.push(ConfigError::new(&item.origin, message, ""));
    }
    doc.used
}

/// Text of the file in a message: no control characters.
fn shown(text: &str) -> String {
    // `escape` also writes `%` as `%25`, which would only confuse here.
    match text.chars().any(char::is_control) {
        true => escape(text.as_bytes()),
        false => text.to_owned(),
    }
}

/// Keys of the ref-db's access of which one without the other is a mistake.
fn pairs(used: &[&Item], errors: &mut Vec<ConfigError>) {
    let of = |keys: &[&str]| {
        let is =
            |i: &&&Item| i.section == "ref-database" && keys.iter().any(|k| i.key.eq_ignore_ascii_case(k));
        used.iter().find(is)
    };
    for (these, those, hint) in [
        (&["user"][..], &["passwordFile", "passwordEnv"][..], "add `passwordFile` or `passwordEnv`"),
        (&["passwordFile", "passwordEnv"], &["user"], "add `user`"),
        (&["certFile"], &["keyFile"], "add `keyFile`"),
        (&["keyFile"], &["certFile"], "add `certFile`"),
    ] {
        if let (Some(item), None) = (of(these), of(those)) {
            let message = format!("`{}` has no use alone", item.full_key());
            errors.push(ConfigError::new(&item.origin, message, hint));
        }
    }
}

fn rules(used: &[&Item], errors: &mut Vec<ConfigError>) -> Rules {
    let of: Vec<(&Item, Enforcement, &str)> = used
        .iter()
        .filter(|i| i.section == "ref-database" && i.subsection.as_deref() == Some("enforcementRules"))
        .filter_map(|i| {
            Some((*i, Enforcement::from_name(&i.key)?, i.value.as_deref().filter(|v| !v.is_empty())?))
        })
        .collect();
    Rules::new(of.iter().map(|(_, policy, text)| (*policy, *text))).unwrap_or_else(|wrong| {
        for (i, e) in wrong {
            let hint = "write `project:ref`, each under one policy; either part may be left out";
            errors.push(ConfigError::new(&of[i].0.origin, shown(&e.to_string()), hint));
        }
        Rules::default()
    })
}

/// Remotes of which something is said, but not where they are.
pub(super) fn remotes_without_url(items: &[Item]) -> Vec<ConfigError> {
    let mut first: BTreeMap<&str, (&Item, bool)> = BTreeMap::new();
    for item in items.iter().filter(|i| i.section == "remote") {
        if let Some(name) = item.subsection.as_deref() {
            first.entry(name).or_insert((item, false)).1 |= item.key == "url";
        }
    }
    let lonely = first.into_iter().filter(|(_, (_, has_url))| !has_url);
    lonely
        .map(|(name, (item, _))| {
            let message = format!("remote `{}` has no url", shown(name));
            ConfigError::new(&item.origin, message, "write `url = ../SITE/git/${name}.git`, or a URL")
        })
        .collect()
}

/// The directory of the file that says `item`.
fn directory(item: &Item) -> &Path {
    item.origin.file.parent().unwrap_or(Path::new(""))
}

/// A path for processes that run in other directories. It is made of texts, so it is one.
fn absolute(path: PathBuf) -> String {
    // Without a current directory there is nothing better than what was written.
    std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
}

/// Entries that were checked. Every value is one of its kind, so the fallbacks below are never reached.
struct Reader<'i> {
    items: Vec<&'i Item>,
    base: &'i Path,
}

impl<'i> Reader<'i> {
    fn all(&self, section: &str, subsection: Option<&str>, key: &str) -> impl Iterator<Item = &'i Item> {
        self.items.iter().copied().filter(move |i| {
            i.section == section && i.subsection.as_deref() == subsection && i.key.eq_ignore_ascii_case(key)
        })
    }

    fn last(&self, section: &str, subsection: Option<&str>, key: &str) -> Option<&'i Item> {
        self.all(section, subsection, key).last()
    }

    fn text(&self, section: &str, subsection: Option<&str>, key: &str) -> Option<String> {
        self.last(section, subsection, key)?.value.clone()
    }

    fn texts(&self, section: &str, subsection: Option<&str>, key: &str) -> Vec<String> {
        self.all(section, subsection, key).filter_map(|i| i.value.clone()).collect()
    }

    /// The last value, or the default of the table; a key without `=` is `true`.
    fn or_default(&self, section: &str, subsection: Option<&str>, key: &str) -> String {
        match self.last(section, subsection, key) {
            Some(item) => item.value.clone().unwrap_or_else(|| "true".to_owned()),
            None => table::find(section, subsection, key).map_or("", |doc| doc.default).to_owned(),
        }
    }

    fn boolean(&self, section: &str, subsection: Option<&str>, key: &str) -> bool {
        values::boolean(&self.or_default(section, subsection, key)).unwrap_or_default()
    }

    fn millis(&self, section: &str, subsection: Option<&str>, key: &str) -> u32 {
        values::millis(&self.or_default(section, subsection, key)).unwrap_or_default()
    }

    fn seconds(&self, section: &str, subsection: Option<&str>, key: &str) -> Duration {
        values::seconds(&self.or_default(section, subsection, key)).unwrap_or_default()
    }

    fn writes(&self, section: &str, subsection: Option<&str>) -> SiteKind {
        SiteKind::from_name(&self.or_default(section, subsection, "writes")).unwrap_or_default()
    }

    fn path(&self, section: &str, key: &str) -> Option<PathBuf> {
        let item = self.last(section, None, key)?;
        Some(directory(item).join(item.value.as_deref()?))
    }

    fn paths(&self, section: &str, key: &str) -> Vec<PathBuf> {
        let path = |item: &Item| Some(directory(item).join(item.value.as_deref()?));
        self.all(section, None, key).filter_map(path).collect()
    }

    fn count(&self, section: &str, subsection: Option<&str>, key: &str) -> u64 {
        values::count(&self.or_default(section, subsection, key)).unwrap_or_default()
    }

    fn access(&self) -> Access {
        let section = "ref-database";
        let file = self.path(section, "passwordFile").map(PasswordFrom::File);
        let variable = || self.text(section, None, "passwordEnv").map(PasswordFrom::Env);
        let ca = self.path(section, "caFile");
        let identity = self.path(section, "certFile").zip(self.path(section, "keyFile"));
        let tls = self.boolean(section, None, "tls") || ca.is_some() || identity.is_some();
        Access {
            user: self.text(section, None, "user"),
            password: file.or_else(variable),
            tls: tls.then_some(Tls { ca, identity }),
        }
    }

    fn wait(&self, filter: &str) -> ReloadWait {
        let millis = |key| self.millis("replication", Some(filter), key);
        ReloadWait {
            min_ms: millis("minWaitBeforeReloadLocalVersionMs"),
            max_random_ms: millis("maxRandomWaitBeforeReloadLocalVersionMs"),
        }
    }

    /// The subsections of `section`.
    fn names(&self, section: &str) -> BTreeSet<&'i str> {
        let here = self.items.iter().copied().filter(|i| i.section == section);
        here.filter_map(|i| i.subsection.as_deref()).collect()
    }

    fn remote(&self, name: &str) -> Remote {
        let some = Some(name);
        let specs = |key| {
            let texts = self.texts("remote", some, key);
            let specs: Vec<Refspec> = texts.iter().filter_map(|t| Refspec::parse(t).ok()).collect();
            if specs.is_empty() { Refspecs::everything() } else { Refspecs::new(specs) }
        };
        let url = self.last("remote", some, "url").and_then(|item| {
            let url = item.value.as_deref()?;
            match keys::is_path(url) {
                true => Some(absolute(directory(item).join(url))),
                false => Some(url.to_owned()),
            }
        });
        Remote {
            url,
            push: specs("push"),
            fetch: specs("fetch"),
            mirror: self.boolean("remote", some, "mirror"),
            writes: self.writes("remote", some),
            source_of_truth: self.boolean("remote", some, "sourceOfTruth"),
            limits: Limits {
                connect: self.seconds("remote", some, "connectTimeout"),
                silence: self.seconds("remote", some, "timeout"),
                session: self.seconds("remote", some, "sessionTimeout"),
                refs: self.count("remote", some, "maxRefs"),
            },
            shows_all_refs: self.boolean("remote", some, "showsAllRefs"),
        }
    }

    fn plugin_settings(&self) -> BTreeMap<String, Map<String, Value>> {
        let mut out: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        // What each key was first written as.
        let mut written: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for item in self.items.iter().copied().filter(|i| i.section == "plugin") {
            let (Some(name), Some(value)) = (item.subsection.as_deref(), item.value.clone()) else {
                continue;
            };
            let key = *written.entry((name, &item.key)).or_insert(&item.written);
            let settings = out.entry(name.to_owned()).or_default();
            match settings.get_mut(key) {
                None => drop(settings.insert(key.to_owned(), Value::String(value))),
                Some(Value::Array(list)) => list.push(Value::String(value)),
                Some(one) => *one = Value::Array(vec![one.take(), Value::String(value)]),
            }
        }
        out
    }

    fn effective(&self) -> Vec<Effective> {
        let mut out = Vec::new();
        for doc in table::reference().iter().filter(|doc| doc.used) {
            let subsections: Vec<Option<&str>> = match doc.subsection {
                Subsection::None => vec![None],
                Subsection::Named(name) => vec![Some(name)],
                Subsection::Any => self.names(doc.section).into_iter().map(Some).collect(),
            };
            for subsection in subsections {
                let here: Vec<&Item> = self
                    .items
                    .iter()
                    .copied()
                    .filter(|i| i.section == doc.section && i.subsection.as_deref() == subsection)
                    .filter(|i| doc.key == "*" || i.key.eq_ignore_ascii_case(doc.key))
                    .collect();
                let counts = if doc.multi { 0 } else { here.len().saturating_sub(1) };
                let full = |key: &str| match subsection {
                    Some(subsection) => format!("{}.{subsection}.{key}", doc.section),
                    None => format!("{}.{key}", doc.section),
                };
                for item in &here[counts..] {
                    let key = if doc.key == "*" { &item.written } else { doc.key };
                    let value = item.value.as_deref().unwrap_or("true");
                    let value = match doc.kind {
                        Kind::RemoteUrl => shown_address(value),
                        _ => without_userinfo(value),
                    };
                    let value = value.into_owned();
                    out.push(Effective { key: full(key), value, origin: Some(item.origin.clone()) });
                }
                if here.is_empty() && !doc.default.is_empty() {
                    let value = match doc.kind {
                        Kind::Path => self.base.join(doc.default).display().to_string(),
                        _ => doc.default.to_owned(),
                    };
                    out.push(Effective { key: full(doc.key), value, origin: None });
                }
            }
        }
        out
    }
}
