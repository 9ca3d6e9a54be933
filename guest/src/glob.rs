//! Globs over the names of refs, projects and remotes, for settings.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};

/// Bytes of a glob.
const BYTES: usize = 1024;

/// Texts that the alternatives of a glob stand for, all `{a,b}` of it multiplied. Matching tries one after the other.
const ALTERNATIVES: usize = 128;

/// A glob: `?` is one byte, `*` any number within a `/`, `**` any number of whole parts between `/`, `[a-z]` one of them and
/// `[!a-z]` none of them, `{a,b}` one or the other. Everything else stands for itself.
///
/// It has at most 1,024 bytes, and its alternatives stand for at most 128 texts: `{a,b}/{c,d,e}` for six. Matching tries
/// them one after the other, so that more could use up the time of a call.
///
/// It is small and fast to load, which counts in a component; a regular expression is neither. As a field of settings it
/// refuses what is no glob, with the place:
///
/// ```
/// use refgate_guest::{Glob, testing::settings};
///
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     branch: Vec<Glob>,
/// }
///
/// let read: Settings = settings(r#"{"branch":["refs/heads/*","refs/tags/**"]}"#).unwrap();
/// assert!(read.branch[0].matches("refs/heads/main"));
/// assert!(!read.branch[0].matches("refs/heads/team/x"));
/// assert!(read.branch[1].matches(b"refs/tags/team/\xff"));
///
/// let wrong = settings::<Settings>(r#"{"branch":["refs/heads/*","refs/["]}"#).err().unwrap();
/// assert!(wrong.to_string().starts_with("/branch/1: `refs/[` is not a glob: "));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Reads a glob; the error says what is wrong.
    pub fn new(text: &str) -> Result<Glob, String> {
        let wrong = |why: &str| Err(format!("`{text}` is not a glob: {why}"));
        match fast_glob::validate(text) {
            _ if text.is_empty() => wrong("it is empty and matches nothing"),
            // The library would negate; beside other globs people expect it to take something away from them.
            _ if text.starts_with('!') => wrong("it begins with `!`, which has no meaning here"),
            Err(e) => wrong(&e.to_string()),
            Ok(()) if text.len() > BYTES => Err(format!(
                "a glob of {} bytes is longer than the {BYTES} that are taken: write several globs",
                text.len()
            )),
            Ok(()) if alternatives(text) > ALTERNATIVES => wrong(&format!(
                "its alternatives in `{{ }}` stand for more than {ALTERNATIVES} texts, all groups multiplied, and every \
                 name would be compared with each: write several globs"
            )),
            Ok(()) => Ok(Glob(text.to_owned())),
        }
    }

    /// Whether it matches the whole of `name`.
    pub fn matches(&self, name: impl AsRef<[u8]>) -> bool {
        fast_glob::glob_match(&self.0, name)
    }
}

/// How many texts without groups a valid glob stands for: groups in a row multiply, alternatives of a group add up.
fn alternatives(text: &str) -> usize {
    // By open group: what its alternatives before this one come to, and what this one comes to so far.
    let (mut open, mut now) = (Vec::new(), 1usize);
    let (mut bytes, mut class) = (text.bytes(), false);
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b']' => class = false,
            _ if class => {}
            b'[' => class = true,
            b'{' => open.push((0usize, std::mem::replace(&mut now, 1))),
            b',' => {
                if let Some((before, _)) = open.last_mut() {
                    *before = before.saturating_add(std::mem::replace(&mut now, 1));
                }
            }
            b'}' => {
                if let Some((before, outside)) = open.pop() {
                    now = before.saturating_add(now).saturating_mul(outside);
                }
            }
            _ => {}
        }
    }
    now
}

/// The text of the glob.
impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Glob, D::Error> {
        let text = String::deserialize(deserializer)?;
        Glob::new(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_globs_match() {
        for (glob, yes, no) in [
            ("*", &["main", ""][..], &["a/b"][..]),
            ("**", &["main", "a/b", ""], &[]),
            ("refs/heads/*", &["refs/heads/main"], &["refs/heads/a/b", "refs/heads", "refs/tags/a"]),
            ("refs/heads/**", &["refs/heads/main", "refs/heads/a/b"], &["refs/tags/a", "refs/headsx/a"]),
            ("**/wip/**", &["refs/heads/wip/x", "wip/x"], &["refs/heads/wipe/x"]),
            (
                "refs/tags/v[0-9]*",
                &["refs/tags/v1", "refs/tags/v1.2-rc"],
                &["refs/tags/va", "refs/tags/v1/x"],
            ),
            (
                "refs/{heads,tags}/[!x]?",
                &["refs/heads/ab", "refs/tags/ab"],
                &["refs/heads/xb", "refs/heads/a"],
            ),
        ] {
            let glob = Glob::new(glob).unwrap();
            assert!(yes.iter().all(|name| glob.matches(name)), "{glob} does not match all of {yes:?}");
            assert!(!no.iter().any(|name| glob.matches(name)), "{glob} matches one of {no:?}");
        }
    }

    #[test]
    fn alternatives_multiply_and_too_many_are_refused() {
        for (glob, texts) in [
            ("a", 1),
            ("{a,b}", 2),
            ("{a,b}/{c,d,e}", 6),
            ("{a,{b,c}{d,e},f}", 6),
            ("{a,b}[{,}]{c,d}", 4),
            ("\\{a,b\\}", 1),
        ] {
            assert_eq!(alternatives(glob), texts, "{glob}");
        }
        let group = "{a*,b*,c*,d*}";
        assert!(Glob::new(&group.repeat(3)).is_ok(), "64 texts");
        let error = Glob::new(&group.repeat(4)).unwrap_err();
        assert!(error.contains("more than 128 texts") && error.contains("write several globs"), "{error}");
        let error = Glob::new(&"{a,b}".repeat(8)).unwrap_err();
        assert!(error.contains("more than 128 texts"), "{error}");
        let error = Glob::new(&"a".repeat(1025)).unwrap_err();
        assert!(error.contains("1025 bytes") && error.contains("write several globs"), "{error}");
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        for (text, why) in [
            ("", "is empty"),
            ("!refs/heads/x", "begins with `!`"),
            ("refs/[a", "unclosed character class at byte 5"),
            ("refs/{a,b", "unclosed brace"),
            ("refs/\\", "trailing backslash"),
        ] {
            let error = Glob::new(text).unwrap_err();
            assert!(
                error.starts_with(&format!("`{text}` is not a glob: ")) && error.contains(why),
                "{error}"
            );
        }
    }
}
