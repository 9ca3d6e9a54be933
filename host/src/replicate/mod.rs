//! Replication itself: offers, the gate's decision, and the transfer of what it keeps.

mod bring;
pub(crate) mod catch_up;
mod fetch;
mod locked;
mod marks;
pub(crate) mod offers;
mod planned;
pub(crate) mod push;
mod whole;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobMatcher;
use refgate_core::{Deadline, Direction, Moves, Oid, Project, RefName, Refspecs, SiteKind, State};
use refgate_git::{GitError, GitErrorKind, GitRepositories, RemoteUrl, Repository, SessionLock};

use crate::gated::{Kind, REPLICATION, Witness};
use crate::known::Known;
use crate::record::Recorder;
use crate::{Error, Gate};

pub use catch_up::{CaughtUp, Fate, Moved, RecordState, Stuck, catch_up, catch_up_refs};
pub use fetch::fetch;
pub use locked::lock;
pub use push::push;

/// How long a session waits for another one of the same repository and remote.
const SESSION_WAIT: Duration = Duration::from_secs(30);

/// This site: its gate and its repositories.
#[derive(Clone)]
pub struct Site {
    /// Decides.
    pub gate: Gate,
    /// Where the repositories are.
    pub repositories: GitRepositories,
    /// What records the looks of the filters, if anything does. [`Recorder::finish`] writes what is still waiting.
    pub recorder: Option<Arc<Recorder>>,
    /// What shows that client writes go through the ref-db, if the configuration says so.
    pub witness: Witness,
}

/// What to replicate and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only source refs that one of these matches; none is all.
    pub refs: Vec<GlobMatcher>,
    /// Decide, and move nothing.
    pub dry_run: bool,
    /// Make the repository at the destination when there is none.
    pub create: bool,
}

/// Where people see what goes on. Called from threads that may block.
pub trait Progress: Send + Sync {
    /// A new stage, like `listing site-b`.
    fn stage(&self, text: &str);
    /// A line that git or the remote printed.
    fn line(&self, text: &str);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _: &str) {}
    fn line(&self, _: &str) {}
}

impl Site {
    /// Opens the repository of a project.
    ///
    /// # Errors
    /// A project without a repository is the caller's mistake; anything else is a failure.
    pub async fn repository(&self, project: &Project) -> Result<Repository, Error> {
        let (repositories, name) = (self.repositories.clone(), project.clone());
        blocking(move || repositories.repository(&name)).await.map_err(|e| match e.kind {
            GitErrorKind::Missing => {
                Error::usage(format!("unknown project `{project}`: {}", e.message))
                    .hint("check the name and `site.basePath`; `refgate fetch --create` makes a project from a remote")
            }
            _ => e.into(),
        })
    }

    /// What does not replicate must not be made either.
    async fn refuse_unmatched(&self, project: &Project) -> Result<(), Error> {
        match self.gate.matches(project).await? {
            true => Ok(()),
            false => Err(Error::usage(format!(
                "project `{project}` does not replicate, so nothing is created for it"
            ))
            .hint("see `refgate project match` and the key `projects.pattern`")),
        }
    }

    pub(crate) fn url(&self, remote: &str, project: &Project) -> Result<RemoteUrl, Error> {
        let template = self.gate.remote(remote)?.url.as_deref();
        let template = template.ok_or_else(|| Error::usage(format!("remote `{remote}` has no url")))?;
        // The configuration has resolved relative paths against its own directory.
        let limits = self.gate.remote(remote)?.limits;
        Ok(RemoteUrl::for_project(template, project, Path::new("/"))?.within(limits))
    }

    /// At most one session per repository and remote; a dry run moves nothing and needs none.
    async fn session(
        &self,
        repository: &Repository,
        remote: &str,
        dry_run: bool,
    ) -> Result<Option<SessionLock>, Error> {
        if dry_run {
            return Ok(None);
        }
        let clock = self.gate.clock().as_ref();
        // A session that waits for this process would be waited for in a circle.
        let started_by = replication_above();
        let wait = if started_by.is_some() { Duration::ZERO } else { SESSION_WAIT };
        let lock = SessionLock::acquire(repository.git_dir(), remote, wait, clock).await;
        let lock = lock.map_err(|e| match started_by {
            Some(name) if e.kind == GitErrorKind::Busy => GitError {
                message: format!(
                    "{}; it is not waited for, because a hook of replication from `{name}` started this run and that session \
                     may be the one that waits for the hook",
                    e.message
                ),
                ..e
            }
            .hint("nothing is lost: the next run sends what this one would have; start replication from a hook in the background, or from cron"),
            _ => e,
        })?;
        self.note_use().await?;
        Ok(Some(lock))
    }

    /// What a session begins with: how this repository is written, and its catch-up; in a dry run, what that would do.
    async fn begin(
        &self,
        project: &Project,
        repository: &Repository,
        dry_run: bool,
    ) -> Result<(SiteKind, CaughtUp), Error> {
        let Kind { writes, doubt } = self.kind(project, repository).await?;
        let mut caught_up = match dry_run {
            false => catch_up::of_kind(self, project, repository, writes).await?,
            // To look at it takes more than to read: locks, and a trial of the moves.
            true => catch_up::would_catch_up(self, project, repository, writes).await.unwrap_or_else(|e| {
                CaughtUp {
                    problems: vec![format!("what catch-up would do cannot be told: {}", e.message)],
                    ..CaughtUp::default()
                }
            }),
        };
        caught_up.problems.extend(doubt.map(|doubt| doubt.to_string()));
        if !dry_run {
            caught_up.problems.extend(self.remember().await);
        }
        Ok((writes, caught_up))
    }

    /// Leaves this site's name in the ref-db, once: a ref-db that only one site ever used is probably a wrong one. What it
    /// answers says, too, whether it is still the one that this site knows.
    ///
    /// # Errors
    /// It is not.
    pub async fn note_use(&self) -> Result<(), Error> {
        let (refdb, clock) = (self.gate.refdb(), self.gate.clock().as_ref());
        let deadline = || Deadline::after(clock, self.gate.config().ref_database.timeout);
        let known = Known::of(self.gate.config());
        let before = known.read();
        // A ref-db that cannot be read makes itself heard in the decision.
        let sites = refdb.sites(deadline()).await;
        known.check(before, refdb)?;
        if let (Some(name), Ok(sites)) = (&self.gate.config().site.name, sites)
            && !sites.contains(name)
        {
            drop(refdb.note_site(name, deadline()).await);
        }
        Ok(())
    }

    /// Remembers how far the ref-db has come, or says why it cannot: then only the next backup that is put back goes
    /// unnoticed, so nothing stops for it.
    pub(crate) async fn remember(&self) -> Option<String> {
        let (known, refdb) = (Known::of(self.gate.config()), self.gate.refdb().clone());
        let now = self.gate.clock().unix_time();
        let noted = tokio::task::spawn_blocking(move || known.note(&refdb, now)).await;
        let why = match noted {
            Ok(noted) => noted.err()?.message,
            Err(died) => format!("a worker thread died: {died}"),
        };
        Some(format!(
            "this site cannot remember how far its ref-db has come, so an old copy would not be noticed: {why}"
        ))
    }
}

impl Options {
    /// What catch-up found about the refs that were selected: what moved and what was held back. What the session's own rows
    /// say of a ref is not said twice.
    fn rows(&self, found: &CaughtUp, session: &Moves) -> Moves {
        let said: HashSet<(&RefName, Option<Oid>)> =
            session.iter().filter(|one| !one.is_kept()).map(|one| (one.name(), one.new())).collect();
        let mut rows = Moves::new(Direction::Fetch);
        for moved in found.moved.iter().filter(|moved| self.wants(&moved.name)) {
            rows.add(moved.update());
            if !self.dry_run {
                rows.set(rows.len() - 1, State::Done);
            }
        }
        for one in found.held.iter() {
            if self.wants(one.name()) && !said.contains(&(one.name(), one.new())) {
                rows.take_over(&found.held, one.at());
            }
        }
        rows.sorted()
    }

    /// What catch-up could not move of what was selected, and is not said by the session's own results.
    fn stuck(&self, stuck: Vec<Stuck>, session: &Moves) -> Vec<Stuck> {
        let told: HashSet<&RefName> =
            session.iter().filter(|one| one.state().has_failed()).map(|one| one.name()).collect();
        stuck.into_iter().filter(|one| self.wants(&one.name) && !told.contains(&one.name)).collect()
    }

    fn wants(&self, source: &RefName) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(source.as_bytes()));
        self.refs.is_empty() || self.refs.iter().any(|glob| glob.is_match(path))
    }
}

/// The site whose replication started the hook that this process runs in, if it does: git gives the options of a push to
/// its hooks.
pub fn replication_above() -> Option<String> {
    let count: usize = std::env::var("GIT_PUSH_OPTION_COUNT").ok()?.parse().ok()?;
    // More than any client sends is no list of options.
    (0..count.min(1_000)).find_map(|i| {
        let option = std::env::var(format!("GIT_PUSH_OPTION_{i}")).ok()?;
        Some(option.strip_prefix(REPLICATION)?.to_owned())
    })
}

/// The name that `name` has at the other end: its own when no refspec leads there.
fn mapped(refspecs: &Refspecs, name: RefName) -> RefName {
    refspecs.destination(&name).map_or(name, |to| to.name)
}

/// One line of a transfer, for people.
pub(crate) fn line_of(progress: refgate_git::Progress) -> String {
    match progress {
        refgate_git::Progress::Remote(line) => format!("remote: {line}"),
        refgate_git::Progress::Local(line) => line,
    }
}

/// Runs blocking work beside the async ones.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(died) => Err(GitError::new(format!("a worker thread died: {died}"))),
    }
}
