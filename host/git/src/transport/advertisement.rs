//! What receive-pack says first: its refs, the objects that it has beside them, and what it is able to do.

use std::io::{self, Read};

use refgate_core::{ObjectFormat, Oid, RefName};

use super::cap::Listed;
use super::list::twice;
use super::pktline;
use crate::Limits;

/// So many objects beside the refs are kept of a listing.
const HAVES: usize = 100_000;

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
    /// It is more than is taken.
    TooMuch(String),
    /// It cannot be, for this reason.
    Lie(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Io(error)
    }
}

impl Advertisement {
    /// Reads up to and with the flush, as much as `limits` allow.
    pub(super) fn read(
        from: &mut impl Read,
        format: ObjectFormat,
        limits: Limits,
    ) -> Result<Advertisement, Refusal> {
        let (mut listing, mut listed) = (Advertisement::default(), Listed::new(limits));
        let mut frame = Vec::new();
        let mut first = true;
        while pktline::read(from, &mut frame)? {
            let line = pktline::text(&frame);
            // Counted whatever is in it: what is passed over has no end either.
            listed.line(frame.len() + 4).map_err(Refusal::TooMuch)?;
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
            if listing.add(line, format)? {
                listed.one_ref().map_err(Refusal::TooMuch)?;
            }
        }
        listing.refs.sort_unstable();
        match listing.refs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(Refusal::Lie(twice(&pair[0].0))),
            None => Ok(listing),
        }
    }

    /// Takes a line; whether there is a ref in it.
    fn add(&mut self, line: &[u8], format: ObjectFormat) -> io::Result<bool> {
        let junk =
            || io::Error::new(io::ErrorKind::InvalidData, format!("it listed `{}`", line.escape_ascii()));
        let digits = format.oid_len() * 2;
        if line.len() < digits + 2 || line[digits] != b' ' {
            return Err(junk());
        }
        let oid = Oid::parse_or_zero(&line[..digits]).map_err(|_| junk())?;
        match (&line[digits + 1..], oid) {
            (b"capabilities^{}", None) => {}
            (name, None) if name.starts_with(b"refs/") => {
                self.broken.extend(RefName::new(name).ok());
                return Ok(true);
            }
            (_, None) => return Err(junk()),
            // They only save sending what is there already.
            (b".have", Some(oid)) if self.haves.len() < HAVES => self.haves.push(oid),
            (name, Some(oid)) if name.starts_with(b"refs/") => {
                self.refs.extend(RefName::new(name).ok().map(|name| (name, oid)));
                return Ok(true);
            }
            // HEAD, and peeled tags (`^{}`).
            _ => {}
        }
        Ok(false)
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
        Advertisement::read(&mut wire(lines).as_slice(), ObjectFormat::Sha1, Limits::default())
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
        let cut = Advertisement::read(&mut &cut[..cut.len() - 4], ObjectFormat::Sha1, Limits::default());
        assert!(matches!(cut, Err(Refusal::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof));
        let twice = read(&[
            &format!("{} refs/heads/a\0x", "a".repeat(40)),
            &format!("{} refs/heads/a", "b".repeat(40)),
        ]);
        assert!(matches!(twice, Err(Refusal::Lie(why)) if why.contains("`refs/heads/a` twice")));
    }

    #[test]
    fn a_listing_has_bounds_whatever_is_in_it() {
        let first = format!("{} refs/heads/0\0report-status", "a".repeat(40));
        let read = |refs: u64, line: &str| {
            let wire = wire(&[&first, line]);
            let (first, line) = wire.split_at(4 + first.len());
            let mut from = first.chain(Cycle(&line[..line.len() - 4], 0));
            match Advertisement::read(&mut from, ObjectFormat::Sha1, Limits { refs, ..Limits::default() }) {
                Err(Refusal::TooMuch(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        let oid = "b".repeat(40);
        assert!(read(7, &format!("{oid} refs/heads/b")).contains("more than 7 refs; `maxRefs`"));
        assert!(read(7, &format!("{ZERO} refs/heads/b")).contains("more than 7 refs; `maxRefs`"));
        for endless in [".have", "HEAD", "refs/not..legal", "refs/tags/a^{}"] {
            // A name that is not legal counts as a ref.
            let why = read(100_000, &format!("{oid} {endless}"));
            assert!(why.contains("`maxRefs`"), "{endless}: {why}");
        }
        assert!(read(7, &format!("shallow {oid}")).contains("more than 1050368 bytes; `maxRefs`"));
        assert!(read(7, &format!("{oid} refs/heads/{}", "x".repeat(9000))).contains("8192 are taken"));
    }

    /// The same bytes again and again.
    struct Cycle<'a>(&'a [u8], usize);

    impl Read for Cycle<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            buf.iter_mut().for_each(|b| (*b, self.1) = (self.0[self.1], (self.1 + 1) % self.0.len()));
            Ok(buf.len())
        }
    }
}
