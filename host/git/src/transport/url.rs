//! The address of a remote: which forms are taken, `${name}` for the project, and how it is shown without passwords.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use refgate_core::Project;

use crate::{GitError, GitErrorKind, Limits};

const NAME: &str = "${name}";

/// Where a remote repository is, how it is reached, and how long it may say nothing.
///
/// `Display` never shows a password or a token.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    /// What git is given; a path is absolute.
    text: String,
    place: Place,
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
                let place = ssh_place(destination, None, path).map_err(bad)?;
                Ok(RemoteUrl { text: text.into(), place, limits: Limits::default() })
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
        let (text, place) = (path.to_string_lossy().into_owned(), Place::Path(path));
        Ok(RemoteUrl { text, place, limits: Limits::default() })
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

    /// What git is given as the address.
    pub(super) fn git_argument(&self) -> &OsStr {
        match &self.place {
            Place::Path(path) => path.as_os_str(),
            _ => OsStr::new(&self.text),
        }
    }

    /// Takes the password of this address out of `text`.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        match userinfo(&self.text).map(|(user, _)| user.split_once(':').map_or("", |(_, password)| password))
        {
            Some(password) if !password.is_empty() => text.replace(password, "***"),
            _ => text.to_owned(),
        }
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.text))
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteUrl({self})")
    }
}

fn parse_url(text: &str, scheme: &str, rest: &str) -> Result<RemoteUrl, GitError> {
    let bad = |why: &str| bad_url(text, why);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let place = match scheme {
        "http" | "https" if authority.is_empty() || authority.starts_with('-') => {
            return Err(bad("it names no host"));
        }
        "http" | "https" => Place::Http,
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
    Ok(RemoteUrl { text: text.into(), place, limits: Limits::default() })
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

/// The part before `@` of a URL, and where it starts.
fn userinfo(text: &str) -> Option<(&str, usize)> {
    let (scheme, rest) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme))?;
    let authority = rest.split('/').next()?;
    Some((authority.rsplit_once('@')?.0, scheme.len() + 3))
}

/// `text` without its password. Over http a user alone is hidden too, because it is often a token.
fn masked(text: &str) -> String {
    let Some((user, at)) = userinfo(text) else {
        return text.into();
    };
    let shown = match user.split_once(':') {
        _ if text[..at].to_ascii_lowercase().starts_with("http") => "***".to_owned(),
        Some((name, _)) => format!("{name}:***"),
        None => user.to_owned(),
    };
    format!("{}{shown}{}", &text[..at], &text[at + user.len()..])
}

fn bad_url(text: &str, why: &str) -> GitError {
    let shown: String = masked(text).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    GitError::new(format!("`{shown}` is no address of a remote: {why}"))
        .kind(GitErrorKind::BadUrl)
        .hint("write a path, `user@host:path`, or an ssh, git, http or https URL")
}

#[cfg(test)]
mod tests;
