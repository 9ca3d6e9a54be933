//! Which refs are checked against the ref-db at all: built-in exclusions and enforcement rules.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::{Direction, Project, RefName, Refspecs};

/// How the client writes of a site relate to the ref-db.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SiteKind {
    /// Every write goes through the ref-db: superseded values may be overwritten there.
    Gated,
    /// A pure mirror: nobody writes but replication.
    Mirror,
    /// Others write there and the ref-db does not know: only fast-forwards go. The safe default.
    #[default]
    Ungated,
}

impl SiteKind {
    /// The value of the `writes` key: `gated`, `none` or `ungated`.
    pub fn name(self) -> &'static str {
        match self {
            SiteKind::Gated => "gated",
            SiteKind::Mirror => "none",
            SiteKind::Ungated => "ungated",
        }
    }

    /// The kind that `writes = name` stands for.
    pub fn from_name(name: &str) -> Option<SiteKind> {
        [SiteKind::Gated, SiteKind::Mirror, SiteKind::Ungated].into_iter().find(|k| k.name() == name)
    }

    /// Whether a value that is listed as superseded may be overwritten there.
    pub fn trusts_superseded(self) -> bool {
        self != SiteKind::Ungated
    }
}

/// Kept without any read: Gerrit's multi-site plugin keeps its own version there.
pub const VERSION_REF: &[u8] = b"refs/multi-site/version";

/// Refs that Gerrit never stores in its ref-db (global-refdb `SharedRefEnforcement`): they count as untracked.
///
/// Draft comments, the auto-merge cache, and everything below `refs/changes` but the change's meta and robot comments.
/// The prefixes are without a trailing slash, as in Gerrit.
pub fn is_excluded(name: &RefName) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"refs/draft-comments")
        || name.starts_with(b"refs/cache-automerge")
        || (name.starts_with(b"refs/changes")
            && !name.ends_with(b"/meta")
            && !name.ends_with(b"/robot-comments"))
}

/// `[ref-database "enforcementRules"]`: which refs are IGNORED.
///
/// Exact names only. The rules of a project replace those for all projects; within them an exact ref beats the rule for
/// all refs (global-refdb `CustomSharedRefEnforcementByProject`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    all_projects: Option<ProjectRules>,
    projects: HashMap<String, ProjectRules>,
    named: Vec<(Direction, Refspecs)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ProjectRules {
    all_refs: Option<Enforcement>,
    refs: HashMap<Vec<u8>, Enforcement>,
}

/// What a rule says of a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Enforcement {
    /// Checked against the ref-db.
    Required,
    /// Not checked at all.
    Ignored,
}

impl Enforcement {
    /// `REQUIRED` or `IGNORED`.
    pub fn name(self) -> &'static str {
        match self {
            Enforcement::Required => "REQUIRED",
            Enforcement::Ignored => "IGNORED",
        }
    }

    /// By its name in any case, as Gerrit's configuration keys are.
    pub fn from_name(name: &str) -> Option<Enforcement> {
        [Enforcement::Required, Enforcement::Ignored]
            .into_iter()
            .find(|e| e.name().eq_ignore_ascii_case(name))
    }
}

/// Gerrit's way to write "all" where a part is left out.
const ALL: &str = ".*";

impl Rules {
    /// From `(policy, "project:ref")`; either part may be left out, be blank or be `.*`, which means all.
    ///
    /// As in Gerrit the parts are not trimmed: a blank belongs to the name. A ref may have the leading slash of Gerrit's own
    /// example. The same pair under both policies is an error; all errors are returned, each with the index of its rule.
    pub fn new<'r>(
        rules: impl IntoIterator<Item = (Enforcement, &'r str)>,
    ) -> Result<Rules, Vec<(usize, RuleError)>> {
        let mut out = Rules::default();
        let mut errors = Vec::new();
        let mut seen = HashSet::new();
        for (i, (policy, text)) in rules.into_iter().enumerate() {
            if let Err(why) = out.add(policy, text, &mut seen) {
                errors.push((i, RuleError { text: text.to_owned(), why }));
            }
        }
        if errors.is_empty() { Ok(out) } else { Err(errors) }
    }

    /// The same with the refspecs of all remotes: a name that git keeps for one repository is recorded in the ref-db only
    /// where one of them names the local ref expressly.
    #[must_use]
    pub fn naming(mut self, refspecs: impl IntoIterator<Item = (Direction, Refspecs)>) -> Rules {
        self.named.extend(refspecs);
        self
    }

    /// Whether a refspec of some remote names the local ref `name` expressly.
    pub(crate) fn names_expressly(&self, name: &RefName) -> bool {
        self.named.iter().any(|(direction, refspecs)| match direction {
            Direction::Push => refspecs.names_expressly(name),
            Direction::Fetch => refspecs.sends_expressly_to(name),
        })
    }

    fn add<'r>(
        &mut self,
        policy: Enforcement,
        text: &'r str,
        seen: &mut HashSet<(&'r str, &'r str, Enforcement)>,
    ) -> Result<(), String> {
        let (project, name) = text.split_once(':').unwrap_or((text, ""));
        let all = |part: &'r str| if part.trim().is_empty() { ALL } else { part };
        let (project, name) = (all(project), all(name));
        let name = name.strip_prefix('/').unwrap_or(name);
        if text.split(':').all(|part| part.trim().is_empty()) {
            return Err("it names neither a project nor a ref; `.*:.*` is how to write all of both".into());
        }
        if name.contains(':') {
            return Err("it has more than one `:`".into());
        }
        let other = match policy {
            Enforcement::Required => Enforcement::Ignored,
            Enforcement::Ignored => Enforcement::Required,
        };
        if seen.contains(&(project, name, other)) {
            return Err(format!("the same project and ref stand under {} too", other.name()));
        }
        seen.insert((project, name, policy));
        if project != ALL {
            Project::new(project).map_err(|e| e.to_string())?;
        }
        if name != ALL {
            RefName::new(name).map_err(|e| e.to_string())?;
        }
        let rules = match project {
            ALL => self.all_projects.get_or_insert_default(),
            _ => self.projects.entry(project.to_owned()).or_default(),
        };
        match name {
            ALL => rules.all_refs = Some(policy),
            _ => drop(rules.refs.insert(name.as_bytes().to_vec(), policy)),
        }
        Ok(())
    }

    /// What the rules say of a ref; built-in exclusions come before them and are the caller's business.
    pub fn enforcement(&self, project: &Project, name: &RefName) -> Enforcement {
        self.explain(project, name).map_or(Enforcement::Required, |(policy, _)| policy)
    }

    /// The same with the rule that decides, as `project:ref` with `.*` for all; `None` when no rule applies.
    pub fn explain(&self, project: &Project, name: &RefName) -> Option<(Enforcement, String)> {
        let (of, rules) = match self.projects.get(project.as_str()) {
            Some(rules) => (project.as_str(), rules),
            None => (ALL, self.all_projects.as_ref()?),
        };
        match rules.refs.get(name.as_bytes()) {
            Some(policy) => Some((*policy, format!("{of}:{name}"))),
            None => Some((rules.all_refs?, format!("{of}:{ALL}"))),
        }
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.all_projects.is_none() && self.projects.is_empty()
    }
}

/// A rule that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    text: String,
    why: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}`: {}", self.text, self.why)
    }
}

impl std::error::Error for RuleError {}

#[cfg(test)]
mod tests {
    use super::*;
    use Enforcement::{Ignored, Required};

    fn ask(rules: &Rules, project: &str, name: &str) -> Enforcement {
        rules.enforcement(&Project::new(project).unwrap(), &RefName::new(name).unwrap())
    }

    #[test]
    fn a_projects_rules_replace_those_for_all() {
        let rules = Rules::new([
            (Ignored, ":refs/heads/scratch"),
            (Ignored, "a:/refs/heads/x"),
            (Ignored, "b"),
            (Required, "b:refs/heads/main"),
        ])
        .unwrap();
        assert_eq!(ask(&rules, "c", "refs/heads/scratch"), Ignored);
        assert_eq!(ask(&rules, "c", "refs/heads/main"), Required);
        assert_eq!(ask(&rules, "a", "refs/heads/scratch"), Required, "the project's map replaces the other");
        assert_eq!(ask(&rules, "a", "refs/heads/x"), Ignored, "with the leading slash of Gerrit's example");
        assert_eq!(ask(&rules, "b", "refs/heads/other"), Ignored);
        assert_eq!(ask(&rules, "b", "refs/heads/main"), Required);
        let explain = |project: &str, name: &str| {
            rules.explain(&Project::new(project).unwrap(), &RefName::new(name).unwrap())
        };
        assert_eq!(explain("a", "refs/heads/scratch"), None);
        assert_eq!(explain("a", "refs/heads/x"), Some((Ignored, "a:refs/heads/x".into())));
        assert_eq!(explain("b", "refs/heads/x"), Some((Ignored, "b:.*".into())));
        assert_eq!(explain("c", "refs/heads/scratch"), Some((Ignored, ".*:refs/heads/scratch".into())));
    }

    #[test]
    fn a_blank_belongs_to_the_name_that_it_stands_beside() {
        let rules = Rules::new([(Ignored, "a :refs/heads/x"), (Ignored, " b"), (Ignored, " : refs/heads/y")]);
        let error = rules.unwrap_err()[0].1.to_string();
        assert!(error.contains("ref ` refs/heads/y` is not a legal name: it holds a space"), "{error}");
        let rules = Rules::new([(Ignored, "a :refs/heads/x"), (Ignored, " b"), (Ignored, " :refs/heads/y")]);
        let rules = rules.unwrap();
        assert_eq!(ask(&rules, "a", "refs/heads/x"), Required);
        assert_eq!(ask(&rules, "a ", "refs/heads/x"), Ignored);
        assert_eq!(ask(&rules, "b", "refs/heads/x"), Required);
        assert_eq!(ask(&rules, " b", "refs/heads/x"), Ignored);
        assert_eq!(ask(&rules, "c", "refs/heads/y"), Ignored, "a blank part means all");
    }

    #[test]
    fn conflicting_and_illegal_rules_are_refused() {
        let errors = Rules::new([
            (Ignored, "a:refs/heads/x"),
            (Required, "a:/refs/heads/x"),
            (Ignored, "../a"),
            (Ignored, "a:refs/heads/*"),
            (Ignored, ":"),
        ])
        .unwrap_err();
        assert_eq!(errors.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(Rules::new([(Ignored, ".*:.*")]).is_ok());
    }

    #[test]
    fn exclusions_are_prefixes_without_a_slash() {
        let excluded = |name: &str| is_excluded(&RefName::new(name).unwrap());
        for yes in [
            "refs/changes/12/4512/1",
            "refs/draft-comments/1/2",
            "refs/cache-automerge/ab/c",
            "refs/changesX/y",
        ] {
            assert!(excluded(yes), "{yes}");
        }
        for no in [
            "refs/changes/12/4512/meta",
            "refs/changes/12/4512/robot-comments",
            "refs/heads/changes",
            "refs/tags/v1",
        ] {
            assert!(!excluded(no), "{no}");
        }
    }
}
