//! Step 0 of a gated write: what the repository and the rules for names refuse whatever the ref-db says.
//!
//! git leaves its own settings to whoever moves the refs; the words for the pusher are those of git.

use refgate_core::ports::{GitError, Repo, Target};
use refgate_core::{Oid, RefName, is_one_component, is_own, is_patch_set};

use super::rows::Rows;
use super::why::Why;

/// What git settings let through goes on; everything else is refused. Also notes in each row whether the client's old
/// value is contained in the new one.
///
/// # Errors
/// A repository that cannot be read.
pub(super) async fn check(repository: &dyn Repo, rows: &mut Rows) -> Result<(), GitError> {
    names(rows);
    let pairs: Vec<Option<(Oid, Oid)>> = rows.rows.iter().map(|row| row.old.zip(row.new)).collect();
    let asked: Vec<(Oid, Oid)> = pairs.iter().flatten().copied().collect();
    let mut answers = repository.ancestry(&asked).await?.into_iter();
    for (row, pair) in rows.rows.iter_mut().zip(pairs) {
        row.fast_forward = pair.is_some() && answers.next().unwrap_or(false);
    }
    rows.settle();
    let edits: Vec<_> = rows.open().map(|row| (row.edit(), row.fast_forward)).collect();
    for (row, refusal) in rows.open_mut().zip(repository.refusals(&edits).await?) {
        row.refused = refusal.map(Why::Policy);
    }
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
