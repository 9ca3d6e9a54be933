//! `refdb put`, `cas` and `rm`: single writes.

use refgate_core::{
    Atomicity, Edit, GlobalRef, LocalRefs, Lookup, MAX_SUPERSEDED, Outcome, Project, RefDbErrorKind, RefName,
};
use refgate_git::GitRepositories;
use refgate_host::Error;
use serde_json::json;

use super::{Db, entries, show, show_found};
use crate::output::Output;

/// Writes whatever is there.
pub async fn put(
    db: &Db,
    project: &Project,
    name: &RefName,
    value: GlobalRef,
    output: &Output,
) -> Result<u8, Error> {
    db.refdb.put(project, name, value, db.deadline()).await?;
    if output.json {
        output.document(&json!({
            "command": "refdb put", "project": project.as_str(), "ref": name.to_string(), "value": show(value),
        }));
    } else {
        output.text(&format!("{name} is now {}", show(value)));
    }
    Ok(0)
}

/// Writes if the expected value is there; exit 1 with the actual one otherwise.
pub async fn cas(
    db: &Db,
    project: &Project,
    edit: Edit,
    expected: GlobalRef,
    output: &Output,
) -> Result<u8, Error> {
    let (name, new) = (edit.name.clone(), edit.new);
    let fast_forward = is_fast_forward(db, project, &name, expected, new).await;
    let edit = [edit.fast_forward(fast_forward)];
    let outcomes = match db.refdb.compare_and_put(project, &edit, Atomicity::Each, db.deadline()).await {
        // Nobody should have to find out by hand what became of it.
        Err(e) if e.kind == RefDbErrorKind::Indeterminate => {
            db.refdb.resolve(project, &edit, db.deadline()).await.map_err(|_| Error::from(e))?
        }
        outcomes => outcomes?,
    };
    let (word, actual) = match outcomes.first() {
        Some(Outcome::Applied) => ("applied", new),
        Some(Outcome::Mismatch { actual }) => ("mismatch", *actual),
        Some(Outcome::Fenced) => {
            return Err(Error::failed(format!("`{name}` was left alone: the lock is not held any more"))
                .hint("take the lock anew with `refgate refdb lock`"));
        }
        Some(Outcome::Full) => {
            let what =
                format!("`{name}` was left alone: its list of superseded values is full ({MAX_SUPERSEDED})");
            return Err(Error::failed(what).hint(format!(
                "`refgate refdb forget {project} --yes`, and once more a day later, drops those that no site needs; \
                 `refgate refdb put` clears the list at once, and sites that have such a value hold it back as diverged"
            )));
        }
        None => return Err(Error::failed(format!("the ref-db gave no answer for `{name}`"))),
    };
    if output.json {
        output.document(&json!({
            "command": "refdb cas", "project": project.as_str(), "ref": name.to_string(),
            "outcome": word, "actual": show(actual),
        }));
    } else if word == "applied" {
        output.text(&format!("{name} is now {}", show(new)));
    } else {
        let expected = match expected {
            GlobalRef::Untracked => "absent".to_owned(),
            value => show(value),
        };
        output.text(&format!("{name} was left alone: expected {expected}, it is {}", show(actual)));
    }
    Ok(if word == "applied" { 0 } else { 1 })
}

/// Whether the old value is contained in the new one. When the repository cannot tell, it is not, and the old value is
/// listed as superseded: listing too much is harmless.
async fn is_fast_forward(db: &Db, project: &Project, name: &RefName, old: GlobalRef, new: GlobalRef) -> bool {
    let (Some(ancestor), descendant @ Some(_)) = (old.oid(), new.oid()) else { return false };
    let repositories = GitRepositories::new(db.config.site.base_path.clone());
    let query = refgate_core::AncestryQuery { name: name.clone(), ancestor, descendant };
    repositories.ancestry(project, &[query]).await.is_ok_and(|answers| answers == [true])
}

/// Forgets one ref, or with `--yes` the whole project.
pub async fn rm(
    db: &Db,
    project: &Project,
    name: Option<&RefName>,
    yes: bool,
    output: &Output,
) -> Result<u8, Error> {
    let dropped: Vec<(RefName, Lookup)> = match name {
        Some(name) => {
            let old = db.refdb.get_many(project, std::slice::from_ref(name), db.deadline()).await?;
            let there = db.refdb.remove_ref(project, name, db.deadline()).await?;
            old.into_iter().filter(|_| there).map(|lookup| (name.clone(), lookup)).collect()
        }
        None => {
            let all = entries::all(db, project).await?;
            if !yes {
                return Err(Error::usage(format!(
                    "this would forget all {} entries of `{project}`",
                    all.len()
                ))
                .hint(format!(
                    "list them with `refgate refdb ls {project}`, then run it again with --yes. Sites that still have the \
                     refs send them as new ones: to begin a project anew, use `refgate refdb start-over {project}`"
                )));
            }
            db.refdb.remove_project(project, db.deadline()).await?;
            all
        }
    };
    if output.json {
        let refs: Vec<_> = dropped
            .iter()
            .map(|(name, found)| json!({"ref": name.to_string(), "value": show_found(found)}))
            .collect();
        output.document(&json!({"command": "refdb rm", "project": project.as_str(), "dropped": refs}));
    } else {
        for (name, found) in &dropped {
            output.text(&format!("forgot {name}, it was {}", show_found(found)));
        }
        output.text(&format!("{} entries forgotten", dropped.len()));
    }
    Ok(0)
}
