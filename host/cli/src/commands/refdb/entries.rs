//! `refdb get` and `ls`: what the ref-db holds.

use refgate_core::refdb::scan_all;
use refgate_core::{Lookup, Project, RefName};
use refgate_host::Error;
use serde_json::{Value, json};

use super::{Db, show, show_found};
use crate::output::{Cell, Mood, Output};

/// Entries read at once.
pub const PAGE: usize = 10_000;

/// Prints the entries of `names`, or all of them.
pub async fn get(db: &Db, project: &Project, names: &[RefName], output: &Output) -> Result<u8, Error> {
    if names.is_empty() {
        return list(db, project, "refdb get", output).await;
    }
    let found = db.refdb.get_many(project, names, db.deadline()).await?;
    let rows: Vec<(RefName, Lookup)> = names.iter().cloned().zip(found).collect();
    print(project, &rows, "refdb get", output);
    Ok(0)
}

/// Prints every entry.
pub async fn ls(db: &Db, project: &Project, output: &Output) -> Result<u8, Error> {
    list(db, project, "refdb ls", output).await
}

async fn list(db: &Db, project: &Project, command: &str, output: &Output) -> Result<u8, Error> {
    let rows = all(db, project).await?;
    print(project, &rows, command, output);
    Ok(0)
}

/// Every entry of a project.
pub async fn all(db: &Db, project: &Project) -> Result<Vec<(RefName, Lookup)>, Error> {
    Ok(scan_all(&db.refdb, project, b"", || db.deadline()).await?)
}

fn print(project: &Project, rows: &[(RefName, Lookup)], command: &str, output: &Output) {
    if output.json {
        let refs: Vec<Value> = rows.iter().map(|(name, lookup)| row_json(name, lookup)).collect();
        return output.document(&json!({"command": command, "project": project.as_str(), "refs": refs}));
    }
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|(name, lookup)| match lookup {
            Lookup::Entry(entry) => {
                let superseded = match entry.superseded.len() {
                    0 => String::new(),
                    n => n.to_string(),
                };
                vec![name.to_string().into(), show(entry.value).into(), superseded.into()]
            }
            Lookup::Text(_) => vec![name.to_string().into(), show_found(lookup).into(), "".into()],
            Lookup::Locked => {
                vec![name.to_string().into(), Cell::new(show_found(lookup), Mood::Held), "".into()]
            }
            Lookup::Unreadable(_) => {
                vec![name.to_string().into(), Cell::new(show_found(lookup), Mood::Bad), "".into()]
            }
        })
        .collect();
    output.table(&["REF", "VALUE", "SUPERSEDED"], &cells);
}

fn row_json(name: &RefName, lookup: &Lookup) -> Value {
    match lookup {
        Lookup::Entry(entry) => json!({
            "ref": name.to_string(),
            "value": show(entry.value),
            "superseded": entry.superseded.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        Lookup::Text(text) => json!({"ref": name.to_string(), "value": null, "text": text}),
        Lookup::Locked => json!({"ref": name.to_string(), "value": null, "problem": "locked"}),
        Lookup::Unreadable(why) => json!({"ref": name.to_string(), "value": null, "problem": why}),
    }
}
