//! Tiny push filters, each of a version of its own: told apart by the reason that it gives.

use std::path::Path;

/// A push filter that discards ref `index` of every batch with `reason`.
pub fn discards(index: u32, reason: &str) -> Vec<u8> {
    component(index, reason, "(i32.const 16)")
}

/// The same, but every call traps.
pub fn traps() -> Vec<u8> {
    component(0, "never", "(unreachable)")
}

/// Another build of that.
pub fn traps_too() -> Vec<u8> {
    component(1, "never", "(unreachable)")
}

/// The same, but `configure` refuses.
pub fn refuses() -> Vec<u8> {
    let text = text(0, "never", "(i32.const 16)");
    // A result whose first byte is 1 is an error; its text is the reason.
    let text = text.replace("(i32.const 16) (; configure ;)", "(i32.const 32) (; configure ;)");
    wat::parse_str(text).unwrap()
}

fn component(index: u32, reason: &str, end: &str) -> Vec<u8> {
    wat::parse_str(text(index, reason, end)).unwrap()
}

fn text(index: u32, reason: &str, end: &str) -> String {
    let length = reason.len();
    let index_bytes = format!("\\{index:02x}\\00\\00\\00");
    format!(
        r#"
(component
  (import "refgate:filter/batches@0.1.0" (instance $batches
    (export "ref-batch" (type (sub resource)))
    (export "verdicts" (type $v (sub resource)))
    (export "[method]verdicts.discard" (func
      (param "self" (borrow $v)) (param "indices" (list u32)) (param "reason" string)))))
  (alias export $batches "ref-batch" (type $batch))
  (alias export $batches "verdicts" (type $verdicts))
  (alias export $batches "[method]verdicts.discard" (func $discard))
  (core module $libc
    (memory (export "memory") 1)
    (data (i32.const 16) "\00\00\00\00")
    (data (i32.const 32) "\01\00\00\00\80\00\00\00\05\00\00\00")
    (data (i32.const 64) "{index_bytes}")
    (data (i32.const 96) "{reason}")
    (data (i32.const 128) ": no!")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $drop-batch (canon resource.drop $batch))
  (core func $drop-verdicts (canon resource.drop $verdicts))
  (core func $discard (canon lower (func $discard) (memory (core memory $memory)) string-encoding=utf8))
  (core module $m
    (import "host" "drop-batch" (func $drop-batch (param i32)))
    (import "host" "drop-verdicts" (func $drop-verdicts (param i32)))
    (import "host" "discard" (func $discard (param i32 i32 i32 i32 i32)))
    (func (export "configure") (param i32 i32) (result i32) (i32.const 16) (; configure ;))
    (func (export "filter") (param $batch i32) (param $verdicts i32) (result i32)
      (call $discard (local.get $verdicts) (i32.const 64) (i32.const 1) (i32.const 96) (i32.const {length}))
      (call $drop-batch (local.get $batch))
      (call $drop-verdicts (local.get $verdicts))
      {end}))
  (core instance $host
    (export "drop-batch" (func $drop-batch)) (export "drop-verdicts" (func $drop-verdicts))
    (export "discard" (func $discard)))
  (core instance $i (instantiate $m (with "host" (instance $host))))
  (func $configure (param "settings" string) (result (result (error string)))
    (canon lift (core func $i "configure") (memory (core memory $memory)) (realloc (core func $realloc))))
  (func $filter (param "batch" (borrow $batch)) (param "verdicts" (borrow $verdicts)) (result (result (error string)))
    (canon lift (core func $i "filter") (memory (core memory $memory)) (realloc (core func $realloc))))
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
  (export "refgate:filter/push@0.1.0" (instance $filters)))
"#
    )
}

/// Puts a file into a directory as an operator should: beside it first, then renamed.
pub fn place(dir: &Path, name: &str, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let temp = dir.join(format!(".{name}.new"));
    std::fs::write(&temp, bytes).unwrap();
    std::fs::set_permissions(&temp, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::rename(&temp, dir.join(name)).unwrap();
}
