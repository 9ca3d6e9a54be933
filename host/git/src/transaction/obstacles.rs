//! What is known to be in the way of an edit: everything at once, as git names only one thing, and some only after it has
//! begun to write.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use refgate_core::{Oid, RefName, escape};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{Transaction, parents};
use crate::objects::Kind;
use crate::receive::{LogRefs, Settings, settings};
use crate::{GitError, RefList, Repository};

/// The longest name of a file, in bytes, on the file systems of Linux.
const MAX_FILE_NAME: usize = 255;
/// How deep, and how far, a directory in the way is searched for the file that keeps it there.
const MAX_ENTRIES: usize = 1000;

impl Transaction<'_> {
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
        let files = self.repository.has_files_backend();
        let dir = self.repository.common_dir();
        let packed_lock = lock_file(self.repository, b"packed-refs");
        // git locks HEAD with the branch that it names.
        let head_lock = lock_file(self.repository, b"HEAD");
        let head = if head_lock.is_some() { self.repository.head()? } else { None };
        for i in open {
            let edit = &self.edits[i];
            let name = edit.name.as_bytes();
            let why = match edit.new.map(|new| (new, kinds.get(&new))) {
                Some((new, None)) => Some(format!("the object {new} is not here")),
                Some((new, Some(Kind::Other))) if edit.is_branch() => {
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
                .or_else(|| lock_file(self.repository, name).as_deref().map(locked))
                .or_else(|| head_lock.as_deref().filter(|_| head.as_ref() == Some(&edit.name)).map(locked))
                .or_else(|| files.then(|| no_place(dir, name)).flatten());
            if let Some(why) = why {
                self.reject(i, why);
            }
        }
        Ok(())
    }

    /// Leaves out what git finds out only while it writes, when other edits of the same transaction are done, and the
    /// ref-db may have moved: directories in the place of refs, and reflogs that cannot be written.
    pub(super) fn reject_late_failures(&mut self) -> Result<(), GitError> {
        if !self.repository.has_files_backend() {
            return Ok(());
        }
        let dir = self.repository.common_dir();
        let logs = dir.join("logs");
        // Without the directory no log is there to be in the way.
        let logged = match logs.symlink_metadata() {
            Ok(_) => {
                Some((Settings::from_list(&settings(self.repository)?)?.log_refs, self.repository.head()?))
            }
            Err(_) => None,
        };
        for i in self.open() {
            let edit = &self.edits[i];
            let name = edit.name.as_bytes();
            let mut why = edit.new.and_then(|_| directory_in_the_way(dir, name));
            if let Some((made, head)) = &logged {
                // The log of a ref that goes is only removed, and git goes on when that fails.
                let own = || edit.new.and_then(|_| log_in_the_way(&logs, name, *made));
                let is_head = head.as_ref() == Some(&edit.name);
                let of_head = || is_head.then(|| log_in_the_way(&logs, b"HEAD", *made)).flatten();
                why = why.or_else(own).or_else(of_head);
            }
            if let Some(why) = why {
                self.reject(i, why);
            }
        }
        Ok(())
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

/// Why there is no place for a loose ref, as far as its name and the directories above tell.
fn no_place(dir: &Path, name: &[u8]) -> Option<String> {
    let long = name.split(|b| *b == b'/').map(<[u8]>::len).max().unwrap_or_default() + ".lock".len();
    if long > MAX_FILE_NAME {
        return Some(format!(
            "a part of its name is too long for a file ({} bytes with `.lock`, at most {MAX_FILE_NAME}); a shorter name, or a \
             repository with a reftable, can hold it",
            long
        ));
    }
    let above = parents(name).map(|parent| dir.join(OsStr::from_bytes(parent)));
    no_room(above.into_iter())
}

/// A directory in the place of a loose ref. git removes it when no file is below.
fn directory_in_the_way(dir: &Path, name: &[u8]) -> Option<String> {
    let path = dir.join(OsStr::from_bytes(name));
    if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
        return None;
    }
    // A ref that is there is told from its name, see [`neighbour`].
    let file = file_below(&path, |file| !is_ref(dir, file))?;
    Some(format!(
        "the directory `{}` is in the way, and holds `{}`; move that away",
        path.display(),
        file.display()
    ))
}

/// Why nothing can be made in the first of `dirs`, from below to above, that exists.
fn no_room(mut dirs: impl Iterator<Item = PathBuf>) -> Option<String> {
    let (there, meta) = dirs.find_map(|dir| fs::metadata(&dir).ok().map(|meta| (dir, meta)))?;
    if !meta.is_dir() {
        return Some(format!("`{}` is a file where a directory has to be; move it away", there.display()));
    }
    let denied = accessat(CWD, &there, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).err()?;
    Some(format!(
        "the directory `{}` cannot be written: {}; give the user that runs refgate access to it",
        there.display(),
        io::Error::from(denied)
    ))
}

/// Whether git takes a file below the git directory for a ref.
fn is_ref(dir: &Path, file: &Path) -> bool {
    let name = file.strip_prefix(dir).unwrap_or(file).as_os_str().as_bytes();
    !name.ends_with(b".lock") && RefName::new(name).is_ok()
}

/// Some file below a directory of which `counts` says so; git removes directories that hold none.
fn file_below(dir: &Path, counts: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut dirs = vec![dir.to_owned()];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).ok()?.flatten() {
            seen += 1;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && seen < MAX_ENTRIES => dirs.push(entry.path()),
                _ if counts(&entry.path()) => return Some(entry.path()),
                _ => {}
            }
        }
    }
    None
}

/// Why the reflog of `name` cannot be appended to, or made where `made` asks for that.
fn log_in_the_way(logs: &Path, name: &[u8], made: LogRefs) -> Option<String> {
    let path = logs.join(OsStr::from_bytes(name));
    let cannot = |why: String| Some(format!("its reflog cannot be written: {why}"));
    match fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => {
            // git passes over a directory where it makes no log.
            let file = if made.for_ref(name) { file_below(&path, |_| true) } else { None };
            cannot(format!("`{}` is in the way; move it away", file?.display()))
        }
        Ok(_) => {
            let denied = accessat(CWD, &path, Access::WRITE_OK, AtFlags::EACCESS).err()?;
            cannot(format!(
                "`{}`: {}; give the user that runs refgate access to it",
                path.display(),
                io::Error::from(denied)
            ))
        }
        Err(_) if !made.for_ref(name) => None,
        Err(_) => {
            let above = parents(name).map(|parent| logs.join(OsStr::from_bytes(parent)));
            cannot(no_room(above.chain([logs.to_owned()]))?)
        }
    }
}
