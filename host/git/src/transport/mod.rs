//! The remote side: addresses, listing, taking objects, and the push session in which every ref is decided between
//! the remote's listing and its update.
//!
//! Everything here blocks; callers on an async runtime wrap it.
//!
//! A push speaks git's protocol itself, because `git push` takes 42 s for 1,000 exact refs of 100,000 and cannot ask
//! anybody between listing and update. The other side is plain `git receive-pack`: it compares the old values under its
//! own locks and runs its own hooks. Listing and fetching are done by git.

mod advertisement;
mod cap;
mod connection;
mod create;
mod failure;
mod fetch;
mod head;
mod isolate;
mod keep;
mod list;
mod login;
mod pack;
pub(crate) mod pktline;
mod plan;
mod push;
mod report;
mod ssh;
mod url;
mod whole;

use std::ffi::OsString;
use std::process::Command;

use crate::{GitError, command};

pub use create::create_remote;
pub use fetch::fetch_objects;
pub use head::remote_head;
pub use list::list;
pub(crate) use list::symbolic as symbolic_refs;
pub use push::PushSession;
pub use url::RemoteUrl;
pub use whole::list_whole;

/// What is told while a transfer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A line that the remote printed: its hooks, or its count of objects. Without control characters.
    Remote(String),
    /// A line that git printed here.
    Local(String),
}

/// `git` that may talk to the remote at `url`: only over the protocols that refgate takes, and without prompts.
fn git_for_remotes(mut git: Command, url: &RemoteUrl) -> Result<Command, GitError> {
    git.env("GIT_ALLOW_PROTOCOL", "file:git:ssh:http:https");
    git.env("GIT_SSH_COMMAND", ssh::command_line(url.limits())?);
    git.args(["-c", "protocol.version=2"]);
    // Over http only curl sees whether the other side is silent; in whole seconds.
    let seconds = url.limits().silence.as_secs().max(1);
    git.args(["-c", "http.lowSpeedLimit=1", "-c"]).arg(format!("http.lowSpeedTime={seconds}"));
    url.hand_to(&mut git);
    Ok(git)
}

/// `url` after the rules `url.*.insteadOf` of the user and the system.
///
/// Git follows them when it lists and fetches: a push to the address as it is written could reach another repository
/// than the one whose refs were listed.
///
/// A rule may bring a user and a password along, so a network remote is asked for only as this returns it.
fn rewritten(url: &RemoteUrl) -> Result<RemoteUrl, GitError> {
    const NAME: &str = "refgate-remote";
    if url.is_rewritten() {
        return Ok(url.clone());
    }
    let mut git = git_nowhere();
    git.args(["ls-remote", "--get-url", "--"]);
    let whole = match url.with_login() {
        // Not on the command line, which is everybody's to read.
        Some(whole) => {
            command::set(&mut git, &[(format!("remote.{NAME}.url"), whole.clone())]);
            git.arg(NAME);
            OsString::from(whole)
        }
        None => {
            git.arg(url.git_argument());
            url.git_argument().to_owned()
        }
    };
    let output = command::run_ok(git, Vec::new())?;
    let text = output.strip_suffix(b"\n").unwrap_or(&output);
    if text == whole.as_encoded_bytes() {
        return Ok(url.clone());
    }
    Ok(RemoteUrl::parse(&String::from_utf8_lossy(text))?.within(url.limits()).made_by_rules())
}

/// `git` outside any repository: the directory that refgate happens to run in has no say.
fn git_nowhere() -> Command {
    let mut git = command::git();
    git.current_dir("/");
    git
}
