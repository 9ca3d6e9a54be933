//! `refdb start-over`: the ref-db gives up a project that was here before, in a way that every site follows.
//!
//! Forgetting the entries would not do: the other sites still have the old refs, and would send them as new ones. So each
//! is recorded as deleted, or at what this repository holds, and the old value as superseded: replication takes the old
//! refs away where they are still at it, or at something before it. What somebody wrote past the ref-db stays there, and is
//! reported as diverged.

use refgate_core::{Atomicity, Class, Edit, Expected, GlobalRef, Lookup, Outcome, Project, RefName};
use refgate_git::GitRepositories;
use refgate_host::{Error, anew};
use serde_json::json;

use super::fill::{self, Difference};
use super::{Db, entries, show, show_found};
use crate::output::{Cell, Mood, Output, hint, warn};

/// `refgate refdb start-over`.
pub async fn run(
    db: &Db,
    project: &Project,
    (yes, not_new): (bool, bool),
    output: &Output,
) -> Result<u8, Error> {
    let fill::Local { refs: local, broken } = fill::recorded(db, project).await?;
    let entries = entries::all(db, project).await?;
    let repository = GitRepositories::new(db.config.site.base_path.clone()).repository(project)?;
    let names = local.keys().cloned().collect();
    let found = anew::count(&entries, project, &db.config.rules, &repository, &names).await?;
    if found.recorded > 0 && found.made_anew().is_none() && !not_new {
        return Err(refused(project, found));
    }
    let (edits, mut differences) = plan(db, project, &entries, local);
    differences.extend(broken.into_iter().map(fill::unread));
    let mut rows: Vec<(RefName, GlobalRef, GlobalRef)> = Vec::new();
    let mut locks = None;
    let edits = match yes {
        true => {
            let (held, edits) = fill::under_locks(db, project, edits, &mut differences).await?;
            locks = held;
            edits
        }
        false => edits,
    };
    for chunk in edits.chunks(entries::PAGE) {
        let outcomes = match yes {
            true => db
                .refdb
                .compare_and_put(project, chunk, Atomicity::Each, db.deadline())
                .await
                // What was given up before must not be hidden by that.
                .inspect_err(|_| tell(project, yes, &rows, &differences, output))?,
            false => vec![Outcome::Applied; chunk.len()],
        };
        for (at, edit) in chunk.iter().enumerate() {
            let was = expected(edit);
            match outcomes.get(at) {
                Some(Outcome::Applied) => rows.push((edit.name.clone(), was, edit.new)),
                Some(Outcome::Mismatch { actual }) => differences.push(Difference {
                    name: edit.name.clone(),
                    local: edit.new.oid(),
                    global: *actual,
                    what: "another site was faster".into(),
                }),
                Some(Outcome::Full) => differences.push(Difference {
                    name: edit.name.clone(),
                    local: edit.new.oid(),
                    global: was,
                    what: "its list of superseded values is full: see `refgate refdb forget`".into(),
                }),
                Some(Outcome::Fenced) | None => {
                    return Err(Error::failed(format!("the ref-db gave no answer for `{}`", edit.name))
                        .hint("run it again: what was done is not done twice"));
                }
            }
        }
    }
    drop(locks);
    tell(project, yes, &rows, &differences, output);
    Ok(if differences.is_empty() { 0 } else { 3 })
}

/// A repository that has something of what is recorded, or may only be behind, is not given up by mistake.
fn refused(project: &Project, found: anew::Found) -> Error {
    let what = match found.values {
        0 => format!("{} of {} recorded refs are here, and may only be behind", found.names, found.recorded),
        n => format!("{n} of {} recorded values are here", found.recorded),
    };
    Error::usage(format!("`{project}` does not look as if it was made anew: {what}")).hint(format!(
        "`refgate refdb check {project}` shows what differs; to give the old project up all the same: `--not-new`"
    ))
}

/// The ref-db as this repository is, by compare-and-put. Nothing counts as a fast-forward, so what is replaced is listed.
fn plan(
    db: &Db,
    project: &Project,
    entries: &[(RefName, Lookup)],
    mut local: std::collections::BTreeMap<RefName, refgate_core::Oid>,
) -> (Vec<Edit>, Vec<Difference>) {
    let (mut edits, mut differences) = (Vec::new(), Vec::new());
    for (name, found) in entries {
        if Class::of(project, name, &db.config.rules) != Class::Checked {
            continue;
        }
        let here = local.remove(name);
        match found {
            Lookup::Entry(entry) if entry.value.oid() == here => {}
            Lookup::Entry(entry) => {
                let new = GlobalRef::at_or_deleted(here);
                edits.push(Edit::new(name.clone(), Expected::Exactly(entry.value), new));
            }
            Lookup::Text(_) => {}
            Lookup::Locked | Lookup::Unreadable(_) => {
                warn(&format!("the entry of `{name}` is {}", show_found(found)));
                let what = "its entry is locked or cannot be read";
                differences.push(Difference {
                    name: name.clone(),
                    local: here,
                    global: GlobalRef::Untracked,
                    what: what.into(),
                });
            }
        }
    }
    edits.extend(
        local
            .into_iter()
            .map(|(name, oid)| Edit::new(name, Expected::Exactly(GlobalRef::Untracked), GlobalRef::At(oid))),
    );
    (edits, differences)
}

fn expected(edit: &Edit) -> GlobalRef {
    match edit.expected {
        Expected::Exactly(value) => value,
        _ => GlobalRef::Untracked,
    }
}

fn tell(
    project: &Project,
    yes: bool,
    rows: &[(RefName, GlobalRef, GlobalRef)],
    differences: &[Difference],
    output: &Output,
) {
    if output.json {
        let refs: Vec<_> = rows
            .iter()
            .map(|(name, was, is)| json!({"ref": name.to_string(), "gives_up": show(*was), "becomes": show(*is)}))
            .collect();
        let left: Vec<_> = differences
            .iter()
            .map(|one| json!({"ref": one.name.to_string(), "global": show(one.global), "what": one.what}))
            .collect();
        return output.document(&json!({
            "command": "refdb start-over", "project": project.as_str(), "dry_run": !yes,
            "refs": refs, "differences": left,
        }));
    }
    let mut cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|(name, was, is)| vec![name.to_string().into(), show(*was).into(), show(*is).into()])
        .collect();
    cells.extend(differences.iter().map(|one| {
        vec![
            one.name.to_string().into(),
            show(one.global).into(),
            Cell::new(one.what.to_string(), Mood::Held),
        ]
    }));
    if !cells.is_empty() {
        output.table(&["REF", "GIVES UP", "BECOMES"], &cells);
    }
    let given_up = rows.iter().filter(|(_, was, _)| was.oid().is_some()).count();
    if yes {
        output.text(&format!("{given_up} values given up, {} left", differences.len()));
        hint(
            "the next push to each site, and each site's next fetch, takes the old refs away there; \
             `refgate refdb check` at each shows what stays",
        );
    } else {
        output.text(&format!("{given_up} values to give up, {} left", differences.len()));
        hint(
            "nothing was changed. The refs that become `deleted` go at all sites: keep a copy of what is still wanted, \
             then run it again with --yes",
        );
    }
}
