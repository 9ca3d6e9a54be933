//! How an entry is laid out in the columns `value`, `superseded` and `text`.
//!
//! `value` is empty for a deleted ref, else the 20 or 32 bytes of the object id. `superseded` is a row of object ids,
//! oldest first, each after one byte with its length. `text` is NULL but for a text that is no object id; `value` is
//! then one byte that is no value.

use refgate_core::refdb::too_many_superseded;
use refgate_core::{Entry, GlobalRef, MAX_SUPERSEDED, Oid};

/// The column `value` of a text. A process that knows only version 1 of the tables must not take it for a deleted ref.
pub(super) const NO_VALUE: &[u8] = &[0];

/// Bytes of the longest column `superseded`.
pub(super) const LONGEST_LIST: usize = 33 * MAX_SUPERSEDED;

/// The bytes of the column `value`; `None` for an untracked ref, which has no row.
pub(super) fn value(value: GlobalRef) -> Option<Vec<u8>> {
    match value {
        GlobalRef::Untracked => None,
        GlobalRef::Deleted => Some(Vec::new()),
        GlobalRef::At(oid) => Some(oid.as_bytes().to_vec()),
    }
}

/// The bytes of the column `superseded`.
pub(super) fn superseded(oids: &[Oid]) -> Vec<u8> {
    let mut out = Vec::with_capacity(oids.len() * 33);
    for oid in oids {
        // 20 or 32.
        out.push(oid.as_bytes().len() as u8);
        out.extend_from_slice(oid.as_bytes());
    }
    out
}

/// The entry that a row holds, or why it holds none.
pub(super) fn entry(value: &[u8], mut superseded: &[u8]) -> Result<Entry, String> {
    let value = match value {
        [] => GlobalRef::Deleted,
        raw => GlobalRef::At(Oid::from_bytes(raw).map_err(|e| format!("its value is no object id: {e}"))?),
    };
    let mut list = Vec::new();
    while let Some((len, rest)) = superseded.split_first() {
        let Some((raw, rest)) = rest.split_at_checked(usize::from(*len)) else {
            return Err("its list of superseded values is cut short".to_owned());
        };
        list.push(Oid::from_bytes(raw).map_err(|e| format!("a superseded value is no object id: {e}"))?);
        superseded = rest;
        if let Some(why) = too_many_superseded(list.len()) {
            return Err(why);
        }
    }
    Ok(Entry { value, superseded: list })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let sha1 = Oid::from_hex(&[b'a'; 40]).unwrap();
        let sha256 = Oid::from_hex(&[b'b'; 64]).unwrap();
        for written in [GlobalRef::Deleted, GlobalRef::At(sha1), GlobalRef::At(sha256)] {
            for list in [vec![], vec![sha256, sha1], vec![sha1; 300]] {
                let read = entry(&value(written).unwrap(), &superseded(&list));
                assert_eq!(read, Ok(Entry { value: written, superseded: list }));
            }
        }
        assert_eq!(value(GlobalRef::Untracked), None);
    }

    #[test]
    fn damage_is_named_and_never_read_as_a_value() {
        let good = [7; 20];
        for (value, superseded, why) in [
            (&b"zz"[..], &b""[..], "its value is no object id"),
            (NO_VALUE, b"", "its value is no object id"),
            (&[0; 20], b"", "all zeros"),
            (&good, b"\x14abc", "cut short"),
            (&good, b"\x02ab", "a superseded value is no object id"),
            (&good, b"\x00", "a superseded value is no object id"),
        ] {
            let message = entry(value, superseded).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
    }
}
