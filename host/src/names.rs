//! Names in each other's way: where a ref `rel` is, no repository can hold a ref `rel/1`, and the other way round.
//!
//! git sees to it within one repository. Across sites only the ref-db can: it is asked before a gated write creates a
//! ref, and what came about all the same is told with its cure.

use std::collections::{BTreeSet, HashMap, HashSet};

use refgate_core::{ChangeRef, Direction, GlobalRef, Lookup, Move, Moves, Project, RefDbError, RefName};

use crate::Site;
use crate::replicate::catch_up::deadline;
use crate::replicate::offers::Listing;

/// Up to so many new names the ref-db is asked for what is below each; for more, all of the project is read once.
const SCANS: usize = 256;
/// Entries of one page of such a scan.
const PAGE: usize = 1_000;

/// The names above `name` that a ref can have, the longest first.
pub fn above(name: &RefName) -> impl Iterator<Item = RefName> {
    let bytes = name.as_bytes();
    let slashes = bytes.iter().enumerate().rev().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    // What is directly below `refs/` is a directory of git's.
    let slashes = slashes.filter(move |at| bytes[..*at].iter().filter(|b| **b == b'/').count() >= 2);
    slashes.filter_map(move |at| RefName::new(&bytes[..at]).ok())
}

/// Every name with one above it, among names that would have to be in one repository: `(rel, rel/1)`.
pub fn pairs<'n>(names: impl IntoIterator<Item = &'n RefName>) -> Vec<(RefName, RefName)> {
    let names: BTreeSet<&RefName> = names.into_iter().collect();
    let shorter = |name: &RefName| above(name).find(|other| names.contains(other));
    names.iter().filter_map(|name| Some((shorter(name)?, (*name).clone()))).collect()
}

/// The names that a repository with the refs `ours` has or would have to hold: not those that are only waiting to go.
pub fn held<'n>(
    entries: &'n [(RefName, Lookup)],
    ours: &'n HashSet<RefName>,
) -> impl Iterator<Item = &'n RefName> {
    let gone: HashSet<&RefName> = entries
        .iter()
        .filter(|(_, found)| value(found) == GlobalRef::Deleted)
        .map(|(name, _)| name)
        .collect();
    let at = |found: &Lookup| value(found).oid().is_some();
    let recorded = entries.iter().filter(move |(_, found)| at(found)).map(|(name, _)| name);
    recorded.chain(ours.iter().filter(move |name| !gone.contains(name)))
}

/// Two names that exclude each other, for people: what is so, and what ends it.
pub fn told(one: &RefName, other: &RefName) -> String {
    format!(
        "`{one}` and `{other}` are in each other's way: no repository can hold both. {}",
        cure(one, other)
    )
}

/// What ends it.
pub fn cure(one: &RefName, other: &RefName) -> String {
    format!(
        "At a site that has `{one}`, push its commit under a free name, then delete `{one}` by a push; or do so with \
         `{other}`"
    )
}

/// The value that was read; what cannot be read is none.
fn value(found: &Lookup) -> GlobalRef {
    found.entry().map_or(GlobalRef::Untracked, |entry| entry.value)
}

/// Whether the ref-db holds something under a name that keeps others away. What cannot be read may be a ref.
fn is_there(found: &Lookup) -> bool {
    match found {
        Lookup::Entry(entry) => entry.value.oid().is_some(),
        Lookup::Locked | Lookup::Unreadable(_) => true,
        Lookup::Text(_) => false,
    }
}

/// What the ref-db holds in the way of `new`: for each such name one that excludes it. `gone` are names that make room
/// in the same step.
///
/// # Errors
/// When the ref-db cannot be read.
pub(crate) async fn recorded(
    site: &Site,
    project: &Project,
    new: &[RefName],
    gone: &HashSet<RefName>,
) -> Result<HashMap<RefName, RefName>, RefDbError> {
    let mut found = HashMap::new();
    let parents: BTreeSet<RefName> = new.iter().flat_map(above).filter(|name| !gone.contains(name)).collect();
    let parents: Vec<RefName> = parents.into_iter().collect();
    if !parents.is_empty() {
        let seen = site.gate.refdb().get_many(project, &parents, deadline(site)).await?;
        // A store that answers too few is asked nothing further: what it left out may be there.
        let there = |at: usize| seen.get(at).is_none_or(is_there);
        let there: HashSet<&RefName> =
            parents.iter().enumerate().filter(|(at, _)| there(*at)).map(|(_, name)| name).collect();
        for name in new {
            if let Some(parent) = above(name).find(|parent| there.contains(parent)) {
                found.insert(name.clone(), parent);
            }
        }
    }
    // The refs of a change lie side by side.
    let open: Vec<&RefName> =
        new.iter().filter(|name| !found.contains_key(*name) && ChangeRef::of(name).is_none()).collect();
    if open.len() > SCANS {
        let mut open: HashSet<&RefName> = open.into_iter().collect();
        below(site, project, b"", gone, |name| {
            for parent in above(name) {
                if open.remove(&parent) {
                    found.insert(parent, name.clone());
                }
            }
            open.is_empty()
        })
        .await?;
        return Ok(found);
    }
    for name in open {
        let prefix = [name.as_bytes(), b"/"].concat();
        below(site, project, &prefix, gone, |child| {
            found.insert(name.clone(), child.clone());
            true
        })
        .await?;
    }
    Ok(found)
}

/// Calls `see` with each name below `prefix` that the ref-db holds, until it says that it has seen enough.
async fn below(
    site: &Site,
    project: &Project,
    prefix: &[u8],
    gone: &HashSet<RefName>,
    mut see: impl FnMut(&RefName) -> bool,
) -> Result<(), RefDbError> {
    let mut cursor = None;
    loop {
        let refdb = site.gate.refdb();
        let page = refdb.scan(project, prefix, cursor.as_ref(), PAGE, deadline(site)).await?;
        for (name, lookup) in &page.rows {
            if is_there(lookup) && !gone.contains(name) && see(name) {
                return Ok(());
            }
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

/// Why kept refs of a push or fetch cannot be created at their destination, which holds `there`: for people.
///
/// Looked at for refs only that were rejected; git says it in words of its own, which depend on where it noticed.
pub(crate) fn in_the_way(moves: &Moves, there: &Listing) -> Vec<String> {
    let name = |one: Move<'_>| match moves.direction() {
        Direction::Push => one.remote_name().clone(),
        Direction::Fetch => one.name().clone(),
    };
    let created = |one: &Move<'_>| one.state().has_failed() && one.old().is_none() && one.new().is_some();
    stands_in_the_way(&moves.iter().filter(created).map(name).collect(), there)
}

/// The same for refs that could not be created in a repository that holds `there`.
pub(crate) fn stands_in_the_way(rejected: &HashSet<RefName>, there: &Listing) -> Vec<String> {
    if rejected.is_empty() {
        return Vec::new();
    }
    let mut found: BTreeSet<(RefName, RefName)> = BTreeSet::new();
    for one in rejected {
        found.extend(above(one).filter(|other| there.contains_key(other)).map(|other| (other, one.clone())));
    }
    for other in there.keys() {
        found.extend(above(other).filter(|one| rejected.contains(one)).map(|one| (one, other.clone())));
    }
    found.into_iter().map(|(one, other)| told(&one, &other)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<RefName> {
        all.iter().map(|name| RefName::new(*name).unwrap()).collect()
    }

    #[test]
    fn what_lies_above_a_name_can_be_a_ref() {
        let of = |name: &str| above(&RefName::new(name).unwrap()).collect::<Vec<_>>();
        assert_eq!(of("refs/heads/a/b/c"), names(&["refs/heads/a/b", "refs/heads/a"]));
        assert_eq!(of("refs/heads/a"), []);
        assert_eq!(of("refs/stash"), []);
    }

    #[test]
    fn pairs_are_found_whatever_sorts_between_them() {
        let all = names(&["refs/heads/rel", "refs/heads/rel-2", "refs/heads/rel/1", "refs/heads/rel.x/1"]);
        assert_eq!(pairs(&all), [(all[0].clone(), all[2].clone())]);
        assert_eq!(pairs(&all[1..]), []);
    }
}
