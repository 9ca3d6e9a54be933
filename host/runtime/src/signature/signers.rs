//! Whose signatures count: the `allowed_signers` file of ssh and git.

use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::{NAMESPACE, supported};

/// Keys whose signatures of plugins count.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    keys: Vec<(String, KeyData)>,
}

impl Signers {
    /// Reads a file as `ssh-keygen -Y verify -f` takes it: `PRINCIPALS [OPTIONS] KIND KEY [COMMENT]`, one key a line.
    ///
    /// Lines whose `namespaces` leave plugins out are passed over, so that a file which git uses too is fine. What is
    /// not understood is refused rather than passed over: it may limit what a key counts for. So are negated principals:
    /// nobody says which principal a plugin is to have.
    ///
    /// # Errors
    /// `line N: what is wrong`.
    pub fn parse(text: &str) -> Result<Signers, String> {
        let mut keys = Vec::new();
        for (i, line) in text.split('\n').enumerate() {
            let line = line.trim_start_matches([' ', '\t']);
            if line.trim_start_matches(BLANKS).is_empty() || line.starts_with('#') {
                continue;
            }
            keys.extend(signer(line).map_err(|e| format!("line {}: {e}", i + 1))?);
        }
        Ok(Signers { keys })
    }

    /// Whether nobody's signature counts.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// To whom the key belongs.
    pub(super) fn principals(&self, key: &KeyData) -> Option<&str> {
        self.keys.iter().find(|(_, known)| known == key).map(|(principals, _)| principals.as_str())
    }
}

/// What parts the words of a line, but not those of the options and the key: there it is a space or a tab.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

fn signer(line: &str) -> Result<Option<(String, KeyData)>, String> {
    if line.contains('\0') {
        return Err("there is a zero byte in it, where ssh ends the line".to_owned());
    }
    let (principals, rest) = principals(line)?;
    // The options stand where the kind of the key would.
    let (options, key) = match public_key(rest) {
        Ok(key) => (Options::default(), key),
        Err(_) => {
            let (options, rest) = options(rest)?;
            let key = public_key(rest.trim_start_matches(BLANKS)).map_err(|e| {
                format!("there is no public key in it ({e}): write `PRINCIPALS [OPTIONS] KIND KEY [COMMENT]`")
            })?;
            (options, key)
        }
    };
    if options.namespaces.is_some_and(|patterns| !listed(&patterns, NAMESPACE)) {
        return Ok(None);
    }
    if let Some(name) = options.refused {
        return Err(match name {
            CERT_AUTHORITY => {
                format!("`{name}` is not taken: name the keys themselves, as certificates are not read")
            }
            _ => format!(
                "`{name}` is not taken: what may be loaded would change with the clock; remove the line when the key ends"
            ),
        });
    }
    for principal in principals.split(',') {
        let is_option = OPTIONS.iter().any(|name| {
            let begin = principal.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
            begin && (*name == CERT_AUTHORITY || principal[name.len()..].starts_with('='))
        });
        if is_option {
            return Err(format!(
                "it begins with the option `{principal}`: write for whom the key stands before it"
            ));
        }
        if principal.starts_with('!') {
            return Err(format!(
                "`{principal}` is not taken: the signature of a plugin says which key made it, and for nobody else; name those \
                 for whom the key stands"
            ));
        }
    }
    supported(key.key_data())?;
    Ok(Some((principals, key.key_data().clone())))
}

/// For whom the key stands, and what follows. As in ssh, the word ends with a blank, or with the second of two quotes, which
/// are no part of it.
fn principals(line: &str) -> Result<(String, &str), String> {
    let end = line.find([' ', '\t', '\r', '\n', '"']).unwrap_or(line.len());
    let (first, rest) = line.split_at(end);
    let (principals, rest) = match rest.strip_prefix('"') {
        None => (first.to_owned(), rest),
        Some(quoted) => {
            let (quoted, rest) = quoted.split_once('"').ok_or("a quote is not closed")?;
            (format!("{first}{quoted}"), rest)
        }
    };
    if principals.split(',').all(str::is_empty) {
        return Err(
            "it begins with no principal: write for whom the key stands, like `alice@example.org`".to_owned()
        );
    }
    Ok((principals, rest.trim_start_matches(BLANKS)))
}

/// A key as its kind, blanks and base64. What follows is a comment.
fn public_key(text: &str) -> Result<PublicKey, String> {
    let (kind, rest) = text.split_once([' ', '\t']).ok_or("there is one word only")?;
    let rest = rest.trim_start_matches([' ', '\t']);
    let base64 = rest.split([' ', '\t']).next().unwrap_or_default();
    // A carriage return at the end of the line.
    let base64 = base64.strip_suffix('\r').unwrap_or(base64);
    PublicKey::from_openssh(&format!("{kind} {base64}")).map_err(|e| e.to_string())
}

const CERT_AUTHORITY: &str = "cert-authority";
const OPTIONS: [&str; 4] = [CERT_AUTHORITY, "namespaces", "valid-after", "valid-before"];

/// What stands between the principals and the key.
#[derive(Default)]
struct Options {
    /// Patterns of what the key signs.
    namespaces: Option<String>,
    /// An option that ssh heeds and that is not taken here.
    refused: Option<&'static str>,
}

/// The options as ssh reads them, up to the first blank outside of quotes; and what follows.
fn options(text: &str) -> Result<(Options, &str), String> {
    let (mut options, mut rest) = (Options::default(), text);
    let mut seen = Vec::new();
    loop {
        let is_next =
            |name: &&&str| rest.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
        let Some(name) = OPTIONS.iter().find(is_next).copied() else {
            let name = rest.split(['=', ',', ' ', '\t', '\r']).next().unwrap_or_default();
            return Err(match OPTION_OF_KEYS.contains(&name) {
                true => format!("the option `{name}` is not known"),
                // Most often it is a kind of key that is not known, or none.
                false => "there is no public key in it, nor an option that is known: write `PRINCIPALS [OPTIONS] KIND KEY \
                          [COMMENT]`"
                    .to_owned(),
            });
        };
        rest = &rest[name.len()..];
        if name != CERT_AUTHORITY {
            let quoted =
                rest.strip_prefix("=\"").ok_or_else(|| format!("`{name}` needs a value in quotes"))?;
            let (value, after) = unquoted(quoted)?;
            if seen.contains(&name) {
                return Err(format!("`{name}` is there twice"));
            }
            seen.push(name);
            match name {
                "namespaces" => options.namespaces = Some(value),
                _ => options.refused = Some(name),
            }
            rest = after;
        } else {
            options.refused = Some(name);
        }
        match rest.strip_prefix(',') {
            Some(after) if !after.is_empty() => rest = after,
            None if rest.is_empty() || rest.starts_with([' ', '\t']) => return Ok((options, rest)),
            _ => return Err(format!("behind the option `{name}` there is neither a comma nor a blank")),
        }
    }
}

/// Options of `authorized_keys`, which mean nothing here.
const OPTION_OF_KEYS: [&str; 4] = ["no-touch-required", "verify-required", "restrict", "principals"];

/// The text up to the next quote, and what follows the quote. A backslash makes a quote a part of the text.
fn unquoted(text: &str) -> Result<(String, &str), String> {
    let (mut value, mut before) = (String::new(), None);
    for (at, c) in text.char_indices() {
        match (before, c) {
            (Some('\\'), '"') => {
                value.pop();
                value.push('"');
            }
            (_, '"') => return Ok((value, &text[at + 1..])),
            _ => value.push(c),
        }
        before = Some(c);
    }
    Err("a quote is not closed".to_owned())
}

/// ssh's lists of patterns: one has to match, and none that begins with `!`.
fn listed(patterns: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if matches(not.as_bytes(), text.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches(pattern.as_bytes(), text.as_bytes()),
        }
    }
    found
}

/// `*` is any text, `?` any character. One pass over the pattern, whatever it is.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Positions in the text that the pattern so far can end at.
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for &c in pattern {
        if c == b'*' {
            let first = ends.iter().position(|&end| end).unwrap_or(ends.len());
            ends[first..].fill(true);
        } else {
            for i in (0..text.len()).rev() {
                ends[i + 1] = ends[i] && (c == b'?' || c == text[i]);
            }
            ends[0] = false;
        }
    }
    ends[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn lines_are_read_as_ssh_reads_them() {
        let text = format!(
            "# ours\n\n  alice@example.org {ED} a comment\n\
             \"bob,carol smith\" NAMESPACES=\"file,refgate-*\" {ED}\n\
             git-only namespaces=\"git\",cert-authority {ED}\n\
             not namespaces=\"*,!refgate-plugin\" {ED}\n"
        );
        let signers = Signers::parse(&text).unwrap();
        let names: Vec<_> = signers.keys.iter().map(|(names, _)| names.as_str()).collect();
        assert_eq!(names, ["alice@example.org", "bob,carol smith"]);
        assert!(Signers::parse("# nobody\n").unwrap().is_empty());
    }

    #[test]
    fn patterns_are_those_of_ssh() {
        for yes in ["refgate-plugin", "*", "refgate-*", "r?fgate-plugi?", "*plugin*", "**-**"] {
            assert!(matches(yes.as_bytes(), b"refgate-plugin"), "{yes}");
        }
        for no in ["", "refgate", "refgate-plugin?", "?", "*x*", "plugin"] {
            assert!(!matches(no.as_bytes(), b"refgate-plugin"), "{no}");
        }
    }
}
