//! pkt-line, the frames of git's protocol: four hex digits of length, then the payload.

use std::io::{self, Read, Write};

/// The longest payload of one frame in bytes.
pub(crate) const MAX_PAYLOAD: usize = 65_516;

/// Reads one frame into `frame`, replacing what it held; `false` is a flush.
///
/// An end of the stream is `UnexpectedEof`, a frame that is none `InvalidData` with its first bytes.
pub(crate) fn read(from: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let digits = str::from_utf8(&head).ok().filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    let len = digits.and_then(|h| usize::from_str_radix(h, 16).ok());
    frame.clear();
    match len {
        Some(0) => Ok(false),
        Some(len @ 4..) if len - 4 <= MAX_PAYLOAD => {
            frame.resize(len - 4, 0);
            from.read_exact(frame)?;
            Ok(true)
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it answered with `{}` instead of git's protocol", head.escape_ascii()),
        )),
    }
}

/// Writes one frame of at most [`MAX_PAYLOAD`] bytes.
pub(crate) fn write(to: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    if payload.len() > MAX_PAYLOAD {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame of git's protocol is too long"));
    }
    write!(to, "{:04x}", payload.len() + 4)?;
    to.write_all(payload)
}

/// Writes the frame that ends a list.
pub(crate) fn write_flush(to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"0000")
}

/// A frame without the line feed that some writers append.
pub(crate) fn text(frame: &[u8]) -> &[u8] {
    frame.strip_suffix(b"\n").unwrap_or(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_written_and_junk_is_named() {
        let mut wire = Vec::new();
        write(&mut wire, b"hello\n").unwrap();
        write(&mut wire, b"").unwrap();
        write_flush(&mut wire).unwrap();
        assert_eq!(wire, b"000ahello\n00040000");
        let (mut from, mut frame) = (wire.as_slice(), Vec::new());
        assert!(read(&mut from, &mut frame).unwrap());
        assert_eq!(text(&frame), b"hello");
        assert!(read(&mut from, &mut frame).unwrap());
        assert!(frame.is_empty());
        assert!(!read(&mut from, &mut frame).unwrap());
        assert_eq!(read(&mut from, &mut frame).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        for junk in ["Welcome", "0003", "ffff", "+fff"] {
            assert_eq!(
                read(&mut junk.as_bytes(), &mut frame).unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
        }
        assert!(write(&mut wire, &[0; MAX_PAYLOAD + 1]).is_err());
    }
}
