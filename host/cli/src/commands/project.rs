//! `project match`: which projects replicate, and by which pattern.

use std::path::Path;

use refgate_core::Project;
use refgate_host::{Error, filters};
use serde_json::json;

use super::site;
use crate::output::{Cell, Mood, Output};
use crate::system::system;

/// `refgate project match`. Needs no ref-db and no repository.
pub async fn run(file: &Path, names: &[String], output: &Output) -> Result<u8, Error> {
    let config = site::config(file)?;
    let projects = names.iter().map(|n| Project::new(n.clone())).collect::<Result<Vec<_>, _>>()?;
    let loader = filters::Loader::for_config(&system()?, &config)?;
    let all = loader.load(&config)?;
    // The matcher says only whether; asked with one pattern at a time, and alone, it says which.
    let mut single = Vec::new();
    let file = config.plugins.directory.as_ref().map(|dir| dir.join(format!("{}.wasm", filters::MATCHER)));
    let source = file.filter(|file| file.exists()).map_or(filters::Source::Shipped, filters::Source::Alone);
    for pattern in &config.patterns {
        let mut alone = config.clone();
        alone.patterns = vec![pattern.clone()];
        alone.plugin_settings.retain(|plugin, _| plugin == filters::MATCHER);
        single.push((pattern, loader.load_from(&source, &alone)?));
    }
    let mut rows = Vec::new();
    for project in &projects {
        let matched = filters::matches(&all, project).await?;
        let mut by = None;
        for (pattern, set) in single.iter().filter(|_| matched) {
            if by.is_none() && filters::matches(set, project).await? {
                by = Some(pattern.as_str());
            }
        }
        rows.push((project, matched, by));
    }
    if output.json {
        let projects: Vec<_> = rows
            .iter()
            .map(|(project, matched, by)| json!({"project": project.as_str(), "match": matched, "pattern": by}))
            .collect();
        output.document(&json!({"command": "project match", "projects": projects}));
    } else {
        let cells: Vec<Vec<Cell>> = rows
            .iter()
            .map(|(project, matched, by)| {
                let answer = match matched {
                    true => Cell::new("yes", Mood::Good),
                    false => Cell::new("no", Mood::Held),
                };
                let by = match (matched, by) {
                    (true, Some(by)) => by.to_string(),
                    (true, None) => "no pattern is configured: all match".to_owned(),
                    (false, _) => "-".to_owned(),
                };
                vec![project.as_str().into(), answer, by.into()]
            })
            .collect();
        output.table(&["PROJECT", "REPLICATES", "PATTERN"], &cells);
    }
    Ok(0)
}
