//! Whether others than owner and group can come at a file.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const READ: u32 = 0o004;
const WRITE: u32 = 0o002;
const ENTER: u32 = 0o001;
/// In such a directory only the owner of a file can put another one in its place.
const STICKY: u32 = 0o1000;

/// What others can do with the file at `path` or what SQLite keeps beside it, and how to stop that; `None` when nothing.
pub(crate) fn exposed(path: &Path) -> Option<String> {
    let path = &std::path::absolute(path).ok()?;
    let dir = path.parent()?;
    // Whoever cannot come to it can do nothing, whatever its own mode says.
    let mode = |path: &Path| fs::metadata(path).map(|meta| meta.mode());
    if dir.ancestors().any(|dir| mode(dir).is_ok_and(|mode| mode & ENTER == 0)) {
        return None;
    }
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name
    };
    let modes: io::Result<Vec<u32>> = ["", "-wal", "-shm", "-journal"]
        .iter()
        .map(|suffix| mode(Path::new(&beside(suffix))))
        .filter(|mode| !matches!(mode, Err(e) if e.kind() == io::ErrorKind::NotFound))
        .collect();
    let all = modes.ok()?.into_iter().fold(0, |all, mode| all | mode);
    let dir_mode = mode(dir).ok()?;
    let replaced = dir_mode & WRITE != 0 && dir_mode & STICKY == 0;
    let (file, dir) = (path.display(), dir.display());
    let told = match (all & WRITE != 0, replaced, all & READ != 0) {
        (true, _, _) => {
            format!("every user of this machine can write `{file}` and so move any ref; `chmod o= '{file}'*`")
        }
        (_, true, _) => {
            format!(
                "every user of this machine can put another file in the place of `{file}`; `chmod o-w '{dir}'`"
            )
        }
        (_, _, true) => {
            format!(
                "every user of this machine can read the names and ids of all refs in `{file}`; `chmod o= '{file}'*`"
            )
        }
        (false, false, false) => return None,
    };
    Some(format!("the ref-db is open to others: {told}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn others_are_told_of_and_a_group_is_not() {
        let root = tempfile::tempdir().unwrap();
        let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        allow(root.path(), 0o755);
        let dir = root.path().join("d");
        fs::create_dir(&dir).unwrap();
        let (file, wal) = (dir.join("r.sqlite"), dir.join("r.sqlite-wal"));
        for (dir_mode, file_mode, wal_mode, told) in [
            (0o755, 0o640, 0o640, None),
            (0o775, 0o660, 0o660, None),
            (0o2775, 0o660, 0o660, None),
            (0o755, 0o644, 0o640, Some("can read")),
            (0o755, 0o640, 0o644, Some("can read")),
            (0o755, 0o666, 0o640, Some("can write")),
            (0o755, 0o640, 0o662, Some("can write")),
            (0o777, 0o640, 0o640, Some("in the place of")),
            (0o1777, 0o640, 0o640, None),
            // Nobody else comes so far.
            (0o750, 0o666, 0o666, None),
            (0o700, 0o644, 0o644, None),
        ] {
            for (path, mode) in [(&file, file_mode), (&wal, wal_mode)] {
                fs::write(path, "").unwrap();
                allow(path, mode);
            }
            allow(&dir, dir_mode);
            let found = exposed(&file);
            let what = format!("{dir_mode:o} {file_mode:o} {wal_mode:o}: {found:?}");
            match told {
                None => assert_eq!(found, None, "{what}"),
                Some(part) => assert!(found.is_some_and(|said| said.contains(part)), "{what}"),
            }
        }
        assert_eq!(exposed(&dir.join("missing")), None);
    }
}
