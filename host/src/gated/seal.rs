//! The seal of a push that replication sends: only who knows the secret of the sites can make one.
//!
//! The mark of replication is a push option, which any client can send. What it can do is bounded by
//! [`judge`](super::judge) alone; where that is not enough, the sites share a secret (`site.secretFile`), the sender adds a
//! seal, and a site with a secret takes no mark without one. A seal is an HMAC-SHA-256 (RFC 2104) over the project, the
//! mark, the identity of the ref-db and all commands of a session. It says who sends, and not when: a push that is sent a
//! second time is judged a second time, and the ref-db has the last word.

use std::fmt::Write as _;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use refgate_core::{Oid, Project};
use sha2::{Digest, Sha256};

use super::SEAL;
use crate::Error;

/// Shorter secrets can be guessed.
const SHORTEST: usize = 16;
/// Keeps seals of other things and later kinds apart.
const KIND: &[u8] = b"refgate push 1\0";

/// One ref of a push: its name, the old and the new value.
pub(crate) type Command<'a> = (&'a [u8], Option<Oid>, Option<Oid>);

/// What a seal is about.
#[derive(Clone, Debug)]
pub(crate) struct Sealed<'a> {
    pub project: &'a Project,
    /// The mark of replication, with the name of the site.
    pub mark: &'a str,
    /// The identity of the sender's ref-db, when it says so.
    pub refdb: Option<&'a str>,
}

/// What a seal turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Whoever made it knows a secret, and these are the commands.
    Good,
    /// Whoever made it knows a secret, and the commands are others: git refused some, and hands on the rest only.
    OfOthers,
    /// No secret of this site made it.
    Forged,
}

/// The secrets of a site: the first seals, each of them is accepted, so that a secret can be replaced.
#[derive(Clone)]
pub(crate) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Reads a file with one secret in each line.
    ///
    /// # Errors
    /// A file that cannot be read, that people without a right to it may read or write, or in which a secret is too short.
    pub(crate) fn read(path: &Path) -> Result<Secrets, Error> {
        use std::os::unix::fs::MetadataExt;
        let of = format!("the secret of the sites, `site.secretFile = {}`", path.display());
        let failed = |e: std::io::Error| {
            Error::failed(format!("{of}: {e}"))
                .hint("whoever replicates here and whoever runs the hook must be able to read it")
        };
        let mode = std::fs::metadata(path).map_err(failed)?.mode();
        if mode & 0o027 != 0 {
            return Err(Error::failed(format!("{of}: others may read it, or its group may write it")).hint(
                format!(
                    "run `chmod 640 {0}` or `chmod 600 {0}`, and make a new one: it may be known",
                    path.display()
                ),
            ));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let secrets: Vec<Vec<u8>> = text
            .lines()
            .map(|line| line.trim().as_bytes().to_vec())
            .filter(|line| !line.is_empty())
            .collect();
        if secrets.is_empty() || secrets.iter().any(|secret| secret.len() < SHORTEST) {
            return Err(Error::failed(format!(
                "{of}: each line holds one secret, of {SHORTEST} bytes or more"
            ))
            .hint("for example the output of `openssl rand -base64 32`, the same at all sites"));
        }
        Ok(Secrets(secrets))
    }

    /// The push option for a session with these commands.
    pub(crate) fn seal<'a>(&self, what: &Sealed<'_>, commands: impl Iterator<Item = Command<'a>>) -> String {
        let digest = digest(commands);
        let mac = self.0.first().map(|secret| mac(secret, what, &digest).finalize().into_bytes());
        format!("{SEAL}{}:{}", hex(&digest), hex(mac.as_deref().unwrap_or_default()))
    }

    /// Looks at what came behind [`SEAL`].
    pub(crate) fn look<'a>(
        &self,
        what: &Sealed<'_>,
        commands: impl Iterator<Item = Command<'a>>,
        seal: &str,
    ) -> Found {
        let Some((of, sum)) = seal.split_once(':').and_then(|(of, sum)| Some((bytes(of)?, bytes(sum)?)))
        else {
            return Found::Forged;
        };
        // `verify_slice` takes the same time whatever is wrong.
        match self.0.iter().any(|secret| mac(secret, what, &of).verify_slice(&sum).is_ok()) {
            false => Found::Forged,
            true if of == digest(commands) => Found::Good,
            true => Found::OfOthers,
        }
    }
}

fn mac(secret: &[u8], what: &Sealed<'_>, digest: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(KIND);
    for part in [
        what.project.as_str().as_bytes(),
        what.mark.as_bytes(),
        what.refdb.unwrap_or_default().as_bytes(),
        digest,
    ] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

/// Of all commands, in the order of their names: git may hand them on in another one.
fn digest<'a>(commands: impl Iterator<Item = Command<'a>>) -> Vec<u8> {
    let mut commands: Vec<Command<'_>> = commands.collect();
    commands.sort_unstable();
    let mut digest = Sha256::new();
    let mut line = String::new();
    for (name, old, new) in commands {
        line.clear();
        for oid in [old, new] {
            let _ = match oid {
                Some(oid) => write!(line, "{oid} "),
                None => write!(line, "- "),
            };
        }
        digest.update(&line);
        digest.update((name.len() as u64).to_be_bytes());
        digest.update(name);
    }
    digest.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let even = hex.len().is_multiple_of(2);
    if even { hex.as_bytes().chunks(2).map(pair).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(lines: &[&str]) -> Secrets {
        Secrets(lines.iter().map(|line| line.as_bytes().to_vec()).collect())
    }

    #[test]
    fn a_seal_holds_for_what_was_sealed_and_nothing_else() {
        let oid = |digit: u8| Oid::from_hex(&[digit; 40]).ok();
        let (p, q) = (Project::new("p").unwrap(), Project::new("q").unwrap());
        let what = Sealed { project: &p, mark: "refgate.replication=a", refdb: Some("1") };
        let commands: [Command<'_>; 2] =
            [(b"refs/heads/x", None, oid(b'a')), (b"refs/heads/y", oid(b'a'), oid(b'b'))];
        let ours = secrets(&["a secret of the sites", "an older secret"]);
        let option = ours.seal(&what, commands.into_iter());
        let seal = option.strip_prefix(SEAL).unwrap();
        let look = |by: &Secrets, what: &Sealed<'_>, commands: &[Command<'static>], seal: &str| {
            by.look(what, commands.iter().copied(), seal)
        };
        assert_eq!(look(&ours, &what, &commands, seal), Found::Good);
        let turned = [commands[1], commands[0]];
        assert_eq!(look(&ours, &what, &turned, seal), Found::Good, "in any order");
        // A site that has the next secret already takes those of the last one.
        assert_eq!(
            look(&secrets(&["the next secret", "a secret of the sites"]), &what, &commands, seal),
            Found::Good
        );
        assert_eq!(look(&ours, &what, &commands[..1], seal), Found::OfOthers);
        let mut other = commands;
        other[1].1 = None;
        assert_eq!(look(&ours, &what, &other, seal), Found::OfOthers, "another old value");
        assert_eq!(look(&secrets(&["another secret"]), &what, &commands, seal), Found::Forged);
        for wrong in [
            Sealed { project: &q, ..what.clone() },
            Sealed { mark: "refgate.replication=b", ..what.clone() },
            Sealed { refdb: Some("2"), ..what.clone() },
            Sealed { refdb: None, ..what.clone() },
        ] {
            assert_eq!(look(&ours, &wrong, &commands, seal), Found::Forged, "{wrong:?}");
        }
        for junk in ["", ":", "zz:zz", &seal[1..], &seal[..seal.len() - 2], "é:é"] {
            assert_eq!(look(&ours, &what, &commands, junk), Found::Forged, "{junk}");
        }
    }

    #[test]
    fn a_file_that_others_read_or_with_a_short_secret_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let read = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Secrets::read(&path).map(|secrets| secrets.0.len()).map_err(|e| e.message)
        };
        assert_eq!(read("0123456789abcdef\n\nfedcba9876543210\n", 0o640), Ok(2));
        assert!(read("0123456789abcdef\n", 0o644).unwrap_err().contains("others may read it"));
        assert!(read("0123456789abcdef\n", 0o660).unwrap_err().contains("its group may write it"));
        for short in ["", "\n", "0123456789abcdef\nshort\n"] {
            assert!(read(short, 0o600).unwrap_err().contains("16 bytes or more"), "{short:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Secrets::read(&path).is_err_and(|e| e.message.contains("site.secretFile")));
    }
}
