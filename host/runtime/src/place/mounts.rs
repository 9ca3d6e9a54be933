//! Whether a file can be written where it is mounted, whatever its mode: below a read-only mount nobody can, unless the
//! same file is also reached by another mount that is not.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

/// One line of `/proc/self/mountinfo`, see proc(5).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: Vec<u8>,
    /// What of the file system is mounted.
    root: PathBuf,
    point: PathBuf,
    read_only: bool,
}

/// Whether nobody can write `path`, which is no symbolic link: it is mounted read-only, and no other mount that this
/// process sees leads others to the same file.
pub(super) fn is_read_only(path: &Path) -> bool {
    if !statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return false;
    }
    // Without the list of mounts there is nothing to say against it.
    let Ok(text) = fs::read("/proc/self/mountinfo") else { return true };
    !elsewhere(&parse(&text), path).iter().any(|other| is_reached_by_others(other))
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let ro = |options: &[u8]| options.split(|b| *b == b',').any(|option| option == b"ro");
    let path = |field: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(unescape(field)));
    Some(Mount {
        device: fields.get(2)?.to_vec(),
        root: path(fields.get(3)?),
        point: path(fields.get(4)?),
        // Of the mount, and last of the file system itself.
        read_only: ro(fields.get(5)?) || ro(fields.last()?),
    })
}

/// `\040` is a space; so are tab, newline and backslash written.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let byte = octal.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    out
}

/// Where else the same file is mounted so that it can be written.
fn elsewhere(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    // Of two at one place the later covers the earlier.
    let depth = |mount: &&Mount| mount.point.as_os_str().as_bytes().len();
    let Some(here) = mounts.iter().filter(|m| path.starts_with(&m.point)).max_by_key(depth) else {
        return Vec::new();
    };
    let Ok(below) = path.strip_prefix(&here.point) else { return Vec::new() };
    let inside = here.root.join(below);
    let others = mounts.iter().filter(|m| !m.read_only && m.device == here.device);
    let at = |m: &Mount| Some(m.point.join(inside.strip_prefix(&m.root).ok()?));
    others.filter_map(at).collect()
}

/// Whether every directory on the way to `path` lets somebody else than its owner through.
fn is_reached_by_others(path: &Path) -> bool {
    path.ancestors().skip(1).all(|dir| fs::metadata(dir).is_ok_and(|found| found.mode() & 0o011 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:40 / /etc/plugins ro,relatime - tmpfs tmpfs rw
24 22 254:0 /srv/shared /mnt/a\\040b ro,relatime - ext4 /dev/vda rw
25 22 0:41 / /ro ro,relatime - tmpfs tmpfs ro
26 22 254:0 /var/lib/pods/1/hosts /etc/hosts rw,relatime - ext4 /dev/vda rw
";

    #[test]
    fn a_file_is_found_where_it_can_still_be_written() {
        let mounts = parse(MOUNTS.as_bytes());
        assert_eq!(mounts.len(), 5);
        let at = |path: &str| elsewhere(&mounts, Path::new(path));
        assert_eq!(at("/etc/plugins/p.wasm"), Vec::<PathBuf>::new());
        assert_eq!(at("/ro"), Vec::<PathBuf>::new());
        assert_eq!(at("/mnt/a b/p.wasm"), [Path::new("/srv/shared/p.wasm")]);
        assert!(mounts[3].read_only && !mounts[4].read_only);
    }

    #[test]
    fn a_directory_of_ours_alone_shuts_others_out() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o711);
        assert!(is_reached_by_others(&dir.path().join("x")));
        mode(0o700);
        assert!(!is_reached_by_others(&dir.path().join("x")));
    }
}
