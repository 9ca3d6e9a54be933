//! The key of the cache: made once, and ours alone.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::place;

/// Bytes of the key.
pub(super) const BYTES: usize = 32;

const NAME: &str = "key";

/// Makes the directory if it is not there, checks it, and reads or makes the key in it.
pub(super) fn open(
    dir: &Path,
    random: &mut dyn FnMut(&mut [u8]) -> Result<(), String>,
) -> Result<[u8; BYTES], String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| format!("it cannot be made: {e}"))?;
    place::check(dir)?;
    let metadata = fs::metadata(dir).map_err(|e| format!("it cannot be looked at: {e}"))?;
    ours(metadata.uid(), "it")?;
    let path = dir.join(NAME);
    match read(&path) {
        Ok(Some(key)) => return Ok(key),
        Ok(None) => make(dir, &path, random)?,
        Err(cause) => return Err(cause),
    }
    // Whoever came first made the key that counts.
    read(&path)?.ok_or_else(|| format!("its key `{}` was removed: try again", path.display()))
}

fn read(path: &Path) -> Result<Option<[u8; BYTES]>, String> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| format!("its key `{shown}` cannot be read: {e}");
    let (file, metadata) = match crate::read::open_with(path, rustix::fs::OFlags::NOFOLLOW) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    ours(metadata.uid(), &format!("its key `{shown}`"))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(format!("others may use its key `{shown}`: remove the directory, it is made again"));
    }
    let mut bytes = Vec::new();
    file.take(BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let key = <[u8; BYTES]>::try_from(bytes);
    key.map(Some).map_err(|bytes| {
        format!(
            "its key `{shown}` has {} bytes in place of {BYTES}: remove the directory, it is made again",
            bytes.len()
        )
    })
}

/// Never in the place of a key that is there: a link fails then, and a rename would not.
fn make(
    dir: &Path,
    path: &Path,
    random: &mut dyn FnMut(&mut [u8]) -> Result<(), String>,
) -> Result<(), String> {
    let mut key = [0; BYTES];
    random(&mut key)?;
    let unfinished = dir.join(format!("new-key-{}", std::process::id()));
    let failed = |e: std::io::Error| format!("its key cannot be written: {e}");
    let _: Result<(), _> = fs::remove_file(&unfinished);
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()));
    let linked = written.and_then(|()| match fs::hard_link(&unfinished, path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    });
    let _: Result<(), _> = fs::remove_file(&unfinished);
    linked.map_err(failed)
}

/// Not even root's: what root put there was not made by this program.
fn ours(owner: u32, what: &str) -> Result<(), String> {
    let us = rustix::process::geteuid().as_raw();
    if owner == us {
        return Ok(());
    }
    Err(format!(
        "{what} belongs to user {owner}, and this is user {us}: name another directory for the cache"
    ))
}
