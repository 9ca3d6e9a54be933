//! Reads text in git-config syntax into a flat list of entries, each with its file and line.

use std::path::Path;

use gix_config::parse::{EventRef, Events};

use super::error::{ConfigError, ConfigErrors, Origin};

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// In lower case.
    pub section: String,
    /// As written, for case counts in it.
    pub subsection: Option<String>,
    /// In lower case.
    pub key: String,
    /// The key as written.
    pub written: String,
    /// Without quotes and escapes; `None` for a key without `=`.
    pub value: Option<String>,
    /// Where it stands.
    pub origin: Origin,
}

impl Item {
    /// From a full key as in `replication.push-filter.name`, split at its first and its last dot.
    ///
    /// # Errors
    /// When there is no dot, or a part is empty.
    pub fn from_dotted(key: &str, value: &str, origin: &Origin) -> Result<Item, ConfigError> {
        let parts = key.split_once('.').map(|(section, rest)| match rest.rsplit_once('.') {
            Some((subsection, key)) => (section, Some(subsection.to_owned()), key),
            None => (section, None, rest),
        });
        match parts {
            Some((section, subsection, key)) if !section.is_empty() && !key.is_empty() => Ok(Item {
                section: section.to_ascii_lowercase(),
                subsection,
                key: key.to_ascii_lowercase(),
                written: key.to_owned(),
                value: Some(value.to_owned()),
                origin: origin.clone(),
            }),
            _ => Err(ConfigError::new(
                origin,
                format!("`{key}` is not a key"),
                "write `section.key` or `section.subsection.key`",
            )),
        }
    }

    /// `section.subsection.key`, the key as written.
    pub fn full_key(&self) -> String {
        match &self.subsection {
            Some(subsection) => format!("{}.{subsection}.{}", self.section, self.written),
            None => format!("{}.{}", self.section, self.written),
        }
    }
}

/// The entries of `text` in order, without following includes; `path` is for the origins.
pub fn parse(text: &[u8], path: &Path) -> Result<Vec<Item>, ConfigErrors> {
    let start = Origin::new(path, 1);
    let at = |line| Origin { line, ..start.clone() };
    let events = Events::from_bytes(text, None).map_err(|e| syntax_error(text, &e, &at))?;
    let mut errors = Vec::new();
    let mut items: Vec<Item> = Vec::new();
    let mut section = None;
    let mut open: Option<Open> = None;
    let mut line = 1;
    // A key without `=` whose line has not ended: the parser lets something follow it, git does not.
    let mut bare: Option<String> = None;
    for event in events.iter() {
        if !matches!(event, EventRef::Newline(_) | EventRef::Whitespace(_))
            && let Some(key) = bare.take()
        {
            let message = format!("something other than `=` follows the key `{key}`");
            errors.push(ConfigError::new(&at(line), message, format!("write `{key} = value`")));
        }
        match event {
            EventRef::SectionHeader { name, separator, subsection_name } => {
                // The old form `[section.subsection]` has no case.
                let folded = separator.is_some_and(|s| s == ".");
                let subsection =
                    subsection_name.map(|s| if folded { s.to_ascii_lowercase() } else { s.to_vec() });
                let name = name.to_ascii_lowercase();
                match (String::from_utf8(name), subsection.map(String::from_utf8).transpose()) {
                    (Ok(name), Ok(subsection)) => section = Some((name, subsection)),
                    _ => errors.push(not_utf8(&at(line))),
                }
            }
            EventRef::SectionValueName(name) => {
                open = Some(Open { key: name.to_string(), line, raw: None });
            }
            EventRef::KeyValueSeparator => {
                if let Some(open) = &mut open {
                    open.raw = Some(Vec::new());
                }
            }
            EventRef::ValueNotDone(part) => {
                if let Some(raw) = open.as_mut().and_then(|o| o.raw.as_mut()) {
                    raw.extend_from_slice(part);
                }
            }
            EventRef::Value(last) | EventRef::ValueDone(last) => {
                let Some(Open { key, line, mut raw }) = open.take() else {
                    continue;
                };
                match &mut raw {
                    Some(raw) => raw.extend_from_slice(last),
                    None => bare = Some(key.clone()),
                }
                let value = raw.map(|raw| String::from_utf8(gix_config::value::normalize(&*raw).to_vec()));
                match (&section, value.transpose()) {
                    (Some((section, subsection)), Ok(value)) => items.push(Item {
                        section: section.clone(),
                        subsection: subsection.clone(),
                        key: key.to_ascii_lowercase(),
                        written: key,
                        value,
                        origin: at(line),
                    }),
                    (None, _) => errors.push(ConfigError::new(
                        &at(line),
                        format!("`{key}` stands before the first section"),
                        "write it below its `[section]`",
                    )),
                    (_, Err(_)) => errors.push(not_utf8(&at(line))),
                }
            }
            EventRef::Newline(text) => {
                bare = None;
                line += text.iter().filter(|b| **b == b'\n').count() as u32;
            }
            EventRef::Comment { .. } | EventRef::Whitespace(_) => {}
        }
    }
    if errors.is_empty() { Ok(items) } else { Err(ConfigErrors(errors)) }
}

/// A key whose value is still coming.
struct Open {
    key: String,
    line: u32,
    /// The value so far, `None` until a `=` was seen.
    raw: Option<Vec<u8>>,
}

fn not_utf8(origin: &Origin) -> ConfigError {
    ConfigError::new(origin, "the text is not UTF-8", "save the file as UTF-8")
}

/// Says what stopped the parser: the offending line, and what is wrong with it as far as it can be told.
fn syntax_error(text: &[u8], e: &gix_config::parse::Error, at: &dyn Fn(u32) -> Origin) -> ConfigErrors {
    let rest = e.remaining_data();
    let (offset, message, hint) = problem(rest);
    let before = &text[..text.len() - rest.len() + offset];
    let line = before.iter().filter(|b| **b == b'\n').count() as u32 + 1;
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let shown = text[start..].split(|b| *b == b'\n').next().unwrap_or_default();
    let shown = refgate_core::escape(shown.trim_ascii());
    ConfigError::new(&at(line), format!("{message}: `{shown}`"), hint).into()
}

/// Where in `rest` the problem is, what it is, and what to write.
fn problem(rest: &[u8]) -> (usize, &'static str, &'static str) {
    if rest.starts_with(b"[") {
        return (0, "this is not a section header", "write `[section]` or `[section \"subsection\"]`");
    }
    let mut quoted = false;
    let mut i = 0;
    while i < rest.len() {
        match (rest[i], rest.get(i + 1)) {
            (b'\\', Some(b'n' | b't' | b'b' | b'\\' | b'"' | b'\n' | b'\r')) => i += 1,
            (b'\\', Some(_)) => {
                return (
                    i,
                    "a backslash in a value must be doubled",
                    "write `\\\\` for each `\\`, as in `^a\\\\.b`",
                );
            }
            (b'"', _) => quoted = !quoted,
            (b'\n', _) if quoted => {
                return (i, "a quote is not closed", "write another `\"`, or `\\\"` for the sign itself");
            }
            (b'\n', _) => break,
            _ => {}
        }
        i += 1;
    }
    match quoted {
        true => (0, "a quote is not closed", "write another `\"`, or `\\\"` for the sign itself"),
        false => (
            0,
            "this is neither a section, a key nor a comment",
            "write `key = value`; a key begins with a letter and holds letters, digits and `-`",
        ),
    }
}
