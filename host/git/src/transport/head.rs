//! Which branch a remote's `HEAD` names: what a copy of it should have checked out by those who clone it.

use std::fs;
use std::path::Path;
use std::process;

use refgate_core::RefName;

use super::connection::repository_at;
use super::failure::failure;
use super::{RemoteUrl, git_for_remotes, git_nowhere};
use crate::{GitError, Repository, command};

/// The branch that `HEAD` names at `url`, also when that branch is not there yet. `None` for a detached `HEAD`, and for a
/// server that does not say. `scratch` is a directory for something that is gone when this returns.
///
/// # Errors
/// As [`list`](super::list()).
pub fn remote_head(url: &RemoteUrl, scratch: &Path) -> Result<Option<RefName>, GitError> {
    if let Some(path) = url.path() {
        return Repository::open(&repository_at(url, path)?)?.head();
    }
    let mut git = git_for_remotes(git_nowhere(), url)?;
    git.args(["ls-remote", "--symref", "--"]).arg(url.git_argument()).arg("HEAD");
    let waited = ("listing its HEAD", url.limits().silence);
    let output = command::run_watched(&mut git, Vec::new(), waited, &mut |_| {})?;
    let output = output.map_err(|silence| silence.of(url))?;
    if !output.status.success() {
        return Err(failure(url, "read HEAD", &String::from_utf8_lossy(&output.stderr)));
    }
    let mut lines = output.stdout.split(|b| *b == b'\n').filter(|line| line.ends_with(b"\tHEAD")).peekable();
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
    let waited = ("listing its HEAD", url.limits().silence);
    let cloned = command::run_watched(&mut git, Vec::new(), waited, &mut |_| {});
    let named = match &cloned {
        Ok(Ok(output)) if output.status.success() => Repository::open(&place).and_then(|made| made.head()),
        // The listing went well, so this is a server that cannot say.
        _ => Ok(None),
    };
    // What cannot be removed is hidden, and no project.
    let _ = fs::remove_dir_all(&place);
    Ok(named?.filter(|name| !name.as_bytes().ends_with(NOBODYS.as_bytes())))
}
