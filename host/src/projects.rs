//! Which projects this site has: the repositories below `site.basePath`, found while a directory tree is walked.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use refgate_core::{Project, escape};
pub use refgate_git::looks_like_repository as is_repository;

/// What a walk comes upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A repository with a legal name.
    Project(Project),
    /// A repository that cannot be a project: its path below the base, and why.
    Unnamed(String, String),
    /// What could not be looked at: its path below the base, and why. Projects may be in it.
    Unreadable(String, String),
    /// A link to a directory that was looked at under another name: its path below the base. Nothing is taken twice, and a
    /// circle of links ends.
    Again(String),
}

/// Walks `base`. Directories are read one by one as the iterator is driven; of each only its own names are held.
///
/// A project is a directory `NAME.git` that looks like a repository; what is inside one is not looked at. Links are
/// followed after everything that is no link.
pub fn walk(base: &Path) -> Walk {
    let (base, dirs) = (base.to_owned(), vec![base.to_owned()]);
    // What cannot be read says so when it is read.
    let seen = fs::metadata(&base).iter().map(id).collect();
    Walk { base, dirs, links: VecDeque::new(), ready: VecDeque::new(), seen }
}

/// See [`walk`].
pub struct Walk {
    base: PathBuf,
    /// Still to be read, the next one last.
    dirs: Vec<PathBuf>,
    /// Links to directories, for the end.
    links: VecDeque<PathBuf>,
    ready: VecDeque<Found>,
    /// Device and inode of every directory that was looked at.
    seen: HashSet<(u64, u64)>,
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Some(found);
            }
            if let Some(dir) = self.dirs.pop() {
                self.read(&dir);
            } else {
                let link = self.links.pop_front()?;
                self.look(&link);
            }
        }
    }
}

impl Walk {
    /// The names in a directory, in their order.
    fn read(&mut self, dir: &Path) {
        let listed = fs::read_dir(dir).and_then(|entries| {
            entries
                .map(|entry| entry.and_then(|e| Ok((e.path(), e.file_type()?))))
                .collect::<io::Result<Vec<_>>>()
        });
        let mut entries = match listed {
            Ok(entries) => entries,
            Err(e) => return self.unreadable(dir, &e),
        };
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let before = self.dirs.len();
        for (path, kind) in entries {
            if kind.is_symlink() {
                self.links.push_back(path);
            } else if kind.is_dir() {
                self.look(&path);
            }
        }
        // The last one is read first.
        self.dirs[before..].reverse();
    }

    /// A directory, or a link that may lead to one: a repository, or something to go into.
    fn look(&mut self, path: &Path) {
        let meta = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => meta,
            // A link to a file, or to nothing.
            Ok(_) => return,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return,
            Err(e) => return self.unreadable(path, &e),
        };
        if !self.seen.insert(id(&meta)) {
            return self.ready.push_back(Found::Again(self.shown(path)));
        }
        match is_repository(path) {
            Ok(false) => self.dirs.push(path.to_owned()),
            Ok(true) => self.name(path),
            Err(e) => self.unreadable(path, &e),
        }
    }

    fn name(&mut self, path: &Path) {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let below = self.below(path);
        let found = match below.strip_suffix(b".git") {
            // Hidden and not named like a project: refgate makes new repositories under such names.
            None if name.starts_with(b".") => return,
            None => Err("the name of its directory does not end with `.git`".to_owned()),
            Some(project) => match std::str::from_utf8(project) {
                Err(_) => Err("it is not UTF-8".to_owned()),
                Ok(project) => Project::new(project).map_err(|e| e.why.to_owned()),
            },
        };
        self.ready.push_back(match found {
            Ok(project) => Found::Project(project),
            Err(why) => Found::Unnamed(self.shown(path), why),
        });
    }

    fn unreadable(&mut self, path: &Path, e: &io::Error) {
        self.ready.push_back(Found::Unreadable(self.shown(path), e.to_string()));
    }

    fn below<'p>(&self, path: &'p Path) -> &'p [u8] {
        path.strip_prefix(&self.base).unwrap_or(path).as_os_str().as_bytes()
    }

    fn shown(&self, path: &Path) -> String {
        match self.below(path) {
            b"" => escape(self.base.as_os_str().as_bytes()),
            below => escape(below),
        }
    }
}

fn id(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn repository(path: &Path) {
        for name in ["objects", "refs"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        fs::write(path.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    }

    fn found(base: &Path) -> Vec<String> {
        let told = |one| match one {
            Found::Project(project) => project.to_string(),
            Found::Unnamed(path, why) => format!("{path}: {why}"),
            Found::Unreadable(path, _) => format!("{path}?"),
            Found::Again(path) => format!("{path} again"),
        };
        walk(base).map(told).collect()
    }

    #[test]
    fn projects_come_in_order_and_what_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        for name in [
            "b.git",
            "a.git",
            "team/x.git",
            "group.git/deep/y.git",
            "plain",
            "-x.git",
            "w/.git",
            ".new.1.new",
        ] {
            repository(&base.join(name));
        }
        // Inside a repository nothing is a project.
        repository(&base.join("a.git/modules/sub.git"));
        fs::write(base.join("file.git"), "").unwrap();
        let suffix = "the name of its directory does not end with `.git`";
        let want = [
            "-x.git: a component begins with `-`",
            "a",
            "b",
            &format!("plain: {suffix}"),
            "group.git/deep/y.git: a component before the last ends with `.git`, so it would lie inside another repository",
            "team/x",
            "w/.git: it ends with a slash",
        ];
        assert_eq!(found(base), want);
    }

    #[test]
    fn links_are_followed_once_and_circles_end() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let base = dir.path();
        repository(&base.join("team/x.git"));
        repository(&other.path().join("far.git"));
        symlink("..", base.join("team/up")).unwrap();
        symlink("team", base.join("alias")).unwrap();
        symlink("team/x.git", base.join("same.git")).unwrap();
        symlink("nowhere", base.join("broken.git")).unwrap();
        symlink("itself", base.join("itself")).unwrap();
        symlink(other.path(), base.join("more")).unwrap();
        let mut got = found(base);
        got.sort();
        assert!(got.contains(&"team/x".to_owned()) && got.contains(&"more/far".to_owned()), "{got:?}");
        for link in ["alias again", "same.git again", "team/up again", "itself?"] {
            assert!(got.contains(&link.to_owned()), "{link}: {got:?}");
        }
        assert_eq!(got.len(), 6, "{got:?}");
    }

    #[test]
    fn a_base_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("none");
        assert_eq!(found(&base), [format!("{}?", base.display())]);
    }
}
