//! What a failed conversation with a remote means: git's words sorted into the kinds that callers act on.

use super::RemoteUrl;
use crate::{GitError, GitErrorKind};

/// Phrases of git, ssh, curl and well-known servers, in lower case; the first that occurs decides.
const PHRASES: [(&str, GitErrorKind); 29] = [
    ("dubious ownership", GitErrorKind::DubiousOwnership),
    ("not our ref", GitErrorKind::Other),
    // git daemon says this of both, on purpose.
    ("access denied or repository not exported", GitErrorKind::Denied),
    ("does not appear to be a git repository", GitErrorKind::Missing),
    ("no such repository", GitErrorKind::Missing),
    ("repository not found", GitErrorKind::Missing),
    ("project not found", GitErrorKind::Missing),
    ("project you were looking for could not be found", GitErrorKind::Missing),
    ("repository not exported", GitErrorKind::Denied),
    ("service not enabled", GitErrorKind::Denied),
    ("permission denied", GitErrorKind::Denied),
    ("access denied", GitErrorKind::Denied),
    ("authentication failed", GitErrorKind::Denied),
    ("could not read username", GitErrorKind::Denied),
    ("could not read password", GitErrorKind::Denied),
    ("host key verification failed", GitErrorKind::Denied),
    ("returned error: 401", GitErrorKind::Denied),
    ("returned error: 403", GitErrorKind::Denied),
    ("not authorized", GitErrorKind::Denied),
    ("could not resolve host", GitErrorKind::Unreachable),
    ("name or service not known", GitErrorKind::Unreachable),
    ("unable to look up", GitErrorKind::Unreachable),
    ("unable to connect", GitErrorKind::Unreachable),
    ("could not connect", GitErrorKind::Unreachable),
    ("failed to connect", GitErrorKind::Unreachable),
    ("connection refused", GitErrorKind::Unreachable),
    ("connection timed out", GitErrorKind::Unreachable),
    ("no route to host", GitErrorKind::Unreachable),
    ("connection closed by", GitErrorKind::Unreachable),
];

/// What is said where the remote went away before its report.
pub(super) const OPEN: &str = "nobody knows which refs moved at";

/// The error for a remote that could not be talked to; `said` is what git, ssh or the remote printed.
pub(super) fn failure(url: &RemoteUrl, doing: &str, said: &str) -> GitError {
    let lower = said.to_lowercase();
    let mut kind = PHRASES
        .iter()
        .find(|(phrase, _)| lower.contains(phrase))
        .map_or(GitErrorKind::Other, |(_, kind)| *kind);
    // Over http git repeats the address between the two halves of the phrase.
    if kind == GitErrorKind::Other && lower.contains("fatal: repository '") && lower.contains("' not found") {
        kind = GitErrorKind::Missing;
    }
    of_kind(url, kind, doing, said)
}

/// The same when the kind is known.
pub(super) fn of_kind(url: &RemoteUrl, kind: GitErrorKind, doing: &str, said: &str) -> GitError {
    let said = url.without_secrets(&said.trim().lines().map(printable).collect::<Vec<_>>().join("; "));
    let said = if said.is_empty() { "it hung up without a word".into() } else { said };
    let (what, hint) = match kind {
        GitErrorKind::Missing => ("there is no repository at", Some("create it, or correct the address")),
        GitErrorKind::NotARepository => {
            ("no git repository is at", Some("correct the address, or move away what is there"))
        }
        GitErrorKind::Denied => {
            ("access is refused by", Some("check the name, the credentials and the rights at the other side"))
        }
        GitErrorKind::DubiousOwnership => (
            "the owner is another user at",
            Some("run as its owner, or list it there with `git config --global --add safe.directory PATH`"),
        ),
        GitErrorKind::Unreachable => {
            ("no connection to", Some("check the host, the port and the network, then run again"))
        }
        GitErrorKind::TooMuch => (
            "the remote was cut off, as it says too much:",
            Some("look at that host: is it the one that is meant, and is it sound?"),
        ),
        GitErrorKind::OutcomeUnknown => {
            (OPEN, Some("run again: what moved is listed then, and nothing is sent twice"))
        }
        _ => ("the remote failed:", None),
    };
    let error = GitError::new(format!("cannot {doing}: {what} `{url}` ({said})")).kind(kind);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The error for two repositories that name their objects in different ways.
pub(super) fn other_format(url: &RemoteUrl, here: &str, there: &str) -> GitError {
    GitError::new(format!("the local repository names its objects by {here}, the remote `{url}` by {there}"))
        .kind(GitErrorKind::FormatMismatch)
        .hint("replicate between repositories of one object format; create the remote anew with that format")
}

/// One line of foreign text, safe for a terminal.
pub(super) fn printable(text: &str) -> String {
    refgate_core::shown(text.trim_end()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_of_servers_are_told_apart() {
        let url = RemoteUrl::parse("https://u:pw@h/a").unwrap();
        for (said, kind) in [
            ("fatal: '/x' does not appear to be a git repository", GitErrorKind::Missing),
            ("fatal: repository 'https://h/a/' not found", GitErrorKind::Missing),
            ("git@h: Permission denied (publickey).", GitErrorKind::Denied),
            ("ssh: Could not resolve hostname h: Name or service not known", GitErrorKind::Unreachable),
            ("fatal: detected dubious ownership in repository at '/x'", GitErrorKind::DubiousOwnership),
            ("fatal: out of memory", GitErrorKind::Other),
        ] {
            let error = failure(&url, "list the refs", said);
            assert_eq!(error.kind, kind, "{said}");
            assert!(error.message.contains("https://***@h/a"), "{}", error.message);
        }
        assert!(!failure(&url, "list the refs", "at pw\u{1b}[0m").message.contains(['\u{1b}']));
        assert!(failure(&url, "list the refs", " ").message.contains("without a word"));
    }
}
