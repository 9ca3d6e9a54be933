//! The project matcher that ships with refgate: selects projects by Gerrit's patterns.
//!
//! `pattern` may be given several times; a project replicates when one of them matches, and every project does when none is
//! given.

mod pattern;

use refgate_guest::{Problem, Problems, ProjectMatcher, export_project_matcher, log};
use serde::Deserialize;

pub use pattern::{Pattern, PatternError, StepLimit};

/// The settings of the matcher.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The patterns; none selects every project.
    #[serde(default)]
    pub pattern: Vec<String>,
}

/// The matcher: one project, any pattern.
pub struct Matcher {
    patterns: Vec<Pattern>,
}

impl ProjectMatcher for Matcher {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Problems> {
        let mut patterns = Vec::new();
        let mut problems = Vec::new();
        for (i, text) in settings.pattern.iter().enumerate() {
            match Pattern::new(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(e) => problems.push(Problem::at("pattern", i, e.to_string())),
            }
        }
        if problems.is_empty() { Ok(Matcher { patterns }) } else { Err(problems.into()) }
    }

    fn matches(&self, project: &str) -> Result<bool, String> {
        if self.patterns.is_empty() {
            return Ok(true);
        }
        for pattern in &self.patterns {
            match pattern.matches(project) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                // The other patterns still count; this one must not keep projects from replicating unnoticed.
                Err(limit) => log::error!("project `{project}`: {limit}; it counts as no match"),
            }
        }
        Ok(false)
    }
}

export_project_matcher!(Matcher);

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_guest::testing::{run_matcher, settings};

    fn matcher(json: &str) -> Result<Matcher, Problems> {
        settings(json).and_then(Matcher::new)
    }

    fn selected(json: &str, projects: &[&str]) -> Vec<bool> {
        run_matcher(&matcher(json).unwrap(), projects).unwrap().0
    }

    #[test]
    fn any_pattern_selects_and_none_selects_all() {
        let projects = ["team/app", "foo/bar", "foo/car", "x"];
        assert_eq!(selected("{}", &projects), [true; 4]);
        assert_eq!(selected(r#"{"pattern":"foo/b*"}"#, &projects), [false, true, false, false]);
        assert_eq!(selected(r#"{"pattern":["foo/b*","x"]}"#, &projects), [false, true, false, true]);
        assert_eq!(selected(r#"{"pattern":"^(?!foo/).*"}"#, &projects), [true, false, false, true]);
    }

    #[test]
    fn every_bad_pattern_has_its_line() {
        let problems = matcher(r#"{"pattern":["^(","ok","^[z-a]"]}"#).err().unwrap().to_string();
        let lines: Vec<_> = problems.lines().collect();
        assert_eq!(lines.len(), 2, "{problems}");
        assert!(lines[0].starts_with("/pattern/0: "), "{problems}");
        assert!(lines[1].starts_with("/pattern/2: "), "{problems}");
        assert!(matcher(r#"{"patterns":"x"}"#).err().unwrap().to_string().starts_with("/patterns: "));
    }
}
