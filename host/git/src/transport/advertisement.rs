//! What receive-pack says first: its refs, the objects that it has beside them, and what it is able to do.

use std::io::{self, Read};

use refgate_core::{ObjectFormat, Oid, RefName};

use super::pktline;

/// The listing of protocol v0 and v1.
#[derive(Debug, Default)]
pub(super) struct Advertisement {
    /// Refs under `refs/` with a legal name, by name. Git itself touches no others.
    pub(super) refs: Vec<(RefName, Oid)>,
    /// Refs that the other side has and cannot read: it lists them with zeros.
    pub(super) broken: Vec<RefName>,
    /// Objects that the other side has beside its refs (`.have`: its alternates).
    pub(super) haves: Vec<Oid>,
    capabilities: Vec<String>,
}

/// Why there is no listing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The connection broke, or carried something else.
    Io(io::Error),
    /// The other side said no, in these words.
    Said(String),
    /// The other side names its objects in this way.
    Format(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Io(error)
    }
}

impl Advertisement {
    /// Reads up to and with the flush.
    pub(super) fn read(from: &mut impl Read, format: ObjectFormat) -> Result<Advertisement, Refusal> {
        let mut listing = Advertisement::default();
        let mut frame = Vec::new();
        let mut first = true;
        while pktline::read(from, &mut frame)? {
            let line = pktline::text(&frame);
            if let Some(said) = line.strip_prefix(b"ERR ") {
                return Err(Refusal::Said(String::from_utf8_lossy(said).into_owned()));
            }
            if line == b"version 1" || line.starts_with(b"shallow ") {
                continue;
            }
            let line = match line.iter().position(|b| *b == 0) {
                Some(nul) if first => {
                    let capabilities = String::from_utf8_lossy(&line[nul + 1..]);
                    listing.capabilities = capabilities.split_ascii_whitespace().map(str::to_owned).collect();
                    &line[..nul]
                }
                _ => line,
            };
            if first {
                let theirs = listing.value("object-format").unwrap_or("sha1");
                if theirs != format.name() {
                    return Err(Refusal::Format(theirs.into()));
                }
                first = false;
            }
            listing.add(line, format)?;
        }
        listing.refs.sort_unstable();
        Ok(listing)
    }

    fn add(&mut self, line: &[u8], format: ObjectFormat) -> io::Result<()> {
        let junk =
            || io::Error::new(io::ErrorKind::InvalidData, format!("it listed `{}`", line.escape_ascii()));
        let digits = format.oid_len() * 2;
        if line.len() < digits + 2 || line[digits] != b' ' {
            return Err(junk());
        }
        let oid = Oid::parse_or_zero(&line[..digits]).map_err(|_| junk())?;
        match (&line[digits + 1..], oid) {
            (b"capabilities^{}", None) => {}
            (name, None) if name.starts_with(b"refs/") => self.broken.extend(RefName::new(name).ok()),
            (_, None) => return Err(junk()),
            (b".have", Some(oid)) => self.haves.push(oid),
            (name, Some(oid)) if name.starts_with(b"refs/") => {
                self.refs.extend(RefName::new(name).ok().map(|name| (name, oid)));
            }
            // HEAD, and peeled tags (`^{}`).
            _ => {}
        }
        Ok(())
    }

    /// Whether the other side is able to do `capability`.
    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }

    /// Whether it says something after `key=`.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// What it says after `key=`.
    fn value(&self, key: &str) -> Option<&str> {
        self.capabilities.iter().find_map(|c| c.strip_prefix(key)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";

    fn wire(lines: &[&str]) -> Vec<u8> {
        let mut wire = Vec::new();
        lines.iter().for_each(|line| pktline::write(&mut wire, line.as_bytes()).unwrap());
        pktline::write_flush(&mut wire).unwrap();
        wire
    }

    fn read(lines: &[&str]) -> Result<Advertisement, Refusal> {
        Advertisement::read(&mut wire(lines).as_slice(), ObjectFormat::Sha1)
    }

    #[test]
    fn refs_haves_and_capabilities() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let listing = read(&[
            "version 1",
            &format!("{b} refs/tags/v1\0report-status delete-refs object-format=sha1\n"),
            &format!("{c} refs/tags/v1^{{}}\n"),
            &format!("{a} refs/heads/a\n"),
            &format!("{a} HEAD"),
            &format!("{a} refs/heads/not..legal"),
            &format!("{c} .have"),
            &format!("shallow {a}"),
        ])
        .unwrap();
        let names: Vec<String> = listing.refs.iter().map(|(name, oid)| format!("{name} {oid}")).collect();
        assert_eq!(names, [format!("refs/heads/a {a}"), format!("refs/tags/v1 {b}")]);
        assert_eq!(listing.haves, [Oid::from_hex(c.as_bytes()).unwrap()]);
        assert!(listing.can("delete-refs") && !listing.can("delete") && !listing.can("atomic"));
    }

    #[test]
    fn an_empty_repository_and_one_without_capabilities() {
        let empty = read(&[&format!("{ZERO} capabilities^{{}}\0report-status")]).unwrap();
        assert!(empty.refs.is_empty() && empty.can("report-status"));
        assert!(read(&[]).unwrap().refs.is_empty());
    }

    #[test]
    fn refusals_and_junk() {
        assert!(
            matches!(read(&["ERR no such thing\n"]), Err(Refusal::Said(said)) if said == "no such thing")
        );
        let sha256 = format!("{} refs/heads/a\0object-format=sha256", "a".repeat(64));
        assert!(matches!(read(&[&sha256]), Err(Refusal::Format(format)) if format == "sha256"));
        let damaged =
            read(&[&format!("{ZERO} refs/heads/a\0x"), &format!("{} refs/heads/b", "b".repeat(40))]).unwrap();
        assert_eq!((damaged.broken[0].to_string().as_str(), damaged.refs.len()), ("refs/heads/a", 1));
        for junk in ["hello", &format!("{ZERO} HEAD"), &format!("{} x", "z".repeat(40))] {
            assert!(
                matches!(read(&[junk]), Err(Refusal::Io(e)) if e.kind() == io::ErrorKind::InvalidData),
                "{junk}"
            );
        }
        let cut = &wire(&[&format!("{} refs/heads/a\0x", "a".repeat(40))]);
        let cut = Advertisement::read(&mut &cut[..cut.len() - 4], ObjectFormat::Sha1);
        assert!(matches!(cut, Err(Refusal::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof));
    }
}
