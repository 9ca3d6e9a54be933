//! A push: decided between the remote's advertisement and the commands, in one session with the remote.

use std::sync::Arc;

use refgate_core::decision::Decision;
use refgate_core::ports::{Repo, Target};
use refgate_core::{Direction, Moves, Project, RefName, Refspecs, SiteKind, State};
use refgate_git::{
    GitError, GitErrorKind, PushCommand, PushSession, PushStatus, RemoteUrl, Repository, create_remote,
};

use super::marks::Marks;
use super::offers::{Listing, Sides, Value};
use super::{Options, Progress, Site, blocking, planned, whole};
use crate::gated::Witness;
use crate::gated::install::unanswered;
use crate::report::Report;
use crate::{Error, names};

/// Pushes what the gate keeps of `project` to `remote`.
///
/// # Errors
/// Only before anything was decided. A failure after that is a rejection of the refs that it concerns.
pub async fn push(
    site: &Site,
    project: &Project,
    remote: &str,
    options: &Options,
    progress: Arc<dyn Progress>,
) -> Result<Report, Error> {
    let config = site.gate.remote(remote)?.clone();
    let repository = site.repository(project).await?;
    let url = site.url(remote, project)?;
    let _session = site.session(&repository, remote, options.dry_run).await?;
    let (_, caught_up) = site.begin(project, &repository, options.dry_run).await?;

    if options.create {
        site.refuse_unmatched(project).await?;
    }
    progress.stage(&format!("listing {remote}"));
    let marks = Marks::of(site, project)?;
    let connection = marks.on(open(&repository, &url, &config.push, options).await?);
    let damaged = connection.broken_refs().first().cloned();
    progress.stage("reading local refs");
    let mut theirs: Listing =
        connection.refs().iter().map(|(name, oid)| (name.clone(), Value::At(*oid))).collect();
    theirs.extend(connection.broken_refs().iter().map(|name| (name.clone(), Value::Broken)));
    let mut ours = local_refs(&repository).await?;
    let planned;
    let site = match options.dry_run {
        true => {
            (planned, ours) = planned::after(site, &caught_up, ours);
            &planned
        }
        false => site,
    };
    let direction = Direction::Push;
    let sides = Sides { direction, local: &ours, remote: &theirs, refspecs: &config.push, options };
    let (moves, problem) = site.offers(project, &sides, config.mirror).await?;

    progress.stage(&format!("deciding on {} refs", moves.len()));
    let mut decision = site.gate.push(project, remote, moves).await?;
    if let Some(doubt) = doubt(site, project, remote, &repository, &url, &decision).await {
        let (moves, _) = site.offers(project, &sides, config.mirror).await?;
        decision = site.gate.push_to(project, remote, SiteKind::Ungated, moves).await?;
        decision.problems.push(doubt);
    }
    sides.add_unreadable(remote, &mut decision.moves);
    decision.moves = decision.moves.sorted();
    decision.problems.extend(caught_up.problems.iter().cloned());
    decision.problems.extend(problem);
    let moves = &mut decision.moves;
    if options.dry_run || moves.open().next().is_none() {
        blocking(move || {
            connection.close();
            Ok(())
        })
        .await?;
    } else {
        progress.stage(&format!("pushing to {remote}"));
        if let Ok(connection) = refuse_symbolic(connection, moves).await {
            let there = Remote { repository: &repository, url: &url, marks: &marks };
            send(&there, connection, moves, progress).await;
        }
    }
    if let Some(damaged) = damaged {
        explain(moves, remote, &damaged);
    }
    hint_hooks(remote, moves);
    let catch_up = options.rows(&caught_up, moves);
    let stuck = options.stuck(caught_up.stuck, moves);
    decision.problems.extend(names::in_the_way(moves, &theirs));
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

/// Why a remote that is said to be gated is not, if the decision rests on that: its hook is asked, by a push that it must
/// refuse.
async fn doubt(
    site: &Site,
    project: &Project,
    remote: &str,
    repository: &Repository,
    url: &RemoteUrl,
    decision: &Decision,
) -> Option<String> {
    let writes = site.gate.remote(remote).ok()?.writes;
    let rests_on_it = writes == SiteKind::Gated && decision.moves.iter().any(|one| one.is_over_superseded());
    if !rests_on_it || site.witness == Witness::Embedder {
        return None;
    }
    let (here, there, name) = (repository.clone(), url.clone(), project.clone());
    let why = match blocking(move || unanswered(&here, &there, &name)).await {
        Ok(None) => return None,
        Ok(Some(said)) => said,
        Err(e) => e.to_string(),
    };
    Some(format!(
        "`remote.{remote}.writes = gated`, but the repository of `{project}` there counts as ungated: its hook did not \
         answer a test push ({why}); `refgate hook install {project}` there mends it"
    ))
}

/// A hook that dislikes a ref does so at every run: how such refs are left out.
fn hint_hooks(remote: &str, moves: &mut Moves) {
    for (name, refusal) in
        moves.failures().filter(|(_, refusal)| refusal.why.starts_with("pre-receive hook declined"))
    {
        let name = name.to_string();
        let space = name.match_indices('/').nth(1).map(|(at, _)| &name[..at]);
        let pattern = match space {
            Some(space) if !["refs/heads", "refs/tags"].contains(&space) => format!("{space}/*"),
            _ => "REF".to_owned(),
        };
        refusal.hint = Some(format!(
            "the hook `pre-receive` of `{remote}` decides about that; refs that it never takes are left out by `push = ^{pattern}` \
             in [remote \"{remote}\"], after a line `push = +refs/*:refs/*` where there is no `push` yet"
        ));
    }
}

/// git walks from all refs of a repository before it takes objects, and a damaged one ends that walk.
fn explain(moves: &mut Moves, remote: &str, damaged: &RefName) {
    let missing = |why: &str| why.contains("missing necessary objects");
    for (_, refusal) in moves.failures().filter(|(_, refusal)| missing(&refusal.why)) {
        refusal.why.push_str(&format!(
            ": `{damaged}` is damaged at `{remote}`, and git takes nothing there until it is mended"
        ));
    }
}

/// Every local ref with its value.
pub(crate) async fn local_refs(repository: &dyn Repo) -> Result<Listing, Error> {
    let refs = repository.refs().await?;
    let one = |(name, target): (&[u8], Target)| {
        let name = RefName::new(name).map_err(|e| GitError::new(e.to_string()))?;
        Ok((name, Value::of(&target)))
    };
    refs.iter().map(one).collect()
}

/// Opens the session; with `--create`, makes the repository when there is none, with the `HEAD` of this one.
async fn open(
    repository: &Repository,
    url: &RemoteUrl,
    refspecs: &Refspecs,
    options: &Options,
) -> Result<PushSession, Error> {
    let (local, there, format) = (repository.git_dir().to_owned(), url.clone(), repository.object_format());
    let (source, refspecs) = (repository.clone(), refspecs.clone());
    let create = options.create && !options.dry_run;
    let session = blocking(move || match PushSession::open(&local, &there, format) {
        Err(e) if e.kind == GitErrorKind::Missing && create => {
            let head = source.head()?.map(|name| super::mapped(&refspecs, name));
            create_remote(&there, format, head.as_ref())?;
            PushSession::open(&local, &there, format)
        }
        other => other,
    });
    session.await.map_err(|e| match e.kind {
        GitErrorKind::Missing if url.can_create() => Error::failed(e.message).hint(match options.create {
            true => "the project has no copy there yet; `--create` makes one when it is no dry run",
            false => "the project has no copy there yet; `--create` makes one",
        }),
        _ => e.into(),
    })
}

/// Receive-pack would write through a symbolic ref, and does not say which refs are; a second listing does. When that
/// fails, nothing is sent.
async fn refuse_symbolic(connection: PushSession, moves: &mut Moves) -> Result<PushSession, GitError> {
    let listed = blocking(move || {
        let symbolic = connection.symbolic_refs()?;
        Ok((connection, symbolic))
    });
    let (connection, symbolic) = listed.await.inspect_err(|e| refuse_open(moves, e))?;
    let is_symbolic = |at: &usize| symbolic.contains(&moves.remote_names()[*at]);
    let refused: Vec<usize> = moves.open().filter(is_symbolic).collect();
    refused.into_iter().for_each(|at| moves.set(at, State::refused("it is a symbolic ref at the remote")));
    Ok(connection)
}

/// Once decided, a failure belongs to the refs that it kept from going: the report must not be lost for it.
pub(super) fn refuse_open(moves: &mut Moves, error: &GitError) {
    moves.set_open(|| State::refused(error.to_string()));
}

/// Sends in two rounds: a `/meta` goes when all other refs of its change have arrived.
async fn send(remote: &Remote<'_>, connection: PushSession, moves: &mut Moves, progress: Arc<dyn Progress>) {
    let doomed = moves.doomed();
    let mut connection = Some(Ok(connection));
    let first = moves.first_round();
    if !first.is_empty()
        && let Some(connection) = connection.take()
    {
        round(connection, moves, &first, progress.clone()).await;
    }
    let second = moves.second_round();
    if !second.is_empty() {
        let connection = match connection.take() {
            Some(connection) => connection,
            None => remote.session().await,
        };
        round(connection, moves, &second, progress.clone()).await;
    }
    whole::delete(doomed, moves, progress, connection, remote).await;
}

/// The other end of a push, for one more session with it.
pub(super) struct Remote<'a> {
    repository: &'a Repository,
    url: &'a RemoteUrl,
    marks: &'a Marks,
}

impl Remote<'_> {
    pub(super) async fn session(&self) -> Result<PushSession, GitError> {
        let (local, there) = (self.repository.git_dir().to_owned(), self.url.clone());
        let format = self.repository.object_format();
        let connection = blocking(move || PushSession::open(&local, &there, format)).await;
        connection.map(|connection| self.marks.on(connection))
    }
}

/// One session: sends `which`, with the advertised old values and the pinned new ones.
///
/// Another session may have moved a ref since it was decided; then the old value that is sent does not match what the
/// remote holds, and it refuses. A session that breaks leaves its refs rejected: nobody claims what nobody saw.
pub(super) async fn round(
    connection: Result<PushSession, GitError>,
    moves: &mut Moves,
    which: &[usize],
    progress: Arc<dyn Progress>,
) {
    let command = |at: &usize| {
        let one = moves.get(*at);
        PushCommand { name: one.remote_name().clone(), old: one.old(), new: one.new() }
    };
    let commands: Vec<PushCommand> = which.iter().map(command).collect();
    let connection = match connection {
        Ok(connection) => connection,
        Err(e) => return which.iter().for_each(|at| moves.set(*at, State::refused(e.to_string()))),
    };
    let sent = blocking(move || connection.push(&commands, &mut |p| progress.line(&super::line_of(p)))).await;
    match sent {
        Ok(statuses) => {
            for (at, status) in which.iter().zip(statuses) {
                moves.set(
                    *at,
                    match status {
                        PushStatus::Ok => State::Done,
                        PushStatus::Rejected(why) => State::refused(why),
                    },
                );
            }
        }
        Err(e) => which.iter().for_each(|at| moves.set(*at, State::unknown(e.to_string()))),
    }
}
