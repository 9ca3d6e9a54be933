//! Text of others, made fit for people: what a remote, a plugin, the ref-db or a file says is shown, and can neither steer a
//! terminal, nor begin a line of its own, nor bring a password along.
//!
//! Errors and answers of these crates hold text as it came. Whoever prints it passes each line through [`told`] once;
//! `refgate` does so where it prints.

use std::borrow::Cow;

/// Whether a character does something instead of being seen: control characters, line and paragraph separators, and
/// those that turn the direction of what follows.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line of any text: what would not be seen is written as in Rust, `\n` or `\u{1b}`. A backslash stands for itself.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unseen) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_unseen(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line.into()
}

/// What may be read by people: [`shown`], and of the addresses in it no user and no password ([`without_userinfo`]).
pub fn told(text: &str) -> Cow<'_, str> {
    match without_userinfo(text) {
        Cow::Borrowed(text) => shown(text),
        Cow::Owned(text) => shown(&text).into_owned().into(),
    }
}

/// Several words of others in one line: line breaks become `; `, empty lines go.
pub fn in_one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(shown).collect::<Vec<_>>().join("; ")
}

/// `text` with the user part of every URL in it hidden: over http all of it, for a user alone is often a token; elsewhere
/// what follows the user's name.
///
/// A password that was not percent-encoded may hold `@` and `/`, so all up to the last `@` of an address is taken for it.
/// An address ends with a space, a quote or a control character.
pub fn without_userinfo(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find("://") else { return text.into() };
    let (mut out, mut rest) = (String::new(), text);
    let mut at = first;
    loop {
        let scheme = &rest[..at];
        let after = &rest[at + 3..];
        let end = after.find(|c: char| c.is_whitespace() || c.is_control() || "'\"`<>|".contains(c));
        let address = &after[..end.unwrap_or(after.len())];
        out.push_str(scheme);
        out.push_str("://");
        let user = address.rfind('@').map(|at| &address[..at]);
        if let Some(user) = user {
            out.push_str(&hidden(scheme, user));
        }
        rest = &after[user.map_or(0, str::len)..];
        match rest.find("://") {
            Some(next) => at = next,
            None => break,
        }
    }
    out.push_str(rest);
    out.into()
}

/// One address, whatever characters it has, with its user part hidden as in [`without_userinfo`]. In `user:password@host:path`,
/// which is no address, the password is hidden too.
pub fn shown_address(address: &str) -> Cow<'_, str> {
    let hide = |from: usize, user: &str, hidden: &str| {
        format!("{}{hidden}{}", &address[..from], &address[from + user.len()..]).into()
    };
    if let Some((scheme, rest)) = address.split_once("://") {
        return match rest.rfind('@').map(|at| &rest[..at]) {
            Some(user) => hide(scheme.len() + 3, user, &hidden(scheme, user)),
            None => address.into(),
        };
    }
    match password_before_host(address) {
        Some((from, password)) => hide(from, password, "***"),
        None => address.into(),
    }
}

/// In `user:password@host:path` the password and where it begins.
pub fn password_before_host(address: &str) -> Option<(usize, &str)> {
    let (user, rest) = address.split_once(':')?;
    let at = rest.rfind('@').filter(|at| !user.contains('/') && rest[*at..].contains(':'))?;
    Some((user.len() + 1, &rest[..at]))
}

/// What is shown of the user part of an address whose scheme is the end of `before`.
fn hidden(before: &str, user: &str) -> String {
    let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    match user.split_once(':') {
        _ if scheme.to_ascii_lowercase().starts_with("http") => "***".into(),
        Some((name, _)) => format!("{name}:***"),
        None => user.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_be_seen_is_written() {
        assert_eq!(shown("plain é ü 漢 100% a\\b"), "plain é ü 漢 100% a\\b");
        assert_eq!(
            shown("\u{1b}]0;PWNED\u{7}\r\nerror: x\t\u{7f}\u{9b}1m\u{202e}\u{2066}\u{2028}"),
            "\\u{1b}]0;PWNED\\u{7}\\r\\nerror: x\\t\\u{7f}\\u{9b}1m\\u{202e}\\u{2066}\\u{2028}"
        );
        for c in '\0'..=char::MAX {
            assert!(!shown(&c.to_string()).contains(is_unseen), "{c:?}");
        }
        assert_eq!(in_one_line("fatal: a\n\n  b\u{1b}\r\n"), "fatal: a; b\\u{1b}");
    }

    #[test]
    fn an_address_keeps_its_host_and_loses_its_user() {
        for (text, told) in [
            ("http://h/x and no@thing", "http://h/x and no@thing"),
            ("fatal: 'https://TOKEN@h/x/': no", "fatal: 'https://***@h/x/': no"),
            ("`HTTPS://u:pw@h:1/x`, http://a:b@c", "`HTTPS://***@h:1/x`, http://***@c"),
            ("https://u:p@ss@h/x", "https://***@h/x"),
            ("https://u:pa/ss@h/x", "https://***@h/x"),
            ("ssh://git@h:22/x", "ssh://git@h:22/x"),
            ("ssh://git:pw@h/x", "ssh://git:***@h/x"),
            ("zookeeper://u:p@h:1,i:2/r", "zookeeper://u:***@h:1,i:2/r"),
            ("url=https://https://u@h", "url=https://***@h"),
            ("git@h:x", "git@h:x"),
        ] {
            assert_eq!(without_userinfo(text), told, "{text}");
        }
        for (address, shown) in [
            ("https://u:a 'b@h/x", "https://***@h/x"),
            ("u:pw@h:x", "u:***@h:x"),
            ("h:a@b.git", "h:a@b.git"),
            ("/srv/a:b@c:d", "/srv/a:b@c:d"),
        ] {
            assert_eq!(shown_address(address), shown);
        }
    }
}
