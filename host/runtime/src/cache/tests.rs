//! What is loaded from the cache, and everything that must not be.

use std::cell::RefCell;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const DIGEST: &str = "sha256:of something";

/// The smallest component.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

fn random(byte: u8) -> impl FnMut(&mut [u8]) -> Result<(), String> {
    move |bytes| {
        bytes.fill(byte);
        Ok(())
    }
}

fn open(dir: &Path, byte: u8) -> Result<Cache, String> {
    Cache::open(dir, &mut random(byte))
}

/// A directory that nobody else can write, with a cache in it that holds one component.
fn filled() -> (tempfile::TempDir, PathBuf, Cache, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir.path().join("a/cache"), 1).unwrap();
    let engine = Engine::default();
    let component = Component::from_binary(&engine, EMPTY).unwrap();
    cache.put(&engine, DIGEST, &component).unwrap();
    let path = cache.path(&engine, DIGEST);
    (dir, path, cache, engine)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_kept_is_loaded_by_the_next_process() {
    let (dir, path, cache, engine) = filled();
    let cache_dir = dir.path().join("a/cache");
    assert_eq!((mode(&cache_dir), mode(&cache_dir.join("key")), mode(&path)), (0o700, 0o600, 0o600));
    let again = open(&cache_dir, 2).unwrap();
    assert!(again.get(&engine, DIGEST).unwrap().is_some(), "the first key counts");
    assert!(again.get(&engine, "sha256:of something else").unwrap().is_none());
    let mut other = wasmtime::Config::new();
    other.epoch_interruption(true);
    assert!(cache.get(&Engine::new(&other).unwrap(), DIGEST).unwrap().is_none(), "code for another engine");
    assert_eq!(fs::read_dir(&cache_dir).unwrap().count(), 2, "nothing unfinished");
    assert!(!format!("{cache:?}").contains("key"));
}

#[test]
fn nothing_that_was_changed_is_loaded() {
    let (_dir, path, cache, engine) = filled();
    let whole = fs::read(&path).unwrap();
    let step = (whole.len() / 500).max(1);
    for at in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
        let mut bad = whole.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, bad).unwrap();
        let error = cache.get(&engine, DIGEST).err().unwrap();
        assert!(error.contains("is damaged"), "byte {at}: {error}");
    }
    for length in [0, 1, 31, 32, 33, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(cache.get(&engine, DIGEST).is_err(), "cut to {length}");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert!(cache.get(&engine, DIGEST).is_err());
    // A whole file of another component does not pass under this name.
    fs::write(&path, &whole).unwrap();
    let elsewhere = cache.path(&engine, "sha256:of something else");
    fs::copy(&path, &elsewhere).unwrap();
    assert!(cache.get(&engine, "sha256:of something else").is_err());
    // And a whole file of a cache with another key is not taken.
    let dir = tempfile::tempdir().unwrap();
    let other = open(dir.path(), 2).unwrap();
    fs::copy(&path, other.path(&engine, DIGEST)).unwrap();
    assert!(other.get(&engine, DIGEST).err().unwrap().contains("not written with this key"));
    assert!(cache.get(&engine, DIGEST).unwrap().is_some());
}

#[test]
fn what_cannot_be_used_is_said_once_and_replaced() {
    let (_dir, path, cache, engine) = filled();
    let said = RefCell::new(Vec::new());
    let compiled = RefCell::new(0);
    let load = || {
        let warn = |line: &str| said.borrow_mut().push(line.to_owned());
        let compile = || {
            *compiled.borrow_mut() += 1;
            Component::from_binary(&engine, EMPTY)
        };
        cache.component(&engine, DIGEST, &warn, compile).unwrap()
    };
    load();
    assert_eq!((said.borrow().len(), *compiled.borrow()), (0, 0));
    // Code of another version: the tag is right, and wasmtime finds out.
    let code = b"something else";
    let tag = cache.mac(&path, code).finalize().into_bytes();
    for bad in [b"short".to_vec(), [tag.as_slice(), code].concat()] {
        let before = *compiled.borrow();
        fs::write(&path, bad).unwrap();
        load();
        load();
        let mut said = said.borrow_mut();
        assert_eq!((said.len(), *compiled.borrow()), (1, before + 1), "{said:?}");
        assert!(said.pop().unwrap().contains("compiled again and replaced"));
    }
    // A place that cannot be written keeps nothing from loading: here the name is taken by a directory.
    fs::remove_file(&path).unwrap();
    fs::create_dir_all(path.join("in the way")).unwrap();
    load();
    let said = said.borrow();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].contains("cannot be kept") && said[1].contains("compiles again"), "{said:?}");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "nothing unfinished");
}

#[test]
fn a_directory_or_a_key_that_others_can_get_at_is_refused() {
    let (dir, ..) = filled();
    let (above, cache, key) =
        (dir.path().join("a"), dir.path().join("a/cache"), dir.path().join("a/cache/key"));
    for (path, bad, good) in [
        (&above, 0o777, 0o700),
        (&cache, 0o770, 0o700),
        (&cache, 0o702, 0o700),
        (&key, 0o640, 0o600),
        (&key, 0o604, 0o600),
        (&key, 0o620, 0o600),
    ] {
        set_mode(path, bad);
        let error = open(&cache, 1).unwrap_err();
        assert!(error.contains("others ") && error.contains("the cache of compiled plugins"), "{error}");
        set_mode(path, good);
    }
    fs::write(&key, [1; 31]).unwrap();
    assert!(open(&cache, 1).unwrap_err().contains("31 bytes in place of 32"));
    fs::rename(&key, dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), &key).unwrap();
    assert!(open(&cache, 1).unwrap_err().contains("cannot be read"));
    fs::remove_file(&key).unwrap();
    let error = Cache::open(&cache, &mut |_| Err("no randomness today".to_owned())).unwrap_err();
    assert!(error.contains("no randomness") && !key.exists(), "{error}");
    assert!(open(&dir.path().join("elsewhere"), 1).unwrap_err().contains("cannot be made"));
}

#[test]
#[ignore = "needs root, to give files to another user"]
fn as_root_a_cache_of_another_user_is_refused() {
    let (dir, ..) = filled();
    let cache = dir.path().join("a/cache");
    for path in [cache.join("key"), cache.clone(), dir.path().join("a")] {
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let error = open(&cache, 1).unwrap_err();
        assert!(error.contains("belongs to user 65534"), "{error}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    assert!(open(&cache, 1).is_ok());
}
