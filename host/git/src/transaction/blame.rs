//! Who is to blame for a transaction that failed: all of them at once, as git names only one.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use refgate_core::{Oid, RefName, escape};

use super::{Transaction, parents};
use crate::objects::Kind;
use crate::refs::RefList;
use crate::{GitError, Repository};

impl Transaction<'_> {
    /// Leaves out what no transaction could do.
    pub(super) fn reject_unusable(&mut self) {
        let mut times: HashMap<&RefName, usize> = HashMap::new();
        self.edits.iter().for_each(|edit| *times.entry(&edit.name).or_default() += 1);
        let format = self.repository.object_format();
        for (i, edit) in self.edits.iter().enumerate() {
            if !edit.name.as_bytes().starts_with(b"refs/") {
                self.reject(i, "it is not below `refs/`");
            } else if times[&edit.name] > 1 {
                self.reject(i, "it is to be changed more than once");
            } else if [edit.old, edit.new].into_iter().flatten().any(|oid| oid.format() != format) {
                self.reject(i, format!("the repository has object ids of {}", format.name()));
            }
        }
    }

    /// After a failure: leaves out whatever git would name next.
    pub(super) fn reject_impossible(&mut self) -> Result<(), GitError> {
        let open = self.open();
        let new: Vec<Oid> = open.iter().filter_map(|i| self.edits[*i].new).collect();
        let kinds = self.repository.kinds(&new)?;
        let created: HashSet<&[u8]> =
            open.iter().map(|i| &self.edits[*i]).filter(|e| e.creates()).map(|e| e.name.as_bytes()).collect();
        let list = match created.is_empty() {
            true => RefList::new(self.repository.object_format()),
            false => self.repository.refs()?,
        };
        let packed_lock = lock_file(self.repository, b"packed-refs");
        for i in open {
            let edit = &self.edits[i];
            let name = edit.name.as_bytes();
            let why = match edit.new.map(|new| (new, kinds.get(&new))) {
                Some((new, None)) => Some(format!("the object {new} is not here")),
                Some((new, Some(Kind::Other))) if name.starts_with(b"refs/heads/") => {
                    Some(format!("{new} is no commit, and a branch holds nothing else"))
                }
                Some(_) => None,
                None => packed_lock.as_deref().map(locked),
            };
            let beside = || edit.creates().then(|| neighbour(name, &list, &created)).flatten();
            let why = why
                .or_else(|| {
                    let other = escape(beside()?);
                    Some(format!("it cannot exist beside `{other}`: one would be a directory of the other"))
                })
                .or_else(|| lock_file(self.repository, name).as_deref().map(locked));
            if let Some(why) = why {
                self.reject(i, why);
            }
        }
        Ok(())
    }

    /// The edit whose ref git names: `cannot lock ref 'NAME': …`.
    pub(super) fn named_in(&self, stderr: &[u8], open: &[usize]) -> Option<usize> {
        let start = memchr::memmem::find(stderr, b" ref '")? + " ref '".len();
        let names: HashMap<&[u8], usize> =
            open.iter().map(|i| (self.edits[*i].name.as_bytes(), *i)).collect();
        // A name may hold a quote itself.
        memchr::memchr_iter(b'\'', &stderr[start..])
            .find_map(|end| names.get(&stderr[start..start + end]).copied())
    }
}
/// A ref that is there, or that is to be created as well, and that is a directory of `name` or the other way round.
fn neighbour<'a>(name: &'a [u8], list: &'a RefList, created: &HashSet<&[u8]>) -> Option<&'a [u8]> {
    let below = [name, b"/"].concat();
    let next = list.position(&below).unwrap_or_else(|at| at);
    match next < list.len() && list.name(next).starts_with(&below) {
        true => Some(list.name(next)),
        false => parents(name).find(|parent| list.get(parent).is_some() || created.contains(parent)),
    }
}

/// The lock of a file in the files backend, when somebody holds it.
fn lock_file(repository: &Repository, name: &[u8]) -> Option<PathBuf> {
    let file = repository.common_dir().join(OsStr::from_bytes(&[name, b".lock"].concat()));
    (repository.has_files_backend() && file.exists()).then_some(file)
}

fn locked(file: &Path) -> String {
    format!("another process writes it: `{}` exists; if no git runs there, remove that file", file.display())
}

/// What git gave as the reason; advice may come before it.
pub(super) fn reason(stderr: &[u8]) -> String {
    let lines = || stderr.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let fatal = lines().find_map(|line| line.strip_prefix(b"fatal: "));
    let line = fatal.or_else(|| lines().next());
    line.map_or("it gave no reason".into(), escape)
}
