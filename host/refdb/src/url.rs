//! What a ref-db URL names.

use std::path::{Path, PathBuf};

use crate::access::{Access, PasswordFrom};

use refgate_core::{RefDbError, RefDbErrorKind};

/// What every message about a wrong URL ends with.
const KNOWN: &str = "write `sqlite:PATH`, `zookeeper://HOST:PORT/ROOT`, `etcd://HOST:PORT/PREFIX`, `noop:` or (for tests) `memory:`";

/// The store that a URL names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Noop,
    Memory,
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    Sqlite {
        path: PathBuf,
        /// Whether the operator takes the risk of a network file system.
        network: bool,
    },
    #[cfg_attr(not(feature = "zookeeper"), allow(dead_code))]
    ZooKeeper(Remote),
    #[cfg_attr(not(feature = "etcd"), allow(dead_code))]
    Etcd(Remote),
}

/// A store on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(any(feature = "zookeeper", feature = "etcd")), allow(dead_code))]
pub(crate) struct Remote {
    /// `HOST:PORT`, at least one.
    pub servers: Vec<String>,
    /// The path below which everything is, without a slash at either end; never empty.
    pub root: String,
    /// Who we are.
    pub access: Access,
    /// The URL without secrets, for messages.
    pub shown: String,
    /// Options that only one kind of store knows, in order.
    pub options: Vec<(String, String)>,
}

/// The URL without a user, a password and options, for messages and logs.
pub fn redacted(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            // What belongs to a password that holds `/` or `?` nobody can tell: all up to the last `@` goes.
            let authority = rest.split('/').next().unwrap_or_default();
            let is_server = |server: &str| {
                server.rsplit_once(':').is_none_or(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            };
            let odd = authority.contains('@') || !authority.split(',').all(is_server);
            let (start, shown) = match rest.rsplit_once('@').filter(|_| odd) {
                Some((_, after)) => ("…@", after),
                None => ("", rest),
            };
            format!("{scheme}://{start}{}", shown.split('?').next().unwrap_or_default())
        }
        None => url.to_owned(),
    }
}

/// The environment variable that a URL says holds the password.
pub fn password_variable(url: &str) -> Option<&str> {
    url.split_once('?')?.1.split('&').find_map(|option| option.strip_prefix("passwordEnv="))
}

/// Reads `url`; a relative path is relative to `base_dir`. What the URL says of access goes before `access`.
pub(crate) fn parse(url: &str, base_dir: &Path, access: &Access) -> Result<Target, RefDbError> {
    let wrong = |why: &str| config(format!("ref-db url `{}`: {why}", redacted(url)));
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(wrong(&format!("it names no kind of store; {KNOWN}")));
    };
    match scheme {
        "noop" | "memory" if !rest.is_empty() => {
            Err(wrong(&format!("nothing may follow; write `{scheme}:`")))
        }
        "noop" => Ok(Target::Noop),
        "memory" => Ok(Target::Memory),
        "sqlite" => sqlite(rest, base_dir, wrong),
        "zookeeper" => {
            remote(url, rest, base_dir, access, &["read", "sessionTimeoutMs"], wrong).map(Target::ZooKeeper)
        }
        "etcd" => remote(url, rest, base_dir, access, &[], wrong).map(Target::Etcd),
        _ => Err(wrong(&format!("`{scheme}` is not a kind of store that refgate knows; {KNOWN}"))),
    }
}

fn sqlite(rest: &str, base_dir: &Path, wrong: impl Fn(&str) -> RefDbError) -> Result<Target, RefDbError> {
    let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
    let network = match options {
        "" => false,
        "network=allow" => true,
        _ => return Err(wrong("the only option after `?` is `network=allow`")),
    };
    match path {
        "" => Err(wrong("the path is missing; write `sqlite:PATH`")),
        ":memory:" => Err(wrong("a store in memory is `memory:`")),
        // `sqlite://refdb.sqlite` would be a file in the root directory, which nobody means.
        _ if path.starts_with("//") => {
            Err(wrong("write `sqlite:PATH` without `//`, for an absolute path `sqlite:/PATH`"))
        }
        _ => Ok(Target::Sqlite { path: base_dir.join(path), network }),
    }
}

/// `//HOST:PORT[,HOST:PORT]…/ROOT[?OPTION=VALUE[&…]]`, after the scheme.
fn remote(
    url: &str,
    rest: &str,
    base_dir: &Path,
    access: &Access,
    own_options: &[&str],
    wrong: impl Fn(&str) -> RefDbError,
) -> Result<Remote, RefDbError> {
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(wrong("write `//HOST:PORT/ROOT` after the colon"));
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Some((authority, root)) = place.split_once('/') else {
        return Err(wrong("the root is missing; write `//HOST:PORT/ROOT`"));
    };
    if authority.contains('@') {
        return Err(wrong(
            "a user and a password do not belong into the URL; write `?user=NAME&passwordFile=FILE`",
        ));
    }
    let mut servers = Vec::new();
    for server in authority.split(',') {
        match server.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0) => {
                servers.push(server.to_owned());
            }
            _ => return Err(wrong(&format!("`{server}` is no server; write `HOST:PORT`"))),
        }
    }
    let root = root.trim_matches('/');
    if root.is_empty() || root.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong("the root is a path of one or more names, like `/gerrit/multi-site`"));
    }
    let mut access = access.clone();
    let (mut ca, mut cert, mut key) = (None, None, None);
    let mut options = Vec::new();
    for option in query.split('&').filter(|o| !o.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if value.is_empty() {
            return Err(wrong(&format!("the option `{name}` has no value")));
        }
        match name {
            "user" => access.user = Some(value.to_owned()),
            "passwordFile" => access.password = Some(PasswordFrom::File(base_dir.join(value))),
            "passwordEnv" => access.password = Some(PasswordFrom::Env(value.to_owned())),
            "tls" => match value {
                "true" => access.tls = Some(access.tls.unwrap_or_default()),
                "false" => access.tls = None,
                _ => return Err(wrong("the option `tls` is `true` or `false`")),
            },
            "caFile" => ca = Some(base_dir.join(value)),
            "certFile" => cert = Some(base_dir.join(value)),
            "keyFile" => key = Some(base_dir.join(value)),
            "password" => {
                return Err(wrong("a password does not belong into the URL; write `passwordFile=FILE`"));
            }
            _ if own_options.contains(&name) => options.push((name.to_owned(), value.to_owned())),
            _ => {
                let mut known =
                    vec!["user", "passwordFile", "passwordEnv", "tls", "caFile", "certFile", "keyFile"];
                known.extend(own_options);
                return Err(wrong(&format!("`{name}` is no option; there are {}", known.join(", "))));
            }
        }
    }
    if let Some(ca) = ca {
        access.tls.get_or_insert_default().ca = Some(ca);
    }
    match (cert, key) {
        (None, None) => {}
        (Some(cert), Some(key)) => access.tls.get_or_insert_default().identity = Some((cert, key)),
        _ => return Err(wrong("`certFile` and `keyFile` go together")),
    }
    if access.user.is_some() != access.password.is_some() {
        return Err(wrong(
            "a user needs a password and a password a user: `user` with `passwordFile` or `passwordEnv`",
        ));
    }
    Ok(Remote { servers, root: root.to_owned(), access, shown: redacted(url), options })
}

/// For a kind of store that exists but was left out at build time.
#[cfg(any(test, not(all(feature = "sqlite", feature = "zookeeper", feature = "etcd"))))]
pub(crate) fn not_built_in(scheme: &str) -> RefDbError {
    let how = match scheme {
        "etcd" => {
            "; build it with `cargo build --release --features etcd`, which needs `protoc` and its well-known files (Debian: `protobuf-compiler libprotobuf-dev`)"
        }
        _ => "",
    };
    config(format!("ref-db url `{scheme}:…`: `{scheme}` is not in this build of refgate{how}; or {KNOWN}"))
}

fn config(message: String) -> RefDbError {
    RefDbError::new(RefDbErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Tls;

    fn of(url: &str) -> Result<Target, String> {
        parse(url, Path::new("/etc/refgate"), &Access::default()).map_err(|e| {
            assert_eq!(e.kind, RefDbErrorKind::Config);
            e.message
        })
    }

    #[test]
    fn urls_name_stores() {
        let sqlite = |path: &str, network| Ok(Target::Sqlite { path: path.into(), network });
        assert_eq!(of("noop:"), Ok(Target::Noop));
        assert_eq!(of("memory:"), Ok(Target::Memory));
        assert_eq!(of("sqlite:refdb.sqlite"), sqlite("/etc/refgate/refdb.sqlite", false));
        assert_eq!(of("sqlite:/srv/r.sqlite?network=allow"), sqlite("/srv/r.sqlite", true));
        assert_eq!(of("sqlite:a:b"), sqlite("/etc/refgate/a:b", false));
    }

    #[test]
    fn servers_have_a_root_and_options() {
        let url = "zookeeper://a:2181,[::1]:2182//gerrit/multi-site/?read=local&user=u&passwordFile=pw&caFile=/ca.pem";
        let Ok(Target::ZooKeeper(remote)) = of(url) else { panic!("{url}") };
        assert_eq!(remote.servers, ["a:2181", "[::1]:2182"]);
        assert_eq!(remote.root, "gerrit/multi-site");
        assert_eq!(remote.shown, "zookeeper://a:2181,[::1]:2182//gerrit/multi-site/");
        assert_eq!(remote.options, [("read".to_owned(), "local".to_owned())]);
        assert_eq!(remote.access.user.as_deref(), Some("u"));
        assert_eq!(remote.access.password, Some(PasswordFrom::File("/etc/refgate/pw".into())));
        let tls = remote.access.tls.unwrap();
        assert_eq!((tls.ca, tls.identity), (Some("/ca.pem".into()), None));
        let Ok(Target::Etcd(remote)) = of("etcd://h:1/r?tls=true") else { panic!() };
        assert_eq!(remote.access.tls, Some(Tls::default()));
    }

    #[test]
    fn wrong_urls_say_what_to_write() {
        for (url, part) in [
            ("", "names no kind of store; write `sqlite:PATH`"),
            ("refdb.sqlite", "names no kind of store"),
            ("noop:x", "write `noop:`"),
            ("memory://", "write `memory:`"),
            ("sqlite:", "the path is missing"),
            ("sqlite:?network=allow", "the path is missing"),
            ("sqlite::memory:", "`memory:`"),
            ("sqlite://r.sqlite", "without `//`"),
            ("sqlite:r.sqlite?mode=ro", "the only option"),
            ("SQLite:r", "`SQLite` is not a kind of store"),
            ("mysql://u:secret@h/db", "`mysql` is not a kind of store"),
            ("zookeeper:h:2181/r", "after the colon"),
            ("zookeeper://h:2181", "the root is missing"),
            ("zookeeper://h:2181//", "the root is a path"),
            ("etcd://h:2379/a/../b", "the root is a path"),
            ("etcd://h/r", "`h` is no server"),
            ("etcd://h:0/r", "`h:0` is no server"),
            ("etcd://u:secret@h:1/r", "do not belong into the URL"),
            ("etcd://h:1/r?password=secret", "does not belong into the URL"),
            ("etcd://h:1/r?user=u", "a user needs a password"),
            ("etcd://h:1/r?certFile=c", "go together"),
            ("etcd://h:1/r?tls=yes", "`true` or `false`"),
            ("etcd://h:1/r?tls", "no value"),
            ("etcd://h:1/r?read=local", "`read` is no option; there are user,"),
        ] {
            let message = of(url).unwrap_err();
            assert!(message.contains(part), "{url}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn what_was_left_out_says_how_to_build_it() {
        let e = not_built_in("etcd");
        assert_eq!(e.kind, RefDbErrorKind::Config);
        assert!(e.message.contains("--features etcd`, which needs `protoc`"), "{e}");
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(redacted("zookeeper://u:p@h:1,i:2/r"), "zookeeper://…@h:1,i:2/r");
        assert_eq!(redacted("etcd://h:1/a@b?password=p"), "etcd://h:1/a@b");
        assert_eq!(redacted("sqlite:a@b"), "sqlite:a@b");
        assert_eq!(redacted("zookeeper://u:p@s@h:1/r"), "zookeeper://…@h:1/r");
        assert_eq!(redacted("zookeeper://u:p/s@h:1/r"), "zookeeper://…@h:1/r");
        assert_eq!(redacted("zookeeper://u:p?s@h:1/r"), "zookeeper://…@h:1/r");
        assert_eq!(redacted("zookeeper://h:1/r?user=a@b"), "zookeeper://h:1/r");
    }
}
