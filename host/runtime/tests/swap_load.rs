//! Ten thousand swaps while decisions run: none fails, none sees two sets, and nothing grows.

mod common;
#[path = "common/versions.rs"]
#[allow(dead_code, reason = "the other tests of swaps use the rest")]
mod versions;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{batch, embedded, runtime};
use refgate_core::FilterSource;
use refgate_core::chain::{self, Said};
use refgate_runtime::{Event, Limits, Settings, SwapOptions, Swapper};
use tempfile::TempDir;
use versions::{discards, place};

const SWAPS: u64 = 10_000;
const VERSIONS: u64 = 20;

/// Points `plugins` at another directory in one step, as Kubernetes does with a mounted volume.
fn flip(root: &Path, version: u64) {
    let temp = root.join("next");
    symlink(root.join(format!("v{version}")), &temp).unwrap();
    fs::rename(&temp, root.join("plugins")).unwrap();
}

/// Resident bytes and threads of this process.
fn usage() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    (value("VmRSS:") << 10, value("Threads:"))
}

/// The reasons of the first two refs; each is given by another plugin of the set.
fn versions_seen(swapper: &Swapper) -> (u64, Vec<String>) {
    let set = swapper.current();
    // No tokio here: the call runs on this thread and is ready when it was polled once.
    let refs = batch(vec![1; 2], 0);
    let mut look = std::pin::pin!(chain::look(&set, &refs));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(look) = look.as_mut().poll(&mut context) else { panic!("the call waits") };
    assert_eq!(look.problems, Vec::<String>::new());
    let reason = |said: &Said| match said {
        Said::Discard { reason, .. } => reason.to_string(),
        other => panic!("{other:?}"),
    };
    (set.generation, look.said.iter().map(reason).collect())
}

#[test]
fn ten_thousand_swaps_lose_and_mix_nothing() {
    let root = TempDir::new().unwrap();
    for version in 0..VERSIONS {
        let dir = root.path().join(format!("v{version}"));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        place(&dir, "a.wasm", &discards(0, &format!("version-{version}")));
        // It sees what `a` left: the second ref alone.
        place(&dir, "b.wasm", &discards(0, &format!("version-{version}")));
    }
    flip(root.path(), 0);
    let options = SwapOptions {
        directory: Some(root.path().join("plugins")),
        state: None,
        settings: Settings::new(),
        embedded: embedded().to_vec(),
        require: Vec::new(),
        provenance: Default::default(),
        now_ms: Arc::new(|| 0),
        prove: None,
        observer: None,
        failures: None,
        shadow_looks: 0,
        max_changed_percent: 100.0,
    };
    let (swapper, _) = Swapper::start(&runtime(Limits::default()).0, options).unwrap();
    let (done, decisions) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let (generation, seen) = versions_seen(&swapper);
                    assert!(generation >= last, "generation {generation} after {last}");
                    assert_eq!(seen[0], seen[1], "two sets in one decision");
                    last = generation;
                    decisions.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut flat = (0, 0);
        // Whatever fails here must end the deciding threads too.
        let swaps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for swap in 1..=SWAPS {
                flip(root.path(), swap % VERSIONS);
                let events = swapper.scan();
                assert!(matches!(events[..], [Event::Live { .. }]), "{events:?}");
                if swap == 100 {
                    flat = usage();
                }
            }
        }));
        // While the deciding threads are still there.
        let (memory, threads) = usage();
        done.store(true, Ordering::Relaxed);
        swaps.unwrap();
        // The thread of the start-up proof may have ended since.
        assert!(threads <= flat.1, "{threads} threads after {SWAPS} swaps, {} after 100", flat.1);
        let most = flat.0 + flat.0 / 20 + (8 << 20);
        assert!(memory <= most, "{memory} bytes after {SWAPS} swaps, {} after 100", flat.0);
    });
    assert_eq!(swapper.generation(), SWAPS + 1);
    let decisions = decisions.into_inner();
    assert!(decisions > SWAPS, "only {decisions} decisions ran beside {SWAPS} swaps");
    let set = swapper.current();
    drop(swapper);
    assert_eq!(Arc::strong_count(&set), 1, "nothing else holds a set");
}
