//! What a ref-db URL names.

use std::path::{Path, PathBuf};

use refgate_core::{RefDbError, RefDbErrorKind};

/// What every message about a wrong URL ends with.
const KNOWN: &str = "write `sqlite:PATH`, `noop:` or (for tests) `memory:`";

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
}

/// The URL without a user and a password, for messages and logs.
pub fn redacted(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split('/').next().unwrap_or_default();
            match authority.rsplit_once('@') {
                Some((secret, _)) => format!("{scheme}://…{}", &rest[secret.len()..]),
                None => url.to_owned(),
            }
        }
        None => url.to_owned(),
    }
}

/// Reads `url`; a relative path is relative to `base_dir`.
pub(crate) fn parse(url: &str, base_dir: &Path) -> Result<Target, RefDbError> {
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
        "zookeeper" | "etcd" => Err(not_built_in(scheme)),
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

/// For a kind of store that exists but was left out at build time.
pub(crate) fn not_built_in(scheme: &str) -> RefDbError {
    config(format!("ref-db url `{scheme}:…`: `{scheme}` is not in this build of refgate; {KNOWN}"))
}

fn config(message: String) -> RefDbError {
    RefDbError::new(RefDbErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<Target, String> {
        parse(url, Path::new("/etc/refgate")).map_err(|e| {
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
            ("zookeeper://h:2181/r", "not in this build"),
            ("etcd://h:2379/r", "not in this build"),
        ] {
            let message = of(url).unwrap_err();
            assert!(message.contains(part), "{url}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(redacted("zookeeper://u:p@h:1,i:2/r"), "zookeeper://…@h:1,i:2/r");
        assert_eq!(redacted("etcd://h:1/a@b"), "etcd://h:1/a@b");
        assert_eq!(redacted("sqlite:a@b"), "sqlite:a@b");
    }
}
