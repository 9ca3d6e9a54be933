//! A fetch: list, bring objects without moving refs, decide, then one ref transaction with expected old values.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use refgate_core::ports::{EditOutcome, Guard, RefEdit, Repo};
use refgate_core::table::Seen;
use refgate_core::{
    Atomicity, Class, Direction, Edit, Expected, GlobalRef, Lookup, Moves, ObjectFormat, Oid, Outcome,
    Project, RefName, SiteKind, State, meta_of,
};
use refgate_git::{GitError, GitErrorKind, RemoteUrl, Repository, list, remote_head};

use super::bring::{Source, bring_kept};
use super::catch_up::{deadline, global_of, read};
use super::locked::lock;
use super::offers::{Sides, listing, needs_objects};
use super::push::{local_refs, refuse_open};
use super::{Options, Progress, Site, blocking, planned};
use crate::report::Report;
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
    let (moves, problem) = site.offers(project, &sides, config.mirror).await?;

    let source = Source::new(repository.clone(), url, progress.clone());
    let wanted = wanted_objects(site, project, &moves, config.source_of_truth).await;
    let brought = source.bring(wanted).await?;
    bring_listed(site, project, kind, &moves, &source).await;
    let (moves, left) = brought.part(moves);

    progress.stage(&format!("deciding on {} refs", moves.len()));
    let mut decision = site.gate.fetch_relisting(project, remote, kind, moves, &source).await?;
    decision.problems.extend(caught_up.problems.iter().cloned());
    decision.problems.extend(problem);
    let moves = &mut decision.moves;
    (0..left.len()).for_each(|at| moves.take_over(&left, at));
    sides.add_unreadable(remote, moves);
    *moves = std::mem::replace(moves, Moves::new(direction)).sorted();
    if !options.dry_run {
        progress.stage("moving refs");
        bring_kept(&source, moves).await;
        move_kept(site, project, &repository, remote, moves).await;
        // From a source of truth the ref-db has moved.
        decision.problems.extend(site.remember().await);
    }
    let catch_up = options.rows(&caught_up, moves);
    let stuck = options.stuck(caught_up.stuck, moves);
    decision.problems.extend(names::in_the_way(moves, &ours));
    Ok(Report {
        direction,
        project: project.clone(),
        remote: remote.to_owned(),
        dry_run: options.dry_run,
        decision,
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
async fn wanted_objects(site: &Site, project: &Project, moves: &Moves, source_of_truth: bool) -> Vec<Oid> {
    if site.gate.matches(project).await != Ok(true) {
        return Vec::new();
    }
    if !site.gate.is_on(Direction::Fetch) {
        return moves.iter().filter_map(|one| one.new()).collect();
    }
    // A ref-db that cannot be read is the decision's business; only refs that need no entry need objects then.
    let entries = site.entries(project, moves.names()).await;
    let entries = entries.unwrap_or_else(|why| vec![Lookup::Unreadable(why); moves.len()]);
    let rules = &site.gate.config().rules;
    let wanted = moves.iter().zip(&entries).filter_map(|(one, entry)| {
        let class = Class::of(project, one.name(), rules);
        one.new().filter(|oid| needs_objects(class, entry, *oid, source_of_truth))
    });
    wanted.collect()
}

/// Brings superseded values that are not here, where a local value stands in the way that is not listed itself: whether it
/// is an ancestor of a listed one can only be told beside their objects. A site that only fetches would else stay diverged
/// for ever. The remote may have dropped them; then the ref is held back as before.
async fn bring_listed(site: &Site, project: &Project, kind: SiteKind, moves: &Moves, source: &Source) {
    if !site.gate.is_on(Direction::Fetch) || !kind.trusts_superseded() {
        return;
    }
    let Ok(entries) = site.entries(project, moves.names()).await else { return };
    let mut listed: Vec<Oid> = Vec::new();
    for (one, found) in moves.iter().zip(&entries) {
        let Some(entry) = found.entry() else { continue };
        let settled = |local| entry.value == GlobalRef::At(local) || entry.superseded.contains(&local);
        if one.local().is_some_and(|local| !settled(local)) {
            listed.extend(&entry.superseded);
        }
    }
    if listed.is_empty() {
        return;
    }
    if let Ok(absent) = Repo::missing(&source.repository, &listed).await {
        // A remote that refuses them is no reason to fetch nothing.
        drop(source.bring(absent).await);
    }
}

/// Moves what is kept, part by part, each under the site's locks on its refs: taken only now, so that nobody waited for
/// them while the decision did, and let go between two parts, so that a client's push passes meanwhile.
async fn move_kept(site: &Site, project: &Project, repository: &dyn Repo, remote: &str, moves: &mut Moves) {
    let clock = site.gate.clock().as_ref();
    for (number, part) in moves.parts(PART).into_iter().enumerate() {
        if number > 0 {
            clock.sleep(LET_PASS).await;
        }
        let names: Vec<RefName> = part.iter().map(|at| moves.names()[*at].clone()).collect();
        let (locks, got) = match lock(repository, &names, clock).await {
            Ok(locked) => locked,
            Err(e) => return refuse_open(moves, &e),
        };
        for (at, _) in part.iter().zip(got).filter(|(_, got)| !got) {
            moves.set(*at, State::refused(super::locked::BUSY));
        }
        refuse_with_others(moves);
        if site.gate.is_on(Direction::Fetch) {
            advance(site, project, moves, &part).await;
            look_again(site, project, moves, &part).await;
        }
        apply(repository, remote, moves, &part, locks).await;
    }
}

/// What was decided must still hold: nobody of this site moves these refs now, but other sites move the ref-db.
async fn look_again(site: &Site, project: &Project, moves: &mut Moves, part: &[usize]) {
    let read_for = |at: &usize| {
        let one = moves.get(*at);
        one.state().is_open()
            && match Class::of(project, one.name(), &site.gate.config().rules) {
                Class::Checked => true,
                // Its change may have been deleted, or made anew.
                Class::Excluded => meta_of(one.name()).is_some(),
                Class::Exempt | Class::Ignored => false,
            }
    };
    let which: Vec<usize> = part.iter().copied().filter(read_for).collect();
    if which.is_empty() {
        return;
    }
    let names: Vec<RefName> = which.iter().map(|at| moves.names()[*at].clone()).collect();
    let found = read(site, project, &names).await;
    for at in which {
        let one = moves.get(at);
        let judged = match one.global() {
            _ if one.is_deletion() => GlobalRef::Deleted,
            None | Some(Seen::Value(GlobalRef::Untracked)) => GlobalRef::Untracked,
            _ => GlobalRef::at_or_deleted(one.new()),
        };
        match found.as_ref().map(|found| global_of(site, project, one.name(), found)) {
            Ok(Some(now)) if now == judged => {}
            Ok(_) => moves.set(at, State::refused(MOVED)),
            Err(e) => moves.set(at, State::refused(format!("the ref-db could not be read again: {e}"))),
        }
    }
}

/// From a source of truth the ref-db moves first, by compare-and-put; then the local ref follows.
async fn advance(site: &Site, project: &Project, moves: &mut Moves, part: &[usize]) {
    let edit = |at: usize| {
        let one = moves.get(at);
        let expected = Expected::Exactly(GlobalRef::At(one.advances()?));
        let new = GlobalRef::At(one.new()?);
        Some((at, Edit::new(one.name().clone(), expected, new).fast_forward(true)))
    };
    let open = part.iter().copied().filter(|at| moves.get(*at).state().is_open());
    let (which, edits): (Vec<usize>, Vec<Edit>) = open.filter_map(edit).unzip();
    if edits.is_empty() {
        return;
    }
    let outcomes = site.gate.refdb().compare_and_put(project, &edits, Atomicity::Each, deadline(site)).await;
    for (place, at) in which.into_iter().enumerate() {
        match outcomes.as_ref().map(|o| o.get(place)) {
            Ok(Some(Outcome::Applied)) => {}
            Ok(_) => moves.set(at, State::refused(MOVED)),
            Err(e) => moves.set(at, State::refused(format!("the ref-db could not be moved: {e}"))),
        }
    }
}

/// Moves the kept refs, the refs of a change together.
async fn apply(repository: &dyn Repo, remote: &str, moves: &mut Moves, part: &[usize], locks: Guard) {
    refuse_with_others(moves);
    let open: Vec<usize> = part.iter().copied().filter(|at| moves.get(*at).state().is_open()).collect();
    if open.is_empty() {
        return;
    }
    let edit = |at: &usize| {
        let one = moves.get(*at);
        let group = one.part().map(|_| one.group());
        RefEdit { name: one.name().clone(), old: one.old(), new: one.new(), group }
    };
    let edits: Vec<RefEdit> = open.iter().map(edit).collect();
    let message = format!("refgate: fetch from {remote}");
    match repository.update(&edits, &message, &locks).await {
        Ok(outcomes) => {
            for (at, outcome) in open.into_iter().zip(outcomes) {
                moves.set(
                    at,
                    match outcome {
                        EditOutcome::Applied => State::Done,
                        EditOutcome::Rejected(why) => State::refused(why),
                    },
                );
            }
        }
        // Of this part nobody knows; the next one is tried all the same.
        Err(e) => open.into_iter().for_each(|at| moves.set(at, State::unknown(e.to_string()))),
    }
}

/// The refs of a change move in one transaction: where one of them was refused before it, the others are too.
fn refuse_with_others(moves: &mut Moves) {
    moves.spread(
        |name, state| {
            let with = || State::refused(format!("`{name}` of the same change was rejected"));
            state.has_failed().then(|| (0, with()))
        },
        |state, _| state.is_open(),
    );
}
