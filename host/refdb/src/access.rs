//! Who one is at a ref-db server, and how the connection is protected.

use std::fmt;
use std::path::{Path, PathBuf};

use refgate_core::{RefDbError, RefDbErrorKind};

/// A password. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The password itself, for the one who sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a password comes from. There is no way to write one into a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordFrom {
    /// The first line of a file that only its owner may read.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl PasswordFrom {
    /// Reads it.
    ///
    /// # Errors
    /// [`RefDbErrorKind::Config`]: there is none, it is empty, or others may read the file.
    pub fn read(&self) -> Result<Secret, RefDbError> {
        let wrong = |what: String| RefDbError::new(RefDbErrorKind::Config, what);
        let text = match self {
            PasswordFrom::File(path) => read_private(path).map_err(wrong)?,
            PasswordFrom::Env(name) => std::env::var(name).map_err(|_| {
                wrong(format!("the password of the ref-db: the environment variable `{name}` is not set"))
            })?,
        };
        let line = text.lines().next().unwrap_or_default();
        match line.is_empty() {
            true => Err(wrong(format!("the password of the ref-db is empty: {self}"))),
            false => Ok(Secret::new(line)),
        }
    }
}

impl fmt::Display for PasswordFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordFrom::File(path) => write!(f, "file `{}`", path.display()),
            PasswordFrom::Env(name) => write!(f, "environment variable `{name}`"),
        }
    }
}

fn read_private(path: &Path) -> Result<String, String> {
    use std::os::unix::fs::MetadataExt;
    let failed =
        |e: std::io::Error| format!("the password of the ref-db: cannot read `{}`: {e}", path.display());
    let mode = std::fs::metadata(path).map_err(failed)?.mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "the password of the ref-db: others than its owner may read `{}`; run `chmod 600` on it",
            path.display()
        ));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// Files for a protected connection, all in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates that sign the server's; without it those of the system.
    pub ca: Option<PathBuf>,
    /// This client's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What a server on the network needs to know of us. What a URL says goes before what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The user.
    pub user: Option<String>,
    /// The password of the user.
    pub password: Option<PasswordFrom>,
    /// Protect the connection.
    pub tls: Option<Tls>,
}
