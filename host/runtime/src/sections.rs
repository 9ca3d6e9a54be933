//! The outermost sections of a component: enough to read and write a custom one without compiling anything.

use std::ops::Range;

use crate::inspect::check_header;

/// Bytes before the first section: the magic number, the version, the layer.
const HEADER: usize = 8;

/// The kind of a section that engines pass over.
const CUSTOM: u8 = 0;

/// One outermost section.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section<'a> {
    /// Where it is in the file, its own header included.
    pub(crate) place: Range<usize>,
    /// Of a custom section its name and what it holds.
    pub(crate) custom: Option<(&'a str, &'a [u8])>,
}

/// All outermost sections of a component, in order. What they hold is not looked at, but for names of custom ones.
pub(crate) fn sections(wasm: &[u8]) -> Result<Vec<Section<'_>>, String> {
    check_header(wasm)?;
    let mut found = Vec::new();
    let mut at = HEADER;
    while at < wasm.len() {
        let section = section(wasm, at).ok_or_else(|| {
            format!("it is damaged or cut off: the section at byte {at} is not whole; build or copy it again")
        })?;
        at = section.place.end;
        found.push(section);
    }
    Ok(found)
}

fn section(wasm: &[u8], start: usize) -> Option<Section<'_>> {
    let kind = *wasm.get(start)?;
    let (size, from) = number(wasm, start + 1)?;
    let end = from.checked_add(size)?;
    let body = wasm.get(from..end)?;
    let custom = if kind == CUSTOM {
        let (length, from) = number(body, 0)?;
        let end = from.checked_add(length)?;
        Some((std::str::from_utf8(body.get(from..end)?).ok()?, &body[end..]))
    } else {
        None
    };
    Some(Section { place: start..end, custom })
}

/// An unsigned LEB128 number of 32 bits, and where the next byte is.
pub(crate) fn number(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut value: u64 = 0;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((usize::try_from(u32::try_from(value).ok()?).ok()?, at));
        }
    }
    None
}

/// A custom section, ready to be put at the end of a component.
pub(crate) fn custom(name: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(data.len() + name.len() + 5);
    put_number(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    let mut section = vec![CUSTOM];
    put_number(&mut section, body.len());
    section.extend_from_slice(&body);
    section
}

fn put_number(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn sections_are_told_apart_and_custom_ones_read() {
        let mut wasm = EMPTY.to_vec();
        wasm.extend(custom("one", b"first"));
        wasm.extend([7, 2, 0xaa, 0xbb]);
        wasm.extend(custom("two", &vec![9; 300]));
        let found = sections(&wasm).unwrap();
        assert_eq!(found[0].custom, Some(("one", &b"first"[..])));
        assert_eq!((found[1].place.clone(), found[1].custom), (19..23, None));
        assert_eq!(found[2].custom.unwrap().1.len(), 300);
        assert_eq!(found[2].place.end, wasm.len());
    }

    #[test]
    fn sizes_that_lie_are_refused() {
        for bad in [
            &[0u8][..],
            &[1, 5, 0],
            &[1, 0x80],
            &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[1, 0xff, 0xff, 0xff, 0xff, 0x1f],
            &[1, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0, 2, 5, b'x'],
            &[0, 2, 1, 0xff],
        ] {
            let wasm = [EMPTY, bad].concat();
            let error = sections(&wasm).unwrap_err();
            assert!(error.contains("at byte 8"), "{bad:?}: {error}");
        }
    }
}
