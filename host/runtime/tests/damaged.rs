//! Components that are damaged, cut off or not ours: refused, or run within limits, and never the end of the host.

mod common;

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::{batch, embedded, runtime};
use refgate_runtime::{Isolation, Limits, LoadError, LoadedPlugin, Origin, PluginSource, Runtime, World};

fn load(runtime: &Runtime, bytes: Vec<u8>) -> Result<LoadedPlugin, LoadError> {
    runtime.load(PluginSource {
        name: "damaged".to_owned(),
        origin: Origin::File("plugins/damaged.wasm".into()),
        bytes: Cow::Owned(bytes),
        settings: Default::default(),
        limits: Some(Limits {
            call: Duration::from_millis(200),
            start: Duration::from_millis(500),
            memory: 32 << 20,
            ..Limits::default()
        }),
        isolation: Isolation::Reuse,
    })
}

fn push() -> &'static [u8] {
    embedded().into_iter().find(|e| e.name == "push").unwrap().wasm
}

/// Every call ends, whatever it says; every refusal names the plugin.
fn survives(runtime: &Runtime, bytes: Vec<u8>) -> bool {
    match load(runtime, bytes) {
        Ok(plugin) => {
            for attempt in [0, 1] {
                if let Err(e) = plugin.look(World::PushFilter, batch((0..16).collect(), attempt)) {
                    assert!(e.to_string().starts_with("plugin `plugins/damaged.wasm`: "), "{e}");
                }
            }
            true
        }
        Err(refused) => {
            let refused = refused.to_string();
            assert!(refused.starts_with("plugin `plugins/damaged.wasm`: "), "{refused}");
            false
        }
    }
}

/// Positions all over `len`, the same in every run: steps of the golden ratio.
fn sample(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (1..=count as u64)
        .map(move |i| ((u128::from(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * len as u128) >> 64) as usize)
}

/// 512 flipped bits in four parts, for most of them are compiled.
fn flip(part: usize) {
    let (runtime, _) = runtime(Limits::default());
    let mut loaded = 0;
    for (i, position) in sample(push().len(), 512).enumerate().skip(part).step_by(4) {
        let mut bytes = push().to_vec();
        bytes[position] ^= 1 << (i / 4 % 8);
        loaded += usize::from(survives(&runtime, bytes));
    }
    assert!(loaded > 0 && loaded < 128, "{loaded} of 128 were loaded: the sample says nothing");
}

#[test]
fn a_flipped_bit_is_refused_or_kept_within_limits_1() {
    flip(0);
}

#[test]
fn a_flipped_bit_is_refused_or_kept_within_limits_2() {
    flip(1);
}

#[test]
fn a_flipped_bit_is_refused_or_kept_within_limits_3() {
    flip(2);
}

#[test]
fn a_flipped_bit_is_refused_or_kept_within_limits_4() {
    flip(3);
}

#[test]
fn a_part_of_a_component_is_refused() {
    let (runtime, _) = runtime(Limits::default());
    for len in sample(push().len(), 200).chain(0..16) {
        assert!(!survives(&runtime, push()[..len].to_vec()), "the first {len} bytes were loaded");
    }
    assert!(survives(&runtime, push().to_vec()));
}

#[test]
fn machine_code_of_any_version_is_refused() {
    let (runtime, _) = runtime(Limits::default());
    let refused = load(&runtime, [b"\x7fELF\x02\x01\x01", &[0; 64][..]].concat()).err().unwrap().to_string();
    assert!(refused.contains("it is not WebAssembly"), "{refused}");
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let (runtime, _) = runtime(Limits::default());
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.path().join("large.wasm");
    let file = File::create(&path).unwrap();
    // Without blocks on the disk: nothing of it has to be written.
    file.set_len(100 << 20).unwrap();
    file.set_permissions(PermissionsExt::from_mode(0o644)).unwrap();
    let refused =
        runtime.filter_set_of_file(&path, &Default::default(), &Default::default()).unwrap_err().to_string();
    assert!(refused.ends_with("large.wasm`: it is larger than 64 MiB"), "{refused}");
}
