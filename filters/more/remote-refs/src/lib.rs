//! Says which refs go to and come from which remote: a table of rules, the first that matches decides.
//!
//! A rule is `REMOTE keep|discard REFS`, both names globs: `site-b keep refs/heads/**`, then `site-b discard **`. A ref that
//! no rule matches is kept.

use refgate_guest::{Batch, Glob, Problem, Problems, RefFilter, Verdicts, export_push_and_fetch_filter};
use serde::Deserialize;

/// Why a ref is discarded.
pub const REASON: &str = "not-for-this-remote";

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `REMOTE keep|discard REFS`, in the order in which they are tried.
    pub rule: Vec<String>,
}

/// The filter.
pub struct RemoteRefs {
    rules: Vec<Rule>,
}

struct Rule {
    remote: Glob,
    keep: bool,
    refs: Glob,
}

impl RefFilter for RemoteRefs {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Problems> {
        let (mut rules, mut problems) = (Vec::new(), Vec::new());
        for (i, text) in settings.rule.iter().enumerate() {
            match Rule::parse(text) {
                Ok(rule) => rules.push(rule),
                Err(why) => problems.push(Problem::at("rule", i, format!("`{text}`: {why}"))),
            }
        }
        if problems.is_empty() { Ok(RemoteRefs { rules }) } else { Err(problems.into()) }
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        let peer = batch.peer();
        let rules: Vec<&Rule> = self.rules.iter().filter(|rule| rule.remote.matches(&peer)).collect();
        // Without a rule that could discard, no name has to be read.
        if rules.iter().all(|rule| rule.keep) {
            return Ok(());
        }
        let unwanted = batch.refs().filter(|r| {
            let first = rules.iter().find(|rule| rule.refs.matches(r.name()));
            first.is_some_and(|rule| !rule.keep)
        });
        verdicts.discard(unwanted.map(|r| r.index()).collect::<Vec<_>>(), REASON);
        Ok(())
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Rule, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [remote, verdict, refs] = words[..] else {
            return Err("write `REMOTE keep REFS` or `REMOTE discard REFS`".to_owned());
        };
        let keep = match verdict {
            "keep" => true,
            "discard" => false,
            other => return Err(format!("`{other}` is neither `keep` nor `discard`")),
        };
        Ok(Rule { remote: Glob::new(remote)?, keep, refs: Glob::new(refs)? })
    }
}

export_push_and_fetch_filter!(RemoteRefs);

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_guest::state::MAY_GO;
    use refgate_guest::testing::{TestBatch, run_fetch, run_push, settings};

    fn discarded(rules: &[&str], peer: &str) -> Vec<u32> {
        let rule = rules.iter().map(|rule| rule.to_string()).collect();
        let filter = RemoteRefs::new(Settings { rule }).unwrap();
        let batch = TestBatch::push("app")
            .peer(peer)
            .with("refs/heads/main", MAY_GO)
            .with("refs/heads/team/x", MAY_GO)
            .with("refs/tags/v1", MAY_GO)
            .with(b"refs/tags/\xff", MAY_GO);
        let answer = run_push(&filter, &batch).unwrap();
        assert_eq!(run_fetch(&filter, &batch).unwrap(), answer, "both directions say the same");
        (0..4).filter(|i| answer.reason(*i) == Some(REASON)).collect()
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        assert_eq!(discarded(&["b keep refs/heads/**", "b discard **"], "b"), [2, 3]);
        assert_eq!(discarded(&["b discard **", "b keep refs/heads/**"], "b"), [0, 1, 2, 3]);
        assert_eq!(discarded(&["b keep refs/heads/**", "b discard **"], "c"), [0; 0]);
        assert_eq!(discarded(&["* discard refs/heads/*"], "c"), [0]);
        assert_eq!(discarded(&["b keep **", "* discard **"], "b"), [0; 0]);
        assert_eq!(discarded(&["{b,c} discard refs/tags/?*"], "c"), [2, 3]);
        assert_eq!(discarded(&["* discard **"], ""), [0, 1, 2, 3]);
    }

    #[test]
    fn every_rule_that_is_wrong_is_named() {
        let json = r#"{"rule":["b keep","b allow **","b keep refs/[","b keep **"]}"#;
        let problems = settings(json).and_then(RemoteRefs::new).err().unwrap().to_string();
        let lines: Vec<&str> = problems.lines().collect();
        assert_eq!(lines.len(), 3, "{problems}");
        assert!(lines[0].starts_with("/rule/0: `b keep`: write `REMOTE keep REFS`"), "{problems}");
        assert!(lines[1].contains("`allow` is neither `keep` nor `discard`"), "{problems}");
        assert!(lines[2].starts_with("/rule/2: ") && lines[2].contains("is not a glob"), "{problems}");
    }
}
