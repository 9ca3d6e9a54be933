//! Reads a plugin directory: every `NAME.wasm` with its `NAME.toml` and `NAME.wasm.sig`, without running anything.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::limits::{COMPONENT_BYTES, SIDE_FILE_BYTES};
use crate::{LoadError, Policy, digest};
use crate::{place, read};

/// Bytes of a plugin's name.
const NAME_BYTES: usize = 64;

/// How often a directory is read again because something in it changed meanwhile.
const READINGS: usize = 3;

/// What a plugin may be called; `host` is how results name refgate itself.
pub(crate) const NAME_RULE: &str = "the name of the file is not usable: write 1 to 64 of `a-z A-Z 0-9 - _` before `.wasm`, \
                                    beginning with a letter or digit, and not `host`";

/// A component as it was read, before anything is known about it but its name.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    pub(crate) path: PathBuf,
    pub(crate) wasm: Vec<u8>,
    pub(crate) digest: String,
    pub(crate) signature: Option<Vec<u8>>,
}

/// What lies in a directory under one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The component, if there is a `.wasm`.
    pub(crate) wasm: Option<Staged>,
    /// The text of `NAME.toml` and what it says.
    pub(crate) policy: Option<(String, Policy)>,
}

impl Found {
    /// Leaves the settings of `NAME.toml` aside where others are given in their place.
    pub(crate) fn give_way(&mut self, others: bool) {
        if let (true, Some((_, policy))) = (others, &mut self.policy) {
            policy.settings.clear();
        }
    }
}

/// One name that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) name: String,
    /// The component's digest when it could be read.
    pub(crate) digest: Option<String>,
    pub(crate) error: LoadError,
}

impl Refused {
    /// What is no plugin's fault has no plugin's name.
    pub(crate) fn machine(error: LoadError) -> Refused {
        Refused { name: String::new(), digest: None, error }
    }
}

/// All of a directory: usable things by name, and what is not.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) found: BTreeMap<String, Found>,
    pub(crate) refused: Vec<Refused>,
}

/// Reads all of `dir`, as it was at one time if that can be had: files that belong together are replaced one after the
/// other. An error concerns the directory itself.
pub(crate) fn list(dir: &Path) -> Result<Listing, LoadError> {
    let mut before = stamps(dir)?;
    let mut listing = list_once(dir, &before)?;
    for _ in 1..READINGS {
        let after = stamps(dir)?;
        if after == before {
            break;
        }
        before = after;
        listing = list_once(dir, &before)?;
    }
    Ok(listing)
}

/// What tells two states of a directory apart, by file.
pub(crate) type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// What tells two states of a file apart: its number, its length, and when it changed.
pub(crate) type Stamp = (u64, u64, i64, i64);

pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|m| (m.ino(), m.len(), m.ctime(), m.ctime_nsec()))
}

pub(crate) fn stamps(dir: &Path) -> Result<Stamps, LoadError> {
    let unreadable = |e: std::io::Error| LoadError::directory(dir, format!("it cannot be read: {e}"));
    let metadata = fs::metadata(dir).map_err(unreadable)?;
    if !metadata.is_dir() {
        return Err(LoadError::directory(dir, "it is not a directory"));
    }
    let mut stamps = Stamps::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if ["wasm", "toml", "sig"].iter().any(|extension| is(&path, extension)) {
            // What cannot be looked at is told when it is read.
            let stamp = stamp(&path);
            stamps.insert(path, stamp);
        }
    }
    Ok(stamps)
}

fn list_once(dir: &Path, files: &Stamps) -> Result<Listing, LoadError> {
    place::check_directory(dir).map_err(|cause| LoadError::directory(dir, cause))?;
    let mut listing = Listing::default();
    for path in files.keys() {
        let (wasm, toml) = (is(path, "wasm"), is(path, "toml"));
        if !wasm && !toml {
            continue;
        }
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if !legal_name(&name) {
            if wasm {
                listing.refuse(&name, None, refuse(path, NAME_RULE));
            }
            continue;
        }
        if wasm {
            match stage(path) {
                Ok(staged) => listing.found.entry(name).or_default().wasm = Some(staged),
                Err(error) => listing.refuse(&name, None, error),
            }
        } else {
            match policy(path) {
                Ok(policy) => listing.found.entry(name).or_default().policy = Some(policy),
                Err(error) => listing.refuse(&name, None, error),
            }
        }
    }
    listing.refuse_twins();
    // Without what is said about it, a plugin is not what its operator wants.
    let Listing { found, refused } = &mut listing;
    found.retain(|name, _| !refused.iter().any(|r| r.name == *name));
    Ok(listing)
}

/// Reads one component that is named by its path.
pub(crate) fn file(path: &Path) -> Result<(String, Found), LoadError> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if !legal_name(name) {
        return Err(refuse(path, NAME_RULE));
    }
    let wasm = Some(stage(path)?);
    let side = path.with_extension("toml");
    let policy = if side.exists() { Some(policy(&side)?) } else { None };
    Ok((name.to_owned(), Found { wasm, policy }))
}

impl Listing {
    fn refuse(&mut self, name: &str, digest: Option<String>, error: LoadError) {
        self.refused.push(Refused { name: name.to_owned(), digest, error });
    }

    /// Names that differ only in case are one name to people, and to file systems of other machines.
    fn refuse_twins(&mut self) {
        let mut by_lower: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, _) in self.found.iter().filter(|(_, found)| found.wasm.is_some()) {
            by_lower.entry(name.to_ascii_lowercase()).or_default().push(name.clone());
        }
        for twins in by_lower.into_values().filter(|names| names.len() > 1) {
            for name in &twins {
                let Some(found) = self.found.remove(name).and_then(|f| f.wasm) else { continue };
                let others: Vec<_> =
                    twins.iter().filter(|n| *n != name).map(|n| format!("`{n}.wasm`")).collect();
                let cause =
                    format!("two plugins of one name: there is also {}; remove one", others.join(", "));
                self.refuse(name, Some(found.digest), refuse(&found.path, cause));
            }
        }
    }
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}

fn refuse(path: &Path, cause: impl Into<String>) -> LoadError {
    LoadError::plugin(&path.display().to_string(), cause)
}

pub(crate) fn legal_name(name: &str) -> bool {
    name.len() <= NAME_BYTES
        && name != "host"
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn stage(path: &Path) -> Result<Staged, LoadError> {
    let wasm = whole(path, COMPONENT_BYTES)?;
    let side = PathBuf::from(format!("{}.sig", path.display()));
    let signature = if side.exists() { Some(whole(&side, SIDE_FILE_BYTES)?) } else { None };
    Ok(Staged { path: path.to_owned(), digest: digest(&wasm), wasm, signature })
}

fn policy(path: &Path) -> Result<(String, Policy), LoadError> {
    let text =
        String::from_utf8(whole(path, SIDE_FILE_BYTES)?).map_err(|_| refuse(path, "it is not UTF-8 text"))?;
    let policy = Policy::parse(&text).map_err(|cause| refuse(path, cause))?;
    Ok((text, policy))
}

/// The whole file, if only we and root can write it and it did not change while it was read.
fn whole(path: &Path, most: u64) -> Result<Vec<u8>, LoadError> {
    let unreadable = |e: std::io::Error| refuse(path, format!("it cannot be read: {e}"));
    // What is checked is the file that is read, whatever the name points at by then.
    let (file, before) = read::open_file(path).map_err(unreadable)?;
    place::check_open(path, &before).map_err(|cause| refuse(path, cause))?;
    if before.len() > most {
        return Err(refuse(path, format!("it is larger than {} MiB", most >> 20)));
    }
    let mut bytes = Vec::with_capacity(before.len() as usize);
    (&file).take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let after = file.metadata().map_err(unreadable)?;
    let stamp = |m: &fs::Metadata| (m.len(), m.mtime(), m.mtime_nsec());
    if stamp(&before) != stamp(&after) || bytes.len() as u64 != before.len() {
        return Err(refuse(
            path,
            "it changed while it was read: copy it under another name and rename it into place",
        ));
    }
    Ok(bytes)
}
