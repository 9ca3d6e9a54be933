//! `refdb policy`: how refs are treated, and what decides it.

use std::path::Path;

use refgate_core::{Project, RefName};
use refgate_host::{Error, explain, filters};
use serde_json::json;

use super::super::site;
use crate::output::{Cell, Mood, Output};
use crate::system::system;

/// Needs neither the ref-db nor a repository.
pub async fn run(file: &Path, project: &Project, names: &[RefName], output: &Output) -> Result<u8, Error> {
    let config = site::config(file)?;
    let set = filters::Loader::for_config(&system()?, &config)?.load(&config)?;
    let replicates = filters::matches(&set, project).await?;
    let gate = &config.ref_database;
    let rows: Vec<(&RefName, &str, String)> = names
        .iter()
        .map(|name| {
            let (policy, because) = explain::policy(&config, replicates, project, name);
            (name, policy, because)
        })
        .collect();
    if output.json {
        let refs: Vec<_> = rows
            .iter()
            .map(|(name, policy, why)| json!({"ref": name.to_string(), "policy": policy, "because": why}))
            .collect();
        output.document(&json!({
            "command": "refdb policy", "project": project.as_str(), "replicates": replicates,
            "push_gate": gate.enabled && gate.push_gate, "fetch_gate": gate.enabled && gate.fetch_gate,
            "refs": refs,
        }));
    } else {
        let cells = |(name, policy, why): &(&RefName, &str, String)| {
            let mood = if *policy == "REQUIRED" { Mood::Good } else { Mood::Held };
            vec![name.to_string().into(), Cell::new(*policy, mood), why.as_str().into()]
        };
        output.table(&["REF", "POLICY", "BECAUSE"], &rows.iter().map(cells).collect::<Vec<_>>());
    }
    Ok(0)
}
