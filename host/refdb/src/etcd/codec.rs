//! How an entry is written in the value of its key: text that a person can read with `etcdctl`.
//!
//! The first line is the object id in hexadecimal, or 40 zeros for a deleted ref. Each further line is a superseded
//! value, oldest first. Anything else that [`check_text`] takes is a text.

use refgate_core::refdb::{check_text, too_many_superseded};
use refgate_core::{Entry, GlobalRef, Lookup, ObjectFormat, Oid};

/// What the value of a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Entry(Entry),
    Text(String),
}

/// The bytes for an entry; `None` for an untracked ref, which has no key.
pub(super) fn value(entry: &Entry) -> Option<Vec<u8>> {
    let mut out = match entry.value {
        GlobalRef::Untracked => return None,
        GlobalRef::Deleted => ObjectFormat::Sha1.zero_hex(),
        GlobalRef::At(oid) => oid.to_string(),
    };
    for oid in &entry.superseded {
        out.push('\n');
        out.push_str(&oid.to_string());
    }
    Some(out.into_bytes())
}

/// What `value` holds, or why it is nothing that refgate wrote.
pub(super) fn read(value: &[u8]) -> Result<Stored, String> {
    let mut lines = value.split(|b| *b == b'\n');
    let first = lines.next().unwrap_or_default();
    if let Ok(oid) = Oid::parse_or_zero(first) {
        if let Some(why) = too_many_superseded(lines.clone().count()) {
            return Err(why);
        }
        let superseded = lines
            .map(|line| Oid::from_hex(line).map_err(|e| format!("a superseded value is no object id: {e}")))
            .collect::<Result<_, _>>()?;
        return Ok(Stored::Entry(Entry { value: GlobalRef::at_or_deleted(oid), superseded }));
    }
    let text = std::str::from_utf8(value).map_err(|_| "its value is no text".to_owned())?;
    check_text(text).map_err(|why| format!("its value is neither an object id nor a text: {why}"))?;
    Ok(Stored::Text(text.to_owned()))
}

/// The same for a reader: nothing at all is an untracked ref.
pub(super) fn lookup(value: Option<&[u8]>) -> Lookup {
    match value.map(read) {
        None => Lookup::Entry(Entry::default()),
        Some(Ok(Stored::Entry(entry))) => Lookup::Entry(entry),
        Some(Ok(Stored::Text(text))) => Lookup::Text(text),
        Some(Err(why)) => Lookup::Unreadable(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_were_written() {
        let sha1 = Oid::from_hex(&[b'a'; 40]).unwrap();
        let sha256 = Oid::from_hex(&[b'b'; 64]).unwrap();
        for written in [GlobalRef::Deleted, GlobalRef::At(sha1), GlobalRef::At(sha256)] {
            for superseded in [vec![], vec![sha256, sha1], vec![sha1; 300]] {
                let entry = Entry { value: written, superseded };
                assert_eq!(read(&value(&entry).unwrap()), Ok(Stored::Entry(entry)));
            }
        }
        assert_eq!(value(&Entry::default()), None);
        assert_eq!(lookup(None), Lookup::Entry(Entry::default()));
        let forced = Entry { value: GlobalRef::Deleted, superseded: vec![sha1] };
        let text = [[b'0'; 40].as_slice(), b"\n", [b'a'; 40].as_slice()].concat();
        assert_eq!(value(&forced), Some(text));
        assert_eq!(read(b"1793707205"), Ok(Stored::Text("1793707205".to_owned())));
    }

    #[test]
    fn damage_is_named_and_never_read_as_a_value() {
        let oid = "a".repeat(40);
        for (value, why) in [
            (String::new(), "neither"),
            (format!("{oid}\n"), "a superseded value is no object id"),
            (format!("{oid}\n{oid}x"), "a superseded value is no object id"),
            (format!("{oid}\n{}", "0".repeat(40)), "all zeros"),
            (format!("zz\n{oid}"), "neither"),
            ("é".to_owned(), "neither"),
        ] {
            let message = read(value.as_bytes()).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
        assert_eq!(read(b"\xff"), Err("its value is no text".to_owned()));
    }
}
