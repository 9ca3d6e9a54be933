//! What a remote has: its refs by name, with those that are symbolic marked. Over every kind of address.

use std::collections::{BTreeSet, HashSet};

use refgate_core::{ObjectFormat, Oid, RefName};

use super::cap::{Listed, excess, listing_by_git};
use super::connection::repository_at;
use super::failure::{failure, other_format};
use super::{RemoteUrl, git_for_remotes, git_nowhere, rewritten};
use crate::{GitError, ListedRef, command};

const DOING: &str = "list the refs";

/// The refs of the remote at `url`, by name, without HEAD and peeled tags.
///
/// `format` is the local object format; a remote of another one is an error, unless it is empty. Errors have the same
/// kinds as those of [`PushSession::open`](super::PushSession::open).
pub fn list(url: &RemoteUrl, format: ObjectFormat) -> Result<Vec<ListedRef>, GitError> {
    let rewritten_url = if url.path().is_none() { rewritten(url)? } else { url.clone() };
    let url = &rewritten_url;
    let mut git = git_for_remotes(git_nowhere(), url)?;
    git.args(["ls-remote", "--symref", "--"]);
    match url.path() {
        // Git's own message does not tell what is missing from what is no repository.
        Some(path) => git.arg(repository_at(url, path)?),
        None => git.arg(url.git_argument()),
    };
    let mut reader = Reader::new(url, format);
    let listed = listing_by_git(git, url, (DOING, "listing its refs"), &mut |part| reader.part(part));
    match reader.wrong.take() {
        Some(wrong) => Err(wrong),
        None => listed.and_then(|()| reader.finish()),
    }
}

/// The symbolic refs among them.
pub(crate) fn symbolic(url: &RemoteUrl, format: ObjectFormat) -> Result<BTreeSet<RefName>, GitError> {
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

/// Reads what `git ls-remote` prints, as it comes.
struct Reader<'a> {
    url: &'a RemoteUrl,
    format: ObjectFormat,
    listed: Listed,
    symbolic: HashSet<RefName>,
    refs: Vec<ListedRef>,
    /// The line that is not whole yet.
    line: Vec<u8>,
    wrong: Option<GitError>,
}

impl<'a> Reader<'a> {
    fn new(url: &'a RemoteUrl, format: ObjectFormat) -> Reader<'a> {
        let (listed, symbolic) = (Listed::new(url.limits()), HashSet::new());
        Reader { url, format, listed, symbolic, refs: Vec::new(), line: Vec::new(), wrong: None }
    }

    /// `false`: it was enough.
    fn part(&mut self, part: &[u8]) -> bool {
        for piece in part.split_inclusive(|b| *b == b'\n') {
            self.line.extend_from_slice(piece);
            let mut line = std::mem::take(&mut self.line);
            match line.strip_suffix(b"\n") {
                Some(whole) => {
                    self.wrong = self.whole(whole).err();
                    line.clear();
                }
                None => {
                    let counted = Listed::new(self.url.limits()).line(line.len().saturating_sub(1024 * 1024));
                    self.wrong = counted.err().map(|why| excess(self.url, DOING, &why));
                }
            }
            self.line = line;
            if self.wrong.is_some() {
                return false;
            }
        }
        true
    }

    fn whole(&mut self, line: &[u8]) -> Result<(), GitError> {
        let url = self.url;
        let too_much = |why: String| excess(url, DOING, &why);
        self.listed.line(line.len()).map_err(too_much)?;
        if line.is_empty() {
            return Ok(());
        }
        let junk = || failure(url, DOING, &format!("`git ls-remote` printed `{}`", line.escape_ascii()));
        let tab = line.iter().position(|b| *b == b'\t').ok_or_else(junk)?;
        let (value, name) = (&line[..tab], &line[tab + 1..]);
        // HEAD and peeled tags are no refs of their own, and git takes no name that is not legal.
        if !name.starts_with(b"refs/") || name.ends_with(b"^{}") {
            return Ok(());
        }
        if value.starts_with(b"ref: ") {
            self.symbolic.extend(RefName::new(name).ok());
            return Ok(());
        }
        self.listed.one_ref().map_err(too_much)?;
        let oid = Oid::parse_or_zero(value).map_err(|_| junk())?;
        if let Some(oid) = oid.filter(|oid| oid.format() != self.format) {
            return Err(other_format(url, self.format.name(), oid.format().name()));
        }
        self.refs.extend(RefName::new(name).ok().map(|name| ListedRef { symbolic: false, name, oid }));
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<ListedRef>, GitError> {
        for listed in &mut self.refs {
            listed.symbolic = self.symbolic.contains(&listed.name);
        }
        self.refs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        match self.refs.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(failure(self.url, DOING, &twice(&pair[0].name))),
            None => Ok(self.refs),
        }
    }
}

/// Why a listing is none in which one name has two values.
pub(super) fn twice(name: &RefName) -> String {
    format!("it lists `{name}` twice, so nobody can say what it holds")
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
        let parse = |output: &[u8], format| {
            let mut reader = Reader::new(&url, format);
            output.chunks(7).all(|part| reader.part(part));
            reader.wrong.take().map_or(Ok(()), Err).and_then(|()| reader.finish())
        };
        let refs = parse(&output, ObjectFormat::Sha1).unwrap();
        let names: Vec<_> = refs.iter().map(|r| (r.name.as_bytes(), r.symbolic)).collect();
        assert_eq!(
            names,
            [(&b"refs/heads/alias"[..], true), (b"refs/heads/\xff", false), (b"refs/tags/v1", false)]
        );
        let damaged = format!("{}\trefs/heads/e\n{oid}\trefs/heads/f\n", "0".repeat(40));
        let refs = parse(damaged.as_bytes(), ObjectFormat::Sha1).unwrap();
        assert!(refs[0].oid.is_none() && refs[1].oid.is_some(), "one damaged ref hides no other");
        assert!(parse(&output, ObjectFormat::Sha256).is_err());
        assert!(parse(b"junk\n", ObjectFormat::Sha1).is_err());
        let twice = format!("{oid}\trefs/heads/a\n").repeat(2);
        assert!(parse(twice.as_bytes(), ObjectFormat::Sha1).unwrap_err().message.contains("twice"));
    }
}
