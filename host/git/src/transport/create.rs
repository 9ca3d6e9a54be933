//! Making a repository at a remote that has none: on this machine, or by a command over ssh.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use refgate_core::{ObjectFormat, RefName};

use super::failure::failure;
use super::url::Place;
use super::{RemoteUrl, rewritten, ssh};
use crate::limits::Wait;
use crate::{GitError, GitErrorKind, Repository, command};

/// Run by a shell at the other end, with the object format, the branch of `HEAD` or nothing, and the place. An account that
/// is left alone with git makes the directories above, too. What is made inside another repository would damage that one.
const SCRIPT: &str = "\
d=$3; while up=$(dirname -- \"$d\") && [ \"$up\" != \"$d\" ]; do d=$up; \
if [ -e \"$d/HEAD\" ] && [ -e \"$d/objects\" ] && [ -e \"$d/refs\" ]; then \
echo \"that is inside the repository $d\" >&2; exit 1; fi; done; \
if [ -e \"$3\" ] && [ -n \"$(ls -A \"$3\")\" ]; then \
echo 'there is something at this place, and it is no repository' >&2; exit 1; fi; \
git init --quiet --bare --object-format=\"$1\" \"$3\" || exit; \
if [ -n \"$2\" ]; then git --git-dir=\"$3\" symbolic-ref HEAD \"$2\"; fi";

/// Makes a bare repository at `url`, in the object format `format` and with `HEAD` at `head`; `None` leaves that to git.
/// Call it when the remote has said that there is none.
///
/// # Errors
/// Something is there; the remote does not let it be made; [`GitErrorKind::Unsupported`] over git's own protocol and http,
/// which have no word for it.
pub fn create_remote(url: &RemoteUrl, format: ObjectFormat, head: Option<&RefName>) -> Result<(), GitError> {
    let url = &rewritten(url)?;
    match url.place() {
        Place::Path(path) => Repository::create(path, format, None, head).map(drop),
        Place::Ssh { destination, port, path } => {
            let head = head.map_or(OsStr::new(""), |head| OsStr::from_bytes(head.as_bytes()));
            let words = [OsStr::new(SCRIPT), OsStr::new("refgate"), OsStr::new(format.name()), head];
            let mut line = OsString::from("sh -c");
            for word in words {
                line.push(" ");
                line.push(ssh::quote(word));
            }
            line.push(" ");
            line.push(place(path));
            let mut command = ssh::command(url, (destination, *port), line)?;
            let waiting = Wait::within(url.limits(), "making a repository");
            let output =
                command::run_watched(&mut command, Vec::new(), waiting, &mut |_| true, &mut |_| true)?;
            let output = output.map_err(|silence| silence.of(url))?;
            if output.status.success() {
                return Ok(());
            }
            Err(refused(url, &command::said(&output)))
        }
        Place::Daemon { .. } => Err(no_word_for_it(url, "git's own protocol", format)),
        Place::Http => Err(no_word_for_it(url, "http", format)),
    }
}

/// The place as a word for the shell. `~` and `~user` stand for a home directory, as receive-pack takes them.
fn place(path: &str) -> OsString {
    let (home, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match home.strip_prefix('~') {
        Some(user) if user.chars().all(is_name) => {
            let mut word = OsString::from(home);
            if !rest.is_empty() {
                word.push(ssh::quote(OsStr::new(rest)));
            }
            word
        }
        _ => ssh::quote(OsStr::new(path)),
    }
}

fn refused(url: &RemoteUrl, said: &str) -> GitError {
    let error = failure(url, "create a repository", said);
    match error.kind {
        GitErrorKind::Denied | GitErrorKind::Unreachable => error,
        kind => GitError::new(format!("cannot create a repository at `{url}`: {}", url.without_secrets(said)))
            .hint(
                "an account that may run nothing but git's own commands (git-shell, Gerrit, a hosting service) makes none: make \
                 it there with the tools of that server, then run again",
            )
            .kind(kind),
    }
}

fn no_word_for_it(url: &RemoteUrl, protocol: &str, format: ObjectFormat) -> GitError {
    GitError::new(format!("cannot create a repository at `{url}`: {protocol} has no word for it"))
        .hint(format!("make it at the other side: `git init --bare --object-format={} PATH`", format.name()))
        .kind(GitErrorKind::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_directories_are_left_to_the_shell() {
        for (path, word) in [
            ("/srv/it's.git", r"'/srv/it'\''s.git'"),
            ("~/a b.git", "~'/a b.git'"),
            ("~git/x", "~git'/x'"),
            ("~$(id)/x", "'~$(id)/x'"),
            ("rel/x", "'rel/x'"),
        ] {
            assert_eq!(place(path), OsString::from(word));
        }
    }

    #[test]
    fn protocols_without_a_word_for_it_say_so() {
        for url in ["git://127.0.0.1:1/x.git", "https://127.0.0.1:1/x.git"] {
            let url = RemoteUrl::parse(url).unwrap();
            let error = create_remote(&url, ObjectFormat::Sha256, None).unwrap_err();
            assert_eq!(error.kind, GitErrorKind::Unsupported);
            assert!(error.hint.is_some_and(|hint| hint.contains("--object-format=sha256")));
        }
    }
}
