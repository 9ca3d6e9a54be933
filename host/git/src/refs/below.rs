//! The refs below some directories of names, without a look at all the others.

use refgate_core::RefName;

use super::plumbing;
use crate::{GitError, RefList, Repository, Target};

/// From this many directories on, one look at all refs is cheaper, and the command line has a limit.
const MANY: usize = 64;

impl Repository {
    /// Every ref below one of `dirs` (names without a slash at their end) with its target, in no particular order. One
    /// that cannot be read is [`Target::Broken`].
    ///
    /// # Errors
    /// As [`refs`](Self::refs).
    pub fn refs_below(&self, dirs: &[Vec<u8>]) -> Result<Vec<(RefName, Target)>, GitError> {
        match dirs.len() {
            0 => Ok(Vec::new()),
            MANY.. => self.sought(dirs),
            _ => {
                // With a slash behind it, a pattern is a directory and not a ref of that name.
                let dirs: Vec<Vec<u8>> = dirs.iter().map(|dir| [dir.as_slice(), b"/"].concat()).collect();
                named(&plumbing::below(self, &dirs)?, |_| true)
            }
        }
    }

    /// The same from a list of all refs.
    fn sought(&self, dirs: &[Vec<u8>]) -> Result<Vec<(RefName, Target)>, GitError> {
        let mut dirs: Vec<&[u8]> = dirs.iter().map(Vec::as_slice).collect();
        dirs.sort_unstable();
        let parents = |name: &[u8]| {
            memchr::memchr_iter(b'/', name).any(|end| dirs.binary_search(&&name[..end]).is_ok())
        };
        named(&self.refs()?, parents)
    }
}

fn named(list: &RefList, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<(RefName, Target)>, GitError> {
    let named = |(name, target)| Ok((RefName::new(name).map_err(|e| GitError::new(e.to_string()))?, target));
    list.iter().filter(|(name, _)| wanted(name)).map(named).collect()
}
