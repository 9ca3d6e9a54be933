//! What was released stays good: filters built against every released text of the contract run on this host, and the text
//! itself only grows. See `tests/fixtures/README.md`.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{batch, runtime, setting, wait};
use refgate_core::state::{LOCKED, MAY_GO, RECHECK_HELPS};
use refgate_core::{Answer, FilterSet, Project, RefBatch};
use refgate_runtime::Limits;
use wit_component::semver_check;
use wit_parser::{PackageId, Resolve};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The directories of what was released, one per version.
fn released(kind: &str) -> Vec<PathBuf> {
    let dir = root().join("tests/fixtures").join(kind);
    let mut found: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(!found.is_empty(), "nothing of {kind} is kept");
    found
}

/// A plugin of a file alone, as `refgate test --filter` loads it.
fn alone(path: &Path, settings: serde_json::Map<String, serde_json::Value>) -> Result<FilterSet, String> {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let (runtime, _) = runtime(Limits::default());
    runtime
        .filter_set_of_file(path, &BTreeMap::from([(name, settings)]), &Default::default())
        .map_err(|e| e.to_string())
}

/// Refs in the state that a host lets go, by name.
fn named(names: &[&str]) -> Arc<RefBatch> {
    let mut refs = RefBatch::clone(&batch(vec![MAY_GO; names.len()], 0));
    refs.names = names.concat().into_bytes();
    refs.name_ends = names
        .iter()
        .scan(0, |end, name| {
            *end += name.len() as u32;
            Some(*end)
        })
        .collect();
    Arc::new(refs)
}

fn discards(answers: &[(&[u32], &str)]) -> Answer {
    let discards = answers.iter().map(|(indices, reason)| (indices.to_vec(), (*reason).to_owned())).collect();
    Answer { discards, ..Answer::default() }
}

#[test]
fn filters_of_every_release_say_what_they_always_said() {
    let none = serde_json::Map::new;
    let states = vec![MAY_GO, RECHECK_HELPS, LOCKED, MAY_GO];
    let wip = named(&["refs/heads/main", "refs/heads/wip/x", "refs/heads/wipe", "refs/heads/tmp/x"]);
    for dir in released("guests") {
        let push = alone(&dir.join("push.wasm"), none()).unwrap();
        let fetch = alone(&dir.join("fetch.wasm"), none()).unwrap();
        for filter in [&push.push[0], &fetch.fetch[0]] {
            let first = wait(filter.look(batch(states.clone(), 0))).unwrap();
            assert_eq!(first, Answer { rechecks: vec![1], ..discards(&[(&[2], "locked")]) }, "{dir:?}");
            let mut second = wait(filter.look(batch(states.clone(), 1))).unwrap();
            second.discards.sort();
            assert_eq!(second, discards(&[(&[1], "not-up-to-date"), (&[2], "locked")]), "{dir:?}");
        }

        let stay = discards(&[(&[1], "work-in-progress")]);
        let simple = alone(&dir.join("wip.wasm"), none()).unwrap();
        assert_eq!(wait(simple.push[0].look(wip.clone())), Ok(stay.clone()), "{dir:?}");
        let in_c = alone(&dir.join("no-wip-c.wasm"), none()).unwrap();
        assert_eq!(wait(in_c.push[0].look(wip.clone())), Ok(stay), "{dir:?}");
        let settings = setting("prefix", &["refs/heads/tmp/", "refs/heads/main"]);
        let in_c = alone(&dir.join("no-wip-c.wasm"), settings).unwrap();
        let both = discards(&[(&[3, 0], "work-in-progress")]);
        assert_eq!(wait(in_c.push[0].look(wip.clone())), Ok(both), "{dir:?}");
        let refused = alone(&dir.join("no-wip-c.wasm"), setting("prefix", &["refs/x", "x"])).err().unwrap();
        assert!(refused.contains("/prefix/1: does not begin with refs/"), "{refused}");

        let projects: Arc<[Project]> =
            ["foo/bar", "foo/car"].map(|name| Project::new(name).unwrap()).into_iter().collect();
        let matcher = alone(&dir.join("project-matcher.wasm"), setting("pattern", &["foo/b*"])).unwrap();
        assert_eq!(wait(matcher.projects[0].matches(projects)).unwrap().selected, [true, false], "{dir:?}");
    }
}

#[test]
fn every_kept_filter_is_asked_something() {
    let known = ["fetch.wasm", "no-wip-c.wasm", "project-matcher.wasm", "push.wasm", "wip.wasm"];
    for dir in released("guests") {
        let files: BTreeSet<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(files.iter().eq(known.iter()), "{}: {files:?}", dir.display());
        let version = format!("@{}", dir.file_name().unwrap().to_str().unwrap());
        let (runtime, _) = runtime(Limits::default());
        for file in files {
            let info = runtime.inspect(&file, &fs::read(dir.join(&file)).unwrap()).unwrap();
            let wrong = info.imports.iter().chain(&info.exports).find(|i| !i.name.ends_with(&version));
            assert_eq!(wrong, None, "{file} is not of {version}");
        }
    }
}

/// The text of a directory, file by file.
fn texts(dir: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let texts = files.filter(|path| path.extension().is_some_and(|e| e == "wit"));
    texts
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// Whether components of the worlds of `old` run where `new` is offered; the first thing in the way is the error.
fn compatible(old: &Path, new: &Path) -> Result<Vec<String>, String> {
    let load = |resolve: &mut Resolve, dir: &Path| -> PackageId { resolve.push_dir(dir).unwrap().0 };
    let mut names = Resolve::default();
    let package = load(&mut names, old);
    let worlds: Vec<String> = names.packages[package].worlds.keys().cloned().collect();
    for name in &worlds {
        let mut resolve = Resolve::default();
        let (old, new) = (load(&mut resolve, old), load(&mut resolve, new));
        let before = resolve.packages[old].worlds[name];
        let after = *resolve.packages[new].worlds.get(name).ok_or_else(|| format!("no world {name}"))?;
        semver_check(resolve, before, after).map_err(|e| format!("{name}: {e:?}"))?;
    }
    Ok(worlds)
}

/// `dir` under another version, with one replacement in `batches.wit`.
fn changed(dir: &Path, from: &str, to: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for (name, mut text) in texts(dir) {
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(first.starts_with("package refgate:filter@0.1."), "{name}: {first}");
        text = format!("package refgate:filter@0.1.999;\n{rest}");
        if name == "batches.wit" {
            assert_eq!(text.matches(from).count(), 1, "`{from}` in {name}");
            text = text.replace(from, to);
        }
        fs::write(copy.path().join(name), text).unwrap();
    }
    copy
}

#[test]
fn the_text_of_every_release_goes_on() {
    let current = root().join("wit");
    let present = texts(&current);
    for dir in released("wit") {
        let version = dir.file_name().unwrap().to_str().unwrap();
        let text = texts(&dir);
        let line = format!("package refgate:filter@{version};\n");
        assert!(text.values().all(|text| text.starts_with(&line)), "{} is of another version", dir.display());
        if present.values().any(|text| text.starts_with(&line)) {
            assert_eq!(text, present, "{version} is released: a change takes a new version");
            continue;
        }
        let worlds = compatible(&dir, &current).unwrap();
        assert_eq!(worlds, ["push-filter", "fetch-filter", "project-matcher"], "{version}");
    }
}

#[test]
fn a_change_that_breaks_old_filters_is_found() {
    let old = released("wit").remove(0);
    let grown = |from: &str, to: &str| compatible(&old, changed(&old, from, to).path());
    let lists = "bytes: list<u8>, ends: list<u32>";
    for (from, to) in [
        // A field more, a parameter more, a function less.
        (lists, "bytes: list<u8>, ends: list<u32>, extra: u32"),
        ("select: func(mask: u32, value: u32)", "select: func(mask: u32, value: u32, not: bool)"),
        ("attempt: func() -> u32;", ""),
    ] {
        let broken = grown(from, to).unwrap_err();
        assert!(broken.starts_with("push-filter: "), "{from}: {broken}");
    }
    // A method more is what the contract allows for.
    assert!(grown("attempt: func() -> u32;", "attempt: func() -> u32; age: func() -> u32;").is_ok());
}
