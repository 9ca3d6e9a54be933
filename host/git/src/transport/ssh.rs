//! How ssh is started, for our own sessions and for those of git: the user's command, and never a prompt.

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::Command;

use super::RemoteUrl;
use crate::{GitError, GitErrorKind, Limits, command};

/// The ssh client that `GIT_SSH_COMMAND`, `core.sshCommand` or `GIT_SSH` names, in git's order, else `ssh`.
///
/// A command line for the shell. `core.sshCommand` counts from the user's and the system's configuration; the settings
/// of one repository do not decide how another site is reached.
pub(super) fn command_line(limits: Limits) -> Result<OsString, GitError> {
    let mut line = match env::var_os("GIT_SSH_COMMAND").filter(|line| !line.is_empty()) {
        Some(line) => line,
        None => match configured()? {
            Some(line) => line,
            None => env::var_os("GIT_SSH").filter(|p| !p.is_empty()).map_or("ssh".into(), |p| quote(&p)),
        },
    };
    // Only OpenSSH is known to understand the option; a wrapper decides for itself whether it prompts.
    let program = line.as_encoded_bytes().split(|b| *b == b' ').next().unwrap_or_default();
    if program.rsplit(|b| *b == b'/').next().is_some_and(|name| name == b"ssh" || name == b"ssh'") {
        line.push(" -o BatchMode=yes");
        // In whole seconds; what the user's own options say comes before and counts.
        line.push(format!(" -o ConnectTimeout={}", limits.connect.as_secs().max(1)));
    }
    Ok(line)
}

fn configured() -> Result<Option<OsString>, GitError> {
    let mut git = command::git();
    git.current_dir("/").args(["config", "--get", "core.sshCommand"]);
    let output = command::run(git, Vec::new())?;
    let value = output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout);
    match output.status.code() {
        Some(0) if !value.is_empty() => Ok(Some(os_string(value))),
        // Exit 1 is "no such key".
        Some(0 | 1) => Ok(None),
        _ => Err(command::failed("`git config --get core.sshCommand`", &output)),
    }
}

/// `ssh … DESTINATION SERVICE 'PATH'`.
pub(super) fn session(
    url: &RemoteUrl,
    to: (&str, Option<u16>),
    service: &str,
    path: &str,
) -> Result<Command, GitError> {
    let mut remote = OsString::from(service);
    remote.push(" ");
    remote.push(quote(OsStr::new(path)));
    command(url, to, remote)
}

/// `ssh … DESTINATION REMOTE`, where REMOTE is a line for the shell of the other end.
pub(super) fn command(
    url: &RemoteUrl,
    (destination, port): (&str, Option<u16>),
    remote: OsString,
) -> Result<Command, GitError> {
    let line = command_line(url.limits())?;
    let mut script = line.clone();
    script.push(" \"$@\"");
    let mut command = command::clean("sh");
    command.arg("-c").arg(script).arg(line);
    let variant = env::var_os("GIT_SSH_VARIANT");
    match (variant.as_deref().and_then(OsStr::to_str), port) {
        (_, None) => {}
        (Some("simple"), Some(_)) => {
            return Err(GitError::new(format!("the ssh client cannot be given the port of `{url}`"))
                .kind(GitErrorKind::Unsupported)
                .hint("unset GIT_SSH_VARIANT, or set the port in the configuration of ssh"));
        }
        (Some("plink" | "putty" | "tortoiseplink"), Some(port)) => {
            command.arg("-P").arg(port.to_string());
        }
        (_, Some(port)) => {
            command.arg("-p").arg(port.to_string());
        }
    }
    command.arg(destination).arg(remote);
    Ok(command)
}

/// One word for a POSIX shell.
pub(super) fn quote(word: &OsStr) -> OsString {
    let mut out = vec![b'\''];
    for b in word.as_encoded_bytes() {
        match b {
            b'\'' => out.extend(b"'\\''"),
            b => out.push(*b),
        }
    }
    out.push(b'\'');
    os_string(&out)
}

fn os_string(raw: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(raw.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_reaches_the_shell_as_it_is() {
        for word in ["plain", "it's", "$HOME `id` \"x\" \\ ! *", "a\tb", "-n", "'"] {
            let mut command = Command::new("sh");
            let mut script = OsString::from("printf %s ");
            script.push(quote(OsStr::new(word)));
            let output = command.arg("-c").arg(&script).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
