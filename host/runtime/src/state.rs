//! What survives a restart: the live set, the sets before it, what is quarantined, and the bytes of all of them.
//!
//! ```text
//! STATE/lock               held while the rest changes
//! STATE/live.json          generations and quarantine
//! STATE/store/sha256-HEX   every component, NAME.toml and signature that a generation names
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::place;
use crate::{Fault, LoadError, digest};

/// Sets that are kept to go back to.
const PREVIOUS: usize = 8;

/// The version of `live.json` that is written.
const FORMAT: u32 = 1;

/// The directory.
#[derive(Clone, Debug)]
pub struct State {
    dir: PathBuf,
}

/// What `live.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    format: u32,
    /// The last number that was given to a generation.
    pub last: u64,
    /// The set that decides.
    pub live: Option<Generation>,
    /// The sets before it, the newest first.
    pub previous: Vec<Generation>,
    /// Builds that are not used, whatever the directory holds.
    pub quarantine: Vec<Quarantined>,
}

/// A set that decides or once did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; numbers are never used twice.
    pub id: u64,
    /// When it became live, in milliseconds since 1970.
    pub since_ms: u64,
    /// What it is made of, in name order.
    pub members: Vec<SavedMember>,
}

/// One plugin of a saved set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMember {
    /// Its name.
    pub name: String,
    /// It is part of the program, not a file.
    pub embedded: bool,
    /// `sha256:…` of the component.
    pub wasm: String,
    /// `sha256:…` of its `NAME.toml`.
    pub policy: Option<String>,
    /// `sha256:…` of its signature.
    pub signature: Option<String>,
    /// `sha256:…` of the settings that it had.
    pub settings: String,
}

/// A build that is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The plugin.
    pub name: String,
    /// `sha256:…` of the component, empty when it could not be read.
    pub wasm: String,
    /// `sha256:…` of its `NAME.toml`.
    pub policy: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub since_ms: u64,
    /// It was live and was taken back: commands that start anew leave it aside too. Otherwise it did not get that far.
    pub rolled_back: bool,
}

/// Held while the state is read and changed; released by death.
pub struct StateLock {
    _file: File,
}

impl State {
    /// Opens the directory, and makes it (mode 0700) when it is not there.
    ///
    /// Refused when another user owns it or may write into it: what is stored there is run. Root's is not ours either, as
    /// nobody else can read it.
    pub fn open(dir: &Path) -> Result<State, LoadError> {
        let cannot = |e: std::io::Error| failed(dir, format!("it cannot be made: {e}"));
        DirBuilder::new().recursive(true).mode(0o700).create(dir.join("store")).map_err(cannot)?;
        place::check(dir).map_err(|cause| failed(dir, cause))?;
        let owner = fs::metadata(dir).map_err(|e| failed(dir, format!("it cannot be read: {e}")))?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(failed(dir, format!("it belongs to user {owner}, who alone can use it")));
        }
        Ok(State { dir: dir.to_owned() })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until no other process changes it. Work under the lock is short: nothing is compiled there.
    pub fn lock(&self) -> Result<StateLock, LoadError> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|e| failed(&path, format!("it cannot be opened: {e}")))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|e| failed(&path, format!("it cannot be locked: {e}")))?;
        Ok(StateLock { _file: file })
    }

    /// What was saved; nothing yet is empty.
    pub fn read(&self) -> Result<Saved, LoadError> {
        let path = self.dir.join("live.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Saved::default()),
            Err(e) => return Err(failed(&path, format!("it cannot be read: {e}"))),
        };
        let damaged = |e: String| {
            failed(
                &path,
                format!("it is damaged ({e}): remove it; the plugin directory then decides what is live"),
            )
        };
        let saved: Saved = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        match saved.format {
            FORMAT => Ok(saved),
            other => Err(damaged(format!("its format is {other}, this program knows {FORMAT}"))),
        }
    }

    /// Replaces what was saved, and drops stored bytes that nothing names any more.
    pub fn write(&self, saved: &Saved, _held: &StateLock) -> Result<(), LoadError> {
        let path = self.dir.join("live.json");
        let mut saved = saved.clone();
        saved.format = FORMAT;
        saved.previous.truncate(PREVIOUS);
        let text = serde_json::to_vec_pretty(&saved).unwrap_or_default();
        self.replace(&path, &text)?;
        self.sweep(&saved);
        Ok(())
    }

    /// Keeps bytes under their digest.
    pub fn put(&self, bytes: &[u8]) -> Result<String, LoadError> {
        let digest = digest(bytes);
        let path = self.stored(&digest);
        if !path.exists() {
            self.replace(&path, bytes)?;
        }
        Ok(digest)
    }

    /// The bytes of a digest, checked against it.
    pub fn get(&self, wanted: &str) -> Result<Vec<u8>, LoadError> {
        let path = self.stored(wanted);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.map_err(|e| failed(&path, format!("it cannot be read: {e}")))?;
        match digest(&bytes) == wanted {
            true => Ok(bytes),
            false => Err(failed(&path, "it is damaged: its digest is another one; remove it".to_owned())),
        }
    }

    fn stored(&self, digest: &str) -> PathBuf {
        self.dir.join("store").join(digest.replace(':', "-"))
    }

    /// All of a file or nothing, also after a crash.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
        let temp = path.with_extension(format!("{}.new", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temp)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temp, path)?;
            match path.parent() {
                Some(parent) => File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        };
        write().map_err(|e| {
            // What could not be finished must not stay.
            let _ = fs::remove_file(&temp);
            failed(path, format!("it cannot be written: {e}"))
        })
    }

    /// A file too many costs disk, nothing else: failures are left for the next time.
    fn sweep(&self, saved: &Saved) {
        let members = saved.live.iter().chain(&saved.previous).flat_map(|g| &g.members);
        let named: BTreeSet<PathBuf> = members
            .flat_map(|m| [Some(&m.wasm), m.policy.as_ref(), m.signature.as_ref()])
            .flatten()
            .map(|digest| self.stored(digest))
            .collect();
        let Ok(entries) = fs::read_dir(self.dir.join("store")) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !named.contains(path)) {
            let _ = fs::remove_file(path);
        }
    }
}

fn failed(path: &Path, cause: String) -> LoadError {
    LoadError { subject: format!("plugin state `{}`", path.display()), cause, fault: Fault::Plugin }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_comes_back_and_the_rest_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state")).unwrap();
        assert_eq!(state.read().unwrap(), Saved::default());
        let (kept, dropped) = (state.put(b"one").unwrap(), state.put(b"two").unwrap());
        let member = SavedMember {
            name: "a".into(),
            embedded: false,
            wasm: kept.clone(),
            policy: None,
            signature: None,
            settings: String::new(),
        };
        let live = Some(Generation { id: 1, since_ms: 5, members: vec![member] });
        let saved = Saved { format: FORMAT, last: 1, live, ..Saved::default() };
        let lock = state.lock().unwrap();
        state.write(&saved, &lock).unwrap();
        assert_eq!(state.read().unwrap(), saved);
        assert_eq!(state.get(&kept).unwrap(), b"one");
        assert!(state.get(&dropped).is_err());
        fs::write(state.stored(&kept), b"other").unwrap();
        assert!(state.get(&kept).unwrap_err().to_string().contains("damaged"));
        fs::write(state.dir().join("live.json"), b"{").unwrap();
        assert!(state.read().unwrap_err().to_string().contains("remove it"));
    }
}
