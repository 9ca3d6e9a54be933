//! Steps 4 and 5: the ref-db moves, then the local refs. Only ever forward: nothing is put back, nothing is rolled back.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use refgate_core::ports::{EditOutcome, GitError, Guard, RefEdit, Repo, Target};
use refgate_core::{
    Atomicity, Deadline, Edit, Entry, Expected, GlobalRef, Lookup, Oid, Outcome, Project, RefDbErrorKind,
    is_meta,
};

use super::judge::is_accepted;
use super::rows::{Row, Rows};
use super::why::Why;
use crate::Site;

/// How long to ask what became of a write whose answer was lost.
const RESOLVE_WITHIN: Duration = Duration::from_secs(15);
/// Between two such questions.
const RESOLVE_PAUSE: Duration = Duration::from_millis(200);
/// What git writes into the reflog for a push.
pub(super) const REFLOG: &str = "push";

/// Step 4: compare-and-put of every open tracked row, expecting what step 2 saw.
pub(super) async fn put(site: &Site, project: &Project, rows: &mut Rows) {
    for (places, atomicity) in batches(rows) {
        let edit = |place: &usize| {
            let row = &rows.rows[*place];
            Edit::new(row.name.clone(), Expected::Exactly(row.entry.value), GlobalRef::at_or_deleted(row.new))
                .fast_forward(row.fast_forward)
        };
        let edits: Vec<Edit> = places.iter().map(edit).collect();
        let outcomes = put_once(site, project, &edits, atomicity).await;
        let loser = |rows: &Rows| {
            let lost = |(place, outcome): (&usize, &Outcome)| {
                let is_cause = match outcome {
                    Outcome::Mismatch { actual } => *actual != rows.rows[*place].entry.value,
                    Outcome::Full => true,
                    Outcome::Applied | Outcome::Fenced => false,
                };
                is_cause.then(|| rows.rows[*place].name.to_string())
            };
            places.iter().zip(outcomes.iter().flatten()).find_map(lost)
        };
        let loser = loser(rows).filter(|_| atomicity == Atomicity::AllOrNothing);
        for (i, place) in places.into_iter().enumerate() {
            let expected = rows.rows[place].entry.value;
            rows.rows[place].refused = match outcomes.as_ref().map(|outcomes| outcomes.get(i)) {
                Ok(Some(Outcome::Applied)) => None,
                // Somebody wrote the same at another site, so this site may have it, too. A change is more than its
                // `/meta`: the rest of it might be another one.
                Ok(Some(Outcome::Mismatch { actual }))
                    if *actual == GlobalRef::at_or_deleted(rows.rows[place].new)
                        && rows.rows[place].group.is_none() =>
                {
                    None
                }
                Ok(Some(Outcome::Mismatch { actual })) if *actual != expected => Some(Why::Lost(*actual)),
                Ok(Some(Outcome::Mismatch { .. })) => Some(match &loser {
                    Some(other) => Why::With { other: other.clone(), atomic: rows.atomic },
                    None => Why::Failed("the ref-db did not take it, try again".into()),
                }),
                Ok(Some(Outcome::Full)) => Some(Why::ListFull),
                Ok(Some(Outcome::Fenced) | None) => Some(Why::Unknown("the ref-db gave no answer".into())),
                Err(why) => Some(why.clone()),
            };
        }
    }
    rows.settle();
}

/// What goes in one call: an atomic push at once, each change with several tracked refs on its own, the rest each by
/// itself.
fn batches(rows: &Rows) -> Vec<(Vec<usize>, Atomicity)> {
    let tracked: Vec<usize> =
        rows.open_places().into_iter().filter(|i| rows.is_put(&rows.rows[*i])).collect();
    let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut alone: Vec<usize> = Vec::new();
    for place in tracked {
        match rows.rows[place].group {
            Some(group) => groups.entry(group).or_default().push(place),
            None => alone.push(place),
        }
    }
    let (together, single): (Vec<_>, Vec<_>) = groups.into_values().partition(|places| places.len() > 1);
    alone.extend(single.into_iter().flatten());
    alone.sort_by_key(|place| (is_meta(&rows.rows[*place].name), *place));
    let alone = Some(alone).filter(|places| !places.is_empty()).map(|places| (places, Atomicity::Each));
    alone.into_iter().chain(together.into_iter().map(|places| (places, Atomicity::AllOrNothing))).collect()
}

/// The rows that would have to go all or nothing with more others than the ref-db can do.
pub(super) fn more_than(rows: &Rows, limit: usize) -> Vec<usize> {
    let too_many = |(places, atomicity): &(Vec<usize>, Atomicity)| {
        *atomicity == Atomicity::AllOrNothing && places.len() > limit
    };
    batches(rows).into_iter().filter(too_many).flat_map(|(places, _)| places).collect()
}

/// One compare-and-put, and when its answer is lost, what became of it.
async fn put_once(
    site: &Site,
    project: &Project,
    edits: &[Edit],
    atomicity: Atomicity,
) -> Result<Vec<Outcome>, Why> {
    let (refdb, clock) = (site.gate.refdb(), site.gate.clock().as_ref());
    let timeout = site.gate.config().ref_database.timeout;
    let error = match refdb.compare_and_put(project, edits, atomicity, Deadline::after(clock, timeout)).await
    {
        Ok(outcomes) => return Ok(outcomes),
        Err(e) => e,
    };
    if error.kind == RefDbErrorKind::Closed {
        // The pusher reads what the operator wrote, without our words around it.
        let message = refdb.closed(Deadline::after(clock, timeout)).await.ok().flatten();
        return Err(Why::Closed(message.unwrap_or_else(|| "try again later".into())));
    }
    // Nothing was applied, and nothing will be, says the contract. Of a call for each, some may have been.
    if error.kind != RefDbErrorKind::Indeterminate
        && (atomicity == Atomicity::AllOrNothing || edits.len() == 1)
    {
        return Err(Why::RefDbDown(error.message));
    }
    let end = Deadline::after(clock, RESOLVE_WITHIN);
    loop {
        match refdb.resolve(project, edits, Deadline::after(clock, timeout)).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(_) if end.left(clock).is_zero() => {
                return Err(Why::Unknown(format!("the ref-db went away: {}", error.message)));
            }
            Err(_) => clock.sleep(RESOLVE_PAUSE.min(end.left(clock))).await,
        }
    }
}

/// Step 5: one local transaction with everything that is open. Returns whether nothing is left to do.
///
/// Only what was read back at its new value is answered with ok. That the ref-db has a value settles a client's write for
/// all sites, and says nothing about this one; for what replication sends it settles nothing.
///
/// # Errors
/// When the refs cannot be read; then nobody knows what moved.
pub(super) async fn set_local(
    site: &Site,
    project: &Project,
    repository: &dyn Repo,
    rows: &mut Rows,
    locks: &Guard,
) -> Result<bool, GitError> {
    let places: Vec<usize> = rows.open_places().into_iter().filter(|i| !rows.rows[*i].is_noop()).collect();
    let edits: Vec<RefEdit> = places.iter().map(|i| rows.rows[*i].edit()).collect();
    let outcomes = repository.update(&edits, REFLOG, locks).await?;
    let failed: Vec<(usize, String)> = places
        .into_iter()
        .zip(outcomes)
        .filter_map(|(place, outcome)| match outcome {
            EditOutcome::Applied => None,
            EditOutcome::Rejected(why) => Some((place, why)),
        })
        .collect();
    let mut done = true;
    let recorded = rows.recorded();
    let mut broken: HashSet<u32> = HashSet::new();
    for (place, why) in failed {
        if !recorded(&rows.rows[place]) {
            // This push did not move the ref-db for it, so what follows does not concern it.
            rows.rows[place].refused = Some(Why::Failed(why));
            continue;
        }
        let group = rows.rows[place].group;
        if group.is_some_and(|group| broken.contains(&group)) {
            // What comes later in a group must not be here without what comes first, as a `/meta` without its patch set.
            rows.rows[place].refused = Some(Why::Kept(why));
            continue;
        }
        match once_more(site, project, repository, &rows.rows[place], why, locks).await? {
            Second::Here => {}
            Second::Overtaken => done = false,
            Second::Refused(why) => {
                done = false;
                broken.extend(group);
                rows.rows[place].refused = Some(why);
            }
        }
    }
    rows.agree();
    Ok(done)
}

/// What came of a second attempt.
enum Second {
    /// The ref is here at the client's value.
    Here,
    /// Other sites have taken the write and gone on from it, and this site with them.
    Overtaken,
    /// It is not here.
    Refused(Why),
}

/// After a local failure of a client's write that is recorded. `why` is what the first attempt failed for.
async fn once_more(
    site: &Site,
    project: &Project,
    repository: &dyn Repo,
    row: &Row,
    why: String,
    locks: &Guard,
) -> Result<Second, GitError> {
    let local = match repository.targets(std::slice::from_ref(&row.name)).await?.pop().flatten() {
        Some(Target::Broken(why)) => return Ok(Second::Refused(Why::Kept(why.to_string()))),
        target => target.and_then(|target| target.oid()),
    };
    if local == row.new {
        return Ok(Second::Here);
    }
    let edit = RefEdit { old: local, group: None, ..row.edit() };
    if !row.is_tracked() {
        // It goes with refs that the ref-db has taken. A value that is not the client's stays, whoever wrote it.
        let moved =
            local == row.old && repository.update(&[edit], REFLOG, locks).await? == [EditOutcome::Applied];
        return Ok(if moved { Second::Here } else { Second::Refused(Why::Kept(why)) });
    }
    let Some(entry) = read(site, project, &row.name).await else {
        return Ok(Second::Refused(Why::Unknown(why)));
    };
    let global = entry.value.oid();
    let accounted = is_accounted(repository, local, row.new, &entry.superseded).await?;
    let pair: Vec<(Oid, Oid)> = row.new.zip(global).into_iter().collect();
    let contained = repository.ancestry(&pair).await? == [true];
    let newest = entry.value == GlobalRef::at_or_deleted(row.new);
    if newest && accounted && repository.update(&[edit], REFLOG, locks).await? == [EditOutcome::Applied] {
        return Ok(Second::Here);
    }
    Ok(match is_accepted(row.new, &entry, contained) {
        true if !newest && local == global => Second::Overtaken,
        true => Second::Refused(Why::Kept(why)),
        false => Second::Refused(Why::Unknown(why)),
    })
}

/// Whether `local` may be overwritten with `new`: absent, contained in it, or once global, or contained in what was.
async fn is_accounted(
    repository: &dyn Repo,
    local: Option<Oid>,
    new: Option<Oid>,
    superseded: &[Oid],
) -> Result<bool, GitError> {
    let Some(local) = local else { return Ok(true) };
    let pairs: Vec<(Oid, Oid)> = new.iter().chain(superseded).map(|later| (local, *later)).collect();
    Ok(repository.ancestry(&pairs).await?.contains(&true))
}

async fn read(site: &Site, project: &Project, name: &refgate_core::RefName) -> Option<Entry> {
    let deadline = Deadline::after(site.gate.clock().as_ref(), site.gate.config().ref_database.timeout);
    let found = site.gate.refdb().get_many(project, std::slice::from_ref(name), deadline).await.ok()?;
    found.first().and_then(Lookup::entry).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_core::Rules;
    use refgate_git::receive::Command;

    /// Of so many changes, each with two refs that the ref-db records, and a branch.
    fn push(changes: usize) -> Rows {
        let new = Oid::from_hex(&[b'a'; 40]).ok();
        let of = |i: usize| {
            ["meta", "robot-comments"].map(|part| format!("refs/changes/{:02}/{i}/{part}", i % 100))
        };
        let names = (1..=changes).flat_map(of).chain(["refs/heads/main".into()]);
        let commands: Vec<Command> =
            names.map(|name| Command { name: name.into_bytes(), old: None, new }).collect();
        let project = Project::new("p").expect("legal");
        Rows::new(&commands, false, true, &project, &Rules::default())
    }

    #[test]
    fn each_change_is_one_call_and_everything_else_another() {
        // With a search of all groups for each ref of each group this would not end in any reasonable time.
        let rows = push(20_000);
        let batches = batches(&rows);
        assert_eq!(batches.len(), 20_001);
        assert_eq!(batches[0], (vec![40_000], Atomicity::Each));
        for (places, atomicity) in &batches[1..] {
            let groups: Vec<Option<u32>> = places.iter().map(|place| rows.rows[*place].group).collect();
            assert_eq!((groups.len(), *atomicity), (2, Atomicity::AllOrNothing));
            assert_eq!(groups[0], groups[1]);
        }
    }

    #[test]
    fn a_ref_that_is_the_only_one_of_its_change_needs_no_call_of_its_own() {
        let mut rows = push(3);
        let robots = rows.rows.iter_mut().filter(|row| row.name.as_bytes().ends_with(b"-comments"));
        robots.for_each(|row| row.refused = Some(Why::Busy));
        assert_eq!(batches(&rows), [(vec![6, 0, 2, 4], Atomicity::Each)]);
    }
}
