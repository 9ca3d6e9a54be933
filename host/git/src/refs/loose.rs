//! Loose refs: one small file each, below `refs/`.

use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use refgate_core::{ObjectFormat, Oid, escape};

use super::packed::check_name;
use super::{RefList, Target};
use crate::GitError;

/// Every loose ref, in byte order. One that cannot be read is listed as broken; a directory that cannot be read closes
/// what is below it.
pub(super) fn list(dir: &Path, format: ObjectFormat) -> Result<RefList, GitError> {
    let mut walk = Walk { dir, format, found: Vec::new(), list: RefList::new(format) };
    walk.directory(b"refs");
    let Walk { mut found, mut list, .. } = walk;
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    list.reserve(found.len(), found.iter().map(|(name, _)| name.len()).sum());
    found.into_iter().for_each(|(name, target)| list.push(&name, target));
    Ok(list)
}

struct Walk<'a> {
    dir: &'a Path,
    format: ObjectFormat,
    found: Vec<(Vec<u8>, Target)>,
    list: RefList,
}

impl Walk<'_> {
    /// Reads the directory `prefix` and those below it. What disappears meanwhile was packed or deleted: the reading of
    /// `packed-refs` that follows tells.
    fn directory(&mut self, prefix: &[u8]) {
        let path = self.dir.join(OsStr::from_bytes(prefix));
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if gone(&e) => return,
            Err(e) => return self.list.close(prefix, &unreadable("read the directory", &path, &e)),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(prefix, &entry),
                Err(e) => return self.list.close(prefix, &unreadable("read the directory", &path, &e)),
            }
        }
    }

    fn entry(&mut self, prefix: &[u8], entry: &fs::DirEntry) {
        let file = entry.file_name();
        // git's own rule for files that are not refs: hidden ones, and new values that are being written.
        if file.as_bytes().starts_with(b".") || file.as_bytes().ends_with(b".lock") {
            return;
        }
        let name = [prefix, b"/", file.as_bytes()].concat();
        let kind = match kind(&entry.path(), entry.file_type()) {
            Ok(None) => return,
            Ok(Some(kind)) => kind,
            Err(why) => return self.found.push((name, Target::Broken(why))),
        };
        if kind.is_dir() {
            self.directory(&name);
        } else if let Err(why) = check_name(&name) {
            self.list.add_stranger(format!("`{}` is no ref: {why}", entry.path().display()));
        } else if let Some(target) = read_file(&entry.path(), kind, self.format) {
            self.found.push((name, target));
        }
    }
}

/// The kind of a directory entry. A link to a directory counts as the directory, as some old tools share `refs`.
fn kind(path: &Path, kind: io::Result<FileType>) -> Result<Option<FileType>, Arc<str>> {
    let kind = match kind {
        Ok(kind) => kind,
        Err(e) if gone(&e) => return Ok(None),
        Err(e) => return Err(unreadable("read", path, &e)),
    };
    Ok(Some(match kind.is_symlink() {
        true => fs::metadata(path).map(|m| m.file_type()).ok().filter(FileType::is_dir).unwrap_or(kind),
        false => kind,
    }))
}

/// What the loose ref `name` holds, or `None` when there is no such file.
pub(super) fn read(dir: &Path, name: &[u8], format: ObjectFormat) -> Option<Target> {
    let path = dir.join(OsStr::from_bytes(name));
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => None,
        Ok(meta) => match kind(&path, Ok(meta.file_type())) {
            Ok(Some(kind)) if !kind.is_dir() => read_file(&path, kind, format),
            Ok(_) => None,
            Err(why) => Some(Target::Broken(why)),
        },
        Err(e) if gone(&e) => None,
        Err(e) => Some(Target::Broken(unreadable("read", &path, &e))),
    }
}

fn read_file(path: &Path, kind: FileType, format: ObjectFormat) -> Option<Target> {
    if kind.is_symlink() {
        // The oldest form of a symbolic ref. Writing to it would write to where it leads.
        return Some(Target::Symbolic);
    }
    if !kind.is_file() {
        return Some(Target::Broken(damaged(path, "it is neither a file nor a directory")));
    }
    match fs::read(path) {
        Ok(text) => Some(parse(&text, format).unwrap_or_else(|why| Target::Broken(damaged(path, &why)))),
        // Packed and removed a moment ago, or replaced by a directory.
        Err(e) if gone(&e) || e.kind() == io::ErrorKind::IsADirectory => None,
        Err(e) => Some(Target::Broken(unreadable("read", path, &e))),
    }
}

/// The text of a loose ref: an id, or `ref:` and a name; git ignores what follows a space.
fn parse(text: &[u8], format: ObjectFormat) -> Result<Target, String> {
    if let Some(name) = text.strip_prefix(b"ref:") {
        let name = name.trim_ascii();
        return check_name(name).map(|()| Target::Symbolic);
    }
    let hex = format.oid_len() * 2;
    if text.trim_ascii().is_empty() {
        return Err("it is empty, as a crash of the machine may leave it".into());
    }
    if text.len() < hex || text.get(hex).is_some_and(|b| !b.is_ascii_whitespace()) {
        let shown = escape(text.trim_ascii().get(..80).unwrap_or(text.trim_ascii()));
        return Err(format!("`{shown}` is not an object id of {hex} digits"));
    }
    Oid::from_hex(&text[..hex]).map(Target::Oid).map_err(|e| e.to_string())
}

/// Not there, or a directory of its path is a file by now. A name that is too long for a file is a name of no file.
fn gone(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

fn unreadable(doing: &str, path: &Path, error: &io::Error) -> Arc<str> {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give the user that runs refgate access to it, or run as its owner"
        }
        _ => "look at the disk and at the file",
    };
    format!("cannot {doing} `{}`: {error}; {hint}", path.display()).into()
}

fn damaged(path: &Path, why: &str) -> Arc<str> {
    let hint = "move the file away; what was packed, or another site has, comes back then";
    format!("the ref in `{}` is damaged: {why}; {hint}", path.display()).into()
}
