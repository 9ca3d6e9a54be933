//! Plugin directories: what joins a set, what replaces an embedded plugin, and what refuses the set.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{batch, embedded, runtime, setting, wait};
use refgate_core::FilterSet;
use refgate_filters::EMBEDDED;
use refgate_runtime::{Limits, LoadError};
use tempfile::TempDir;

/// A policy of its own that is a push and a fetch filter at once and holds nothing back.
const TWO_WORLDS: &str = r#"
(component
  (import "refgate:filter/batches@0.1.0" (instance $batches
    (export "ref-batch" (type (sub resource)))
    (export "verdicts" (type (sub resource)))))
  (alias export $batches "ref-batch" (type $batch))
  (alias export $batches "verdicts" (type $verdicts))
  (core func $drop-batch (canon resource.drop $batch))
  (core func $drop-verdicts (canon resource.drop $verdicts))
  (core module $m
    (import "host" "drop-batch" (func $drop-batch (param i32)))
    (import "host" "drop-verdicts" (func $drop-verdicts (param i32)))
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
    (func (export "configure") (param i32 i32) (result i32) i32.const 16)
    (func (export "filter") (param $batch i32) (param $verdicts i32) (result i32)
      (call $drop-batch (local.get $batch))
      (call $drop-verdicts (local.get $verdicts))
      i32.const 16))
  (core instance $host
    (export "drop-batch" (func $drop-batch)) (export "drop-verdicts" (func $drop-verdicts)))
  (core instance $i (instantiate $m (with "host" (instance $host))))
  (func $configure (param "settings" string) (result (result (error string)))
    (canon lift (core func $i "configure") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func $filter (param "batch" (borrow $batch)) (param "verdicts" (borrow $verdicts)) (result (result (error string)))
    (canon lift (core func $i "filter") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (instance $lifecycle (export "configure" (func $configure)))
  (component $ref-filter
    (import "ref-batch" (type $batch (sub resource)))
    (import "verdicts" (type $verdicts (sub resource)))
    (import "filter" (func $filter
      (param "batch" (borrow $batch)) (param "verdicts" (borrow $verdicts)) (result (result (error string)))))
    (export $b "the-batch" (type $batch))
    (export $v "the-verdicts" (type $verdicts))
    (export "filter" (func $filter)
      (func (param "batch" (borrow $b)) (param "verdicts" (borrow $v)) (result (result (error string))))))
  (instance $filters (instantiate $ref-filter
    (with "ref-batch" (type $batch)) (with "verdicts" (type $verdicts)) (with "filter" (func $filter))))
  (export "refgate:filter/lifecycle@0.1.0" (instance $lifecycle))
  (export "refgate:filter/push@0.1.0" (instance $filters))
  (export "refgate:filter/fetch@0.1.0" (instance $filters)))
"#;

struct Dir(TempDir);

impl Dir {
    fn new() -> Dir {
        let dir = Dir(TempDir::new().unwrap());
        mode(dir.0.path(), 0o755);
        dir
    }

    fn with(self, name: &str, bytes: &[u8]) -> Dir {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        mode(&path, 0o644);
        self
    }

    fn load(&self) -> Result<FilterSet, LoadError> {
        runtime(Limits::default()).0.filter_set(
            Some(self.0.path()),
            &BTreeMap::new(),
            &embedded(),
            &Default::default(),
        )
    }

    fn refused(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn shipped(name: &str) -> &'static [u8] {
    EMBEDDED.iter().find(|e| e.name == name).unwrap().wasm
}

#[test]
fn an_empty_directory_and_other_files_change_nothing() {
    let set = Dir::new().with("README.md", b"hello").with("push.wasm.tmp", b"junk").load().unwrap();
    assert_eq!((set.push.len(), set.fetch.len(), set.plugins.len()), (1, 1, 3));
}

#[test]
fn files_join_in_name_order_and_replace_by_name() {
    let set = Dir::new()
        .with("zz.wasm", shipped("push"))
        .with("a.wasm", shipped("push"))
        .with("push.wasm", &wat::parse_str(TWO_WORLDS).unwrap())
        .load()
        .unwrap();
    let push: Vec<_> = set.push.iter().map(|f| f.name()).collect();
    assert_eq!(push, ["a", "push", "zz"]);
    let fetch: Vec<_> = set.fetch.iter().map(|f| f.name()).collect();
    assert_eq!(fetch, ["fetch", "push"]);
    assert_eq!(set.plugins.iter().filter(|p| p.name == "push").count(), 2);
}

#[test]
fn one_component_serves_two_worlds() {
    let set = Dir::new().with("own.wasm", &wat::parse_str(TWO_WORLDS).unwrap()).load().unwrap();
    for filter in [&set.push[0], &set.fetch[1]] {
        assert_eq!(filter.name(), "own");
        for _ in 0..1000 {
            assert_eq!(wait(filter.look(batch(vec![0; 3], 0))), Ok(Default::default()));
        }
    }
}

#[test]
fn a_bad_file_refuses_the_set_and_is_named() {
    let cut = &shipped("push")[..shipped("push").len() / 2];
    let foreign =
        wat::parse_str(r#"(component (import "wasi:clocks/wall-clock@0.2.6" (instance)))"#).unwrap();
    let newer = r#"(component (import "refgate:filter/log@0.1.7" (instance (export "flush" (func)))))"#;
    let core = wat::parse_str("(module)").unwrap();
    let empty = wat::parse_str("(component)").unwrap();
    for (bytes, said) in [
        (&b""[..], "the file is empty"),
        (b"junk", "it is not WebAssembly"),
        (b"\0asm", "it is cut off"),
        (&core, "it is a core module, not a component"),
        (&empty, "it exports no world of refgate"),
        (&foreign, "it imports `wasi:clocks/wall-clock@0.2.6`, which refgate does not offer"),
        (&wat::parse_str(newer).unwrap(), "it exports no world of refgate"),
        (cut, "it is damaged"),
    ] {
        let refused = Dir::new().with("good.wasm", shipped("push")).with("odd.wasm", bytes).refused();
        assert!(refused.contains("odd.wasm`: ") && refused.contains(said), "{refused}");
    }
}

#[test]
fn the_name_of_a_shipped_filter_is_for_its_world() {
    let refused = Dir::new().with("push.wasm", shipped("fetch")).refused();
    assert!(refused.contains("it has the name of the embedded push-filter but is none"), "{refused}");
}

#[test]
fn names_are_checked() {
    for name in ["host.wasm", "a b.wasm", ".wasm.wasm", "é.wasm", "-a.wasm"] {
        let refused = Dir::new().with(name, shipped("push")).refused();
        assert!(refused.contains("the name of the file is not usable"), "{name}: {refused}");
    }
}

#[test]
fn what_others_can_write_is_refused() {
    let dir = Dir::new().with("a.wasm", shipped("push"));
    mode(&dir.0.path().join("a.wasm"), 0o664);
    assert!(
        dir.refused().contains("a.wasm`: others can write it (mode 664): run `chmod go-w "),
        "{}",
        dir.refused()
    );
    mode(&dir.0.path().join("a.wasm"), 0o644);
    mode(dir.0.path(), 0o757);
    assert!(dir.refused().starts_with("plugin directory `"), "{}", dir.refused());
    mode(dir.0.path(), 0o755);
    assert!(dir.load().is_ok());
}

#[test]
fn a_missing_directory_is_an_error_and_settings_for_nobody_are_one_in_a_case() {
    let (runtime, _) = runtime(Limits::default());
    let missing = runtime.filter_set(
        Some(Path::new("no/such/dir")),
        &BTreeMap::new(),
        &embedded(),
        &Default::default(),
    );
    assert!(missing.unwrap_err().to_string().contains("`no/such/dir`: it cannot be read"));
    // They may be there before their plugin; of a case that is a mistake.
    let settings = BTreeMap::from([("pish".to_owned(), setting("a", &["b"]))]);
    runtime.filter_set(None, &settings, &embedded(), &Default::default()).unwrap();
    let unknown = runtime.filter_set_for_case(None, &settings, &embedded()).unwrap_err().to_string();
    assert!(unknown.contains("plugin `pish`") && unknown.contains("`push`"), "{unknown}");
}

#[test]
fn files_that_are_replaced_one_after_the_other_are_read_as_of_one_time() {
    let (old, new) = (shipped("push").to_vec(), shipped("fetch").to_vec());
    let digest = refgate_runtime::digest;
    let dir =
        Dir::new().with("a.wasm", &old).with("a.toml", format!("digest = '{}'", digest(&old)).as_bytes());
    dir.load().unwrap();
    // First both are allowed, then the file comes, then the old one is allowed no more.
    let both = format!("digest = ['{}', '{}']", digest(&old), digest(&new));
    let dir = dir.with("a.toml", both.as_bytes());
    dir.load().unwrap();
    let dir = dir.with("a.wasm", &new);
    dir.load().unwrap();
    let dir = dir.with("a.toml", format!("digest = '{}'", digest(&new)).as_bytes());
    dir.load().unwrap();
    let refused = dir.with("a.wasm", &old).refused();
    assert!(refused.contains("is pinned") && refused.contains(&digest(&new)), "{refused}");
}
