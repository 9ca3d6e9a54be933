//! Texts in the ref-db, such as the counter that Gerrit keeps under `refs/multi-site/version/value`.

use refgate_core::{Project, RefName, TextOutcome};
use refgate_host::Error;
use serde_json::json;

use super::Db;
use crate::output::Output;

/// How often a write that lost a race is tried again.
const ATTEMPTS: usize = 5;

/// Writes a text whatever text is there.
pub async fn put(
    db: &Db,
    project: &Project,
    name: &RefName,
    new: &str,
    output: &Output,
) -> Result<u8, Error> {
    let mut there = db.refdb.get_text(project, name, db.deadline()).await?;
    for _ in 0..ATTEMPTS {
        let expected = there.as_deref();
        match db.refdb.compare_and_put_text(project, name, expected, new, db.deadline()).await? {
            TextOutcome::Applied => {
                say(project, name, "refdb put", "applied", Some(new), output);
                return Ok(0);
            }
            TextOutcome::Mismatch { actual } => there = actual,
        }
    }
    Err(Error::failed(format!("`{name}` changes all the time; try again")))
}

/// Writes a text if the expected one is there; exit 1 with the actual one otherwise.
pub async fn cas(
    db: &Db,
    project: &Project,
    name: &RefName,
    expected: Option<&str>,
    new: &str,
    output: &Output,
) -> Result<u8, Error> {
    match db.refdb.compare_and_put_text(project, name, expected, new, db.deadline()).await? {
        TextOutcome::Applied => {
            say(project, name, "refdb cas", "applied", Some(new), output);
            Ok(0)
        }
        TextOutcome::Mismatch { actual } => {
            say(project, name, "refdb cas", "mismatch", actual.as_deref(), output);
            Ok(1)
        }
    }
}

fn say(project: &Project, name: &RefName, command: &str, outcome: &str, now: Option<&str>, output: &Output) {
    if output.json {
        output.document(&json!({
            "command": command, "project": project.as_str(), "ref": name.to_string(),
            "outcome": outcome, "text": now,
        }));
        return;
    }
    let now = now.map_or("absent".to_owned(), |text| format!("text:{text}"));
    match outcome {
        "applied" => output.text(&format!("{name} is now {now}")),
        _ => output.text(&format!("{name} was left alone: it is {now}")),
    }
}
