//! Reading refs: all of them, or some exactly by name; by our own reader where the storage is known, else through git.
//!
//! The order of reading is git's own, loose refs before `packed-refs`: a ref that is packed in between is found in the
//! second place, and an old packed value never hides a newer loose one. Nothing is kept between two readings.

mod below;
mod loose;
mod packed;
mod plumbing;

use packed::Packed;
use refgate_core::{Oid, RefName};

use crate::{GitError, GitErrorKind, RefList, Repository, Target};

/// From this many names on, reading all refs is cheaper than a file access per name (4 µs against 0.05 µs per ref).
const MANY: usize = 1000;

impl Repository {
    /// Every ref below `refs/` with its target, symbolic refs included; `HEAD` is not listed. One that cannot be read is
    /// listed as [`Target::Broken`], and keeps no other ref from being read.
    ///
    /// # Errors
    /// When what holds many refs (`packed-refs`, a reftable) cannot be read: a ref is never left out silently.
    pub fn refs(&self) -> Result<RefList, GitError> {
        if !self.has_files_backend() {
            return plumbing::list(self);
        }
        let loose = loose::list(self.git_dir(), self.object_format())?;
        let packed = Packed::read(self.git_dir(), self.object_format())?.list()?;
        self.still_there()?;
        Ok(packed.overlaid(&loose))
    }

    /// The values of these refs, exactly by name and in the same order; `None` for a ref that does not exist, and for
    /// a symbolic one, which is no value that replication may touch. Names outside `refs/` (`HEAD`, and files that are
    /// no refs at all) are `None` as well. A ref that cannot be read is an error of its own, never `None`.
    ///
    /// # Errors
    /// As [`refs`](Self::refs).
    pub fn values(&self, names: &[RefName]) -> Result<Vec<Result<Option<Oid>, GitError>>, GitError> {
        let names: Vec<&RefName> = names.iter().collect();
        let value = |target: Option<Target>| match target {
            Some(Target::Broken(why)) => Err(GitError::new(&*why)),
            other => Ok(other.as_ref().and_then(Target::oid)),
        };
        Ok(self.targets(&names)?.into_iter().map(value).collect())
    }

    /// The same, telling symbolic refs from missing ones.
    pub fn targets(&self, names: &[&RefName]) -> Result<Vec<Option<Target>>, GitError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        if !self.has_files_backend() {
            return plumbing::get(self, names);
        }
        if names.len() >= MANY {
            let list = self.refs()?;
            return Ok(names.iter().map(|name| list.get(name.as_bytes())).collect());
        }
        let mut targets = vec![None; names.len()];
        let mut left = Vec::new();
        for (i, name) in names.iter().enumerate() {
            if name.as_bytes().starts_with(b"refs/") {
                targets[i] = loose::read(self.git_dir(), name.as_bytes(), self.object_format());
                if targets[i].is_none() {
                    left.push(i);
                }
            }
        }
        if !left.is_empty() {
            let wanted: Vec<&RefName> = left.iter().map(|i| names[*i]).collect();
            let packed = Packed::read(self.git_dir(), self.object_format())?.get(&wanted)?;
            left.into_iter().zip(packed).for_each(|(i, found)| targets[i] = found);
            self.still_there()?;
        }
        Ok(targets)
    }

    /// A disk that was unmounted, or a repository that was moved away, must not look like one without refs.
    fn still_there(&self) -> Result<(), GitError> {
        match self.git_dir().join("refs").is_dir() && self.git_dir().join("HEAD").symlink_metadata().is_ok() {
            true => Ok(()),
            false => Err(GitError::new(format!("the repository `{}` is gone", self.git_dir().display()))
                .hint("look whether its disk is mounted, or whether somebody moved it away")
                .kind(GitErrorKind::Missing)),
        }
    }
}
