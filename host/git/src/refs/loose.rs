//! Loose refs: one small file each, below `refs/`.

use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use refgate_core::{ObjectFormat, Oid, escape};

use super::packed::check_name;
use super::{RefList, Target};
use crate::GitError;

/// Every loose ref, in byte order.
pub(super) fn list(dir: &Path, format: ObjectFormat) -> Result<RefList, GitError> {
    let mut found = Vec::new();
    walk(dir, b"refs", format, &mut found)?;
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut list = RefList::new(format);
    list.reserve(found.len(), found.iter().map(|(name, _)| name.len()).sum());
    found.iter().for_each(|(name, target)| list.push(name, *target));
    Ok(list)
}

/// Reads the directory `prefix` and those below it. What disappears meanwhile was packed or deleted: the reading of
/// `packed-refs` that follows tells.
fn walk(
    dir: &Path,
    prefix: &[u8],
    format: ObjectFormat,
    found: &mut Vec<(Vec<u8>, Target)>,
) -> Result<(), GitError> {
    let path = dir.join(OsStr::from_bytes(prefix));
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if gone(&e) => return Ok(()),
        Err(e) => return Err(GitError::io("read the directory", &path, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| GitError::io("read the directory", &path, &e))?;
        let file = entry.file_name();
        // git's own rule for files that are not refs: hidden ones, and new values that are being written.
        if file.as_bytes().starts_with(b".") || file.as_bytes().ends_with(b".lock") {
            continue;
        }
        let name = [prefix, b"/", file.as_bytes()].concat();
        let Some(kind) = kind(&entry.path(), entry.file_type())? else {
            continue;
        };
        if kind.is_dir() {
            walk(dir, &name, format, found)?;
        } else if let Some(target) = read_file(&entry.path(), &name, kind, format)? {
            found.push((name, target));
        }
    }
    Ok(())
}

/// The kind of a directory entry. A link to a directory counts as the directory, as some old tools share `refs`.
fn kind(path: &Path, kind: io::Result<FileType>) -> Result<Option<FileType>, GitError> {
    let kind = match kind {
        Ok(kind) => kind,
        Err(e) if gone(&e) => return Ok(None),
        Err(e) => return Err(GitError::io("read", path, &e)),
    };
    Ok(Some(match kind.is_symlink() {
        true => fs::metadata(path).map(|m| m.file_type()).ok().filter(FileType::is_dir).unwrap_or(kind),
        false => kind,
    }))
}

/// What the loose ref `name` holds, or `None` when there is no such file.
pub(super) fn read(dir: &Path, name: &[u8], format: ObjectFormat) -> Result<Option<Target>, GitError> {
    let path = dir.join(OsStr::from_bytes(name));
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(None),
        Ok(meta) => match kind(&path, Ok(meta.file_type()))? {
            Some(kind) if !kind.is_dir() => read_file(&path, name, kind, format),
            _ => Ok(None),
        },
        Err(e) if gone(&e) => Ok(None),
        Err(e) => Err(GitError::io("read", &path, &e)),
    }
}

fn read_file(
    path: &Path,
    name: &[u8],
    kind: FileType,
    format: ObjectFormat,
) -> Result<Option<Target>, GitError> {
    check_name(name).map_err(|why| damaged(path, &why))?;
    if kind.is_symlink() {
        // The oldest form of a symbolic ref. Writing to it would write to where it leads.
        return Ok(Some(Target::Symbolic));
    }
    if !kind.is_file() {
        return Err(damaged(path, "it is neither a file nor a directory"));
    }
    match fs::read(path) {
        Ok(text) => parse(&text, format).map(Some).map_err(|why| damaged(path, &why)),
        // Packed and removed a moment ago, or replaced by a directory.
        Err(e) if gone(&e) || e.kind() == io::ErrorKind::IsADirectory => Ok(None),
        Err(e) => Err(GitError::io("read", path, &e)),
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

/// Not there, or a directory of its path is a file by now.
fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn damaged(path: &Path, why: &str) -> GitError {
    GitError::new(format!("the ref in `{}` is damaged: {why}", path.display())).hint(
        "move the file away, then write the right value with `git update-ref`; nothing was read from it",
    )
}
