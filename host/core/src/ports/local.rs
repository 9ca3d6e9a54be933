//! The repositories of this site.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Address, EditOutcome, GitError, Guard, Notes, RefEdit, RefList, Refusal, Remote, Target};
use crate::{
    AncestryQuery, BoxFuture, Clock, LocalError, LocalRefs, LocalValue, ObjectFormat, Oid, Project, RefName,
    Refspecs,
};

/// The repositories of this site, by project.
pub trait Repositories: Send + Sync {
    /// Opens the repository of `project`.
    ///
    /// # Errors
    /// [`Missing`](super::GitErrorKind::Missing) when there is none; a repository that cannot be used.
    fn open<'a>(&'a self, project: &'a Project) -> BoxFuture<'a, Result<Arc<dyn Repo>, GitError>>;

    /// Makes the repository of `project`, in the object format of the one at `from`, and with the branch that `HEAD` names
    /// there, under the name that `refspecs` give it here. It has no refs.
    ///
    /// # Errors
    /// A remote that cannot be listed; something is there already; no right to make it.
    fn copy<'a>(
        &'a self,
        project: &'a Project,
        from: &'a Address<'a>,
        refspecs: &'a Refspecs,
    ) -> BoxFuture<'a, Result<Arc<dyn Repo>, GitError>>;
}

/// One repository of this site.
///
/// Answers to bulk questions come one per question, in the order of the questions, unless said otherwise. An error of a
/// whole call says that nothing could be read; what is wrong with one ref is its own [`Target::Broken`].
pub trait Repo: Notes + Any + Send + Sync + fmt::Debug {
    /// How objects are named here.
    fn object_format(&self) -> ObjectFormat;

    /// The remote at an address, as it is reached from this repository. Asks nobody yet.
    ///
    /// # Errors
    /// [`BadUrl`](super::GitErrorKind::BadUrl).
    fn remote(&self, at: &Address<'_>) -> Result<Arc<dyn Remote>, GitError>;

    /// Every ref below `refs/`, symbolic ones included.
    fn refs(&self) -> BoxFuture<'_, Result<RefList, GitError>>;

    /// What the refs with exactly these names hold; `None`: there is no such ref.
    fn targets<'a>(&'a self, names: &'a [RefName]) -> BoxFuture<'a, Result<Vec<Option<Target>>, GitError>>;

    /// Every ref below one of `dirs` (names without a slash at their end), in no particular order.
    fn refs_below<'a>(
        &'a self,
        dirs: &'a [Vec<u8>],
    ) -> BoxFuture<'a, Result<Vec<(RefName, Target)>, GitError>>;

    /// Whether the first of each pair is an ancestor of, or equal to, the second.
    ///
    /// Only between two commits whose history is here, read without replace refs and grafts; everything else is an ancestor
    /// of nothing but itself.
    fn ancestry<'a>(&'a self, pairs: &'a [(Oid, Oid)]) -> BoxFuture<'a, Result<Vec<bool>, GitError>>;

    /// The objects that are not here, each once.
    fn missing<'a>(&'a self, oids: &'a [Oid]) -> BoxFuture<'a, Result<Vec<Oid>, GitError>>;

    /// Whether each object is here together with all that it leads to.
    fn complete<'a>(&'a self, oids: &'a [Oid]) -> BoxFuture<'a, Result<Vec<bool>, GitError>>;

    /// Waits until objects that came just now would survive a power cut.
    fn settle_objects(&self) -> BoxFuture<'_, Result<(), GitError>>;

    /// Locks all of `names` against every other process of this site, waiting for each at most until `wait` has passed
    /// since the call.
    ///
    /// # Errors
    /// [`Busy`](super::GitErrorKind::Busy) naming a ref that somebody holds; nothing is locked then.
    fn lock<'a>(
        &'a self,
        names: &'a [RefName],
        wait: Duration,
        clock: &'a dyn Clock,
    ) -> BoxFuture<'a, Result<Guard, GitError>>;

    /// Locks those of `names` that nobody holds at this moment, and tells for each whether it did.
    fn try_lock<'a>(&'a self, names: &'a [RefName]) -> BoxFuture<'a, Result<(Guard, Vec<bool>), GitError>>;

    /// The right to replicate with the remote of this name; there is one for all processes of this site. Waits for it at
    /// most `wait`.
    ///
    /// # Errors
    /// [`Busy`](super::GitErrorKind::Busy) with who has it.
    fn session<'a>(
        &'a self,
        remote: &'a str,
        wait: Duration,
        clock: &'a dyn Clock,
    ) -> BoxFuture<'a, Result<Guard, GitError>>;

    /// Moves all refs that can be moved, with `message` in the reflogs, and holds `guard` until that is done, even when the
    /// future is dropped. [`EditOutcome::Applied`] is said of a ref that was read back at its new value, and would survive a
    /// power cut.
    ///
    /// # Errors
    /// When the refs cannot be read; then it is not known which were moved.
    fn update<'a>(
        &'a self,
        edits: &'a [RefEdit],
        message: &'a str,
        guard: &'a Guard,
    ) -> BoxFuture<'a, Result<Vec<EditOutcome>, GitError>>;

    /// What would become of these edits now. Nothing is moved; [`EditOutcome::Applied`] stands for "would be".
    fn try_out<'a>(&'a self, edits: &'a [RefEdit]) -> BoxFuture<'a, Result<Vec<EditOutcome>, GitError>>;

    /// What the repository refuses of its own accord of a client's push: each edit, with whether its old value is contained
    /// in the new one. Its hook `update` is run for what is left.
    fn refusals<'a>(
        &'a self,
        edits: &'a [(RefEdit, bool)],
    ) -> BoxFuture<'a, Result<Vec<Option<Refusal>>, GitError>>;
}

impl<R: Repositories + ?Sized> LocalRefs for R {
    fn values<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
    ) -> BoxFuture<'a, Result<Vec<LocalValue>, LocalError>> {
        Box::pin(async move {
            let targets = self.open(project).await?.targets(refs).await?;
            let value = |target: Option<Target>| match target {
                Some(Target::Broken(why)) => Err(LocalError(why.to_string())),
                other => Ok(other.and_then(|target| target.oid())),
            };
            Ok(targets.into_iter().map(value).collect())
        })
    }

    fn ancestry<'a>(
        &'a self,
        project: &'a Project,
        queries: &'a [AncestryQuery],
    ) -> BoxFuture<'a, Result<Vec<bool>, LocalError>> {
        Box::pin(async move {
            // Nothing is an ancestor of what nobody knows.
            let pair =
                |query: &AncestryQuery| query.descendant.map(|descendant| (query.ancestor, descendant));
            let pairs: Vec<(Oid, Oid)> = queries.iter().filter_map(pair).collect();
            let mut answers = self.open(project).await?.ancestry(&pairs).await?.into_iter();
            Ok(queries.iter().map(|query| pair(query).is_some() && answers.next().unwrap_or(false)).collect())
        })
    }
}

impl From<GitError> for LocalError {
    fn from(error: GitError) -> LocalError {
        LocalError(error.told())
    }
}
