//! A push filter that keeps work in progress at home: no ref with one of the prefixes leaves the site.

use refgate_guest::{Batch, Problem, Problems, PushFilter, Verdicts, export_push_filter};
use serde::Deserialize;

/// The section `[plugin "no-wip"]` of the configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    #[serde(default = "work_in_progress")]
    prefix: Vec<String>,
}

fn work_in_progress() -> Vec<String> {
    vec!["refs/heads/wip/".to_owned()]
}

/// The filter.
pub struct NoWip(Settings);

impl PushFilter for NoWip {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Problems> {
        let wrong = |(i, prefix): (usize, &String)| {
            (!prefix.starts_with("refs/")).then(|| Problem::at("prefix", i, "does not begin with refs/"))
        };
        let problems: Vec<Problem> = settings.prefix.iter().enumerate().filter_map(wrong).collect();
        if problems.is_empty() { Ok(NoWip(settings)) } else { Err(problems.into()) }
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        for prefix in &self.0.prefix {
            verdicts.discard(batch.select_prefix(prefix.as_bytes()), "work-in-progress");
        }
        Ok(())
    }
}

export_push_filter!(NoWip);
