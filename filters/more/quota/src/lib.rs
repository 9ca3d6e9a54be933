//! Bounds how many refs a project may create in one call: the first of the rest in name order go, what is over stays.
//!
//! A limit is `PROJECT NUMBER`, the project a glob: `team/* 1000`, then `sandbox/** 50`. The first that matches decides; a
//! project that none matches has no limit. Updates and deletions always go.

use refgate_guest::state::{DELETION, NOTHING_TO_DO};
use refgate_guest::{Batch, Glob, Problem, Problems, RefFilter, Verdicts, export_push_and_fetch_filter};
use serde::Deserialize;

/// Why a ref is discarded.
pub const REASON: &str = "over-quota";

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `PROJECT NUMBER`, in the order in which they are tried.
    pub limit: Vec<String>,
}

/// The filter.
pub struct Quota {
    limits: Vec<(Glob, usize)>,
}

impl RefFilter for Quota {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Problems> {
        let (mut limits, mut problems) = (Vec::new(), Vec::new());
        for (i, text) in settings.limit.iter().enumerate() {
            match parse(text) {
                Ok(limit) => limits.push(limit),
                Err(why) => problems.push(Problem::at("limit", i, format!("`{text}`: {why}"))),
            }
        }
        if problems.is_empty() { Ok(Quota { limits }) } else { Err(problems.into()) }
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        let project = batch.project();
        let Some((_, limit)) = self.limits.iter().find(|(glob, _)| glob.matches(&project)) else {
            return Ok(());
        };
        let updates = batch.refs_at(batch.select(DELETION | NOTHING_TO_DO, 0));
        let created = updates.filter(|r| r.old_oid().is_none()).map(|r| r.index());
        let created: Vec<u32> = created.collect();
        if created.len() <= *limit {
            return Ok(());
        }
        // Only now names are needed, so that the same refs go whatever their order in the batch.
        let names = batch.names_at(&created);
        let mut by_name: Vec<(&[u8], u32)> = names.iter().zip(created).collect();
        by_name.sort_unstable();
        verdicts.discard(by_name[*limit..].iter().map(|(_, index)| *index), REASON);
        Ok(())
    }
}

fn parse(text: &str) -> Result<(Glob, usize), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [project, number] = words[..] else {
        return Err("write `PROJECT NUMBER`".to_owned());
    };
    let number = number.parse().map_err(|_| format!("`{number}` is not a whole number, 0 or more"))?;
    Ok((Glob::new(project)?, number))
}

export_push_and_fetch_filter!(Quota);

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_guest::state::MAY_GO;
    use refgate_guest::testing::{TestBatch, run_fetch, run_push, settings};

    /// The names over quota: of creations c, a, b, of an update and a deletion, and of a ref with nothing to do.
    fn over(json: &str, project: &str) -> Vec<&'static str> {
        let filter = settings(json).and_then(Quota::new).unwrap();
        let names = ["refs/heads/c", "refs/heads/a", "refs/heads/b", "refs/a", "refs/b", "refs/c"];
        let batch = TestBatch::push(project)
            .with(names[0], MAY_GO)
            .with(names[1], MAY_GO)
            .with(names[2], 0)
            .with(names[3], MAY_GO)
            .old_oid(&[1; 20])
            .with(names[4], MAY_GO | DELETION)
            .with(names[5], NOTHING_TO_DO);
        let answer = run_push(&filter, &batch).unwrap();
        assert_eq!(run_fetch(&filter, &batch).unwrap(), answer, "both directions say the same");
        (0..).zip(names).filter(|(i, _)| answer.reason(*i) == Some(REASON)).map(|(_, name)| name).collect()
    }

    #[test]
    fn what_is_over_stays_in_name_order() {
        assert_eq!(over(r#"{"limit":"team/* 3"}"#, "team/x"), [""; 0]);
        assert_eq!(over(r#"{"limit":"team/* 2"}"#, "team/x"), ["refs/heads/c"]);
        assert_eq!(over(r#"{"limit":"team/* 1"}"#, "team/x"), ["refs/heads/c", "refs/heads/b"]);
        assert_eq!(over(r#"{"limit":"team/* 0"}"#, "team/x").len(), 3);
    }

    #[test]
    fn the_first_limit_that_matches_decides() {
        let json = r#"{"limit":["team/* 3","** 2"]}"#;
        assert_eq!(over(json, "team/x"), [""; 0]);
        assert_eq!(over(json, "team/x/y"), ["refs/heads/c"]);
        assert_eq!(over(r#"{"limit":"team/* 0"}"#, "other"), [""; 0]);
    }

    #[test]
    fn every_limit_that_is_wrong_is_named() {
        let json = r#"{"limit":["team/*","a b c","a -1","a[ 5","a 5"]}"#;
        let problems = settings(json).and_then(Quota::new).err().unwrap().to_string();
        let lines: Vec<&str> = problems.lines().collect();
        assert_eq!(lines.len(), 4, "{problems}");
        assert_eq!(lines[0], "/limit/0: `team/*`: write `PROJECT NUMBER`");
        assert_eq!(lines[2], "/limit/2: `a -1`: `-1` is not a whole number, 0 or more");
        assert!(lines[3].starts_with("/limit/3: ") && lines[3].contains("is not a glob"), "{problems}");
    }
}
