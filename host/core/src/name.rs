//! Names of refs and projects: what is legal, and how bytes that are not UTF-8 are written for people.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::is_unseen;

/// A full ref name as bytes, legal for `git check-ref-format`: `refs/…` or a one-level name like `HEAD`.
///
/// Names sort as bytes, which is git's own order. A clone shares the bytes, and names that [`RefNames`] made share them with
/// each other: one that is kept for long keeps up to 1 MiB.
#[derive(Clone)]
pub struct RefName {
    text: Arc<[u8]>,
    start: u32,
    end: u32,
}

impl RefName {
    /// Checks `name` by the rules of git-check-ref-format(1) with `--allow-onelevel`.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(name: impl AsRef<[u8]>) -> Result<RefName, NameError> {
        let name = checked_ref_name(name.as_ref())?;
        Ok(RefName { text: name.into(), start: 0, end: name.len() as u32 })
    }

    /// The name as git writes it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[self.start as usize..self.end as usize]
    }

    /// Undoes [`escape`]: `%XX` is a byte.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn from_escaped(text: &str) -> Result<RefName, NameError> {
        RefName::new(unescape(text))
    }
}

/// Makes many names with few allocations.
#[derive(Debug, Default)]
pub struct RefNames {
    names: Vec<RefName>,
    /// The bytes of the last names, which get their place when there are enough of them.
    open: Vec<u8>,
    ends: Vec<u32>,
}

/// Names share this many bytes at most, or the bytes of one longer name.
const SHARED_BYTES: usize = 1 << 20;

impl RefNames {
    /// Adds a name.
    ///
    /// # Errors
    /// As of [`RefName::new`]; nothing is added then.
    pub fn push(&mut self, name: &[u8]) -> Result<(), NameError> {
        let name = checked_ref_name(name)?;
        if self.open.len() + name.len() > SHARED_BYTES {
            self.share();
        }
        self.open.extend_from_slice(name);
        self.ends.push(self.open.len() as u32);
        Ok(())
    }

    /// The names in the order in which they were added.
    pub fn finish(mut self) -> Vec<RefName> {
        self.share();
        self.names
    }

    fn share(&mut self) {
        let text: Arc<[u8]> = std::mem::take(&mut self.open).into();
        let mut start = 0;
        self.names.extend(self.ends.drain(..).map(|end| {
            let name = RefName { text: text.clone(), start, end };
            start = end;
            name
        }));
    }
}

impl PartialEq for RefName {
    fn eq(&self, other: &RefName) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for RefName {}

impl Hash for RefName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for RefName {
    fn partial_cmp(&self, other: &RefName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RefName {
    fn cmp(&self, other: &RefName) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Borrow<[u8]> for RefName {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(self.as_bytes()))
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why a name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{of} `{name}` is not a legal name: {why}")]
pub struct NameError {
    /// What should be called so: `ref` or `project`.
    pub of: &'static str,
    /// The name as given, escaped for display.
    pub name: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

/// Longest name that is taken, in bytes: far above what any file system or protocol of git's carries.
const MAX_REF_NAME: usize = 1 << 30;

fn checked_ref_name(name: &[u8]) -> Result<&[u8], NameError> {
    match ref_name_problem(name) {
        None => Ok(name),
        Some(why) => Err(NameError { of: "ref", name: escape(name), why }),
    }
}

/// The rules of git-check-ref-format(1), in its order.
fn ref_name_problem(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > MAX_REF_NAME {
        return Some("it is longer than a gibibyte");
    }
    if name == b"@" {
        return Some("it is the single character `@`");
    }
    if name.ends_with(b".") {
        return Some("it ends with a dot");
    }
    let mut before = b'/';
    for (i, &b) in name.iter().enumerate() {
        match b {
            0..=0x20 | 0x7f => return Some("it holds a space or a control character"),
            b'~' | b'^' | b':' | b'?' | b'*' | b'[' | b'\\' => {
                return Some("it holds one of `~ ^ : ? * [ \\`");
            }
            b'.' if before == b'/' => return Some("a component begins with a dot"),
            b'.' if before == b'.' => return Some("it holds `..`"),
            b'{' if before == b'@' => return Some("it holds `@{`"),
            b'/' if before == b'/' => return Some("a component is empty"),
            _ => {}
        }
        let component_ends = i + 1 == name.len() || name[i + 1] == b'/';
        if component_ends && name[..=i].ends_with(b".lock") {
            return Some("a component ends with `.lock`");
        }
        before = b;
    }
    (before == b'/').then_some("it ends with a slash")
}

/// Bytes for people and JSON: `%` is `%25`, bytes that are not UTF-8 and characters that would not be seen
/// ([`is_unseen`]) are `%XX`.
pub fn escape(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || is_unseen(c) {
                let mut utf8 = [0; 4];
                c.encode_utf8(&mut utf8).bytes().for_each(|b| out.push_str(&format!("%{b:02X}")));
            } else {
                out.push(c);
            }
        }
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("%{b:02X}")));
    }
    out
}

/// The bytes that [`escape`] wrote. A `%` that two hex digits do not follow stands for itself.
pub fn unescape(text: &str) -> Vec<u8> {
    let raw = text.as_bytes();
    let mut out = Vec::with_capacity(raw.len());
    let mut i = 0;
    while i < raw.len() {
        let hex = |at: usize| raw.get(at).and_then(|b| (*b as char).to_digit(16));
        match (raw[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                i += 3;
            }
            (b, ..) => {
                out.push(b);
                i += 1;
            }
        }
    }
    out
}

/// The name of a repository as the sites agree on it: used as given, never decoded or stripped.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Project(Box<str>);

impl Project {
    /// Refuses names that could leave the directory of the repositories, lie inside the repository of another project, or be
    /// read as an option.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn new(name: impl Into<String>) -> Result<Project, NameError> {
        Project::checked(name.into(), |name| project_problem(name).or_else(|| inside_another(name)))
    }

    /// The same for a name that a ref-db may hold entries of, for whoever looks at the ref-db alone: also one inside the
    /// repository of another project, which older releases took. No repository is to be opened or made by it.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn recorded(name: impl Into<String>) -> Result<Project, NameError> {
        Project::checked(name.into(), project_problem)
    }

    fn checked(
        name: String,
        problem: impl FnOnce(&str) -> Option<&'static str>,
    ) -> Result<Project, NameError> {
        match problem(&name) {
            None => Ok(Project(name.into())),
            Some(why) => Err(NameError { of: "project", name: escape(name.as_bytes()), why }),
        }
    }

    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn project_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.starts_with('/') {
        return Some("a project name is not an absolute path");
    }
    if name.ends_with('/') {
        return Some("it ends with a slash");
    }
    if name.chars().any(char::is_control) {
        return Some("it holds a control character");
    }
    for part in name.split('/') {
        match part {
            "" => return Some("a component is empty"),
            "." | ".." => return Some("a component is `.` or `..`"),
            _ if part.starts_with('-') => return Some("a component begins with `-`"),
            _ => {}
        }
    }
    name.ends_with(".git").then_some("name the project without the final `.git`")
}

/// `a.git/x` is a place in the repository of `a`, and on file systems that know no case `a.GIT/x` is the same one.
fn inside_another(name: &str) -> Option<&'static str> {
    let ends =
        |part: &str| part.len() >= 4 && part.as_bytes()[part.len() - 4..].eq_ignore_ascii_case(b".git");
    let (above, last) = name.rsplit_once('/').unwrap_or(("", name));
    match (above.split('/').any(ends), ends(last)) {
        (true, _) => {
            Some("a component before the last ends with `.git`, so it would lie inside another repository")
        }
        (_, true) => Some("name the project without the final `.git`"),
        _ => None,
    }
}

impl fmt::Display for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ref_names_follow_git() {
        for good in ["refs/heads/main", "HEAD", "refs/heads/a@b", "refs/heads/-x", "refs/heads/é"] {
            assert!(RefName::new(good).is_ok(), "{good}");
        }
        assert!(RefName::new(b"refs/heads/\xff").is_ok());
        for bad in [
            "",
            "@",
            "refs/heads/a.",
            "refs/heads/.a",
            "refs/heads/a..b",
            "refs/heads/a b",
            "refs/heads/a\n",
            "refs/heads/a~",
            "refs/heads/a^",
            "refs/heads/a:",
            "refs/heads/a?",
            "refs/heads/a*",
            "refs/heads/a[",
            "refs/heads/a\\",
            "refs/heads/@{",
            "refs//heads",
            "refs/heads/",
            "/refs/heads/a",
            "refs/heads/a.lock",
            "refs/a.lock/b",
            "refs/heads/\x7f",
        ] {
            assert!(RefName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn many_names_share_their_bytes_and_are_what_they_are_alone() {
        let long = format!("refs/heads/{}", "x".repeat(SHARED_BYTES));
        let all: Vec<String> = (0..100_000).map(|i| format!("refs/heads/a{i}")).chain([long]).collect();
        let mut names = RefNames::default();
        all.iter().for_each(|name| names.push(name.as_bytes()).unwrap());
        assert!(names.push(b"refs/heads/a b").is_err());
        let names = names.finish();
        let alone: Vec<RefName> = all.iter().map(|name| RefName::new(name).unwrap()).collect();
        assert_eq!(names, alone);
        let places: std::collections::BTreeSet<*const u8> = names.iter().map(|n| n.text.as_ptr()).collect();
        assert!(places.len() < 5, "{}", places.len());
        let hashed: std::collections::HashSet<RefName> = names.into_iter().collect();
        assert!(alone.iter().all(|name| hashed.contains(name) && hashed.contains(name.as_bytes())));
    }

    #[test]
    fn escaping_is_undone() {
        let raw = b"refs/heads/100%/\xff\xfe/\xc3\xa9";
        assert_eq!(escape(raw), "refs/heads/100%25/%FF%FE/é");
        assert_eq!(unescape(&escape(raw)), raw);
        assert_eq!(unescape("50%x"), b"50%x");
    }

    #[test]
    fn project_names() {
        for good in
            ["app", "team/app", "git/b", "agit/b", "a.git-x/b", "a.gitx/.git-b", "a+b c", "日本", "a-b/c..d"]
        {
            assert!(Project::new(good).is_ok(), "{good}");
            assert!(Project::recorded(good).is_ok(), "{good}");
        }
        // Inside the repository of another project; a ref-db of an older release may know them.
        for inside in [
            "a.git/b",
            "a.git/refs/heads/x",
            "a.GIT/hooks",
            "a/b.gIt/objects/c",
            ".git/b",
            "a/.git/b",
            "a.Git",
            "日.GIT",
        ] {
            assert!(Project::new(inside).is_err(), "{inside}");
            assert!(Project::recorded(inside).is_ok(), "{inside}");
        }
        for bad in ["", "/a", "a/", "a//b", ".", "a/../b", "../a", "-a", "a/-b", "a.git", "a\nb"] {
            assert!(Project::new(bad).is_err(), "{bad:?}");
            assert!(Project::recorded(bad).is_err(), "{bad:?}");
        }
        let empty = Project::new("").unwrap_err().to_string();
        assert_eq!(empty, "project `` is not a legal name: it is empty");
    }
}
