//! Reads files that strangers may have laid out: never waits, and never takes more than was meant.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::limits::{COMPONENT_BYTES, SIDE_FILE_BYTES};

/// Opens a regular file, and says what it is. Opening a pipe would wait for a writer, and a device may do anything.
///
/// # Errors
/// There is none, it cannot be opened, or it is not a regular file.
pub fn open_file(path: &Path) -> io::Result<(File, Metadata)> {
    open_with(path, OFlags::empty())
}

/// The same with more flags.
pub(crate) fn open_with(path: &Path, flags: OFlags) -> io::Result<(File, Metadata)> {
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// All of a regular file of at most `most` bytes.
///
/// # Errors
/// There is none, it cannot be read, it is not a regular file, or it is larger.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, _) = open_file(path)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        false => Ok(bytes),
        true if most >= 1 << 20 => Err(io::Error::other(format!("it is larger than {} MiB", most >> 20))),
        true => Err(io::Error::other(format!("it is larger than {} KiB", most >> 10))),
    }
}

/// The bytes of a component, 64 MiB at most.
///
/// # Errors
/// As [`read_file`].
pub fn read_component(path: &Path) -> io::Result<Vec<u8>> {
    read_file(path, COMPONENT_BYTES)
}

/// The bytes of what lies beside a component, or of a list of signers: 1 MiB at most.
///
/// # Errors
/// As [`read_file`].
pub fn read_side_file(path: &Path) -> io::Result<Vec<u8>> {
    read_file(path, SIDE_FILE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_the_right_size_are_read_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), [7; 2048]).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        assert_eq!(read_file(&at("file"), 2048).unwrap().len(), 2048);
        assert!(read_file(&at("file"), 2047).unwrap_err().to_string().contains("larger than 1 KiB"));
        for name in ["pipe", "device", "."] {
            let error = read_file(&at(name), 10).unwrap_err().to_string();
            assert_eq!(error, "it is not a regular file", "{name}");
        }
        assert_eq!(read_file(&at("none"), 10).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
