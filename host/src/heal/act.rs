//! What an operator allows beyond catch-up: publish, rescue, and the acceptance of a loss. Each under the locks of its
//! refs, and only while both values are those that were looked at.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use refgate_core::ports::{EditOutcome, GitError, Guard, RefEdit, Repo};
use refgate_core::{
    Atomicity, Edit, Entry, Expected, GlobalRef, Lookup, Oid, Outcome, Project, RefDbErrorKind, RefName,
};
use refgate_git::{Repository, fetch_objects, list, utc};

use super::look::Finding;
use crate::replicate::catch_up::{ancestry, deadline, global_of, read, values};
use crate::replicate::offers::Value;
use crate::replicate::{blocking, lock};
use crate::{Error, Site};

/// What became of each ref: what was done, or why nothing was.
type Done = BTreeMap<RefName, Result<String, String>>;

/// Below this are copies of values that had to give way.
const RESCUED: &str = "refs/refgate/rescued/";

/// Moves the ref-db to local values that descend from it.
pub(super) async fn publish(
    site: &Site,
    project: &Project,
    repository: &dyn Repo,
    rows: Vec<Finding>,
) -> Result<Done, Error> {
    let (_locks, rows, _, mut done) = unchanged(site, project, repository, rows).await?;
    let edits: Vec<Edit> = rows
        .iter()
        .map(|row| {
            let new = GlobalRef::at_or_deleted(row.local);
            Edit::new(row.name.clone(), Expected::Exactly(row.global.value()), new).fast_forward(true)
        })
        .collect();
    if edits.is_empty() {
        return Ok(done);
    }
    let outcomes =
        site.gate.refdb().compare_and_put(project, &edits, Atomicity::Each, deadline(site)).await?;
    for (edit, outcome) in edits.into_iter().zip(outcomes) {
        let told = match outcome {
            Outcome::Applied => Ok("the ref-db was moved to the local value".into()),
            _ => Err("another site was faster".into()),
        };
        done.insert(edit.name, told);
    }
    Ok(done)
}

/// Copies local values to refs that replicate, then sets the refs to what the ref-db holds.
///
/// In two steps: a kill in between leaves a copy, which the next run finds and uses.
pub(super) async fn rescue(
    site: &Site,
    project: &Project,
    repository: &dyn Repo,
    rows: Vec<Finding>,
    now: SystemTime,
) -> Result<Done, Error> {
    let (locks, rows, _, mut done) = unchanged(site, project, repository, rows).await?;
    let time = stamp(now);
    let copies = copies(repository, &rows, &time).await?;
    let create: Vec<RefEdit> = copies
        .iter()
        .zip(&rows)
        .map(|(copy, row)| RefEdit { name: copy.clone(), old: None, new: row.local, group: None })
        .collect();
    let kept = repository.update(&create, "refgate: rescue", &locks).await?;
    let safe: Vec<usize> = (0..rows.len()).filter(|i| kept[*i] == EditOutcome::Applied).collect();
    let set: Vec<RefEdit> = safe
        .iter()
        .map(|i| &rows[*i])
        .map(|row| RefEdit { name: row.name.clone(), old: row.local, new: row.global.oid(), group: None })
        .collect();
    let mut moved = repository.update(&set, "refgate: rescue", &locks).await?.into_iter();
    for (i, row) in rows.into_iter().enumerate() {
        let one = match &kept[i] {
            EditOutcome::Rejected(why) => Err(format!("it could not be copied: {why}")),
            EditOutcome::Applied => match moved.next() {
                Some(EditOutcome::Applied) => Ok(format!("its value is kept as {}", copies[i])),
                Some(EditOutcome::Rejected(why)) => Err(why),
                None => Err("it was left alone".into()),
            },
        };
        done.insert(row.name, one);
    }
    Ok(done)
}

/// Where each local value is copied to: a copy that is there already, or a new name.
async fn copies(repository: &dyn Repo, rows: &[Finding], time: &str) -> Result<Vec<RefName>, GitError> {
    let refs = repository.refs().await?;
    let mut there: HashMap<(Vec<u8>, Oid), RefName> = HashMap::new();
    for (name, target) in refs.iter() {
        let Some(rest) = name.strip_prefix(RESCUED.as_bytes()) else { continue };
        let below = rest.splitn(2, |b| *b == b'/').nth(1).unwrap_or_default();
        if let (Some(oid), Ok(name)) = (target.oid(), RefName::new(name)) {
            there.insert((below.to_vec(), oid), name);
        }
    }
    let copy = |row: &Finding| {
        let below = row.name.as_bytes().strip_prefix(b"refs/").unwrap_or(row.name.as_bytes());
        let known = row.local.and_then(|oid| there.get(&(below.to_vec(), oid)));
        known.cloned().map_or_else(
            || {
                let name = [RESCUED.as_bytes(), time.as_bytes(), b"/", below].concat();
                RefName::new(name).map_err(|e| GitError::new(e.to_string()))
            },
            Ok,
        )
    };
    rows.iter().map(copy).collect()
}

/// `20261103T120005Z`
pub(super) fn stamp(time: SystemTime) -> String {
    let text = utc(time.duration_since(UNIX_EPOCH).unwrap_or_default());
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let (date, clock) = digits.split_at(digits.len() - 6);
    format!("{date}T{clock}Z")
}

/// Gives up the value `oid` of the ref-db and records the local values instead, with nothing superseded: should a site
/// come back with what was given up, it is held back there as diverged, and can be rescued.
pub(super) async fn accept_loss(
    site: &Site,
    project: &Project,
    repository: &Repository,
    rows: Vec<Finding>,
    oid: Oid,
) -> Result<Done, Error> {
    // A listing shows the tips of branches only. The object may be further down, so every remote is asked for it.
    for (remote, settings) in &site.gate.config().remotes {
        let (Ok(url), dir) = (site.url(remote, project), repository.git_dir().to_owned()) else { continue };
        let sees_all = url.path().is_some() || settings.shows_all_refs;
        let brought = blocking(move || fetch_objects(&dir, &url, &[oid], &mut |_| {})).await;
        if !sees_all && brought.as_ref().is_ok_and(|brought| !brought.missing.is_empty()) {
            let why = format!(
                "`{remote}` does not give {oid}, and may hide it; if it hides no ref: `remote.{remote}.showsAllRefs = true`"
            );
            return Ok(rows.into_iter().map(|row| (row.name, Err(why.clone()))).collect());
        }
        if brought.is_ok_and(|brought| brought.missing.is_empty() && brought.refused.is_empty()) {
            let why = format!("`{remote}` has {oid}, so nothing is lost; it is here now: run heal again");
            return Ok(rows.into_iter().map(|row| (row.name, Err(why.clone()))).collect());
        }
    }
    let newer = newer(site, project, repository, &rows).await?;
    let (rows, kept): (Vec<Finding>, Vec<Finding>) =
        rows.into_iter().partition(|row| !newer.contains_key(&row.name));
    let (_locks, rows, entries, mut done) = unchanged(site, project, repository, rows).await?;
    for row in kept {
        let Some((remote, value)) = newer.get(&row.name) else { continue };
        let why = format!(
            "`{remote}` has {value}, which is newer than what is here: give {oid} up there, by `refgate refdb heal {project} \
             --accept-loss {oid} --yes`"
        );
        done.insert(row.name, Err(why));
    }
    let refdb = site.gate.refdb();
    for row in rows {
        let Some(Lookup::Entry(from)) = entries.get(&row.name) else { continue };
        let to = Entry::new(GlobalRef::at_or_deleted(row.local));
        let swapped = match refdb.swap_entry(project, &row.name, from, &to, deadline(site)).await {
            // Without the exchange of whole entries there is only the write that asks nothing.
            Err(e) if e.kind == RefDbErrorKind::Unsupported => {
                refdb.put(project, &row.name, to.value, deadline(site)).await.map(|()| true)
            }
            other => other,
        };
        let now = row.local.map_or("deleted".to_owned(), |oid| oid.to_string());
        let told = match swapped {
            Ok(true) => Ok(format!("{oid} was given up; the ref-db holds {now} now")),
            Ok(false) => Err("the ref-db moved meanwhile".into()),
            Err(e) => Err(e.to_string()),
        };
        done.insert(row.name, told);
    }
    Ok(done)
}

/// Of each row, a remote that can be reached and whose value comes after the local one, and that value.
async fn newer(
    site: &Site,
    project: &Project,
    repository: &Repository,
    rows: &[Finding],
) -> Result<HashMap<RefName, (String, Oid)>, Error> {
    let local: HashMap<&RefName, Option<Oid>> = rows.iter().map(|row| (&row.name, row.local)).collect();
    let mut newer = HashMap::new();
    for (remote, settings) in &site.gate.config().remotes {
        let (Ok(url), format) = (site.url(remote, project), repository.object_format()) else { continue };
        let there = url.clone();
        let Ok(listed) = blocking(move || list(&there, format)).await else { continue };
        let named = listed.into_iter().filter_map(|one| {
            let name = settings.fetch.destination(&one.name)?.name;
            let (here, value) = (*local.get(&name)?, one.oid?);
            (here != Some(value)).then_some((name, here, value))
        });
        let named: Vec<(RefName, Option<Oid>, Oid)> = named.collect();
        if named.is_empty() {
            continue;
        }
        // Which of two values comes after the other shows only beside their objects.
        let (dir, wanted) =
            (repository.git_dir().to_owned(), named.iter().map(|(_, _, v)| *v).collect::<Vec<_>>());
        let absent = repository.clone();
        let brought = blocking(move || {
            let absent = absent.missing(&wanted)?;
            fetch_objects(&dir, &url, &absent, &mut |_| {})
        });
        if brought.await.is_err() {
            continue;
        }
        let pairs = named.iter().filter_map(|(_, here, value)| Some(((*here)?, *value))).collect();
        let after = ancestry(repository, pairs).await?;
        for (name, here, value) in named {
            if here.is_none_or(|here| after.contains(&(here, value))) {
                newer.entry(name).or_insert((remote.clone(), value));
            }
        }
    }
    Ok(newer)
}

/// The locks of the refs of `rows`, those rows whose values are still the same under them, their entries, and why the
/// others are left alone.
async fn unchanged(
    site: &Site,
    project: &Project,
    repository: &dyn Repo,
    rows: Vec<Finding>,
) -> Result<(Guard, Vec<Finding>, HashMap<RefName, Lookup>, Done), Error> {
    let names: Vec<RefName> = rows.iter().map(|row| row.name.clone()).collect();
    let (locks, got) = lock(repository, &names, site.gate.clock().as_ref()).await?;
    let entries = read(site, project, &names).await?;
    let local = values(repository, names).await?;
    let (mut same, mut done) = (Vec::new(), Done::new());
    for (row, got) in rows.into_iter().zip(got) {
        let here = local.get(&row.name).copied();
        let is = global_of(site, project, &row.name, &entries);
        if !got {
            done.insert(row.name, Err("another process of this site is moving it".into()));
        } else if here != row.local.map(Value::At) || is != Some(row.global.value()) {
            done.insert(row.name, Err("it has moved since it was looked at; run again".into()));
        } else {
            same.push(row);
        }
    }
    Ok((locks, same, entries, done))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_parts_of_ref_names() {
        assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(1_793_707_205)), "20261103T120005Z");
        assert!(RefName::new(format!("{RESCUED}{}/heads/x", stamp(UNIX_EPOCH))).is_ok());
    }
}
