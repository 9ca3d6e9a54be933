//! A fetch: list, bring objects without moving refs, decide, then one ref transaction with expected old values.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use refgate_core::decision::{Decision, RefDecision, RefUpdate};
use refgate_core::table::{RemoteValue, Seen};
use refgate_core::{
    Atomicity, ChangeRef, Class, Direction, Edit, Expected, GlobalRef, Lookup, ObjectFormat, Oid, Outcome,
    Project, RefName, SiteKind, meta_of,
};
use refgate_git::{
    EditOutcome, GitError, GitErrorKind, RefEdit, RefLocks, RemoteUrl, Repository, list, remote_head,
};

use super::bring::{Source, bring_kept};
use super::catch_up::{deadline, global_of, read};
use super::locked::lock;
use super::offers::{Sides, listing, needs_objects};
use super::push::{first_result, local_refs, reject_all};
use super::{Options, Progress, Site, blocking, planned};
use crate::report::{RefResult, Report};
use crate::{Error, names};

/// Why a kept ref is rejected whose entry is not the one that was judged; the next run decides anew.
const MOVED: &str = "the ref-db moved meanwhile";

/// So many refs are moved under one taking of the locks: about a second's work of git, where a client's push waits for
/// ten.
const PART: usize = 10_000;

/// Between two parts: longer than those who wait for a lock pause between two attempts.
const LET_PASS: Duration = Duration::from_millis(30);

/// Takes from `remote` what the gate keeps of `project`.
///
/// # Errors
/// Only before anything was decided. A failure after that is a rejection of the refs that it concerns.
pub async fn fetch(
    site: &Site,
    project: &Project,
    remote: &str,
    options: &Options,
    progress: Arc<dyn Progress>,
) -> Result<Report, Error> {
    let config = site.gate.remote(remote)?.clone();
    let url = site.url(remote, project)?;
    let repository = open(site, project, remote, &url, options).await?;
    let _session = site.session(&repository, remote, options.dry_run).await?;
    let (kind, caught_up) = site.begin(project, &repository, options.dry_run).await?;

    progress.stage(&format!("listing {remote}"));
    let (there, format) = (url.clone(), repository.object_format());
    let listed = blocking(move || list(&there, format)).await.map_err(no_copy)?;
    progress.stage("reading local refs");
    let theirs = listing(listed);
    let mut ours = local_refs(&repository).await?;
    let planned;
    let site = match options.dry_run {
        true => {
            (planned, ours) = planned::after(site, &caught_up, ours);
            &planned
        }
        false => site,
    };
    let direction = Direction::Fetch;
    let sides = Sides { direction, local: &ours, remote: &theirs, refspecs: &config.fetch, options };
    let (updates, problem) = site.offers(project, &sides, config.mirror).await?;

    let source = Source::new(repository.clone(), url, progress.clone());
    let wanted = wanted_objects(site, project, &updates, config.source_of_truth).await;
    let brought = source.bring(wanted).await?;
    bring_listed(site, project, kind, &updates, &source).await;
    let (updates, left) = brought.part(updates);

    progress.stage(&format!("deciding on {} refs", updates.len()));
    let mut decision = site.gate.fetch_relisting(project, remote, kind, updates, &source).await?;
    decision.problems.extend(caught_up.problems.iter().cloned());
    decision.problems.extend(problem);
    let decided = std::mem::take(&mut decision.refs);
    let decided = decided.into_iter().map(|one| (first_result(one.verdict.is_keep()), one));
    let unreadable = sides.unreadable(remote).into_iter().map(|one| (RefResult::HeldBack, one));
    let mut all: Vec<(RefResult, RefDecision)> = decided.chain(left).chain(unreadable).collect();
    all.sort_by(|(_, a), (_, b)| (&a.name, &a.remote_name).cmp(&(&b.name, &b.remote_name)));
    let (mut results, refs): (Vec<RefResult>, Vec<RefDecision>) = all.into_iter().unzip();
    decision.refs = refs;
    if !options.dry_run {
        progress.stage("moving refs");
        bring_kept(&source, &decision, &mut results).await;
        move_kept(site, project, &repository, remote, &decision, &mut results).await;
        // From a source of truth the ref-db has moved.
        decision.problems.extend(site.remember().await);
    }
    let catch_up = options.rows(&caught_up, &decision);
    let stuck = options.stuck(caught_up.stuck, &decision, &results);
    decision.problems.extend(names::in_the_way(direction, &decision, &results, &ours));
    Ok(Report {
        direction,
        project: project.clone(),
        remote: remote.to_owned(),
        dry_run: options.dry_run,
        decision,
        results,
        catch_up,
        stuck,
    })
}

/// Opens the local repository; with `--create`, makes it when there is none, in the remote's object format and with its
/// `HEAD`.
async fn open(
    site: &Site,
    project: &Project,
    remote: &str,
    url: &RemoteUrl,
    options: &Options,
) -> Result<Repository, Error> {
    let path = site.repositories.path(project);
    if !options.create || options.dry_run || path.exists() {
        return site.repository(project).await;
    }
    site.refuse_unmatched(project).await?;
    let (there, refspecs) = (url.clone(), site.gate.remote(remote)?.fetch.clone());
    let created = blocking(move || {
        let format = match list(&there, ObjectFormat::Sha1) {
            Err(e) if e.kind == GitErrorKind::FormatMismatch => ObjectFormat::Sha256,
            listed => listed.map(|_| ObjectFormat::Sha1)?,
        };
        let head = remote_head(&there, path.parent().unwrap_or(Path::new(".")))?;
        Repository::create(&path, format, None, head.map(|name| super::mapped(&refspecs, name)).as_ref())
    });
    created.await.map_err(no_copy)
}

fn no_copy(e: GitError) -> Error {
    match e.kind {
        GitErrorKind::Missing => Error::failed(e.message)
            .hint("the project has no copy there; check the remote's url and the project's name"),
        _ => e.into(),
    }
}

/// The objects that verdicts can depend on. A project that does not replicate needs none.
async fn wanted_objects(
    site: &Site,
    project: &Project,
    updates: &[RefUpdate],
    source_of_truth: bool,
) -> Vec<Oid> {
    if site.gate.matches(project).await != Ok(true) {
        return Vec::new();
    }
    let remote = |update: &RefUpdate| match update.remote {
        RemoteValue::Known(remote) => remote,
        RemoteValue::Unknown => None,
    };
    if !site.gate.is_on(Direction::Fetch) {
        return updates.iter().filter_map(remote).collect();
    }
    // A ref-db that cannot be read is the decision's business; only refs that need no entry need objects then.
    let entries = site.entries(project, updates).await;
    let entries = entries.unwrap_or_else(|why| vec![Lookup::Unreadable(why); updates.len()]);
    let rules = &site.gate.config().rules;
    let wanted = updates.iter().zip(&entries).filter_map(|(update, entry)| {
        let class = Class::of(project, &update.name, rules);
        remote(update).filter(|oid| needs_objects(class, entry, *oid, source_of_truth))
    });
    wanted.collect()
}

/// Brings superseded values that are not here, where a local value stands in the way that is not listed itself: whether it
/// is an ancestor of a listed one can only be told beside their objects. A site that only fetches would else stay diverged
/// for ever. The remote may have dropped them; then the ref is held back as before.
async fn bring_listed(
    site: &Site,
    project: &Project,
    kind: SiteKind,
    updates: &[RefUpdate],
    source: &Source,
) {
    if !site.gate.is_on(Direction::Fetch) || !kind.trusts_superseded() {
        return;
    }
    let Ok(entries) = site.entries(project, updates).await else { return };
    let mut listed: Vec<Oid> = Vec::new();
    for (update, found) in updates.iter().zip(&entries) {
        let Some(entry) = found.entry() else { continue };
        let settled = |local| entry.value == GlobalRef::At(local) || entry.superseded.contains(&local);
        if update.local.is_some_and(|local| !settled(local)) {
            listed.extend(&entry.superseded);
        }
    }
    if listed.is_empty() {
        return;
    }
    let repository = source.repository.clone();
    if let Ok(absent) = blocking(move || repository.missing(&listed)).await {
        // A remote that refuses them is no reason to fetch nothing.
        drop(source.bring(absent).await);
    }
}

/// Moves what is kept, part by part, each under the site's locks on its refs: taken only now, so that nobody waited for
/// them while the decision did, and let go between two parts, so that a client's push passes meanwhile.
async fn move_kept(
    site: &Site,
    project: &Project,
    repository: &Repository,
    remote: &str,
    decision: &Decision,
    results: &mut [RefResult],
) {
    let clock = site.gate.clock().as_ref();
    for (at, part) in parts(decision, results).into_iter().enumerate() {
        if at > 0 {
            clock.sleep(LET_PASS).await;
        }
        let names: Vec<RefName> = part.iter().map(|i| decision.refs[*i].name.clone()).collect();
        let (locks, got) = match lock(repository, &names, clock).await {
            Ok(locked) => locked,
            Err(e) => return reject_all(results, &e),
        };
        for (i, _) in part.iter().zip(got).filter(|(_, got)| !got) {
            results[*i] = RefResult::Rejected(super::locked::BUSY.into());
        }
        reject_companions(decision, results);
        if site.gate.is_on(Direction::Fetch) {
            advance(site, project, decision, &part, results).await;
            look_again(site, project, decision, &part, results).await;
        }
        apply(repository, remote, decision, &part, results, locks).await;
    }
}

/// What is to be moved, in parts of bounded size; the refs of a change are in one part.
fn parts(decision: &Decision, results: &[RefResult]) -> Vec<Vec<usize>> {
    let change = |i: &usize| ChangeRef::of(&decision.refs[*i].name).map(|c| c.change);
    let mut kept: Vec<usize> = (0..results.len()).filter(|i| results[*i] == RefResult::NotSent).collect();
    kept.sort_by_key(change);
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for unit in kept.chunk_by(|a, b| change(a).is_some() && change(a) == change(b)) {
        match parts.last_mut() {
            Some(part) if part.len() + unit.len() <= PART => part.extend_from_slice(unit),
            _ => parts.push(unit.to_vec()),
        }
    }
    parts
}

/// What was decided must still hold: nobody of this site moves these refs now, but other sites move the ref-db.
async fn look_again(
    site: &Site,
    project: &Project,
    decision: &Decision,
    part: &[usize],
    results: &mut [RefResult],
) {
    let rules = &site.gate.config().rules;
    let read_for = |i: &usize| {
        let (name, open) = (&decision.refs[*i].name, results[*i] == RefResult::NotSent);
        match Class::of(project, name, rules) {
            Class::Checked => open,
            // Its change may have been deleted, or made anew.
            Class::Excluded => open && meta_of(name).is_some(),
            Class::Exempt | Class::Ignored => false,
        }
    };
    let which: Vec<usize> = part.iter().copied().filter(read_for).collect();
    if which.is_empty() {
        return;
    }
    let names: Vec<RefName> = which.iter().map(|i| decision.refs[*i].name.clone()).collect();
    let found = read(site, project, &names).await;
    for i in which {
        let one = &decision.refs[i];
        let judged = match one.global {
            _ if one.deletion => GlobalRef::Deleted,
            None | Some(Seen::Value(GlobalRef::Untracked)) => GlobalRef::Untracked,
            _ => GlobalRef::at_or_deleted(one.new),
        };
        match found.as_ref().map(|found| global_of(site, project, &one.name, found)) {
            Ok(Some(now)) if now == judged => {}
            Ok(_) => results[i] = RefResult::Rejected(MOVED.into()),
            Err(e) => results[i] = RefResult::Rejected(format!("the ref-db could not be read again: {e}")),
        }
    }
}

/// From a source of truth the ref-db moves first, by compare-and-put; then the local ref follows.
async fn advance(
    site: &Site,
    project: &Project,
    decision: &Decision,
    part: &[usize],
    results: &mut [RefResult],
) {
    let edits: Vec<(usize, Edit)> = part
        .iter()
        .map(|i| (*i, &decision.refs[*i]))
        .filter(|(i, _)| results[*i] == RefResult::NotSent)
        .filter_map(|(i, one)| {
            let expected = Expected::Exactly(GlobalRef::At(one.advances?));
            let new = GlobalRef::At(one.new?);
            Some((i, Edit::new(one.name.clone(), expected, new).fast_forward(true)))
        })
        .collect();
    if edits.is_empty() {
        return;
    }
    let only: Vec<Edit> = edits.iter().map(|(_, edit)| edit.clone()).collect();
    let outcomes = site.gate.refdb().compare_and_put(project, &only, Atomicity::Each, deadline(site)).await;
    for (at, (i, _)) in edits.iter().enumerate() {
        match outcomes.as_ref().map(|o| o.get(at)) {
            Ok(Some(Outcome::Applied)) => {}
            Ok(_) => results[*i] = RefResult::Rejected(MOVED.into()),
            Err(e) => results[*i] = RefResult::Rejected(format!("the ref-db could not be moved: {e}")),
        }
    }
}

/// Moves the kept refs, the refs of a change together. The locks go along: should the caller be cancelled, they are held
/// until git is done.
async fn apply(
    repository: &Repository,
    remote: &str,
    decision: &Decision,
    part: &[usize],
    results: &mut [RefResult],
    locks: RefLocks,
) {
    reject_companions(decision, results);
    let kept: Vec<usize> = part.iter().copied().filter(|i| results[*i] == RefResult::NotSent).collect();
    if kept.is_empty() {
        return;
    }
    let mut groups: HashMap<Vec<u8>, u32> = HashMap::new();
    let edits: Vec<RefEdit> = kept
        .iter()
        .map(|i| &decision.refs[*i])
        .map(|one| RefEdit {
            name: one.name.clone(),
            old: one.old,
            new: one.new,
            group: ChangeRef::of(&one.name).map(|c| {
                let next = groups.len() as u32;
                *groups.entry(c.change.to_vec()).or_insert(next)
            }),
        })
        .collect();
    let (repository, message) = (repository.clone(), format!("refgate: fetch from {remote}"));
    let done = blocking(move || {
        let outcomes = repository.update_refs(&edits, &message);
        drop(locks);
        outcomes
    });
    match done.await {
        Ok(outcomes) => {
            for (i, outcome) in kept.into_iter().zip(outcomes) {
                results[i] = match outcome {
                    EditOutcome::Applied => RefResult::Replicated,
                    EditOutcome::Rejected(why) => RefResult::Rejected(why),
                };
            }
        }
        // Of this part nobody knows; the next one is tried all the same.
        Err(e) => kept.into_iter().for_each(|i| results[i] = RefResult::Rejected(e.to_string())),
    }
}

/// A change goes whole or not at all: where one of its refs was rejected before the transaction, the others are too.
fn reject_companions(decision: &Decision, results: &mut [RefResult]) {
    let change = |i: usize| ChangeRef::of(&decision.refs[i].name).map(|c| c.change.to_vec());
    let rejected = (0..results.len()).filter(|i| matches!(results[*i], RefResult::Rejected(_)));
    let broken: HashMap<Vec<u8>, usize> = rejected.filter_map(|i| Some((change(i)?, i))).collect();
    if broken.is_empty() {
        return;
    }
    for (i, result) in results.iter_mut().enumerate() {
        if *result == RefResult::NotSent
            && let Some(culprit) = change(i).and_then(|change| broken.get(&change))
        {
            let why = format!("`{}` of the same change was rejected", decision.refs[*culprit].name);
            *result = RefResult::Rejected(why);
        }
    }
}
