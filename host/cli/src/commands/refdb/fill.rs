//! `refdb seed`, `check` and `publish`: the local repository against the ref-db, whole projects at a time.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use indicatif::ProgressBar;
use refgate_core::ports::Guard;
use refgate_core::{
    AncestryQuery, Atomicity, Class, Edit, Expected, GlobalRef, LocalRefs, Lookup, Oid, Outcome, Project,
    RefName, is_meta, is_rescued, meta_of,
};
use refgate_git::{GitRepositories, Repository, Target};
use refgate_host::gated::{self, Journal, Record};
use refgate_host::replicate::lock;
use refgate_host::{Error, anew, exposed_refdb, names};
use serde_json::{Value, json};

use super::{Db, entries, show, show_found};
use crate::output::{Cell, Mood, Output, hint, note, warn};
use crate::progress::bar;

/// Why a ref is not recorded beside another one.
const IN_THE_WAY: &str = "in the way of a recorded name, or the other way round";

/// One ref on which the repository and the ref-db do not agree, and why nothing was done about it.
pub(super) struct Difference {
    pub name: RefName,
    pub local: Option<Oid>,
    pub global: GlobalRef,
    pub what: Cow<'static, str>,
}

/// Fills the ref-db by compare-and-put from absent; with `force` it overwrites the rest.
pub async fn seed(db: &Db, project: &Project, force: bool, output: &Output) -> Result<u8, Error> {
    let Local { refs: mut local, broken } = recorded(db, project).await?;
    let progress = match output.is_holding() {
        true => ProgressBar::hidden(),
        false => bar(local.len() as u64, "seeding"),
    };
    let mut seeded = 0usize;
    let mut overwritten = Vec::new();
    let mut differences: Vec<Difference> = broken.into_iter().map(unread).collect();
    refuse_names(&mut local, &entries::all(db, project).await?, &mut differences);
    let all: Vec<(RefName, Oid)> = local.into_iter().collect();
    for chunk in all.chunks(entries::PAGE) {
        let edits: Vec<Edit> = chunk
            .iter()
            .map(|(name, oid)| edit(name, GlobalRef::Untracked, GlobalRef::At(*oid), true))
            .collect();
        let outcomes = db.refdb.compare_and_put(project, &edits, Atomicity::Each, db.deadline()).await?;
        for ((name, oid), outcome) in chunk.iter().zip(outcomes) {
            match outcome {
                Outcome::Applied => seeded += 1,
                Outcome::Mismatch { actual } if actual == GlobalRef::At(*oid) => {}
                Outcome::Mismatch { actual } if force => {
                    db.refdb.put(project, name, GlobalRef::At(*oid), db.deadline()).await?;
                    // At once: a store that fails later must not hide it.
                    note(&format!("overwrote {name}, it was {}", show(actual)));
                    overwritten.push((name.clone(), actual));
                    seeded += 1;
                }
                Outcome::Mismatch { actual } => {
                    let (name, local, what) = (name.clone(), Some(*oid), "differs");
                    differences.push(Difference { name, local, global: actual, what: what.into() });
                }
                _ => return Err(Error::failed(format!("the ref-db gave no answer for `{name}`"))),
            }
        }
        progress.inc(chunk.len() as u64);
    }
    progress.finish_and_clear();
    let row = |(name, value): &(RefName, GlobalRef)| json!({"ref": name.to_string(), "value": show(*value)});
    let more = force.then(|| ("overwritten", overwritten.iter().map(row).collect()));
    finish("refdb seed", project, "seeded", seeded, &differences, more, output);
    Ok(if differences.is_empty() { 0 } else { 3 })
}

/// Takes out what cannot be recorded beside what is there: no repository could hold both names.
fn refuse_names(
    local: &mut BTreeMap<RefName, Oid>,
    entries: &[(RefName, Lookup)],
    differences: &mut Vec<Difference>,
) {
    let nothing = HashSet::new();
    let known: HashSet<&RefName> = names::held(entries, &nothing).collect();
    let all = known.iter().copied().chain(local.keys());
    let new: Vec<RefName> = names::pairs(all)
        .into_iter()
        .flat_map(|(one, other)| [one, other])
        .filter(|name| !known.contains(name))
        .collect();
    for name in new {
        if let Some(oid) = local.remove(&name) {
            let global = GlobalRef::Untracked;
            differences.push(Difference { name, local: Some(oid), global, what: IN_THE_WAY.into() });
        }
    }
}

/// Says what counts for all projects: a ref-db that only one site ever used is what a mistyped path looks like, and a closed
/// one takes no writes.
pub async fn warn_of_refdb(db: &Db) -> Result<(), Error> {
    let sites = db.refdb.sites(db.deadline()).await?;
    if let Some(text) = db.config.lonely(&sites) {
        warn(&text);
    }
    match db.refdb.closed(db.deadline()).await {
        Ok(Some(message)) => warn(&format!("the ref-db is closed, and takes no writes: {message}")),
        Ok(None) => {}
        Err(e) => warn(&e.message),
    }
    exposed_refdb(&db.config).iter().for_each(|text| warn(text));
    Ok(())
}

/// Lists every ref on which the repository and the ref-db do not agree.
pub async fn check(db: &Db, project: &Project, output: &Output) -> Result<u8, Error> {
    let entries = entries::all(db, project).await?;
    let gone = deleted_changes(&entries);
    let left = |name: &RefName| meta_of(name).is_some_and(|meta| gone.contains(&meta));
    let wanted = |name: &RefName| is_recorded(db, project, name) || left(name);
    let Local { refs: local, broken } = local(db, project, wanted).await?;
    let ours: HashSet<RefName> = local.keys().cloned().collect();
    let in_the_way = names::pairs(names::held(&entries, &ours));
    let repository = GitRepositories::new(db.config.site.base_path.clone()).repository(project)?;
    if let Some(doubt) = gated::doubt(&db.config, project, &repository) {
        warn(&doubt.to_string());
    }
    let found = anew::count(&entries, project, &db.config.rules, &repository, &ours).await?;
    if let Some(recorded) = found.made_anew() {
        warn(&anew::told(project, recorded));
        hint(&anew::hint(project));
    }
    let global = global(db, project, entries)?;
    let names: BTreeSet<&RefName> =
        local.keys().chain(global.keys()).filter(|name| !broken.contains_key(*name)).collect();
    let mut differences = Vec::new();
    let mut equal = 0usize;
    let mut both: Vec<(Oid, Oid)> = Vec::new();
    for name in &names {
        if let (Some(l), Some(GlobalRef::At(g))) = (local.get(*name), global.get(*name))
            && l != g
        {
            both.push((*l, *g));
        }
    }
    let order = Order::of(&repository, both)?;
    for name in names {
        let (l, g) = (local.get(name).copied(), global.get(name).copied().unwrap_or_default());
        let what = match (l, g) {
            // Of a deleted change nothing is left, whatever its other refs were.
            (l, _) if left(name) => l.map(|_| "its change is deleted"),
            (Some(l), GlobalRef::At(g)) if l == g => None,
            (None, GlobalRef::Deleted | GlobalRef::Untracked) => None,
            // A copy of what had to give way need not be known to anybody.
            (Some(_), GlobalRef::Untracked) if is_rescued(name) => None,
            (Some(_), GlobalRef::Untracked) => Some("untracked"),
            (Some(_), GlobalRef::Deleted) => Some("deleted in the ref-db"),
            (None, GlobalRef::At(_)) => Some("not here"),
            (Some(l), GlobalRef::At(g)) => Some(order.word(l, g)),
        };
        match what {
            None => equal += 1,
            Some(what) => {
                differences.push(Difference { name: name.clone(), local: l, global: g, what: what.into() })
            }
        }
    }
    differences.extend(broken.into_iter().map(|(name, why)| Difference {
        global: global.get(&name).copied().unwrap_or_default(),
        ..unread((name, why))
    }));
    let records = records(db, project)?;
    if !output.json {
        for record in &records {
            output.text(&format!("unfinished write {} of {}", record.id, refs_of(record).join(", ")));
        }
    }
    let pairs: Vec<_> = in_the_way.iter().map(|(a, b)| [a.to_string(), b.to_string()]).collect();
    let more = [
        ("records", records_json(&records)),
        ("in_the_way", json!(pairs)),
        ("made_anew", json!(found.made_anew())),
    ];
    finish("refdb check", project, "equal", equal, &differences, more, output);
    if !output.json {
        in_the_way.iter().for_each(|(one, other)| output.text(&names::told(one, other)));
    }
    Ok(if differences.is_empty() && in_the_way.is_empty() { 0 } else { 3 })
}

/// How local values and those of the ref-db follow each other.
struct Order {
    /// Pairs whose first is contained in the second.
    contained: HashSet<(Oid, Oid)>,
    /// Values of the ref-db whose objects are not here.
    absent: HashSet<Oid>,
}

impl Order {
    /// Of pairs of a local value and one of the ref-db: one bulk question in both directions.
    fn of(repository: &Repository, pairs: Vec<(Oid, Oid)>) -> Result<Order, Error> {
        let global: Vec<Oid> = pairs.iter().map(|(_, global)| *global).collect();
        let absent: HashSet<Oid> = repository.missing(&global)?.into_iter().collect();
        let here = pairs.into_iter().filter(|(_, global)| !absent.contains(global));
        let asked: Vec<(Oid, Oid)> =
            here.flat_map(|(local, global)| [(local, global), (global, local)]).collect();
        let answers = repository.ancestry(&asked)?;
        let contained =
            asked.into_iter().zip(answers).filter(|(_, yes)| *yes).map(|(pair, _)| pair).collect();
        Ok(Order { contained, absent })
    }

    fn word(&self, local: Oid, global: Oid) -> &'static str {
        match () {
            () if self.absent.contains(&global) => "behind or diverged: the ref-db's value is not here",
            () if self.contained.contains(&(local, global)) => "behind",
            () if self.contained.contains(&(global, local)) => "ahead",
            () => "diverged",
        }
    }
}

/// Writes of this site that have begun and not ended: still at work, or left by a process that died.
fn records(db: &Db, project: &Project) -> Result<Vec<Record>, Error> {
    let repositories = GitRepositories::new(db.config.site.base_path.clone());
    let (records, damaged) = Journal::of(&repositories.repository(project)?).list_readable()?;
    damaged.iter().for_each(|e| warn(&e.message));
    Ok(records)
}

fn refs_of(record: &Record) -> Vec<String> {
    record.refs.iter().map(|one| one.name.to_string()).collect()
}

fn records_json(records: &[Record]) -> Value {
    records.iter().map(|record| json!({"id": record.id, "refs": refs_of(record)})).collect()
}

/// Moves the ref-db to local values that descend from it, and creates entries for refs that have none.
pub async fn publish(db: &Db, project: &Project, only: &[RefName], output: &Output) -> Result<u8, Error> {
    let Local { refs: mut local, broken } = recorded(db, project).await?;
    if let Some((name, why)) = only.iter().find_map(|name| broken.get_key_value(name)) {
        return Err(Error::failed(format!("`{name}` of `{project}` cannot be read: {why}")));
    }
    let entries = entries::all(db, project).await?;
    let gone = deleted_changes(&entries);
    let mut differences: Vec<Difference> = broken.into_iter().map(unread).collect();
    refuse_names(&mut local, &entries, &mut differences);
    differences.retain(|one| only.is_empty() || only.contains(&one.name));
    let global = global(db, project, entries)?;
    if let Some(unknown) = only
        .iter()
        .find(|name| !local.contains_key(*name) && !differences.iter().any(|one| one.name == **name))
    {
        return Err(Error::usage(format!("`{project}` has no ref `{unknown}` that the ref-db could record"))
            .hint(format!("to record a deletion: `refgate refdb cas {project} {unknown} OID deleted`")));
    }
    let wanted = |name: &RefName| only.is_empty() || only.contains(name);
    let ahead: Vec<(RefName, Oid, GlobalRef)> = local
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, oid)| {
            let value = global.get(&name).copied().unwrap_or_default();
            (name, oid, value)
        })
        .filter(|(_, oid, value)| *value != GlobalRef::At(*oid))
        .collect();
    let contained = contained(db, project, &ahead).await?;
    let mut edits = Vec::new();
    for ((name, oid, value), contained) in ahead.into_iter().zip(contained) {
        match value {
            _ if meta_of(&name).is_some_and(|meta| gone.contains(&meta)) => {
                let what = "its change is deleted";
                differences.push(Difference { name, local: Some(oid), global: value, what: what.into() });
            }
            GlobalRef::Untracked => edits.push(edit(&name, value, GlobalRef::At(oid), true)),
            GlobalRef::At(_) if contained => edits.push(edit(&name, value, GlobalRef::At(oid), true)),
            GlobalRef::At(_) => {
                let what = "does not descend from the ref-db's value";
                differences.push(Difference { name, local: Some(oid), global: value, what: what.into() });
            }
            GlobalRef::Deleted => {
                let what = "deleted in the ref-db";
                differences.push(Difference { name, local: Some(oid), global: value, what: what.into() });
            }
        }
    }
    let (_locks, edits) = under_locks(db, project, edits, &mut differences).await?;
    let mut published = 0usize;
    for chunk in edits.chunks(entries::PAGE) {
        let outcomes = db.refdb.compare_and_put(project, chunk, Atomicity::Each, db.deadline()).await?;
        for (edit, outcome) in chunk.iter().zip(outcomes) {
            match outcome {
                Outcome::Mismatch { actual } => {
                    let what = "another site was faster";
                    differences.push(Difference {
                        name: edit.name.clone(),
                        local: edit.new.oid(),
                        global: actual,
                        what: what.into(),
                    });
                }
                Outcome::Applied => published += 1,
                Outcome::Fenced | Outcome::Full => {
                    return Err(Error::failed(format!("the ref-db gave no answer for `{}`", edit.name)));
                }
            }
        }
    }
    finish("refdb publish", project, "published", published, &differences, [], output);
    Ok(if differences.is_empty() { 0 } else { 3 })
}

/// The locks of this site on the refs of `edits`, and those edits whose ref is still at the value that is to be
/// published: a client's write that is on its way must not be published half done.
pub(super) async fn under_locks(
    db: &Db,
    project: &Project,
    edits: Vec<Edit>,
    differences: &mut Vec<Difference>,
) -> Result<(Option<Guard>, Vec<Edit>), Error> {
    if edits.is_empty() {
        return Ok((None, edits));
    }
    let repositories = GitRepositories::new(db.config.site.base_path.clone());
    let repository = repositories.repository(project)?;
    let names: Vec<RefName> = edits.iter().map(|edit| edit.name.clone()).collect();
    let (locks, got) = lock(&repository, &names, db.clock.as_ref()).await?;
    let now = repository.values(&names)?;
    let mut kept = Vec::new();
    for ((edit, got), now) in edits.into_iter().zip(got).zip(now) {
        let now = now.unwrap_or(None);
        if got && now == edit.new.oid() {
            kept.push(edit);
            continue;
        }
        let what = if got { "moved meanwhile" } else { "another process of this site is moving it" };
        let global = match edit.expected {
            Expected::Exactly(value) => value,
            _ => GlobalRef::Untracked,
        };
        differences.push(Difference { name: edit.name, local: now, global, what: what.into() });
    }
    Ok((Some(locks), kept))
}

fn edit(name: &RefName, expected: GlobalRef, new: GlobalRef, fast_forward: bool) -> Edit {
    Edit::new(name.clone(), Expected::Exactly(expected), new).fast_forward(fast_forward)
}

/// Whether each ref-db value is contained in the local one: one bulk question.
async fn contained(
    db: &Db,
    project: &Project,
    refs: &[(RefName, Oid, GlobalRef)],
) -> Result<Vec<bool>, Error> {
    let asked = refs.iter().filter_map(|(name, local, value)| {
        let descendant = Some(*local);
        value.oid().map(|ancestor| AncestryQuery { name: name.clone(), ancestor, descendant })
    });
    let queries: Vec<AncestryQuery> = asked.collect();
    let repositories = GitRepositories::new(db.config.site.base_path.clone());
    let answers = repositories.ancestry(project, &queries).await.map_err(|e| Error::failed(e.to_string()))?;
    let mut answers = answers.into_iter();
    Ok(refs.iter().map(|(_, _, value)| value.oid().is_some() && answers.next() == Some(true)).collect())
}

/// The local refs with these names, but for symbolic ones.
pub(super) async fn local(
    db: &Db,
    project: &Project,
    wanted: impl Fn(&RefName) -> bool,
) -> Result<Local, Error> {
    let repositories = GitRepositories::new(db.config.site.base_path.clone());
    let opened = {
        let (repositories, project) = (repositories.clone(), project.clone());
        tokio::task::spawn_blocking(move || repositories.repository(&project).and_then(|r| r.refs())).await
    };
    let refs = match opened {
        Ok(Ok(refs)) => refs,
        Ok(Err(e)) if e.kind == refgate_git::GitErrorKind::Missing => {
            return Err(Error::usage(format!("unknown project `{project}`: {}", e.message)));
        }
        Ok(Err(e)) => return Err(e.into()),
        Err(died) => return Err(Error::failed(format!("a worker thread died: {died}"))),
    };
    refs.strangers().iter().for_each(|why| warn(why));
    let mut out = Local::default();
    for (name, target) in refs.iter() {
        let name = RefName::new(name)?;
        if !wanted(&name) {
            continue;
        }
        match target {
            Target::Oid(oid) => drop(out.refs.insert(name, oid)),
            Target::Broken(why) => drop(out.broken.insert(name, why.to_string())),
            Target::Symbolic => {}
        }
    }
    Ok(out)
}

/// The local refs of a project that the ref-db holds.
#[derive(Default)]
pub(super) struct Local {
    pub refs: BTreeMap<RefName, Oid>,
    /// Those that cannot be read, and why.
    pub broken: BTreeMap<RefName, String>,
}

pub(super) fn unread((name, why): (RefName, String)) -> Difference {
    Difference {
        name,
        local: None,
        global: GlobalRef::Untracked,
        what: format!("cannot be read: {why}").into(),
    }
}

/// The local refs that the ref-db holds.
pub(super) async fn recorded(db: &Db, project: &Project) -> Result<Local, Error> {
    local(db, project, |name| is_recorded(db, project, name)).await
}

/// Whether the ref-db holds it: none of refgate's own, none that git keeps for one repository, none that is excluded or
/// IGNORED.
fn is_recorded(db: &Db, project: &Project, name: &RefName) -> bool {
    name.as_bytes().starts_with(b"refs/") && Class::of(project, name, &db.config.rules) == Class::Checked
}

fn global(
    db: &Db,
    project: &Project,
    entries: Vec<(RefName, Lookup)>,
) -> Result<BTreeMap<RefName, GlobalRef>, Error> {
    let mut global = BTreeMap::new();
    for (name, found) in entries {
        // What an older release recorded, or what the rules take out by now, says nothing.
        if !is_recorded(db, project, &name) {
            continue;
        }
        match found {
            Lookup::Entry(entry) => drop(global.insert(name, entry.value)),
            // A counter or the like: no ref of a repository is meant.
            Lookup::Text(_) => {}
            Lookup::Locked => {
                return Err(Error::failed(format!("the entry of `{name}` in `{project}` is locked"))
                    .hint("run it again when the writer that holds it has ended"));
            }
            Lookup::Unreadable(_) => {
                let found = show_found(&found);
                return Err(Error::failed(format!("the entry of `{name}` in `{project}` is {found}"))
                    .hint("write it anew with `refgate refdb put`, or forget it with `refgate refdb rm`"));
            }
        }
    }
    Ok(global)
}

/// The `/meta` of the changes that are recorded as deleted.
fn deleted_changes(entries: &[(RefName, Lookup)]) -> BTreeSet<RefName> {
    let is_deleted = |found: &Lookup| found.entry().is_some_and(|entry| entry.value == GlobalRef::Deleted);
    let deleted = entries.iter().filter(|(name, found)| is_meta(name) && is_deleted(found));
    deleted.map(|(name, _)| name.clone()).collect()
}

pub(super) fn finish<'k>(
    command: &str,
    project: &Project,
    done: &str,
    count: usize,
    differences: &[Difference],
    more: impl IntoIterator<Item = (&'k str, Value)>,
    output: &Output,
) {
    let local = |d: &Difference| d.local.map(|o| o.to_string());
    if output.json {
        let list: Vec<Value> = differences
            .iter()
            .map(|d| json!({"ref": d.name.to_string(), "local": local(d), "global": show(d.global), "what": d.what}))
            .collect();
        let mut document = json!({
            "command": command, "project": project.as_str(), done: count, "differences": list,
        });
        for (key, value) in more {
            document[key] = value;
        }
        return output.document(&document);
    }
    if !differences.is_empty() {
        let rows: Vec<Vec<Cell>> = differences
            .iter()
            .map(|d| {
                let local = local(d).unwrap_or_else(|| "-".into());
                vec![
                    d.name.to_string().into(),
                    local.into(),
                    show(d.global).into(),
                    Cell::new(d.what.to_string(), Mood::Held),
                ]
            })
            .collect();
        output.table(&["REF", "LOCAL", "REF-DB", "WHAT"], &rows);
    }
    output.summary(&format!("{count} {done}, {} different", differences.len()));
}
