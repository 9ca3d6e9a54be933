//! The rows: for each ref that differs from the ref-db, why it does.

use std::collections::{BTreeMap, HashMap, HashSet};

use refgate_core::ports::{Repo, Target};
use refgate_core::table::RemoteValue;
use refgate_core::{
    Class, FilterSet, GlobalRef, Lookup, Move, Oid, Project, Reason, RefName, RefUpdate, SiteKind, is_meta,
    is_rescued, meta_of,
};
use refgate_git::{Repository, list_whole};

use crate::replicate::RecordState;
use crate::replicate::blocking;
use crate::replicate::catch_up::{
    all_entries, ancestry, behind, complete, judge, read, values, would_catch_up,
};
use crate::replicate::offers::{Listing, Value};
use crate::replicate::push::local_refs;
use crate::{Error, Site, anew, names};

/// Why a ref differs from the ref-db.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// The local value is accounted for and the object is here: a gated write was cut short, or objects came without
    /// their ref.
    CatchUp,
    /// The ref-db records a deletion, and the local value is accounted for.
    Delete,
    /// Its change is deleted, and it goes when its `/meta` has gone, which cannot go as it stands.
    WithMeta,
    /// The object is not here; these remotes have it.
    Elsewhere(Vec<String>),
    /// The object is not here; these remotes have it, and hide the refs that lead to it.
    Hidden(Vec<String>),
    /// The object is not here, and no remote that can be reached shows it.
    Nowhere,
    /// It cannot be here beside this ref: the name of one is the beginning of the other's.
    InTheWay(RefName),
    /// Nothing accounts for the local value, and it descends from the global one.
    Publish,
    /// Nothing accounts for the local value: two histories.
    Rescue,
    /// Not recorded: no site that asks the ref-db moves it, and nothing says which value is the newest.
    Untracked,
    /// It could be set to what the ref-db holds, and this filter of the site holds it back; with its reason.
    HeldBack {
        /// The filter.
        by: String,
        /// Why.
        reason: String,
    },
    /// It could be set to what the ref-db holds; in a repository that is not gated a fetch does that.
    Behind,
    /// A process of this site is moving the ref at this moment.
    Busy,
    /// A record that holds the ref cannot be finished yet.
    Recorded,
    /// It could be set to what the ref-db holds, and the repository does not let it be moved; the text says why.
    Stuck(String),
    /// The local ref cannot be read; the text says why.
    Broken(String),
    /// The ref-db or the repository could not tell; the text says why.
    Unreadable(String),
}

impl Row {
    /// The name of the row.
    pub fn name(&self) -> &'static str {
        match self {
            Row::CatchUp => "catch-up",
            Row::Delete => "delete",
            Row::WithMeta => "with-meta",
            Row::Elsewhere(_) => "elsewhere",
            Row::Hidden(_) => "hidden",
            Row::Nowhere => "nowhere",
            Row::InTheWay(_) => "in-the-way",
            Row::Publish => "publish",
            Row::Rescue => "rescue",
            Row::Untracked => "untracked",
            Row::HeldBack { .. } => "held-back",
            Row::Behind => "behind",
            Row::Busy => "busy",
            Row::Recorded => "recorded",
            Row::Stuck(_) => "stuck",
            Row::Broken(_) => "broken",
            Row::Unreadable(_) => "unreadable",
        }
    }

    /// What it says of a ref, for people.
    pub fn meaning(&self) -> String {
        match self {
            Row::CatchUp => "behind, and its object is here".into(),
            Row::Delete => "deleted in the ref-db".into(),
            Row::WithMeta => "of a deleted change whose `/meta` is held back here".into(),
            Row::Elsewhere(remotes) => format!("behind, and its object is at {}", remotes.join(", ")),
            Row::Hidden(remotes) => format!("behind, and its object is at {}, hidden", remotes.join(", ")),
            Row::Nowhere => "behind, and no remote that can be reached shows its object".into(),
            Row::InTheWay(other) => format!("in each other's way with {other}: no repository can hold both"),
            Row::Publish => "ahead of the ref-db by a write that went past it".into(),
            Row::Rescue => "diverged from the ref-db".into(),
            Row::Untracked => "here, and the ref-db does not know it".into(),
            Row::HeldBack { by, reason } => format!("behind, and `{by}` holds it back here: {reason}"),
            Row::Behind => "behind, and its object is here".into(),
            Row::Busy => "being moved by another process of this site".into(),
            Row::Recorded => "held by a record that cannot be finished yet".into(),
            Row::Stuck(why) | Row::Broken(why) | Row::Unreadable(why) => why.clone(),
        }
    }
}

/// One ref that differs from the ref-db.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The ref.
    pub name: RefName,
    /// The local value.
    pub local: Option<Oid>,
    /// What the ref-db holds.
    pub global: GlobalValue,
    /// Why.
    pub row: Row,
}

/// A [`GlobalRef`] that sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GlobalValue {
    /// Could not be read.
    Unread,
    /// Not recorded.
    Untracked,
    /// Recorded as deleted.
    Deleted,
    /// At this object.
    At(Oid),
}

impl GlobalValue {
    /// The object, if there is one.
    pub fn oid(self) -> Option<Oid> {
        match self {
            GlobalValue::At(oid) => Some(oid),
            GlobalValue::Unread | GlobalValue::Untracked | GlobalValue::Deleted => None,
        }
    }

    /// As the ref-db has it.
    pub(super) fn value(self) -> GlobalRef {
        match self {
            GlobalValue::Untracked => GlobalRef::Untracked,
            other => GlobalRef::at_or_deleted(other.oid()),
        }
    }
}

/// Of an entry that another writer has locked: that passes.
pub(super) const LOCKED: &str = "its entry is locked by another writer";

/// Everything that a look found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// In the order of the names.
    pub findings: Vec<Finding>,
    pub records: Vec<RecordState>,
    /// Remotes that could not be listed, and why; only looked at when an object is missing here.
    pub unreachable: Vec<(String, String)>,
    /// Remotes that were listed and may hide refs.
    pub may_hide: Vec<String>,
    /// None of so many refs that the ref-db records is here.
    pub made_anew: Option<usize>,
    pub problems: Vec<String>,
}

pub(super) async fn look(
    site: &Site,
    project: &Project,
    repository: &Repository,
    kind: SiteKind,
) -> Result<Look, Error> {
    let would = would_catch_up(site, project, repository, kind).await?;
    let mut look = Look { records: would.records, problems: would.problems, ..Look::default() };
    let entries = all_entries(site, project).await?;
    let ours = local_refs(repository).await?;
    look.findings.extend(unreadable(site, project, &entries));
    look.findings.extend(broken(site, project, repository, &entries, &ours).await?);
    look.findings.extend(untracked(site, project, &entries, &ours));
    let mut differ = behind(project, site, entries.iter().map(|(name, found)| (name, found)), &ours);
    let (names, rules) = (ours.keys().cloned().collect(), &site.gate.config().rules);
    if !differ.is_empty() {
        look.made_anew = anew::count(&entries, project, rules, repository, &names).await?.made_anew();
    }
    for (name, other) in in_the_way(&entries, &differ, &names) {
        let Some(value) = differ.remove(&name) else { continue };
        look.findings.push(finding(name, None, value, Row::InTheWay(other)));
    }
    for moved in would.moved {
        let Some(value) = differ.remove(&moved.name) else { continue };
        let row = if value.is_some() { Row::CatchUp } else { Row::Delete };
        look.findings.push(finding(moved.name, moved.old, value, row));
    }
    for stuck in would.stuck {
        if let Some(value) = differ.remove(&stuck.name) {
            let local = at(&ours, &stuck.name);
            look.findings.push(finding(stuck.name, local, value, Row::Stuck(stuck.why)));
        }
    }
    for name in would.busy {
        if let Some(value) = differ.remove(&name) {
            let local = at(&ours, &name);
            look.findings.push(finding(name, local, value, Row::Busy));
        }
    }
    let held_back = |one: Move<'_>| {
        let held = one.held()?;
        let row = Row::HeldBack { by: held.by.to_string(), reason: held.reason.to_string() };
        Some((one.name().clone(), row))
    };
    let held = would.held.iter().filter_map(held_back);
    let subject = Subject { site, project, repository, kind };
    rest(&subject, differ.into_keys().collect(), held.collect(), &mut look).await?;
    look.findings.sort();
    Ok(look)
}

/// The refs that cannot be created here, each with one that excludes it: a ref of this repository, or else one that it
/// would have to hold, too.
fn in_the_way(
    entries: &[(RefName, Lookup)],
    differ: &BTreeMap<RefName, Option<Oid>>,
    ours: &HashSet<RefName>,
) -> Vec<(RefName, RefName)> {
    let created = |name: &RefName| matches!(differ.get(name), Some(Some(_))) && !ours.contains(name);
    let both = names::pairs(names::held(entries, ours)).into_iter();
    let both = both.flat_map(|(one, other)| [(one.clone(), other.clone()), (other, one)]);
    both.filter(|(name, _)| created(name)).collect()
}

fn finding(name: RefName, local: Option<Oid>, global: Option<Oid>, row: Row) -> Finding {
    Finding { name, local, global: global.map_or(GlobalValue::Deleted, GlobalValue::At), row }
}

fn at(values: &HashMap<RefName, Value>, name: &RefName) -> Option<Oid> {
    match values.get(name) {
        Some(Value::At(oid)) => Some(*oid),
        _ => None,
    }
}

fn unreadable(site: &Site, project: &Project, entries: &[(RefName, Lookup)]) -> Vec<Finding> {
    let rules = &site.gate.config().rules;
    let why = |found: &Lookup| match found {
        // A counter or the like: no ref of a repository is meant.
        Lookup::Entry(_) | Lookup::Text(_) => None,
        Lookup::Locked => Some(LOCKED.to_owned()),
        Lookup::Unreadable(why) => Some(format!("its entry cannot be read: {why}")),
    };
    let bad = entries.iter().filter_map(|(name, found)| Some((name, why(found)?)));
    let bad = bad.filter(|(name, _)| Class::of(project, name, rules) == Class::Checked);
    bad.map(|(name, why)| Finding {
        name: name.clone(),
        local: None,
        global: GlobalValue::Unread,
        row: Row::Unreadable(why),
    })
    .collect()
}

/// The refs that would be recorded and are not. Copies of what had to give way are not meant to be.
fn untracked(site: &Site, project: &Project, entries: &[(RefName, Lookup)], ours: &Listing) -> Vec<Finding> {
    let rules = &site.gate.config().rules;
    let known: HashSet<&RefName> = entries
        .iter()
        .filter(|(_, found)| match found {
            Lookup::Entry(entry) => entry.value != GlobalRef::Untracked,
            Lookup::Text(_) => false,
            Lookup::Locked | Lookup::Unreadable(_) => true,
        })
        .map(|(name, _)| name)
        .collect();
    let is_deleted = |found: &Lookup| found.entry().is_some_and(|entry| entry.value == GlobalRef::Deleted);
    let gone: HashSet<&RefName> = entries
        .iter()
        .filter(|(name, found)| is_meta(name) && is_deleted(found))
        .map(|(name, _)| name)
        .collect();
    let deleted = |name: &RefName| meta_of(name).is_some_and(|meta| gone.contains(&meta));
    let is_untracked = |name: &&RefName| {
        name.as_bytes().starts_with(b"refs/")
            && Class::of(project, name, rules) == Class::Checked
            && !known.contains(*name)
            && !is_rescued(name)
            && !deleted(name)
    };
    ours.iter()
        .filter(|(name, value)| value.oid().is_some() && is_untracked(name))
        .map(|(name, value)| Finding {
            name: name.clone(),
            local: value.oid(),
            global: GlobalValue::Untracked,
            row: Row::Untracked,
        })
        .collect()
}

/// The refs that would be recorded and cannot be read here, with why.
async fn broken(
    site: &Site,
    project: &Project,
    repository: &dyn Repo,
    entries: &[(RefName, Lookup)],
    ours: &Listing,
) -> Result<Vec<Finding>, Error> {
    let rules = &site.gate.config().rules;
    let is_broken = |name: &RefName| {
        ours.get(name) == Some(&Value::Broken) && Class::of(project, name, rules) == Class::Checked
    };
    let names: Vec<RefName> = ours.keys().filter(|name| is_broken(name)).cloned().collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let global: HashMap<&RefName, GlobalRef> =
        entries.iter().filter_map(|(name, found)| Some((name, found.entry()?.value))).collect();
    let read = repository.targets(&names).await?;
    let found = names.into_iter().zip(read).filter_map(|(name, read)| {
        let Some(Target::Broken(why)) = read else { return None };
        let global = match global.get(&name) {
            Some(GlobalRef::At(oid)) => GlobalValue::At(*oid),
            Some(GlobalRef::Deleted) => GlobalValue::Deleted,
            Some(GlobalRef::Untracked) | None => GlobalValue::Untracked,
        };
        Some(Finding { name, local: None, global, row: Row::Broken(why.to_string()) })
    });
    Ok(found.collect())
}

/// What is looked at.
struct Subject<'a> {
    site: &'a Site,
    project: &'a Project,
    repository: &'a Repository,
    kind: SiteKind,
}

/// What catch-up would not touch. `held` are rows of what it asked filters about: they say something where the table lets the
/// ref pass.
async fn rest(
    subject: &Subject<'_>,
    names: Vec<RefName>,
    held: HashMap<RefName, Row>,
    look: &mut Look,
) -> Result<(), Error> {
    let Subject { site, project, repository, kind } = *subject;
    if names.is_empty() {
        return Ok(());
    }
    // Under the locks, or a write that is between its two steps would look like one that was cut short.
    let (locks, got) = repository.try_lock(&names).await?;
    let entries = read(site, project, &names).await?;
    let local = values(repository, names.clone()).await?;
    let free: HashSet<&RefName> =
        names.iter().zip(got).filter(|(_, got)| *got).map(|(name, _)| name).collect();
    let mut differ = behind(project, site, &entries, &local);
    let busy: Vec<RefName> = differ.keys().filter(|name| !free.contains(*name)).cloned().collect();
    for name in busy {
        let value = differ.remove(&name).flatten();
        let here = at(&local, &name);
        look.findings.push(finding(name, here, value, Row::Busy));
    }
    let complete = complete(repository, differ.values().copied().flatten().collect()).await?;
    let (here, absent): (BTreeMap<_, _>, BTreeMap<_, _>) =
        differ.into_iter().partition(|(_, value)| value.is_none_or(|oid| complete.contains(&oid)));
    if !absent.is_empty() {
        let shown = listings(site, project, repository, look).await;
        for (name, value) in absent {
            let with = |oids: fn(&Shown) -> &HashSet<Oid>| {
                let has = |one: &&Shown| value.is_some_and(|oid| oids(one).contains(&oid));
                shown.iter().filter(has).map(|one| one.remote.clone()).collect::<Vec<String>>()
            };
            let row = match (with(|one| &one.listed), with(|one| &one.hidden)) {
                (listed, _) if !listed.is_empty() => Row::Elsewhere(listed),
                (_, hidden) if !hidden.is_empty() => Row::Hidden(hidden),
                _ => Row::Nowhere,
            };
            let local = at(&local, &name);
            look.findings.push(finding(name, local, value, row));
        }
    }
    let updates = here.iter().map(|(name, value)| RefUpdate {
        // A `/meta` that is here and deleted differs, too, so it has been read.
        meta_there: meta_of(name).map(|meta| local.contains_key(&meta)),
        ..RefUpdate::new(name.clone(), at(&local, name), RemoteValue::Known(*value)).forced()
    });
    let none = FilterSet::default();
    let decision = judge(site, project, repository, kind, updates.collect(), &none).await;
    let pairs = decision.moves.iter().filter_map(|one| Some((one.new()?, one.old()?)));
    let ahead = ancestry(repository, pairs.collect()).await?;
    for one in decision.moves.iter() {
        let descends = one.new().zip(one.old()).is_some_and(|pair| ahead.contains(&pair));
        let row = match one.reason() {
            // Accounted for, but a record says how it has to move; or it has changed since.
            None if held.contains_key(one.name()) => held[one.name()].clone(),
            None if kind == SiteKind::Gated => Row::Recorded,
            None => Row::Behind,
            Some(Reason::AlreadyUpToDate) => continue,
            Some(Reason::LocalDiverged) if descends => Row::Publish,
            Some(Reason::LocalDiverged) => Row::Rescue,
            Some(Reason::OutdatedMeta) => Row::WithMeta,
            Some(reason) => Row::Unreadable(format!("it could not be judged: {reason}")),
        };
        look.findings.push(finding(one.name().clone(), one.local(), one.new(), row));
    }
    look.problems.extend(decision.problems);
    drop(locks);
    Ok(())
}

/// The objects that the refs of a remote lead to.
struct Shown {
    remote: String,
    listed: HashSet<Oid>,
    hidden: HashSet<Oid>,
}

/// What each remote that can be reached has, as far as it can be known.
async fn listings(site: &Site, project: &Project, repository: &Repository, look: &mut Look) -> Vec<Shown> {
    let mut shown = Vec::new();
    for (remote, settings) in &site.gate.config().remotes {
        let format = repository.object_format();
        let found = match site.url(remote, project) {
            Ok(url) => blocking(move || list_whole(&url, format)).await.map_err(|e| e.message),
            Err(e) => Err(e.message),
        };
        match found {
            Ok(found) => {
                if !found.complete && !settings.shows_all_refs {
                    look.may_hide.push(remote.clone());
                }
                shown.push(Shown {
                    remote: remote.clone(),
                    listed: found.listed.into_iter().filter_map(|one| one.oid).collect(),
                    hidden: found.hidden.into_iter().filter_map(|(_, target)| target.oid()).collect(),
                });
            }
            Err(why) => look.unreachable.push((remote.clone(), why)),
        }
    }
    shown
}
