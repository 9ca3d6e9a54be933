//! Compiled components on disk, so that a start need not compile what an earlier one compiled.
//!
//! Compiled code runs without any check, so whoever could put a file here could run anything as us. The directory and its
//! key must be ours alone, and every file carries a tag that only the holder of the key can make.

mod key;
mod room;

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, KeyInit, Mac};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{machine, read};

/// How files are laid out. A change makes all older ones unknown.
const FORMAT: u32 = 1;

/// Bytes of the tag, which the compiled code follows.
const TAG: usize = 32;

/// Files that are kept.
const FILES: usize = 64;

/// Bytes that are kept, all files together.
const BYTES: u64 = 512 << 20;

/// A directory of compiled components. Cheap to clone; several processes may share one.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    key: [u8; key::BYTES],
    /// Makes names of unfinished files differ.
    written: AtomicU64,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the directory, and makes it and its key when they are not there. `random` fills the key with bytes that
    /// nobody can guess; it is asked only for a new key.
    ///
    /// # Errors
    /// The directory or the key cannot be made or read, belongs to another user, or others may write them (or read the
    /// key), or may write a directory on the way to them. Nothing is used then.
    pub fn open(
        dir: &Path,
        random: &mut dyn FnMut(&mut [u8]) -> Result<(), String>,
    ) -> Result<Cache, String> {
        let shown = |cause: String| format!("the cache of compiled plugins `{}`: {cause}", dir.display());
        let key = key::open(dir, random).map_err(shown)?;
        Ok(Cache { inner: Arc::new(Inner { dir: dir.to_owned(), key, written: AtomicU64::new(0) }) })
    }

    /// The compiled component of `digest`, from here or from `compile`, which is then kept. What cannot be used or kept is
    /// told to `warn`, and never keeps a component from being loaded.
    pub(crate) fn component<E>(
        &self,
        engine: &Engine,
        digest: &str,
        warn: &dyn Fn(&str),
        compile: impl FnOnce() -> Result<Component, E>,
    ) -> Result<Component, E> {
        match self.get(engine, digest) {
            Ok(Some(component)) => return Ok(component),
            Ok(None) => {}
            Err(cause) => warn(&cause),
        }
        let component = compile()?;
        if let Err(cause) = self.put(engine, digest, &component) {
            warn(&cause);
        }
        Ok(component)
    }

    /// `Err` is a file that must not be used; it counts as none.
    fn get(&self, engine: &Engine, digest: &str) -> Result<Option<Component>, String> {
        let path = self.path(engine, digest);
        let unusable = |cause: &str| {
            format!("the compiled plugin `{}` {cause}: it is compiled again and replaced", path.display())
        };
        let mut file = match read::open_file(&path) {
            Ok((file, _)) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unusable(&format!("cannot be read ({e})"))),
        };
        // Read once: what is verified is what is run, whatever happens to the file.
        let mut bytes = Vec::new();
        let read = Read::by_ref(&mut file).take(BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|e| unusable(&format!("cannot be read ({e})")))?;
        let Some((tag, code)) = bytes.split_at_checked(TAG) else { return Err(unusable("is cut off")) };
        let right = self.mac(&path, code).verify_slice(tag).is_ok();
        if !right {
            return Err(unusable("is damaged or was not written with this key"));
        }
        // Its tag says that a holder of the key wrote exactly these bytes under this name; the key is readable by our user
        // alone, and we tag only what `serialize` returned in `put`. The name holds the compatibility hash of the engine, so
        // code of other versions, settings or processors is never looked at.
        let component = match load_ours(engine, code) {
            Ok(component) => component,
            // The file is right. What the machine refuses here it refuses the compiler, too, who says so.
            Err(e) if machine::refusal(&e).is_some() => return Ok(None),
            Err(e) => return Err(unusable(&format!("does not load ({e:#})"))),
        };
        // What is used last is dropped last. A directory that cannot be written loses only that.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _: Result<(), _> = futimens(&file, &Timestamps { last_access: now, last_modification: now });
        Ok(Some(component))
    }

    /// Written under another name and renamed: others see the whole file or none.
    fn put(&self, engine: &Engine, digest: &str, component: &Component) -> Result<(), String> {
        let path = self.path(engine, digest);
        let code = component.serialize().map_err(|e| format!("a compiled plugin cannot be kept: {e:#}"))?;
        if code.len() as u64 > BYTES - TAG as u64 {
            return Ok(());
        }
        let tag = self.mac(&path, &code).finalize().into_bytes();
        let number = self.inner.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.inner.dir.join(format!("new-{}-{number}", std::process::id()));
        // A process with our number that died may have left one.
        let _: Result<(), _> = fs::remove_file(&unfinished);
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)
            .and_then(|mut file| file.write_all(&tag).and_then(|()| file.write_all(&code)))
            .and_then(|()| fs::rename(&unfinished, &path));
        if let Err(e) = written {
            let _: Result<(), _> = fs::remove_file(&unfinished);
            return Err(format!(
                "the compiled plugin `{}` cannot be kept: {e}; the next start compiles again",
                path.display()
            ));
        }
        room::make(&self.inner.dir, &path, FILES, BYTES);
        Ok(())
    }

    /// Where the code of a component for this engine is. The name is part of what the tag covers.
    fn path(&self, engine: &Engine, digest: &str) -> PathBuf {
        let mut name = Sha(Sha256::new());
        (FORMAT, digest).hash(&mut name);
        engine.precompile_compatibility_hash().hash(&mut name);
        let hex: String = name.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.inner.dir.join(format!("{hex}.cwasm"))
    }

    fn mac(&self, path: &Path, code: &[u8]) -> Hmac<Sha256> {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        // A key is filled up with zeros to a block, as HMAC says.
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block[..key::BYTES].copy_from_slice(&self.inner.key);
        let mut mac = Hmac::<Sha256>::new(&block);
        // The name has a fixed length, so where it ends is no question.
        mac.update(name);
        mac.update(code);
        mac
    }
}

/// The component of compiled code that is ours: what the compiler returned, in this process, in one that this process
/// started to compile it and heard through its own pipe, or in one that tagged it with the key of the cache. Other bytes must
/// never come here: they would be run as they are.
pub(crate) fn load_ours(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` has to be what `Component::serialize` or `Engine::precompile_component` returned, which callers answer
    // for as said above, and must not change meanwhile: it is memory of ours that nobody else can write.
    #[expect(unsafe_code, reason = "compiled code is loaded nowhere else")]
    unsafe {
        Component::deserialize(engine, code)
    }
}

/// SHA-256 for what can only be hashed through [`Hasher`].
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Not asked: the whole digest is taken from within.
        0
    }
}

#[cfg(test)]
mod tests;
