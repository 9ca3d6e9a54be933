//! An entry as text, for stores that keep one value per ref.
//!
//! The first line is the object id in hexadecimal, or 40 zeros for a deleted ref. Each further line is a superseded value,
//! oldest first. Anything else that [`check_text`] takes is a text.

use super::{Lookup, Stored, check_text, too_many_superseded};
use crate::{Entry, GlobalRef, ObjectFormat, Oid};

impl Stored {
    /// What is kept, as lines.
    pub fn to_lines(&self) -> String {
        let entry = match self {
            Stored::Text(text) => return text.clone(),
            Stored::Entry(entry) => entry,
        };
        let zeros = || ObjectFormat::Sha1.zero_hex();
        let mut out = entry.value.oid().map_or_else(zeros, |oid| oid.to_string());
        for oid in &entry.superseded {
            out.push('\n');
            out.push_str(&oid.to_string());
        }
        out
    }
}

impl Lookup {
    /// What `lines` that [`Stored::to_lines`] gave hold, as a reader finds it; `None` is an untracked ref.
    pub fn from_lines(lines: Option<&[u8]>) -> Lookup {
        match lines.map(read) {
            None => Lookup::UNTRACKED,
            Some(Ok(stored)) => stored.into(),
            Some(Err(why)) => Lookup::Unreadable(why),
        }
    }
}

fn read(value: &[u8]) -> Result<Stored, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_were_written() {
        let sha1 = Oid::from_hex(&[b'a'; 40]).unwrap();
        let sha256 = Oid::from_hex(&[b'b'; 64]).unwrap();
        for written in [GlobalRef::Deleted, GlobalRef::At(sha1), GlobalRef::At(sha256)] {
            for superseded in [vec![], vec![sha256, sha1], vec![sha1; 300]] {
                let stored = Stored::Entry(Entry { value: written, superseded });
                assert_eq!(Lookup::from_lines(Some(stored.to_lines().as_bytes())), stored.into());
            }
        }
        assert_eq!(Lookup::from_lines(None), Lookup::Entry(Entry::default()));
        let forced = Stored::Entry(Entry { value: GlobalRef::Deleted, superseded: vec![sha1] });
        assert_eq!(forced.to_lines(), format!("{}\n{}", "0".repeat(40), "a".repeat(40)));
        assert_eq!(Lookup::from_lines(Some(b"1793707205")), Lookup::Text("1793707205".to_owned()));
        assert_eq!(Stored::Text("1793707205".to_owned()).to_lines(), "1793707205");
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
