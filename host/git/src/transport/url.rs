//! The address of a remote: which forms are taken, `${name}` for the project, and how it is shown without passwords.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use refgate_core::{Project, password_before_host, shown_address};

use super::login::{ADDRESS, Login};
use crate::{GitError, GitErrorKind, Limits, command};

const NAME: &str = "${name}";

/// Where a remote repository is, how it is reached, and how long it may say nothing.
///
/// `Display` never shows a password or a token.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    /// What git is given; a path is absolute. Over http the user part is left out.
    text: String,
    place: Place,
    /// Over http: who one is there.
    login: Option<Login>,
    /// The rules of `url.*.insteadOf` made it, and are not applied again.
    rewritten: bool,
    limits: Limits,
}

/// The four ways to reach a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On this machine, absolute.
    Path(PathBuf),
    /// Through ssh.
    Ssh {
        /// `host` or `user@host`, as ssh takes it.
        destination: String,
        /// Only when the URL has one.
        port: Option<u16>,
        /// As git hands it to the remote's shell, before quoting.
        path: String,
    },
    /// git's own protocol.
    Daemon {
        /// Name or address, without brackets.
        host: String,
        /// Only when the URL has one.
        port: Option<u16>,
        /// Absolute.
        path: String,
    },
    /// http or https: left to git altogether.
    Http,
}

impl RemoteUrl {
    /// Takes a path, `file://`, `ssh://`, `user@host:path`, `git://`, `http://` or `https://`, and nothing else.
    ///
    /// A relative path is taken from the current directory. Errors have the kind [`GitErrorKind::BadUrl`].
    pub fn parse(text: &str) -> Result<RemoteUrl, GitError> {
        let bad = |why: &str| bad_url(text, why);
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.chars().any(char::is_control) {
            return Err(bad("it holds a control character"));
        }
        if text.starts_with('-') {
            return Err(bad("it would be read as an option; write `./-…` for such a path"));
        }
        if let Some((scheme, rest)) = text.split_once("://")
            && is_scheme(scheme)
        {
            return parse_url(text, &scheme.to_ascii_lowercase(), rest);
        }
        let first = text.split('/').next().unwrap_or_default();
        if first.contains("::") {
            return Err(bad("remote helpers are not run"));
        }
        match first.split_once(':') {
            Some((destination, _)) => {
                let path = &text[destination.len() + 1..];
                if password_before_host(text).is_some() {
                    return Err(bad(NO_PASSWORD));
                }
                let place = ssh_place(destination, None, path).map_err(bad)?;
                Ok(RemoteUrl::at(text, place))
            }
            None => RemoteUrl::local(Path::new(text)).map_err(bad),
        }
    }

    /// The address of one project: `template` with `${name}` replaced.
    ///
    /// In a URL the name is percent-encoded, in a path and in `user@host:path` it stands as it is; a relative path is
    /// taken from `base_dir`. The name cannot become part of a host.
    pub fn for_project(template: &str, project: &Project, base_dir: &Path) -> Result<RemoteUrl, GitError> {
        if let Some(at) = template.replace(NAME, "").find("${") {
            let rest: String = template.replace(NAME, "").chars().skip(at).take(20).collect();
            return Err(bad_url(template, &format!("`{rest}` is not known; only `${{name}}` is replaced")));
        }
        let first = template.split('/').next().unwrap_or_default();
        // Where the path begins is read from the template: a project name may hold a colon.
        let (path_at, text) = match template.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
            Some((scheme, rest)) => (
                scheme.len() + 3 + rest.find('/').unwrap_or(rest.len()),
                template.replace(NAME, &percent_encode(project.as_str())),
            ),
            None => (first.find(':').unwrap_or(0), template.replace(NAME, project.as_str())),
        };
        if template.find(NAME).is_some_and(|at| at < path_at) {
            return Err(bad_url(template, "`${name}` may stand only in the path"));
        }
        match first.contains(':') || template.starts_with('-') || template.is_empty() {
            true => RemoteUrl::parse(&text),
            false => RemoteUrl::local(&base_dir.join(&text)).map_err(|why| bad_url(&text, why)),
        }
    }

    /// A repository on this machine.
    fn local(path: &Path) -> Result<RemoteUrl, &'static str> {
        let path = std::path::absolute(path).map_err(|_| "the current directory cannot be read")?;
        Ok(RemoteUrl::at(&path.to_string_lossy(), Place::Path(path.clone())))
    }

    fn at(text: &str, place: Place) -> RemoteUrl {
        RemoteUrl { text: text.into(), place, login: None, rewritten: false, limits: Limits::default() }
    }

    /// The same remote, waited for as `limits` says.
    #[must_use]
    pub fn within(self, limits: Limits) -> RemoteUrl {
        RemoteUrl { limits, ..self }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The path of a repository on this machine, absolute; `None` for everything that is reached over a network.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Whether a repository can be made there; the others have no word for it.
    pub fn can_create(&self) -> bool {
        matches!(self.place, Place::Path(_) | Place::Ssh { .. })
    }

    /// What git is given as the address. It knows what is meant when [`hand_to`](Self::hand_to) told it.
    pub(super) fn git_argument(&self) -> &OsStr {
        match &self.place {
            Place::Path(path) => path.as_os_str(),
            _ if self.is_handed() => OsStr::new(ADDRESS),
            _ => OsStr::new(&self.text),
        }
    }

    /// Tells git what its command line does not: an address that is not to be rewritten, and who one is there.
    pub(super) fn hand_to(&self, git: &mut Command) {
        if self.is_handed() {
            command::set(git, &[(format!("url.{}.insteadOf", self.text), ADDRESS.to_owned())]);
        }
        if let Some(login) = &self.login {
            let path_at = authority_end(&self.text);
            login.hand_to(git, &self.text[..path_at]);
        }
    }

    fn is_handed(&self) -> bool {
        self.path().is_none() && (self.rewritten || self.login.is_some())
    }

    /// The same, as the rules of `url.*.insteadOf` made it.
    pub(super) fn made_by_rules(self) -> RemoteUrl {
        RemoteUrl { rewritten: true, ..self }
    }

    pub(super) fn is_rewritten(&self) -> bool {
        self.rewritten
    }

    /// As it was written, when it says who one is; for nobody's eyes.
    pub(super) fn with_login(&self) -> Option<String> {
        let login = self.login.as_ref()?;
        let at = self.text.find("://").map_or(0, |at| at + 3);
        Some(format!("{}{}@{}", &self.text[..at], login.written(), &self.text[at..]))
    }

    /// Takes everything secret out of what git or the other side said: what this address holds, and the user parts of
    /// others.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let text = self.login.as_ref().map_or_else(|| text.to_owned(), |login| login.hide(text));
        refgate_core::without_userinfo(&text).into_owned()
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown_address(self.with_login().as_deref().unwrap_or(&self.text)))
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteUrl({self})")
    }
}

fn parse_url(text: &str, scheme: &str, rest: &str) -> Result<RemoteUrl, GitError> {
    let bad = |why: &str| bad_url(text, why);
    if let "http" | "https" = scheme {
        return http(text).map_err(bad);
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let place = match scheme {
        "file" if !authority.is_empty() => return Err(bad("a file URL has no host: write `file:///path`")),
        "file" => return RemoteUrl::local(Path::new(&percent_decode(path).map_err(bad)?)).map_err(bad),
        "ssh" | "git" => {
            let (authority, path) =
                (percent_decode(authority).map_err(bad)?, percent_decode(path).map_err(bad)?);
            if path.len() < 2 {
                return Err(bad("it names no path"));
            }
            let (user, host_port) = match authority.rsplit_once('@') {
                Some((user, host_port)) => (Some(user), host_port),
                None => (None, authority.as_str()),
            };
            let (host, port) = host_and_port(host_port).map_err(bad)?;
            if scheme == "ssh" {
                if user.is_some_and(|user| user.contains(':')) {
                    return Err(bad(NO_PASSWORD));
                }
                let destination = user.map_or(host.to_owned(), |user| format!("{user}@{host}"));
                // As in git, `/~user` is the home directory of that user.
                let path = if path.starts_with("/~") { &path[1..] } else { path.as_str() };
                ssh_place(&destination, port, path).map_err(bad)?
            } else if user.is_some() {
                return Err(bad("git:// takes no user"));
            } else {
                Place::Daemon { host: host.into(), port, path }
            }
        }
        _ => {
            return Err(bad("only paths, file, ssh, git, http and https addresses are taken"));
        }
    };
    Ok(RemoteUrl::at(text, place))
}

const NO_PASSWORD: &str = "ssh takes no password from an address; give it a key";

/// An address over http. Who one is there is taken out of it.
fn http(text: &str) -> Result<RemoteUrl, &'static str> {
    /// What git would take for a host, and ask there.
    const ENCODE: &str =
        "its user or password holds an `@`, `/`, `?`, `#` or a space: write %40, %2F, %3F, %23 or %20";
    let start = text.find("://").map_or(0, |at| at + 3);
    let end = authority_end(text);
    let (authority, after) = (&text[start..end], &text[end..]);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let spoiled = || user.is_some_and(|user| user.contains('@') || user.contains(char::is_whitespace));
    match host_and_port(host) {
        _ if spoiled() || authority.contains(char::is_whitespace) => return Err(ENCODE),
        Err(_) if after.contains('@') => return Err(ENCODE),
        Err(why) => return Err(why),
        Ok(_) => {}
    }
    let login = user.filter(|user| !user.is_empty()).map(Login::parse).transpose()?;
    Ok(RemoteUrl { login, ..RemoteUrl::at(&format!("{}{host}{after}", &text[..start]), Place::Http) })
}

/// Where the host of a URL and its port end.
fn authority_end(text: &str) -> usize {
    let start = text.find("://").map_or(0, |at| at + 3);
    text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at)
}

fn ssh_place(destination: &str, port: Option<u16>, path: &str) -> Result<Place, &'static str> {
    let host = destination.rsplit_once('@').map_or(destination, |(_, host)| host);
    match () {
        () if host.is_empty() => Err("it names no host"),
        () if host.starts_with('[') => Err("write an address in brackets as `ssh://[…]/path`"),
        () if destination.starts_with('-') || host.starts_with('-') => {
            Err("the host would be read as an option")
        }
        () if path.is_empty() => Err("it names no path"),
        () if path.starts_with('-') => Err("the path would be read as an option"),
        () => Ok(Place::Ssh { destination: destination.into(), port, path: path.into() }),
    }
}

/// `host`, `host:port`, `[address]` or `[address]:port`.
fn host_and_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("a bracket of the host is missing")?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if host.is_empty() {
        return Err("it names no host");
    }
    if host.starts_with('-') {
        return Err("the host would be read as an option");
    }
    let port = match port.strip_prefix(':') {
        Some("") => None,
        Some(digits) => Some(digits.parse().map_err(|_| "the port is not a number from 0 to 65535")?),
        None if port.is_empty() => None,
        None => return Err("something stands between the host and the path"),
    };
    Ok((host, port))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
}

/// Everything but unreserved characters and `/` becomes `%XX`.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(b.into()),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn percent_decode(text: &str) -> Result<String, &'static str> {
    let decoded =
        String::from_utf8(refgate_core::unescape(text)).map_err(|_| "it is not UTF-8 when it is decoded")?;
    match decoded.chars().any(char::is_control) {
        true => Err("it holds a control character"),
        false => Ok(decoded),
    }
}

fn bad_url(text: &str, why: &str) -> GitError {
    let shown = shown_address(text);
    GitError::new(format!("`{shown}` is no address of a remote: {why}"))
        .kind(GitErrorKind::BadUrl)
        .hint("write a path, `user@host:path`, or an ssh, git, http or https URL")
}

#[cfg(test)]
mod tests;
