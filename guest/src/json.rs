//! Reads the host's JSON. A general parser would be two thirds of a filter's code, which the host compiles at every start.

use std::collections::BTreeMap;

/// Nested lists and objects; the host sends a list within an object.
const DEPTH: u32 = 16;

/// One setting as it came: its values as text. Plain JSON numbers and booleans are taken as their text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) texts: Vec<String>,
    pub(crate) is_list: bool,
    /// Something else than a string or a list of strings.
    pub(crate) wrong: bool,
}

impl Setting {
    fn one(text: impl Into<String>) -> Setting {
        Setting { texts: vec![text.into()], ..Setting::default() }
    }

    fn wrong() -> Setting {
        Setting { wrong: true, ..Setting::default() }
    }
}

/// The members of the object that `text` is. The last of several equal keys counts.
pub(crate) fn object(text: &str) -> Result<BTreeMap<String, Setting>, String> {
    let mut reader = Reader { text, at: 0 };
    let mut members = BTreeMap::new();
    reader.space();
    let result = reader.members(&mut members, 0);
    reader.space();
    match result {
        Some(()) if reader.at == text.len() => Ok(members),
        _ => Err(format!("the settings are not a JSON object: see byte {}", reader.at)),
    }
}

/// Every method leaves `at` where it stopped, and returns `None` where the text is not JSON.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: &str) -> Option<()> {
        self.text[self.at..].starts_with(wanted).then(|| self.at += wanted.len())
    }

    fn members(&mut self, members: &mut BTreeMap<String, Setting>, depth: u32) -> Option<()> {
        self.take("{")?;
        self.items("}", |reader| {
            let key = reader.string()?;
            reader.space();
            reader.take(":")?;
            reader.space();
            let value = reader.value(depth + 1)?;
            members.insert(key, value);
            Some(())
        })
    }

    /// `item`s between commas up to `end`.
    fn items(&mut self, end: &str, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.space();
        if self.take(end).is_some() {
            return Some(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            if self.take(end).is_some() {
                return Some(());
            }
            self.take(",")?;
        }
    }

    fn value(&mut self, depth: u32) -> Option<Setting> {
        if depth > DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => self.string().map(Setting::one),
            b'{' => self.members(&mut BTreeMap::new(), depth).map(|()| Setting::wrong()),
            b'[' => {
                self.take("[")?;
                let mut list = Setting { is_list: true, ..Setting::default() };
                self.items("]", |reader| {
                    let item = reader.value(depth + 1)?;
                    list.wrong |= item.wrong || item.is_list;
                    list.texts.extend(item.texts);
                    Some(())
                })?;
                Some(list)
            }
            b'n' => self.take("null").map(|()| Setting::wrong()),
            b't' => self.take("true").map(|()| Setting::one("true")),
            b'f' => self.take("false").map(|()| Setting::one("false")),
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                while let Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') = self.peek() {
                    self.at += 1;
                }
                Some(Setting::one(&self.text[start..self.at]))
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut text = String::new();
        loop {
            let plain = self.text[self.at..].find(['"', '\\'])?;
            text.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            if self.take("\"").is_some() {
                return Some(text);
            }
            text.push(self.escape()?);
        }
    }

    /// One escape sequence; two where a character outside of the basic plane takes a pair.
    fn escape(&mut self) -> Option<char> {
        self.take("\\")?;
        let kind = self.peek()?;
        let character = match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                let second = match first {
                    0xd800..0xdc00 => {
                        self.take("\\")?;
                        Some(self.unit()?)
                    }
                    _ => None,
                };
                return char::decode_utf16(std::iter::once(first).chain(second)).next()?.ok();
            }
            _ => return None,
        };
        self.at += 1;
        Some(character)
    }

    /// The `u` of an escape and its four hex digits.
    fn unit(&mut self) -> Option<u16> {
        self.take("u")?;
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u16::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_json_writer_writes_is_read_back() {
        let texts = ["", "a\"b\\c/d", "\u{8}\u{c}\n\r\t\u{1}\u{7f}", "é日😀", "[{,:}]"];
        let value = serde_json::json!({ "a/b~": texts, "😀\n": "one", "none": [] });
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let settings = object(&json).unwrap();
            assert_eq!(settings["a/b~"].texts, texts);
            assert!(settings["a/b~"].is_list && settings["none"].is_list);
            assert_eq!(settings["😀\n"], Setting::one("one"));
        }
        let escaped =
            object(r#"{"a":"\u0041\ud83d\ude00\/","n":-1.5e3,"t":true,"f":false,"t":"last"}"#).unwrap();
        assert_eq!(escaped["a"], Setting::one("A😀/"));
        assert_eq!(escaped["n"], Setting::one("-1.5e3"));
        assert_eq!((&escaped["t"], &escaped["f"]), (&Setting::one("last"), &Setting::one("false")));
    }

    #[test]
    fn other_shapes_are_wrong_and_broken_text_is_refused() {
        let settings = object(r#" { "a" : null , "b" : { "c" : [ ] } , "d" : [ [ "x" ] ] } "#).unwrap();
        assert!(settings.values().all(|setting| setting.wrong));
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        for bad in [
            "",
            "[]",
            "{",
            "{}x",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":"b",}"#,
            r#"{"a":"b""#,
            r#"{"a":"\x"}"#,
            r#"{"a":"b"#,
            r#"{"a":"\ud83d"}"#,
            r#"{"a":"\u00é"}"#,
            r#"{"a":"\u+123"}"#,
            r#"{"a":nul}"#,
            r#"{a:"b"}"#,
            &deep,
        ] {
            assert!(object(bad).is_err(), "{bad:.40}");
        }
    }
}
