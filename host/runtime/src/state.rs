//! What survives a restart: the live set, the sets before it, what is quarantined, and the bytes of all of them.
//!
//! ```text
//! STATE/lock               held while the rest changes
//! STATE/live.json          generations and quarantine
//! STATE/store/sha256-HEX   every component, NAME.toml, signature and settings that a generation names
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::directory::{self, Stamp};
use crate::place;
use crate::read::{read_component, read_file};
use crate::{Fault, LoadError, digest};

/// Sets that are kept to go back to.
const PREVIOUS: usize = 8;

/// Longest time to wait for another process that changes the state, and the time between two attempts.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Bytes of `live.json`: a few hundred per plugin and generation.
const LIVE_BYTES: u64 = 64 << 20;

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
    /// Somebody went back from it: going back once more passes it by.
    #[serde(default)]
    pub taken_back: bool,
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
    /// `sha256:…` of the settings that it had, as one JSON object.
    pub settings: String,
}

/// A build that is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The plugin.
    pub name: String,
    /// `sha256:…` of the component, empty when it could not be read, or when what was taken back is that it went.
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
    ///
    /// # Errors
    /// Another process holds it for ten seconds, or it cannot be locked at all.
    pub fn lock(&self) -> Result<StateLock, LoadError> {
        self.lock_within(LOCK_WAIT)
    }

    fn lock_within(&self, most: Duration) -> Result<StateLock, LoadError> {
        let path = self.dir.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(|e| failed(&path, format!("it cannot be opened: {e}")))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => {
                    return Err(failed(&path, format!("it cannot be locked: {e}")));
                }
                Err(TryLockError::WouldBlock) if waited >= most => {
                    return Err(failed(&path, held(&path, most)));
                }
                Err(TryLockError::WouldBlock) => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "another process is waited for, in real time"
                    )]
                    std::thread::sleep(LOCK_PAUSE);
                    waited += LOCK_PAUSE;
                }
            }
        }
        // Help for whoever waits, no more: the lock holds without it.
        let _ = file.set_len(0).and_then(|()| (&file).write_all(std::process::id().to_string().as_bytes()));
        Ok(StateLock { _file: file })
    }

    /// What tells two states of what is saved apart; `None` when there is nothing.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        directory::stamp(&self.dir.join("live.json"))
    }

    /// What was saved; nothing yet is empty.
    ///
    /// # Errors
    /// The file is damaged or cannot be read. It is a memory, which nobody needs to decide: whoever writes it anew takes
    /// [`read_or_renew`](State::read_or_renew).
    pub fn read(&self) -> Result<Saved, LoadError> {
        let path = self.dir.join("live.json");
        let text = match read_file(&path, LIVE_BYTES) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Saved::default()),
            Err(e) => return Err(failed(&path, format!("it cannot be read: {e}"))),
        };
        let damaged = |e: String| {
            failed(
                &path,
                format!(
                    "it is damaged ({e}): the plugin directory decides what is live, and builds that were rolled back count \
                     again if they are there; the file is written anew, and the old one is kept as `live.json.damaged`"
                ),
            )
        };
        let saved: Saved = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        match saved.format {
            FORMAT => Ok(saved),
            other => Err(damaged(format!("its format is {other}, this program knows {FORMAT}"))),
        }
    }

    /// The same; what is damaged is moved aside, and then nothing is saved yet.
    ///
    /// # Errors
    /// It cannot be moved aside.
    pub fn read_or_renew(&self, _held: &StateLock) -> Result<Saved, LoadError> {
        let damaged = match self.read() {
            Ok(saved) => return Ok(saved),
            Err(damaged) => damaged,
        };
        match fs::rename(self.dir.join("live.json"), self.dir.join("live.json.damaged")) {
            Ok(()) => Ok(Saved::default()),
            Err(e) => {
                Err(LoadError { cause: format!("{}; it cannot be moved: {e}", damaged.cause), ..damaged })
            }
        }
    }

    /// Replaces what was saved, and drops stored bytes that nothing names any more.
    pub fn write(&self, saved: &Saved, _held: &StateLock) -> Result<(), LoadError> {
        let path = self.dir.join("live.json");
        let mut saved = saved.clone();
        saved.format = FORMAT;
        saved.previous.truncate(PREVIOUS);
        let text = serde_json::to_vec_pretty(&saved).map_err(|e| {
            failed(&path, format!("what is to be saved cannot be written down ({e}); it stays as it is"))
        })?;
        self.replace(&path, &text)?;
        self.sweep(&saved);
        Ok(())
    }

    /// Keeps bytes under their digest. What is there under it and is damaged is written anew.
    pub fn put(&self, bytes: &[u8]) -> Result<String, LoadError> {
        let wanted = digest(bytes);
        let path = self.stored(&wanted);
        if !read_component(&path).is_ok_and(|there| there == bytes) {
            self.replace(&path, bytes)?;
        }
        Ok(wanted)
    }

    /// The bytes of a digest, checked against it.
    pub fn get(&self, wanted: &str) -> Result<Vec<u8>, LoadError> {
        let path = self.stored(wanted);
        let bytes = read_component(&path).map_err(|e| failed(&path, format!("it cannot be read: {e}")))?;
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
            .flat_map(|m| [Some(&m.wasm), m.policy.as_ref(), m.signature.as_ref(), Some(&m.settings)])
            .flatten()
            .map(|digest| self.stored(digest))
            .collect();
        let Ok(entries) = fs::read_dir(self.dir.join("store")) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !named.contains(path)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Who keeps the others waiting, as far as it is known.
fn held(path: &Path, waited: Duration) -> String {
    let holder = match fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok()) {
        Some(id) => format!("the process {id}"),
        None => "another process".to_owned(),
    };
    let seconds = waited.as_secs();
    format!("{holder} has held it for {seconds} s: wait for that process or end it, then try again")
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
        let live = Some(Generation { id: 1, since_ms: 5, members: vec![member], taken_back: false });
        let saved = Saved { format: FORMAT, last: 1, live, ..Saved::default() };
        let lock = state.lock().unwrap();
        state.write(&saved, &lock).unwrap();
        assert_eq!(state.read().unwrap(), saved);
        assert_eq!(state.get(&kept).unwrap(), b"one");
        assert!(state.get(&dropped).is_err());
        fs::write(state.stored(&kept), b"other").unwrap();
        assert!(state.get(&kept).unwrap_err().to_string().contains("damaged"));
        fs::write(state.dir().join("live.json"), b"{").unwrap();
        assert!(state.read().unwrap_err().to_string().contains("live.json.damaged"));
        assert_eq!(state.read_or_renew(&lock).unwrap(), Saved::default());
        assert_eq!(fs::read(state.dir().join("live.json.damaged")).unwrap(), b"{");
        assert_eq!(state.read().unwrap(), Saved::default());
        state.write(&saved, &lock).unwrap();
        assert_eq!(state.read_or_renew(&lock).unwrap(), saved);
    }

    #[test]
    fn a_damaged_component_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state")).unwrap();
        let name = state.put(b"one").unwrap();
        for damage in [&b"onE"[..], b"", b"one and more"] {
            fs::write(state.stored(&name), damage).unwrap();
            assert!(state.get(&name).is_err());
            assert_eq!(state.put(b"one").unwrap(), name);
            assert_eq!(state.get(&name).unwrap(), b"one");
        }
    }

    #[test]
    fn a_lock_that_is_not_given_back_is_waited_for_only_so_long() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state")).unwrap();
        let held = state.lock().unwrap();
        let error = state.lock_within(LOCK_PAUSE).err().unwrap().to_string();
        assert!(error.contains(&format!("the process {} has held it", std::process::id())), "{error}");
        drop(held);
        state.lock_within(Duration::ZERO).unwrap();
    }

    #[test]
    #[ignore = "needs root, to mount a small disk"]
    fn as_root_a_full_disk_leaves_what_was_saved() {
        use std::process::Command;
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().canonicalize().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "none"])
            .arg(&disk)
            .status();
        assert!(mounted.unwrap().success());
        let state = State::open(&disk.join("state")).unwrap();
        let few = Saved { format: FORMAT, last: 7, ..Saved::default() };
        let lock = state.lock().unwrap();
        state.write(&few, &lock).unwrap();
        let stored = state.put(&[1; 20_000]).unwrap();
        let quarantined = Quarantined {
            name: "p".into(),
            wasm: String::new(),
            policy: None,
            reason: "x".repeat(60_000),
            since_ms: 0,
            rolled_back: true,
        };
        let many = Saved { quarantine: vec![quarantined], ..few.clone() };
        let error = state.write(&many, &lock).err().map(|e| e.to_string());
        let put = state.put(&[2; 60_000]).err().map(|e| e.to_string());
        let after = (state.read(), state.get(&stored), fs::read_dir(state.dir()).unwrap().count());
        let unmounted = Command::new("umount").arg("-l").arg(&disk).status();
        assert!(unmounted.unwrap().success());
        assert!(error.unwrap().contains("No space left"), "the disk was to be full");
        assert!(put.unwrap().contains("No space left"));
        assert_eq!(
            after,
            (Ok(few), Ok(vec![1; 20_000]), 3),
            "the state, its lock and the store; no unfinished file"
        );
    }
}
