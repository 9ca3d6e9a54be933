//! Whether a file or directory can be changed by nobody but us and root, as ssh asks of its files (`StrictModes`).
//!
//! A plugin decides what replicates, so whoever can write it, or anything on the way to it, could take a policy away. What
//! counts is who really can: below a read-only mount nobody, whatever the mode.

mod groups;
mod mounts;

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
/// the way: what belongs to us there cannot be replaced by others. What is mounted read-only may be anything.
///
/// # Errors
/// What is wrong, on what, and what to do.
pub fn check(path: &Path) -> Result<(), String> {
    walk(path, End::Alone)
}

/// The same for a directory whose files are checked one by one: others may put files into it if it is sticky, for they
/// cannot remove or replace ours, and theirs are refused by their owner.
pub(crate) fn check_directory(path: &Path) -> Result<(), String> {
    walk(path, End::Sticky)
}

/// What a way leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nobody else may write it.
    Alone,
    /// Nobody else may change what is ours in it.
    Sticky,
}

fn walk(path: &Path, end: End) -> Result<(), String> {
    let absolute = std::path::absolute(path).map_err(|e| format!("it cannot be found: {e}"))?;
    let mut ahead: VecDeque<OsString> = names(&absolute);
    let mut links = 0;
    let mut here = PathBuf::from("/");
    let on_the_way = |here: &Path, found: &Metadata| step(here, found, None);
    on_the_way(&here, &metadata(&here)?)?;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        here.push(&name);
        let found = metadata(&here)?;
        if !found.is_symlink() {
            // The last one is looked at below.
            if !ahead.is_empty() {
                on_the_way(&here, &found)?;
            }
            continue;
        }
        owned(&here, &found, None)?;
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
    Ok(step(&here, &metadata(&here)?, Some(end))?)
}

/// Checks a file that is open already: what is read then is what was checked.
pub(crate) fn check_open(path: &Path, metadata: &Metadata) -> Result<(), String> {
    check_file(path, metadata)?;
    check(path)
}

/// Checks an open file alone, and not the way to it.
///
/// # Errors
/// Somebody else owns it or can write it.
pub fn check_file(path: &Path, metadata: &Metadata) -> Result<(), Exposed> {
    step(path, metadata, Some(End::Alone))
}

/// Something that others can change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}: {cure}")]
pub struct Exposed {
    /// What is wrong, on what.
    pub why: String,
    /// What to do.
    pub cure: String,
}

impl From<Exposed> for String {
    fn from(exposed: Exposed) -> String {
        exposed.to_string()
    }
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

/// `end` is what the way ends in, `None` on the way.
fn step(here: &Path, found: &Metadata, end: Option<End>) -> Result<(), Exposed> {
    owned(here, found, end)?;
    let (others, group) = (found.mode() & 0o002 != 0, found.mode() & 0o020 != 0);
    let sticky = found.mode() & 0o1000 != 0 && end != Some(End::Alone);
    // A directory that root gave to a group of ours alone is no more open than one that root gave to us.
    let ours = !others && found.uid() == 0 && groups::is_ours_alone(found.gid());
    if !(others || group) || sticky || ours || is_fixed(here, found) {
        return Ok(());
    }
    let us = rustix::process::geteuid().as_raw();
    let by = if us == 0 || us == found.uid() { "run" } else { "have root run" };
    let what = what(here, found, end);
    Err(Exposed {
        why: format!("others can write {what} (mode {:03o})", found.mode() & 0o7777),
        cure: format!("{by} `chmod go-w {}`, or mount it read-only", here.display()),
    })
}

fn owned(here: &Path, found: &Metadata, end: Option<End>) -> Result<(), Exposed> {
    let us = rustix::process::geteuid().as_raw();
    let owner = found.uid();
    if owner == us || owner == 0 || is_fixed(here, found) {
        return Ok(());
    }
    let what = what(here, found, end);
    Err(Exposed {
        why: format!("{what} belongs to user {owner}"),
        cure: "it must belong to the user who runs refgate or to root".to_owned(),
    })
}

/// Whether nobody can write it or put another one in its place: it is mounted read-only.
fn is_fixed(here: &Path, found: &Metadata) -> bool {
    // A link is where its directory is.
    mounts::is_read_only(if found.is_symlink() { here.parent().unwrap_or(here) } else { here })
}

/// How an error names what is wrong: the file itself, or something on the way to it.
fn what(here: &Path, found: &Metadata, end: Option<End>) -> String {
    match (end, found.is_symlink()) {
        (Some(_), _) => "it".to_owned(),
        (None, true) => format!("the link `{}` on the way to it", here.display()),
        (None, false) => format!("the directory `{}` on the way to it", here.display()),
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
            (&file, 0o644, format!("run `chmod go-w {}`", file.display())),
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
        // A sticky directory is safe to pass through, and holds plugins that are checked one by one, but nothing private.
        mode(&root, 0o1777);
        assert_eq!((check(&file), check_directory(&root)), (Ok(()), Ok(())));
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
        assert!(check_directory(&root).unwrap_err().contains("others can write"));
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

    /// Mounts a small file system at a new directory for as long as the value lives.
    struct Mounted(PathBuf);

    impl Mounted {
        fn at(dir: &Path, options: &str) -> Mounted {
            fs::create_dir(dir).unwrap();
            run("mount", &["-t", "tmpfs", "-o", options, "none"], dir);
            Mounted(dir.to_owned())
        }
        fn read_only(&self) {
            run("mount", &["-o", "remount,ro"], &self.0);
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            run("umount", &["-l"], &self.0);
        }
    }

    fn run(program: &str, args: &[&str], dir: &Path) {
        assert!(std::process::Command::new(program).args(args).arg(dir).status().unwrap().success());
    }

    #[test]
    #[ignore = "needs root, to mount and to give files to another user"]
    fn as_root_what_nobody_can_write_is_no_place_of_others() {
        let (_dir, root) = place();
        for (name, options) in
            [("secret", "mode=1777"), ("map", "mode=0777"), ("theirs", "mode=0755,uid=65534")]
        {
            let mounted = Mounted::at(&root.join(name), options);
            // As the kubelet lays it out.
            let (dir, data) = (&mounted.0, mounted.0.join("..1"));
            fs::create_dir(&data).unwrap();
            mode(&data, 0o777);
            fs::write(data.join("p.wasm"), "x").unwrap();
            mode(&data.join("p.wasm"), 0o666);
            symlink("..1", dir.join("..data")).unwrap();
            symlink("..data/p.wasm", dir.join("p.wasm")).unwrap();
            let file = dir.join("p.wasm");
            assert!(check(&file).is_err(), "{name}: it can still be written");
            mounted.read_only();
            assert_eq!((check_directory(dir), check(&file)), (Ok(()), Ok(())), "{name}");
        }
        // A read-only view of a directory that others can write elsewhere.
        let (open, view) = (root.join("open"), root.join("view"));
        fs::create_dir(&open).unwrap();
        fs::create_dir(&view).unwrap();
        mode(&open, 0o777);
        run("mount", &["--bind", open.to_str().unwrap()], &view);
        let _view = Mounted(view.clone());
        run("mount", &["-o", "remount,bind,ro"], &view);
        assert!(check_directory(&view).unwrap_err().contains("others can write it"));
        mode(&root, 0o700);
        assert_eq!(check_directory(&view), Ok(()), "nobody gets there");
    }

    #[test]
    #[ignore = "needs root, to give files to another user"]
    fn as_root_in_a_sticky_directory_files_count_by_their_owner() {
        let (_dir, root) = place();
        let dir = root.join("plugins");
        mode(&dir, 0o1777);
        fs::write(dir.join("theirs.wasm"), "x").unwrap();
        std::os::unix::fs::chown(dir.join("theirs.wasm"), Some(65534), None).unwrap();
        assert_eq!((check_directory(&dir), check(&dir.join("p.wasm"))), (Ok(()), Ok(())));
        assert!(check(&dir.join("theirs.wasm")).unwrap_err().contains("belongs to user 65534"));
        std::os::unix::fs::chown(&dir, Some(65534), None).unwrap();
        assert!(
            check_directory(&dir).unwrap_err().contains("belongs to user 65534"),
            "its owner can replace ours"
        );
    }
}
