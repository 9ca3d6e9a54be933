//! Whether a file or directory can be changed by nobody but us and root, as ssh asks of its files (`StrictModes`).
//!
//! A plugin decides what replicates, so whoever can write it, or anything on the way to it, could take a policy away.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Symbolic links that are followed on the way to one file, as in the kernel.
const LINKS: usize = 40;

/// Checks `path` and every directory on the way to it from `/`, before and after every symbolic link.
///
/// Each has to belong to us or to root, and may not be writable by others. A sticky directory such as `/tmp` may be, on
/// the way: what belongs to us there cannot be replaced by others.
///
/// # Errors
/// What is wrong, on what, and what to do.
pub fn check(path: &Path) -> Result<(), String> {
    let absolute = std::path::absolute(path).map_err(|e| format!("it cannot be found: {e}"))?;
    let mut ahead: VecDeque<OsString> = names(&absolute);
    let mut links = 0;
    let mut here = PathBuf::from("/");
    step(&here, &metadata(&here)?, ahead.is_empty())?;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        here.push(&name);
        let found = metadata(&here)?;
        if !found.is_symlink() {
            step(&here, &found, ahead.is_empty())?;
            continue;
        }
        owned(&here, &found, false)?;
        links += 1;
        if links > LINKS {
            return Err(format!("more than {LINKS} symbolic links lead to it: remove the circle"));
        }
        let target = fs::read_link(&here).map_err(|e| format!("`{}` cannot be read: {e}", here.display()))?;
        here.pop();
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            ahead.push_front(name);
        }
    }
    // A way that ends in `..` or a link to `.` ends in a directory that was passed as if it went on.
    step(&here, &metadata(&here)?, true)
}

/// Checks a file that is open already: what is read then is what was checked.
pub(crate) fn check_open(path: &Path, metadata: &Metadata) -> Result<(), String> {
    step(path, metadata, true)?;
    check(path)
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir))
        .map(|c| c.as_os_str().to_owned())
        .collect()
}

fn metadata(path: &Path) -> Result<Metadata, String> {
    fs::symlink_metadata(path).map_err(|e| format!("`{}` cannot be looked at: {e}", path.display()))
}

fn step(here: &Path, found: &Metadata, last: bool) -> Result<(), String> {
    owned(here, found, last)?;
    let sticky = !last && found.mode() & 0o1000 != 0;
    if found.mode() & 0o022 != 0 && !sticky {
        return Err(format!(
            "others can write {}: run `chmod go-w {}`",
            what(here, found, last),
            here.display()
        ));
    }
    Ok(())
}

fn owned(here: &Path, found: &Metadata, last: bool) -> Result<(), String> {
    let us = rustix::process::geteuid().as_raw();
    let owner = found.uid();
    if owner == us || owner == 0 {
        return Ok(());
    }
    let what = what(here, found, last);
    Err(format!("{what} belongs to user {owner}: it must belong to the user who runs refgate or to root"))
}

/// How an error names what is wrong: the file itself, or something on the way to it.
fn what(here: &Path, found: &Metadata, last: bool) -> String {
    match (last, found.is_symlink()) {
        (true, _) => "it".to_owned(),
        (false, true) => format!("the link `{}` on the way to it", here.display()),
        (false, false) => format!("the directory `{}` on the way to it", here.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// A directory below a sticky one, with `plugins/p.wasm` in it, and its own path without links.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        mode(&root, 0o755);
        fs::create_dir(root.join("plugins")).unwrap();
        mode(&root.join("plugins"), 0o755);
        fs::write(root.join("plugins/p.wasm"), "x").unwrap();
        mode(&root.join("plugins/p.wasm"), 0o644);
        (dir, root)
    }

    #[test]
    fn what_others_can_write_is_refused_wherever_it_is_on_the_way() {
        let (_dir, root) = place();
        let file = root.join("plugins/p.wasm");
        assert_eq!(check(&file), Ok(()));
        assert_eq!(check(&root.join("plugins/../plugins/p.wasm")), Ok(()));
        for (bad, good, words) in [
            (&file, 0o644, format!("others can write it: run `chmod go-w {}`", file.display())),
            (
                &root.join("plugins"),
                0o755,
                format!("the directory `{}/plugins` on the way to it", root.display()),
            ),
            (&root, 0o755, format!("run `chmod go-w {}`", root.display())),
        ] {
            for bits in [0o020, 0o002] {
                mode(bad, good | bits);
                let error = check(&file).unwrap_err();
                assert!(error.contains(&words), "{error}");
            }
            mode(bad, good);
        }
        // A sticky directory is safe to pass through, but no place for plugins.
        mode(&root, 0o1777);
        assert_eq!(check(&file), Ok(()));
        assert!(check(&root).unwrap_err().contains("others can write it"));
        assert!(check(&root.join("plugins/..")).unwrap_err().contains("others can write"));
        assert!(
            check(&root.join("plugins/none.wasm")).unwrap_err().contains("none.wasm` cannot be looked at")
        );
    }

    #[test]
    fn links_are_followed_and_their_targets_held_to_the_same() {
        let (_dir, root) = place();
        // As Kubernetes mounts a volume: NAME -> ..data/NAME, ..data -> ..2026_11_21.
        let data = root.join("..2026_11_21");
        fs::rename(root.join("plugins"), &data).unwrap();
        symlink("..2026_11_21", root.join("..data")).unwrap();
        symlink("..data/p.wasm", root.join("p.wasm")).unwrap();
        let absolute = root.join("absolute");
        symlink(root.join("..data"), &absolute).unwrap();
        for good in [root.join("p.wasm"), root.join("..data"), absolute.join("p.wasm")] {
            assert_eq!(check(&good), Ok(()));
        }
        mode(&data, 0o777);
        for bad in [root.join("p.wasm"), root.join("..data"), absolute.join("p.wasm")] {
            assert!(check(&bad).unwrap_err().contains("..2026_11_21"));
        }
        mode(&data, 0o755);
        mode(&data.join("p.wasm"), 0o666);
        assert!(check(&root.join("p.wasm")).unwrap_err().contains("others can write"));
        symlink("round", root.join("round")).unwrap();
        assert!(check(&root.join("round")).unwrap_err().contains("symbolic links"));
        let up = root.join("up");
        symlink(".", &up).unwrap();
        mode(&root, 0o777);
        assert!(check(&up).unwrap_err().contains("others can write"));
    }

    #[test]
    #[ignore = "needs root, to give files to another user"]
    fn as_root_what_belongs_to_another_user_is_refused() {
        let (_dir, root) = place();
        let file = root.join("plugins/p.wasm");
        symlink("plugins/p.wasm", root.join("link.wasm")).unwrap();
        for (theirs, ours) in [(&file, &file), (&root.join("plugins"), &file), (&root, &file)] {
            std::os::unix::fs::chown(theirs, Some(65534), None).unwrap();
            let error = check(ours).unwrap_err();
            assert!(error.contains("belongs to user 65534"), "{error}");
            std::os::unix::fs::chown(theirs, Some(0), None).unwrap();
        }
        let link = root.join("link.wasm");
        assert_eq!(check(&link), Ok(()));
        std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
        assert!(check(&link).unwrap_err().contains("65534"));
    }
}
