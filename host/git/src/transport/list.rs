//! What a remote has: its refs by name, with those that are symbolic marked. Over every kind of address.

use std::collections::{BTreeSet, HashSet};

use refgate_core::{ObjectFormat, Oid, RefName};

use super::connection::repository_at;
use super::failure::{failure, other_format};
use super::{RemoteUrl, git_for_remotes, git_nowhere};
use crate::{GitError, command};

/// One ref of a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRef {
    /// The remote's name of the ref.
    pub name: RefName,
    /// The object it leads to; `None` when the remote cannot read the ref, and lists it with zeros.
    pub oid: Option<Oid>,
    /// It names another ref instead of an object; replication leaves it alone.
    pub symbolic: bool,
}

/// The refs of the remote at `url`, by name, without HEAD and peeled tags.
///
/// `format` is the local object format; a remote of another one is an error, unless it is empty. Errors have the same
/// kinds as those of [`PushSession::open`](super::PushSession::open).
pub fn list(url: &RemoteUrl, format: ObjectFormat) -> Result<Vec<ListedRef>, GitError> {
    let doing = "list the refs";
    let mut git = git_for_remotes(git_nowhere(), url)?;
    git.args(["ls-remote", "--symref", "--"]);
    match url.path() {
        // Git's own message does not tell what is missing from what is no repository.
        Some(path) => git.arg(repository_at(url, path)?),
        None => git.arg(url.git_argument()),
    };
    if url.path().is_none() {
        // Git says nothing until it has the whole listing; what it traces shows that the listing goes on.
        git.env("GIT_TRACE_PACKET", "2");
    }
    let waited = ("listing its refs", url.limits().silence);
    let output = command::run_watched(&mut git, Vec::new(), waited, &mut |_| {})?;
    let output = output.map_err(|silence| silence.of(url))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let words: Vec<&str> = said.lines().filter(|line| !line.contains(" packet: ")).collect();
        return Err(failure(url, doing, &words.join("\n")));
    }
    parse(&output.stdout, url, format)
}

/// The symbolic refs among them.
pub(super) fn symbolic(url: &RemoteUrl, format: ObjectFormat) -> Result<BTreeSet<RefName>, GitError> {
    let Some(path) = url.path() else {
        return Ok(list(url, format)?.into_iter().filter(|r| r.symbolic).map(|r| r.name).collect());
    };
    // Here nothing can be hidden from us by the remote's configuration.
    let mut git = command::git_in(&repository_at(url, path)?);
    git.args(["for-each-ref", "--format=%(symref) %(refname)"]);
    let output = command::run(git, Vec::new())?;
    if !output.status.success() {
        return Err(failure(url, "list the symbolic refs", &String::from_utf8_lossy(&output.stderr)));
    }
    let lines =
        output.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b" "));
    Ok(lines
        .filter_map(|line| line.splitn(2, |b| *b == b' ').nth(1))
        .filter_map(|name| RefName::new(name).ok())
        .collect())
}

fn parse(output: &[u8], url: &RemoteUrl, format: ObjectFormat) -> Result<Vec<ListedRef>, GitError> {
    let mut symbolic: HashSet<&[u8]> = HashSet::new();
    let mut refs = Vec::new();
    for line in output.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let junk =
            || failure(url, "list the refs", &format!("`git ls-remote` printed `{}`", line.escape_ascii()));
        let tab = line.iter().position(|b| *b == b'\t').ok_or_else(junk)?;
        let (value, name) = (&line[..tab], &line[tab + 1..]);
        if value.starts_with(b"ref: ") {
            symbolic.insert(name);
            continue;
        }
        // HEAD and peeled tags are no refs of their own, and git takes no name that is not legal.
        if !name.starts_with(b"refs/") || name.ends_with(b"^{}") {
            continue;
        }
        let oid = Oid::parse_or_zero(value).map_err(|_| junk())?;
        if let Some(oid) = oid.filter(|oid| oid.format() != format) {
            return Err(other_format(url, format.name(), oid.format().name()));
        }
        if let Ok(name) = RefName::new(name) {
            refs.push(ListedRef { symbolic: false, name, oid });
        }
    }
    for listed in &mut refs {
        listed.symbolic = symbolic.contains(listed.name.as_bytes());
    }
    refs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(refs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ls_remote_are_bytes() {
        let url = RemoteUrl::parse("/x").unwrap();
        let oid = "a".repeat(40);
        let mut output = format!(
            "ref: refs/heads/main\tHEAD\n{oid}\tHEAD\nref: refs/heads/main\trefs/heads/alias\n\
             {oid}\trefs/tags/v1\n{oid}\trefs/tags/v1^{{}}\n{oid}\trefs/heads/alias\n{oid}\trefs/heads/"
        )
        .into_bytes();
        output.extend(b"\xff\n");
        let refs = parse(&output, &url, ObjectFormat::Sha1).unwrap();
        let names: Vec<_> = refs.iter().map(|r| (r.name.as_bytes(), r.symbolic)).collect();
        assert_eq!(
            names,
            [(&b"refs/heads/alias"[..], true), (b"refs/heads/\xff", false), (b"refs/tags/v1", false)]
        );
        let damaged = format!("{}\trefs/heads/e\n{oid}\trefs/heads/f\n", "0".repeat(40));
        let refs = parse(damaged.as_bytes(), &url, ObjectFormat::Sha1).unwrap();
        assert!(refs[0].oid.is_none() && refs[1].oid.is_some(), "one damaged ref hides no other");
        assert!(parse(&output, &url, ObjectFormat::Sha256).is_err());
        assert!(parse(b"junk\n", &url, ObjectFormat::Sha1).is_err());
    }
}
