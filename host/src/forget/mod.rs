//! Forgetting what the ref-db no longer needs: records of deletions, and lists of superseded values.
//!
//! Both say "this old value may be overwritten". They may go when no site shows an old value any more, and when every
//! transfer that began before that is over: a slow one could still bring an old value to where nothing is left that
//! tells it apart from a new one. So it takes two runs: one that sees no old value and notes the entry, and one that
//! begins later than the longest transfer lasts, finds the same entry, and again sees no old value.

mod moment;
mod notes;
mod report;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use refgate_core::{Class, Entry, GlobalRef, Lookup, Project, RefName, is_meta, meta_of};
use refgate_git::{Repository, list_whole};

use crate::config::Remote;
use crate::gated::Journal;
use crate::replicate::blocking;
use crate::replicate::catch_up::{all_entries, deadline};
use crate::replicate::offers::{Listing, Value, listing};
use crate::replicate::push::local_refs;
use crate::{Error, Site};
use notes::Notes;

pub use moment::Moment;
pub use report::{Fate, Forgotten, Report};

/// What may be forgotten.
#[derive(Clone)]
pub struct Options {
    /// Really note and forget; otherwise only look.
    pub yes: bool,
    /// The configuration names every site, also if the ref-db knows more names.
    pub sites_are_complete: bool,
    /// What time it is. Asked twice: a run counts from its beginning, what it saw from the end of its looking.
    pub now: Arc<dyn Fn() -> Moment + Send + Sync>,
}

/// Forgets what may be forgotten of `project`, or notes it for a later run.
///
/// # Errors
/// A remote that cannot be listed, and sites that the configuration does not name: then nothing is forgotten. A
/// project that does not replicate, a gate that is off, a ref-db or a repository that cannot be read.
pub async fn forget(site: &Site, project: &Project, options: &Options) -> Result<Report, Error> {
    let begun = (options.now)();
    let config = site.gate.config();
    if !config.ref_database.enabled {
        return Err(Error::usage("the gate is switched off, so there is no ref-db to forget anything")
            .hint("take out `ref-database.enabled = false`"));
    }
    if !site.gate.matches(project).await? {
        return Err(Error::usage(format!("project `{project}` does not replicate"))
            .hint("see `refgate project match` and the key `projects.pattern`"));
    }
    let unknown_sites = unknown_sites(site).await?;
    if options.yes && !unknown_sites.is_empty() && !options.sites_are_complete {
        return Err(Error::usage(format!(
            "the ref-db was used by {}, which is no remote of this configuration, and it may show old values",
            named(&unknown_sites)
        ))
        .hint("add it as a remote under that name; if it is gone for good: `--sites-are-complete`"));
    }
    let repository = site.repository(project).await?;
    // The listings come after the entries: what they show is at least as new.
    let entries = all_entries(site, project).await?;
    let old = entries.into_iter().filter_map(|(name, found)| match found {
        Lookup::Entry(entry) => holds_something_old(&entry).then_some((name, entry)),
        Lookup::Text(_) | Lookup::Locked | Lookup::Unreadable(_) => None,
    });
    // What the ref-db does not record is no concern of it, even if an older release recorded it.
    let old = old.filter(|(name, _)| Class::of(project, name, &config.rules) != Class::Excluded);
    let old: BTreeMap<RefName, Entry> = old.collect();
    let unfinished = unfinished(&repository).await?;
    let sites = listings(site, project, &repository).await?;
    let seen = (options.now)();

    let mut notes = notes::read(&repository).await?;
    let after = Duration::from_secs(3600 * u64::from(config.ref_database.forget_after_hours));
    let mut rows = Vec::new();
    let mut kept_notes = Notes::default();
    for (name, entry) in old {
        let noted = notes.take(&name, &entry);
        let obstacle = match unfinished.contains(&name) {
            true => Some("a write of this site is not finished".to_owned()),
            false => {
                let deleted = is_meta(&name) && entry.value == GlobalRef::Deleted;
                let old = || sites.iter().find_map(|one| one.shows_old(&name, &entry));
                let change = || sites.iter().filter(|_| deleted).find_map(|one| one.shows_change(&name));
                old().or_else(change).or_else(|| sites.iter().find_map(Shown::may_hide))
            }
        };
        let fate = match (obstacle, noted) {
            (Some(why), _) => Fate::Kept(why),
            (None, None) => {
                kept_notes.add(&name, &entry, &seen);
                Fate::Noted { until: seen.wall + after }
            }
            (None, Some(since)) if !begun.left(&since, after).is_zero() => {
                kept_notes.add(&name, &entry, &since);
                Fate::Waiting { until: begun.wall + begun.left(&since, after) }
            }
            (None, Some(_)) if !options.yes => Fate::Due,
            (None, Some(_)) => swap(site, project, &name, &entry).await,
        };
        rows.push(Forgotten { name, entry, fate });
    }
    let mut problems = Vec::new();
    if options.yes {
        // What is forgotten is forgotten, whatever becomes of the notes.
        if let Err(e) = notes::write(&repository, kept_notes).await {
            problems.push(format!("what this run saw cannot be noted for the next one: {}", e.message));
        }
        // What it wrote counts; whether that can be remembered, the next push says.
        drop(site.remember().await);
    }
    Ok(Report { project: project.clone(), dry_run: !options.yes, rows, unknown_sites, problems })
}

fn named(sites: &[String]) -> String {
    sites.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn holds_something_old(entry: &Entry) -> bool {
    entry.value == GlobalRef::Deleted || !entry.superseded.is_empty()
}

/// What is left when everything old is forgotten.
fn without_old(entry: &Entry) -> Entry {
    match entry.value {
        GlobalRef::Deleted => Entry::default(),
        value => Entry::new(value),
    }
}

async fn swap(site: &Site, project: &Project, name: &RefName, entry: &Entry) -> Fate {
    let to = without_old(entry);
    match site.gate.refdb().swap_entry(project, name, entry, &to, deadline(site)).await {
        Ok(true) => Fate::Forgotten,
        Ok(false) => Fate::Kept("the ref-db moved meanwhile".into()),
        Err(e) => Fate::Kept(e.to_string()),
    }
}

/// Sites that used the ref-db and are neither this one nor a remote of it.
async fn unknown_sites(site: &Site) -> Result<Vec<String>, Error> {
    let config = site.gate.config();
    let sites = site.gate.refdb().sites(deadline(site)).await?;
    let known = |name: &String| config.site.name.as_ref() == Some(name) || config.remotes.contains_key(name);
    Ok(sites.into_iter().filter(|name| !known(name)).collect())
}

/// Refs of writes that have begun here and not ended.
async fn unfinished(repository: &Repository) -> Result<HashSet<RefName>, Error> {
    let journal = Journal::of(repository);
    let records = blocking(move || journal.list()).await?;
    Ok(records.into_iter().flat_map(|record| record.refs).map(|one| one.name).collect())
}

/// What one site shows.
struct Shown<'a> {
    site: String,
    refs: Listing,
    changes: OnceLock<HashSet<RefName>>,
    /// Nothing of it is hidden from us.
    whole: bool,
    /// Under which terms refs travel there; this site itself has none.
    remote: Option<&'a Remote>,
}

impl Shown<'_> {
    /// Why the entry must stay for the sake of this site.
    fn shows_old(&self, name: &RefName, entry: &Entry) -> Option<String> {
        let shown = self.names(name).into_iter().find_map(|there| match self.refs.get(&there)? {
            Value::At(oid) if entry.value == GlobalRef::At(*oid) => None,
            Value::At(oid) => Some(oid.to_string()),
            Value::Symbolic => Some("a symbolic ref".into()),
            Value::Broken => Some("something that cannot be read".into()),
        });
        shown.map(|shown| format!("{} shows {shown}", self.site))
    }

    /// The same for the deletion of a `/meta`: without the record, another ref of its change would replicate again.
    fn shows_change(&self, meta: &RefName) -> Option<String> {
        let is_there = |name: &RefName| self.changes().contains(name);
        self.names(meta)
            .iter()
            .any(is_there)
            .then(|| format!("{} shows another ref of the change", self.site))
    }

    /// The `/meta` of every change of which another ref is there.
    fn changes(&self) -> &HashSet<RefName> {
        self.changes.get_or_init(|| self.refs.keys().filter_map(meta_of).collect())
    }

    /// Why nobody can say what is there: what a listing leaves out may be hidden.
    fn may_hide(&self) -> Option<String> {
        let says_no = self.whole || self.remote.is_some_and(|remote| remote.shows_all_refs);
        (!says_no).then(|| {
            let site = &self.site;
            let key = site.trim_matches('`');
            format!("{site} may hide refs, so an old value may be there; if it hides none: `remote.{key}.showsAllRefs = true`")
        })
    }

    /// Under which names a ref may be there.
    fn names(&self, name: &RefName) -> Vec<RefName> {
        let mapped = self.remote.map(|remote| [remote.push.destination(name), remote.fetch.source(name)]);
        let mapped = mapped.into_iter().flatten().flatten().map(|there| there.name);
        mapped.chain([name.clone()]).collect()
    }
}

/// This site, and every remote. One that cannot be listed may show anything.
async fn listings<'a>(
    site: &'a Site,
    project: &Project,
    repository: &Repository,
) -> Result<Vec<Shown<'a>>, Error> {
    let refs = local_refs(repository).await?;
    let changes = OnceLock::new();
    let mut shown = vec![Shown { site: "this site".into(), refs, changes, whole: true, remote: None }];
    let mut failed = Vec::new();
    for (name, remote) in &site.gate.config().remotes {
        let (url, format) = (site.url(name, project)?, repository.object_format());
        match blocking(move || list_whole(&url, format)).await {
            Ok(found) => {
                let mut refs = listing(found.listed);
                refs.extend(found.hidden.into_iter().map(|(name, target)| (name, Value::of(&target))));
                let (site, changes) = (format!("`{name}`"), OnceLock::new());
                shown.push(Shown { site, refs, changes, whole: found.complete, remote: Some(remote) });
            }
            Err(e) => failed.push((name, e)),
        }
    }
    let Some((first, e)) = failed.first() else { return Ok(shown) };
    let all: Vec<String> = failed.iter().map(|(name, _)| format!("`{name}`")).collect();
    let all = all.join(", ");
    Err(Error::failed(format!("nothing was forgotten: {all} cannot be listed (`{first}`: {})", e.message))
        .hint("run it again when every site can be reached; take a remote that is gone for good out of the configuration"))
}
