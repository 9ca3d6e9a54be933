//! Why a ref is held back, or would go: its values at both ends and in the ref-db, how it is treated, and what is decided
//! about it now. Nothing is moved.

use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use refgate_core::{
    Class, Direction, Enforcement, GlobalRef, Lookup, Oid, Project, Reason, RefName, is_own, meta_of,
    offerable,
};
use refgate_git::{Target, list};
use serde_json::{Value, json};

use crate::config::Config;
use crate::replicate::catch_up::deadline;
use crate::replicate::{self, Options, Progress, Site, blocking};
use crate::report::{oid_json, ref_json};
use crate::{Error, Held, Report};

/// What is so of one ref between this site and a remote.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Which way it would go.
    pub direction: Direction,
    /// The project.
    pub project: Project,
    /// The local name.
    pub name: RefName,
    /// The name at the remote, if a refspec leads there.
    pub remote_name: Option<RefName>,
    /// The remote.
    pub remote: String,
    /// How the ref is treated, and by which rule.
    pub policy: (&'static str, String),
    /// What is here.
    pub local: At,
    /// What the remote lists.
    pub there: At,
    /// What the ref-db holds, or why that is not known.
    pub global: Result<Lookup, String>,
    /// What is decided, or why the ref is not on offer at all.
    pub verdict: Result<Decided, String>,
}

/// What one side holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// No such ref.
    Nothing,
    /// A value.
    Oid(Oid),
    /// It names another ref.
    Symbolic,
    /// It is there and cannot be read.
    Broken,
}

/// What a dry run decides about the ref.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Why it is held back; `None` when it would go.
    pub held: Option<Held>,
    /// In words: what the reason means.
    pub meaning: Option<String>,
    /// What releases it.
    pub release: Option<String>,
    document: Value,
}

/// How a ref is treated, as one word, and what decides that.
pub fn policy(
    config: &Config,
    replicates: bool,
    project: &Project,
    name: &RefName,
) -> (&'static str, String) {
    match Class::of(project, name, &config.rules) {
        _ if !replicates => ("not-replicated", "no `projects.pattern` selects the project".to_owned()),
        _ if !config.ref_database.enabled => ("unchecked", "`ref-database.enabled` is false".to_owned()),
        Class::Exempt => ("exempt", "built in: kept without any read".to_owned()),
        Class::Excluded => {
            ("excluded", "built in: never in the ref-db, so only created or fast-forwarded".to_owned())
        }
        Class::Ignored | Class::Checked => match config.rules.explain(project, name) {
            Some((Enforcement::Ignored, rule)) => ("IGNORED", format!("rule `{rule}`")),
            Some((Enforcement::Required, rule)) => ("REQUIRED", format!("rule `{rule}`")),
            None => ("REQUIRED", "no rule names it".to_owned()),
        },
    }
}

/// Looks at one ref by its local name, and decides about it as a dry run does. On fetch that brings the objects on which the
/// verdict depends.
///
/// # Errors
/// An unknown project or remote, a remote that does not answer, a repository that cannot be read.
pub async fn explain(
    site: &Site,
    project: &Project,
    name: &RefName,
    remote: &str,
    direction: Direction,
    progress: Arc<dyn Progress>,
) -> Result<Explanation, Error> {
    let config = site.gate.config();
    let refspecs = match direction {
        Direction::Push => &site.gate.remote(remote)?.push,
        Direction::Fetch => &site.gate.remote(remote)?.fetch,
    };
    let remote_name = match direction {
        Direction::Push => refspecs.destination(name),
        Direction::Fetch => refspecs.source(name),
    };
    let remote_name = remote_name.map(|mapped| mapped.name);
    let repository = site.repository(project).await?;
    let (here, asked) = (repository.clone(), name.clone());
    let local = blocking(move || Ok(here.targets(&[&asked])?.pop().flatten())).await?;
    let local = match local {
        None => At::Nothing,
        Some(Target::Oid(oid)) => At::Oid(oid),
        Some(Target::Symbolic) => At::Symbolic,
        Some(Target::Broken(_)) => At::Broken,
    };
    let (url, format) = (site.url(remote, project)?, repository.object_format());
    let listed = blocking(move || list(&url, format)).await?;
    let wanted = remote_name.as_ref().unwrap_or(name);
    let there = match listed.into_iter().find(|one| one.name == *wanted) {
        None => At::Nothing,
        Some(one) if one.symbolic => At::Symbolic,
        Some(one) => one.oid.map_or(At::Broken, At::Oid),
    };
    let found = site.gate.refdb().get_many(project, std::slice::from_ref(name), deadline(site)).await;
    let global = match found {
        Ok(mut found) => found.pop().ok_or_else(|| "it gave no answer".to_owned()),
        Err(e) => Err(e.message),
    };
    let source = match direction {
        Direction::Push => Some(name),
        Direction::Fetch => remote_name.as_ref(),
    };
    let verdict = match source {
        Some(source) if remote_name.is_some() => {
            let options = Options { refs: vec![with_its_change(source)?], dry_run: true, create: false };
            let report = match direction {
                Direction::Push => replicate::push(site, project, remote, &options, progress).await?,
                Direction::Fetch => replicate::fetch(site, project, remote, &options, progress).await?,
            };
            decided(report, name).ok_or_else(|| match offerable(source, refspecs) {
                false if is_own(source) => "refgate keeps names below `refs/refgate/` for itself".to_owned(),
                false => {
                    "git keeps this name for one repository, and no refspec names it expressly".to_owned()
                }
                true => not_on_offer(direction, &local, &there, remote),
            })
        }
        _ => Err(format!("no refspec of `remote.{remote}.{}` leads to it", direction.name())),
    };
    let replicates = site.gate.matches(project).await?;
    Ok(Explanation {
        direction,
        project: project.clone(),
        name: name.clone(),
        remote_name,
        remote: remote.to_owned(),
        policy: policy(config, replicates, project, name),
        local,
        there,
        global,
        verdict,
    })
}

/// The ref alone, or all refs of its change: they stand and fall together. A byte that is no text matches as any one.
fn with_its_change(source: &RefName) -> Result<GlobMatcher, Error> {
    let meta = meta_of(source);
    let whole = meta.as_ref().unwrap_or(source).as_bytes();
    let mut pattern = String::new();
    for chunk in whole.utf8_chunks() {
        pattern.push_str(&globset::escape(chunk.valid()));
        chunk.invalid().iter().for_each(|_| pattern.push('?'));
    }
    if refgate_core::is_meta(meta.as_ref().unwrap_or(source)) {
        pattern = pattern.strip_suffix("meta").unwrap_or(&pattern).to_owned() + "*";
    }
    let glob = GlobBuilder::new(&pattern).literal_separator(false).backslash_escape(true).build();
    Ok(glob.map_err(|e| Error::failed(format!("`{source}` cannot be asked for: {e}")))?.compile_matcher())
}

/// The row of the ref in a dry run.
fn decided(report: Report, name: &RefName) -> Option<Decided> {
    let one = report.decision.moves.iter().find(|one| one.name() == name)?;
    let (meaning, release) = match one.held() {
        None => (None, None),
        Some(held) => {
            let by = &held.by;
            let release = match &held.reason {
                Reason::Own(_) => format!(
                    "the policy of the filter `{by}`; `refgate plugins inspect {by}` shows what it says of itself"
                ),
                reason => reason.release().replace("PROJECT REF", &format!("{} {name}", report.project)),
            };
            (report.decision.meaning(held).map(str::to_owned), Some(release))
        }
    };
    let held = one.held().cloned();
    Some(Decided { held, meaning, release, document: ref_json(&report.decision, one) })
}

/// Why a dry run says nothing about a ref that could be offered.
fn not_on_offer(direction: Direction, local: &At, there: &At, remote: &str) -> String {
    let (source, destination, from, to) = match direction {
        Direction::Push => (local, there, "here", format!("at `{remote}`")),
        Direction::Fetch => (there, local, "at the remote", "here".to_owned()),
    };
    match (source, destination) {
        (At::Symbolic, _) | (_, At::Symbolic) => {
            "a symbolic ref is never offered, nor written through".to_owned()
        }
        (At::Nothing, At::Nothing) => "neither side has it".to_owned(),
        (one, other) if one == other => "both sides hold the same: there is nothing to do".to_owned(),
        (At::Nothing, _) => format!(
            "it is only {to}: {from} it is gone, and no deletion is replicated that the ref-db does not record (or \
             `mirror = false` keeps it)"
        ),
        _ => "it was not offered: it moved while it was looked at; run again".to_owned(),
    }
}

impl Explanation {
    /// The document of `--json`.
    pub fn to_json(&self) -> Value {
        let at = |at: &At| match at {
            At::Oid(oid) => oid_json(Some(*oid)),
            At::Nothing => Value::Null,
            At::Symbolic => json!("symbolic"),
            At::Broken => json!("unreadable"),
        };
        let (global, superseded, problem) = match &self.global {
            Ok(Lookup::Entry(entry)) => {
                let value = match entry.value {
                    GlobalRef::At(oid) => oid.to_string(),
                    GlobalRef::Deleted => "deleted".into(),
                    GlobalRef::Untracked => "untracked".into(),
                };
                (json!(value), entry.superseded.iter().map(ToString::to_string).collect(), None)
            }
            Ok(Lookup::Text(_)) => (Value::Null, Vec::new(), Some("it is a text")),
            Ok(Lookup::Locked) => (Value::Null, Vec::new(), Some("locked")),
            Ok(Lookup::Unreadable(why)) | Err(why) => (Value::Null, Vec::new(), Some(why.as_str())),
        };
        let mut out = json!({
            "command": "explain", "direction": self.direction.name(), "project": self.project.as_str(),
            "ref": self.name.to_string(), "remote": self.remote,
            "remote_ref": self.remote_name.as_ref().map(ToString::to_string),
            "policy": self.policy.0, "because": self.policy.1,
            "local": at(&self.local), "there": at(&self.there),
            "global": global, "superseded": superseded,
        });
        if let Some(problem) = problem {
            out["problem"] = json!(problem);
        }
        match &self.verdict {
            Err(why) => {
                out["verdict"] = json!("not-offered");
                out["why"] = json!(why);
            }
            Ok(decided) => {
                out["verdict"] = decided.document["verdict"].clone();
                out["meaning"] = json!(decided.meaning);
                out["release"] = json!(decided.release);
                out["decision"] = decided.document.clone();
            }
        }
        out
    }
}
