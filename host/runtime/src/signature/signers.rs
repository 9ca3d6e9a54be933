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
    /// not understood is refused rather than passed over: it may limit what a key counts for.
    ///
    /// # Errors
    /// `line N: what is wrong`.
    pub fn parse(text: &str) -> Result<Signers, String> {
        let mut keys = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
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

fn signer(line: &str) -> Result<Option<(String, KeyData)>, String> {
    let (principals, rest) = word(line)?;
    let principals = principals.replace('"', "");
    if principals.is_empty() {
        return Err(
            "it begins with no principal: write for whom the key stands, like `alice@example.org`".to_owned()
        );
    }
    // The options stand where the kind of the key would.
    let (options, key) = match PublicKey::from_openssh(rest) {
        Ok(_) => ("", rest),
        Err(_) => word(rest)?,
    };
    let key = PublicKey::from_openssh(key).map_err(|e| {
        format!("there is no public key in it ({e}): write `PRINCIPALS [OPTIONS] KIND KEY [COMMENT]`")
    })?;
    let options = list(options);
    let namespaces = options.iter().filter_map(|option| value(option, "namespaces"));
    if !namespaces.into_iter().all(|patterns| listed(patterns, NAMESPACE)) {
        return Ok(None);
    }
    if let Some(option) = options.iter().find(|option| value(option, "namespaces").is_none()) {
        let name = option.split('=').next().unwrap_or_default().to_ascii_lowercase();
        return Err(match name.as_str() {
            "valid-before" | "valid-after" => format!(
                "`{name}` is not taken: what may be loaded would change with the clock; remove the line when the key ends"
            ),
            "cert-authority" => {
                "`cert-authority` is not taken: name the keys themselves, as certificates are not read"
                    .to_owned()
            }
            _ => format!("the option `{name}` is not known"),
        });
    }
    supported(key.key_data())?;
    Ok(Some((principals, key.key_data().clone())))
}

/// The first word, whose quoted parts may hold blanks, and what follows it.
fn word(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (i, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => return Ok((&text[..i], text[i..].trim_start())),
            _ => {}
        }
    }
    if quoted { Err("a quote is not closed".to_owned()) } else { Ok((text, "")) }
}

/// What stands between commas outside of quotes.
fn list(options: &str) -> Vec<&str> {
    let mut quoted = false;
    options
        .split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        })
        .filter(|option| !option.is_empty())
        .collect()
}

/// The value of an option if it is the one named.
fn value<'a>(option: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = option.split_once('=')?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_matches('"'))
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
    fn what_is_not_understood_is_refused_with_its_line() {
        for (line, cause) in [
            ("alice".to_owned(), "no public key"),
            (ED.to_owned(), "no public key"),
            (format!("\"alice {ED}"), "quote is not closed"),
            (format!("\"\" {ED}"), "no principal"),
            (format!("a valid-before=\"20300101\" {ED}"), "`valid-before` is not taken"),
            (format!("a cert-authority {ED}"), "`cert-authority` is not taken"),
            (format!("a no-touch-required {ED}"), "`no-touch-required` is not known"),
            (format!("a {}", &ED[..60]), "no public key"),
        ] {
            let error = Signers::parse(&format!("# first\n{line}\n")).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(cause), "{line}: {error}");
        }
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
