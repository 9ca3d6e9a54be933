//! What of the gate of writes is in place in a repository, and what somebody should look at.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use refgate_core::{Deadline, GlobalRef, Lookup, Project, RefName, SiteKind};
use refgate_git::receive::hooks_dir;
use refgate_git::{GitError, Obstacles, RefLocks, Repository};

use super::install::{self, HookFile, Hooks, POST_RECEIVE, PROC_RECEIVE, REFERENCE_TRANSACTION};
use super::journal::Journal;
use super::observe::{Drift, Notes};
use super::onward::{Onward, State};
use super::refused::{Refusals, Refused};
use super::witness::Doubt;
use crate::replicate::catch_up::{all_entries, would_catch_up};
use crate::replicate::push::local_refs;
use crate::replicate::{Stuck, blocking};
use crate::{Error, Site, anew, names};

/// So many refusals are told.
const REFUSED: usize = 10;

/// The state of a repository.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where git looks for hooks.
    pub hooks_dir: PathBuf,
    /// `missing`, `foreign`, `outdated` or `current`.
    pub proc_receive: &'static str,
    /// The same of the hook that watches.
    pub reference_transaction: &'static str,
    /// The same of the hook that sends on what was pushed.
    pub post_receive: &'static str,
    /// To which remotes it sends, and how that stands.
    pub replicates: Vec<Replicating>,
    /// Whether others' writes are noted.
    pub audit: bool,
    /// Whether others' writes are refused.
    pub backstop: bool,
    /// How the configuration says that clients write here.
    pub writes: SiteKind,
    /// Why that does not count for this repository.
    pub doubt: Option<Doubt>,
    /// Settings that are in the way.
    pub warnings: Vec<String>,
    /// Files that stop somebody who is to write in the repository.
    pub obstacles: Obstacles,
    /// The newest refusals for which pushers were told to ask an operator.
    pub refused: Vec<Refused>,
    /// Writes that have begun and not ended.
    pub unfinished: Vec<Unfinished>,
    /// The newest note per ref that still holds.
    pub drift: Vec<Drift>,
    /// Refs that this site has accepted, or should have taken over, and that the repository does not let be moved.
    pub stuck: Vec<Stuck>,
    /// Refs that this repository would have to hold and cannot, since the name of one is the beginning of the other's.
    pub in_the_way: Vec<(RefName, RefName)>,
    /// None of so many refs that the ref-db records is here.
    pub made_anew: Option<usize>,
}

/// One remote to which the hook sends on what was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicating {
    /// Its name.
    pub remote: String,
    /// What is still to be sent, and why it is not.
    pub state: State,
    /// Whether a process is sending now.
    pub running: bool,
    /// Where it writes what it does.
    pub log: PathBuf,
}

/// A write that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The id of its record.
    pub id: String,
    /// Its refs.
    pub refs: Vec<RefName>,
    /// Whether a process works on it; else it waits for the next catch-up.
    pub running: bool,
}

impl Status {
    /// Whether there is nothing to look at.
    pub fn is_good(&self) -> bool {
        self.proc_receive == "current"
            && matches!(self.reference_transaction, "missing" | "current" | "foreign")
            && matches!(self.post_receive, "missing" | "current" | "foreign")
            && self.replicates.iter().all(|one| one.running || one.state == State::default())
            && self.writes == SiteKind::Gated
            && self.doubt.is_none()
            && self.warnings.is_empty()
            && self.obstacles.count == 0
            && self.drift.is_empty()
            && self.stuck.is_empty()
            && self.in_the_way.is_empty()
            && self.made_anew.is_none()
            && self.unfinished.iter().all(|one| one.running)
    }
}

/// Looks at a repository. `hooks` says what would be installed now.
///
/// # Errors
/// A repository that cannot be read.
pub async fn status(
    site: &Site,
    project: &Project,
    repository: &Repository,
    hooks: &Hooks,
) -> Result<Status, Error> {
    let (here, mut hooks) = (repository.clone(), hooks.clone());
    let remotes: Vec<String> = site.gate.config().remotes.keys().cloned().collect();
    let mut status = blocking(move || {
        let dir = hooks_dir(&here)?;
        let watching = install::look(&dir.join(REFERENCE_TRANSACTION), REFERENCE_TRANSACTION)?;
        if let HookFile::Ours(text) = &watching {
            let second = text.split(|b| *b == b'\n').nth(1).unwrap_or_default();
            let says = |word: &[u8]| second.split(|b| *b == b' ').any(|w| w == word);
            (hooks.audit, hooks.backstop) = (says(b"audit"), says(b"backstop"));
        }
        let sending = install::look(&dir.join(POST_RECEIVE), POST_RECEIVE)?;
        if let HookFile::Ours(text) = &sending {
            hooks = hooks.sending_as(text, remotes.iter());
        }
        let replicates = hooks.replicate.iter().flatten().map(|remote| {
            let onward = Onward::new(here.git_dir(), remote);
            let (state, log) = (onward.state()?, onward.log());
            // Without a mark there is nothing to be done by anybody.
            let running = state.pending.is_some() && onward.is_running()?;
            Ok(Replicating { remote: remote.clone(), state, running, log })
        });
        let replicates = replicates.collect::<Result<Vec<_>, GitError>>()?;
        let state = |hook: &str, found: HookFile| match found {
            HookFile::Missing => "missing",
            HookFile::Foreign => "foreign",
            HookFile::Ours(text) if text == hooks.script(hook) => "current",
            HookFile::Ours(_) => "outdated",
        };
        let proc_receive = install::look(&dir.join(PROC_RECEIVE), PROC_RECEIVE)?;
        let mut unfinished = Vec::new();
        let (records, damaged) = Journal::of(&here).list_readable()?;
        for record in records {
            let refs: Vec<RefName> = record.refs.into_iter().map(|one| one.name).collect();
            let (_locks, got) = RefLocks::try_acquire(here.common_dir(), &refs)?;
            unfinished.push(Unfinished { id: record.id, refs, running: got.contains(&false) });
        }
        Ok(Status {
            proc_receive: state(PROC_RECEIVE, proc_receive),
            reference_transaction: state(REFERENCE_TRANSACTION, watching),
            post_receive: state(POST_RECEIVE, sending),
            replicates,
            audit: hooks.audit,
            backstop: hooks.backstop,
            writes: SiteKind::default(),
            doubt: None,
            warnings: damaged.iter().map(GitError::told).chain(install::warnings(&here)?).collect(),
            obstacles: here.obstacles()?,
            refused: Refusals::below(here.git_dir()).newest(REFUSED)?,
            unfinished,
            drift: Notes::of(&here).read()?,
            stuck: Vec::new(),
            in_the_way: Vec::new(),
            made_anew: None,
            hooks_dir: dir,
        })
    })
    .await?;
    let kind = site.kind(project, repository).await?;
    (status.writes, status.doubt) = (site.gate.config().site.writes, kind.doubt);
    status.drift = still_so(site, project, repository, status.drift).await?;
    let would = would_catch_up(site, project, repository, kind.writes).await?;
    status.stuck = would.stuck;
    // A damaged record was told by both.
    let news = would.problems.into_iter().filter(|problem| !status.warnings.contains(problem));
    status.warnings = status.warnings.iter().cloned().chain(news).collect();
    if site.gate.config().ref_database.enabled && site.gate.matches(project).await? {
        compare(site, project, repository, &mut status).await?;
    }
    Ok(status)
}

/// What the ref-db as a whole says about the repository.
async fn compare(
    site: &Site,
    project: &Project,
    repository: &Repository,
    status: &mut Status,
) -> Result<(), Error> {
    let entries = match all_entries(site, project).await {
        Ok(entries) => entries,
        Err(e) => {
            status.warnings.push(format!("the ref-db could not be read: {}", e.message));
            return Ok(());
        }
    };
    let ours: HashSet<RefName> = local_refs(repository).await?.into_keys().collect();
    status.in_the_way = names::pairs(names::held(&entries, &ours));
    let rules = &site.gate.config().rules;
    status.made_anew = anew::count(&entries, project, rules, repository, &ours).await?.made_anew();
    Ok(())
}

/// The newest note per ref, without those that were made good: the ref has moved since, or the ref-db has it now.
async fn still_so(
    site: &Site,
    project: &Project,
    repository: &Repository,
    notes: Vec<Drift>,
) -> Result<Vec<Drift>, Error> {
    let mut newest: BTreeMap<String, Drift> = BTreeMap::new();
    for note in notes {
        newest.insert(note.name.clone(), note);
    }
    let named = newest.into_values().filter_map(|note| Some((RefName::from_escaped(&note.name).ok()?, note)));
    let (names, notes): (Vec<RefName>, Vec<Drift>) = named.unzip();
    if names.is_empty() {
        return Ok(notes);
    }
    let (here, wanted) = (repository.clone(), names.clone());
    let local = blocking(move || here.values(&wanted)).await?;
    // What cannot be read refutes no note, either.
    let local = local.into_iter().map(|value| value.ok().flatten());
    let deadline = Deadline::after(site.gate.clock().as_ref(), site.gate.config().ref_database.timeout);
    // A ref-db that cannot be read refutes nothing.
    let seen = site.gate.refdb().get_many(project, &names, deadline).await.unwrap_or_default();
    let mut seen = seen.into_iter();
    let holds = |(note, local): &(Drift, Option<refgate_core::Oid>)| {
        let known = match seen.next() {
            Some(Lookup::Entry(entry)) => entry.value != GlobalRef::Untracked && entry.value.oid() == *local,
            _ => false,
        };
        note.new == local.map(|oid| oid.to_string()) && !known
    };
    Ok(notes.into_iter().zip(local).filter(holds).map(|(note, _)| note).collect())
}
