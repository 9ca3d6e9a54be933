//! How a value and a superseded list are written into nodes.
//!
//! A value is 40 (or 64) hexadecimal digits without a newline, a deletion 40 zeros; a node without data is no value,
//! but a directory on the way to others. A superseded list is one object id per line, oldest first.

use refgate_core::refdb::{check_text, too_many_superseded};
use refgate_core::{Entry, GlobalRef, Lookup, Oid};

/// The data of a deletion.
pub(super) const DELETED: &str = "0000000000000000000000000000000000000000";

/// The data that stands for `value`; `None` for an untracked ref, which has none.
pub(super) fn value(value: GlobalRef) -> Option<String> {
    match value {
        GlobalRef::Untracked => None,
        GlobalRef::Deleted => Some(DELETED.to_owned()),
        GlobalRef::At(oid) => Some(oid.to_string()),
    }
}

/// The data of a superseded list.
pub(super) fn superseded(oids: &[Oid]) -> String {
    oids.iter().map(|oid| format!("{oid}\n")).collect()
}

/// What a value node and a superseded list hold together; both are empty when there is no such node.
pub(super) fn lookup(value: &[u8], list: &[u8]) -> Lookup {
    if value.is_empty() {
        return Lookup::Entry(Entry::default());
    }
    let value = match Oid::parse_or_zero(value) {
        Ok(oid) => GlobalRef::at_or_deleted(oid),
        Err(_) => {
            return match std::str::from_utf8(value).map(|text| (text, check_text(text))) {
                Ok((text, Ok(()))) => Lookup::Text(text.to_owned()),
                _ => Lookup::Unreadable("its data is neither an object id nor a short ASCII text".to_owned()),
            };
        }
    };
    if let Some(why) =
        too_many_superseded(list.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count())
    {
        return Lookup::Unreadable(why);
    }
    let list = list.strip_suffix(b"\n").unwrap_or(list);
    let lines = list.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    match lines.map(Oid::from_hex).collect() {
        Ok(superseded) => Lookup::Entry(Entry { value, superseded }),
        Err(e) => Lookup::Unreadable(format!("its list of superseded values is damaged: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_as_they_were_written() {
        let sha1 = Oid::from_hex(&[b'a'; 40]).unwrap();
        let sha256 = Oid::from_hex(&[b'b'; 64]).unwrap();
        for at in [GlobalRef::Deleted, GlobalRef::At(sha1), GlobalRef::At(sha256)] {
            for list in [vec![], vec![sha256, sha1], vec![sha1; 300]] {
                let read = lookup(value(at).unwrap().as_bytes(), superseded(&list).as_bytes());
                assert_eq!(read, Lookup::Entry(Entry { value: at, superseded: list }));
            }
        }
        assert_eq!(value(GlobalRef::Untracked), None);
        assert_eq!(value(GlobalRef::At(sha1)).unwrap(), "a".repeat(40));
    }

    #[test]
    fn foreign_data_is_a_text_or_damage_and_never_a_value() {
        assert_eq!(lookup(b"", b"whatever"), Lookup::Entry(Entry::default()));
        assert_eq!(lookup(&[b'0'; 64], b""), Lookup::Entry(Entry::new(GlobalRef::Deleted)));
        assert_eq!(lookup(b"1793707205", b""), Lookup::Text("1793707205".into()));
        assert_eq!(lookup(&[b'a'; 39], b""), Lookup::Text("a".repeat(39)));
        let id = [b'a'; 40];
        let damaged: [(&[u8], &[u8], &str); 6] = [
            (b"\xff\xfe", b"", "neither"),
            (b"a\n", b"", "neither"),
            ("é".as_bytes(), b"", "neither"),
            (&[b'x'; 5000], b"", "neither"),
            (&id, b"zz\n", "damaged"),
            (&id, DELETED.as_bytes(), "damaged"),
        ];
        for (value, list, why) in damaged {
            let Lookup::Unreadable(message) = lookup(value, list) else { panic!("{value:?}") };
            assert!(message.contains(why), "{message}");
        }
    }
}
