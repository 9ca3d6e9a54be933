//! Which branch a remote's `HEAD` names: what a copy of it should have checked out by those who clone it.

use std::fs;
use std::path::Path;
use std::process;

use refgate_core::RefName;

use super::cap::listing_by_git;
use super::connection::repository_at;
use super::{RemoteUrl, git_for_remotes, git_nowhere, rewritten};
use crate::{GitError, Repository, command};

/// What is done here, and what the remote does meanwhile.
const LISTING: (&str, &str) = ("read HEAD", "listing its HEAD");

/// The branch that `HEAD` names at `url`, also when that branch is not there yet. `None` for a detached `HEAD`, and for a
/// server that does not say. `scratch` is a directory for something that is gone when this returns.
///
/// # Errors
/// As [`list`](super::list()).
pub fn remote_head(url: &RemoteUrl, scratch: &Path) -> Result<Option<RefName>, GitError> {
    if let Some(path) = url.path() {
        return Repository::open(&repository_at(url, path)?)?.head();
    }
    let url = &rewritten(url)?;
    let mut git = git_for_remotes(git_nowhere(), url)?;
    git.args(["ls-remote", "--symref", "--"]).arg(url.git_argument()).arg("HEAD");
    let mut printed = Vec::new();
    // It prints one line, or two.
    listing_by_git(git, url, LISTING, &mut command::first_bytes(&mut printed, 64 * 1024))?;
    let mut lines = printed.split(|b| *b == b'\n').filter(|line| line.ends_with(b"\tHEAD")).peekable();
    if lines.peek().is_none() {
        return unborn(url, scratch);
    }
    let named = lines.find_map(|line| line.strip_prefix(b"ref: ")?.strip_suffix(b"\tHEAD"));
    Ok(named.and_then(|name| RefName::new(name).ok()))
}

/// No branch of anybody's: what a clone calls its own first one here.
const NOBODYS: &str = "refgate-knows-no-name";

/// `ls-remote` leaves out a `HEAD` whose branch is not there. A clone of that branch alone takes nothing and is told.
fn unborn(url: &RemoteUrl, scratch: &Path) -> Result<Option<RefName>, GitError> {
    let place = scratch.join(format!(".head.{}.new", process::id()));
    let mut git = git_for_remotes(git_nowhere(), url)?;
    git.arg("-c").arg(format!("init.defaultBranch={NOBODYS}"));
    // A template of the user's could hold hooks.
    git.args(["clone", "--bare", "--quiet", "--template=", "--single-branch", "--no-tags", "--depth=1"]);
    git.arg("--").arg(url.git_argument()).arg(&place);
    let cloned = listing_by_git(git, url, LISTING, &mut |_| true);
    let named = match &cloned {
        Ok(()) => Repository::open(&place).and_then(|made| made.head()),
        // The listing went well, so this is a server that cannot say.
        _ => Ok(None),
    };
    // What cannot be removed is hidden, and no project.
    let _ = fs::remove_dir_all(&place);
    Ok(named?.filter(|name| !name.as_bytes().ends_with(NOBODYS.as_bytes())))
}
