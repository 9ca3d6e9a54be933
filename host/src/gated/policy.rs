//! Step 0 of a gated write: what the repository and the rules for names refuse whatever the ref-db says.
//!
//! git leaves its own settings to whoever moves the refs; the words for the pusher are those of git.

use std::collections::HashSet;

use refgate_core::{Oid, RefName, is_one_component, is_own, is_patch_set};
use refgate_git::receive::{Settings, UpdateHook};
use refgate_git::{GitError, LocalPolicy, Repository, Target};

use super::rows::Rows;
use super::why::Why;

/// What git settings let through goes on; everything else is refused. Also notes in each row whether the client's old
/// value is contained in the new one.
///
/// # Errors
/// A repository that cannot be read.
pub(super) fn check(repository: &Repository, rows: &mut Rows) -> Result<(), GitError> {
    let policy = LocalPolicy::of(repository)?;
    names(rows);
    let fast_forward = contained(repository, rows)?;
    objects(repository, rows, policy.settings())?;
    for (row, contained) in rows.rows.iter_mut().zip(fast_forward) {
        row.fast_forward = contained;
    }
    for row in rows.open_mut() {
        row.refused = policy.refusal(&row.name, row.old, row.new, row.fast_forward).map(Why::Policy);
    }
    rows.settle();
    run_hook(repository, rows, policy.settings())?;
    rows.settle();
    Ok(())
}

fn names(rows: &mut Rows) {
    for row in rows.open_mut() {
        row.refused = if is_own(&row.name) {
            Some(Why::Own)
        } else if is_one_component(&row.name) && row.new.is_some() {
            Some(Why::FunnyName)
        } else {
            None
        };
    }
}

/// Whether each row's old value is contained in its new one.
fn contained(repository: &Repository, rows: &Rows) -> Result<Vec<bool>, GitError> {
    let pairs: Vec<Option<(Oid, Oid)>> = rows.rows.iter().map(|row| row.old.zip(row.new)).collect();
    let asked: Vec<(Oid, Oid)> = pairs.iter().flatten().copied().collect();
    let mut answers = repository.ancestry(&asked)?.into_iter();
    Ok(pairs.iter().map(|pair| pair.is_some() && answers.next().unwrap_or(false)).collect())
}

/// git has looked that the objects are here and complete, except where it was told to let shallow pushes in.
fn objects(repository: &Repository, rows: &mut Rows, settings: &Settings) -> Result<(), GitError> {
    let branches: Vec<Oid> = rows
        .open()
        .filter(|row| row.name.as_bytes().starts_with(b"refs/heads/"))
        .filter_map(|row| row.new)
        .collect();
    let commits: HashSet<Oid> = repository.commits(&branches)?.into_iter().collect();
    let mut incomplete = HashSet::new();
    if settings.shallow_update {
        let all: Vec<Oid> = rows.open().filter_map(|row| row.new).collect();
        let complete = repository.complete(&all)?;
        incomplete.extend(all.into_iter().zip(complete).filter(|(_, whole)| !whole).map(|(oid, _)| oid));
    }
    for row in rows.open_mut() {
        let Some(new) = row.new else { continue };
        if row.name.as_bytes().starts_with(b"refs/heads/") && !commits.contains(&new) {
            row.refused = Some(Why::NotACommit(new));
        } else if incomplete.contains(&new) {
            row.refused = Some(Why::Shallow);
        }
    }
    Ok(())
}

fn run_hook(repository: &Repository, rows: &mut Rows, settings: &Settings) -> Result<(), GitError> {
    let hook = UpdateHook::of(repository, settings)?;
    for row in rows.open_mut() {
        if !hook.accepts(repository, &row.name, row.old, row.new)? {
            row.refused = Some(Why::HookDeclined);
        }
    }
    Ok(())
}

/// What holds of a ref whatever the ref-db says, once its value is known. `keeps`: a patch set stays as it is.
pub(super) fn of_value(
    name: &RefName,
    keeps: bool,
    target: Option<&Target>,
    old: Option<Oid>,
) -> Option<Why> {
    let now = target.and_then(Target::oid);
    match target {
        Some(Target::Symbolic) => Some(Why::Symbolic),
        Some(Target::Broken(why)) => Some(Why::Broken(why.to_string())),
        Some(Target::Oid(_)) if keeps && is_patch_set(name) => Some(Why::PatchSet),
        _ if now != old => Some(Why::MovedHere(now)),
        _ => None,
    }
}
