//! Refuses file systems that several machines may have mounted.

use std::path::Path;

use refgate_core::RefDbError;
#[cfg(target_os = "linux")]
use refgate_core::RefDbErrorKind;

#[cfg(target_os = "linux")]
use super::error::about;

/// File systems on which locks or shared memory do not reach all writers, by the `f_type` of statfs(2).
#[cfg(target_os = "linux")]
const NETWORK: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x786f_4256, "a folder of VirtualBox"),
    (0x0bd0_0bd0, "Lustre"),
];

#[cfg(target_os = "linux")]
/// An error when `path` lies on one, unless that is `allowed`.
pub(super) fn refuse_network(path: &Path, allowed: bool) -> Result<(), RefDbError> {
    if allowed {
        return Ok(());
    }
    let stat = rustix::fs::statfs(path)
        .map_err(|e| about(RefDbErrorKind::Unavailable, path, &format!("cannot be opened: {e}")))?;
    // The magic numbers have 32 bits; the field is wider, and on some machines signed.
    refuse_kind(path, stat.f_type as u32)
}

#[cfg(target_os = "linux")]
fn refuse_kind(path: &Path, magic: u32) -> Result<(), RefDbError> {
    match network_name(magic) {
        None => Ok(()),
        Some(kind) => Err(about(
            RefDbErrorKind::Config,
            path,
            &format!(
                "it lies on {kind}, where several machines can damage it; put it on a local disk. If only one machine \
                 ever opens it, end the url with `?network=allow`"
            ),
        )),
    }
}

#[cfg(target_os = "linux")]
fn network_name(magic: u32) -> Option<&'static str> {
    NETWORK.iter().find(|(m, _)| *m == magic).map(|(_, name)| *name)
}

#[cfg(not(target_os = "linux"))]
/// The kind of a file system cannot be asked for here.
pub(super) fn refuse_network(_: &Path, _: bool) -> Result<(), RefDbError> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_number() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xef53), None, "ext4");
        assert_eq!(network_name(0x0102_1994), None, "tmpfs");
    }

    #[test]
    fn the_refusal_names_the_path_the_kind_and_the_way_out() {
        let e = refuse_kind(Path::new("/srv/r.sqlite"), 0x6969).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Config);
        for part in ["/srv/r.sqlite", "NFS", "local disk", "?network=allow"] {
            assert!(e.message.contains(part), "{e}");
        }
        assert!(refuse_kind(Path::new("/srv/r.sqlite"), 0xef53).is_ok());
    }

    #[test]
    fn a_path_on_a_network_needs_the_option() {
        // proc is the only mount every machine has that can stand for one: it shows that the check reads the real type.
        let magic = rustix::fs::statfs("/proc").unwrap().f_type as u32;
        assert_eq!(magic, 0x9fa0);
        assert!(refuse_network(Path::new("/proc"), false).is_ok());
        assert!(refuse_network(Path::new("/nonexistent"), false).is_err());
        assert!(refuse_network(Path::new("/nonexistent"), true).is_ok(), "with the option nothing is asked");
    }
}
