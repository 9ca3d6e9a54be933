//! The repositories of this site as the decision asks for them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use refgate_core::{AncestryQuery, BoxFuture, LocalError, LocalRefs, LocalValue, Oid, Project, RefName};

use crate::{GitError, Repository};

/// The bare repositories `BASE/PROJECT.git`.
///
/// A repository that was opened once is opened again only when its configuration changed: opening is a process, and
/// most reads need none. Cheap to clone; clones share what is open.
#[derive(Clone, Debug)]
pub struct GitRepositories {
    base: Arc<Path>,
    open: Arc<Mutex<HashMap<Project, (Stamp, Repository)>>>,
}

/// What tells that a `config` file is another than before: device, inode, length, and the time of its last change.
type Stamp = (u64, u64, u64, i64, i64);

impl GitRepositories {
    /// The repositories below `base`. Nothing is read yet.
    pub fn new(base: impl Into<PathBuf>) -> GitRepositories {
        GitRepositories { base: base.into().into(), open: Arc::default() }
    }

    /// Where the repository of `project` is, or would be.
    pub fn path(&self, project: &Project) -> PathBuf {
        // Not `with_extension`: a name may hold dots.
        self.base.join(format!("{project}.git"))
    }

    /// Opens the repository of `project`, see [`Repository::open`]. Blocks.
    pub fn repository(&self, project: &Project) -> Result<Repository, GitError> {
        let path = self.path(project);
        // Taken before opening: a change in between is found the next time.
        let stamp = stamp(&path.join("config"));
        let open = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stamp) = stamp
            && let Some((known, repository)) = open().get(project)
            && *known == stamp
        {
            return Ok(repository.clone());
        }
        let repository = Repository::open(&path)?;
        if let Some(stamp) = stamp {
            open().insert(project.clone(), (stamp, repository.clone()));
        }
        Ok(repository)
    }

    /// Runs `work` on the repository of `project`, on a thread that may block.
    fn blocking<'a, T: Send + 'static>(
        &self,
        project: &Project,
        work: impl FnOnce(&Repository) -> Result<T, GitError> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, LocalError>> {
        let (this, project) = (self.clone(), project.clone());
        Box::pin(async move {
            let done =
                tokio::task::spawn_blocking(move || this.repository(&project).and_then(|r| work(&r))).await;
            match done {
                Ok(result) => result.map_err(LocalError::from),
                Err(e) => Err(LocalError(format!("the thread that reads the repository died: {e}"))),
            }
        })
    }
}

impl From<GitError> for LocalError {
    fn from(error: GitError) -> LocalError {
        LocalError(match error.hint {
            Some(hint) => format!("{}; {hint}", error.message),
            None => error.message,
        })
    }
}

fn stamp(config: &Path) -> Option<Stamp> {
    let meta = fs::metadata(config).ok()?;
    Some((meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
}

impl LocalRefs for GitRepositories {
    fn values<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
    ) -> BoxFuture<'a, Result<Vec<LocalValue>, LocalError>> {
        let refs = refs.to_vec();
        self.blocking(project, move |repository| {
            let values = repository.values(&refs)?;
            Ok(values.into_iter().map(|value| value.map_err(LocalError::from)).collect())
        })
    }

    fn ancestry<'a>(
        &'a self,
        project: &'a Project,
        queries: &'a [AncestryQuery],
    ) -> BoxFuture<'a, Result<Vec<bool>, LocalError>> {
        // Nothing is an ancestor of what nobody knows.
        let known: Vec<Option<(Oid, Oid)>> = queries
            .iter()
            .map(|query| query.descendant.map(|descendant| (query.ancestor, descendant)))
            .collect();
        self.blocking(project, move |repository| {
            let pairs: Vec<(Oid, Oid)> = known.iter().flatten().copied().collect();
            let mut answers = repository.ancestry(&pairs)?.into_iter();
            Ok(known.iter().map(|pair| pair.is_some() && answers.next().unwrap_or(false)).collect())
        })
    }
}
