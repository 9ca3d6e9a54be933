//! The repositories of this site as the decision asks for them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use refgate_core::Project;

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
}

fn stamp(config: &Path) -> Option<Stamp> {
    let meta = fs::metadata(config).ok()?;
    Some((meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
}
