//! The refs below some directories of names, without a look at all the others.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use refgate_core::{Oid, RefName, escape};

use crate::command::{failed, git_in, run};
use crate::{GitError, Repository, Target};

/// From this many directories on, one look at all refs is cheaper, and the command line has a limit.
const MANY: usize = 64;

impl Repository {
    /// Every ref below one of `dirs` (names without a slash at their end) with its target, in no particular order.
    ///
    /// # Errors
    /// When one of them cannot be read: it is never left out.
    pub fn refs_below(&self, dirs: &[Vec<u8>]) -> Result<Vec<(RefName, Target)>, GitError> {
        if dirs.is_empty() {
            return Ok(Vec::new());
        }
        if dirs.len() >= MANY {
            return self.sought(dirs);
        }
        let mut command = git_in(self.git_dir());
        // No name can hold a space. The default format would open every object.
        command.args(["for-each-ref", "--format=%(objectname) %(symref) %(refname)", "--"]);
        // With a slash behind it, a pattern is a directory and not a ref of that name.
        for dir in dirs {
            command.arg(OsStr::from_bytes(&[dir.as_slice(), b"/"].concat()));
        }
        let output = run(command, Vec::new())?;
        let dangling = |line: &[u8]| line.starts_with(b"warning: ignoring dangling symref");
        let complaint = output.stderr.split(|b| *b == b'\n').find(|line| !line.is_empty() && !dangling(line));
        if !output.status.success() {
            return Err(failed("`git for-each-ref`", &output));
        }
        if let Some(complaint) = complaint {
            let shown = self.git_dir().display();
            return Err(GitError::new(format!(
                "git cannot read all refs of `{shown}`: {}",
                escape(complaint)
            ))
            .hint("`git fsck` there tells more"));
        }
        let lines = output.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let bad = |why: String| {
                    GitError::new(format!("`git for-each-ref` printed `{}`: {why}", escape(line)))
                };
                let mut parts = line.splitn(3, |b| *b == b' ');
                let (Some(hex), Some(symref), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
                    return Err(bad("it has too few words".into()));
                };
                let name = RefName::new(name).map_err(|e| bad(e.to_string()))?;
                match symref.is_empty() {
                    false => Ok((name, Target::Symbolic)),
                    true => Ok((name, Target::Oid(Oid::from_hex(hex).map_err(|e| bad(e.to_string()))?))),
                }
            })
            .collect()
    }

    /// The same from a list of all refs, which is in the order of their names.
    fn sought(&self, dirs: &[Vec<u8>]) -> Result<Vec<(RefName, Target)>, GitError> {
        let mut dirs: Vec<&[u8]> = dirs.iter().map(Vec::as_slice).collect();
        dirs.sort_unstable();
        let refs = self.refs()?;
        let below = |name: &[u8]| {
            let parents = name.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(end, _)| &name[..end]);
            parents.into_iter().any(|dir| dirs.binary_search(&dir).is_ok())
        };
        refs.iter()
            .filter(|(name, _)| below(name))
            .map(|(name, target)| {
                let name = RefName::new(name).map_err(|e| GitError::new(e.to_string()))?;
                Ok((name, target))
            })
            .collect()
    }
}
