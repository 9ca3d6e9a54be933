//! Keeps the cache within its bounds: what was not used for longest goes first.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Drops files until at most `files` and `bytes` are left; never `newest`, and never the key. Unfinished files of dead
/// processes count too, and grow old like others.
///
/// What cannot be listed or removed stays: the cache is then larger, and nothing worse.
pub(super) fn make(dir: &Path, newest: &Path, files: usize, bytes: u64) {
    let mut found: Vec<(SystemTime, u64, PathBuf)> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().ends_with(b".cwasm") || name.as_encoded_bytes().starts_with(b"new-")
        })
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(|m| m.is_file())?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        })
        .collect();
    found.sort();
    let mut left = found.len();
    let mut size: u64 = found.iter().map(|(_, size, _)| size).sum();
    for (_, length, path) in &found {
        if left <= files && size <= bytes {
            break;
        }
        if path != newest && fs::remove_file(path).is_ok() {
            left -= 1;
            size -= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_oldest_go_first_and_the_key_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, age: u64| {
            let path = dir.path().join(name);
            fs::write(&path, [0; 10]).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age)).unwrap();
            path
        };
        file("key", 999);
        file("notes", 998);
        let newest = file("new.cwasm", 997);
        for (name, age) in [("new-1-1", 50), ("a.cwasm", 40), ("b.cwasm", 60), ("c.cwasm", 10)] {
            file(name, age);
        }
        let left = || {
            let mut names: Vec<_> = fs::read_dir(dir.path())
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        make(dir.path(), &newest, 5, 50);
        assert_eq!(left().len(), 7);
        make(dir.path(), &newest, 3, 50);
        assert_eq!(left(), ["a.cwasm", "c.cwasm", "key", "new.cwasm", "notes"]);
        make(dir.path(), &newest, 5, 20);
        assert_eq!(left(), ["c.cwasm", "key", "new.cwasm", "notes"]);
        make(dir.path(), &newest, 0, 0);
        assert_eq!(left(), ["key", "new.cwasm", "notes"]);
        make(Path::new("/nowhere"), &newest, 0, 0);
    }
}
