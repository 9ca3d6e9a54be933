//! From the rename of a plugin to the first decision of the new set, compiled anew and from the cache, beside a look of a
//! set that is live already.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use refgate_core::chain::{self, Look};
use refgate_core::{Direction, FilterSource, Project, RefBatch};
use refgate_filters::EMBEDDED;
use refgate_runtime::{
    Cache, EmbeddedPlugin, Event, Limits, LogLevel, Manifest, Runtime, RuntimeConfig, Settings, State,
    SwapOptions, Swapper, World,
};
use tempfile::TempDir;

const ROUNDS: usize = 15;

/// A plugin of real size whose digest nobody has seen: the shipped push filter with another manifest.
fn build(version: usize) -> Vec<u8> {
    let manifest = Manifest { version: Some(format!("0.0.{version}")), ..Manifest::default() };
    manifest.embed(EMBEDDED[0].wasm).expect("a manifest")
}

fn runtime(cache: Option<&Path>) -> Runtime {
    let mut random = |bytes: &mut [u8]| {
        bytes.fill(7);
        Ok(())
    };
    let config = RuntimeConfig {
        limits: Limits::default(),
        log: Arc::new(|_, _, _| {}),
        log_level: LogLevel::Error,
        // Nobody unparks the ticker: this is a sleep.
        pause: Arc::new(std::thread::park_timeout),
        fuel: false,
        cache: cache.map(|dir| Cache::open(dir, &mut random).expect("a cache")),
        compiler: Default::default(),
    };
    Runtime::new(config).expect("an engine")
}

fn batch() -> Arc<RefBatch> {
    let zeros = vec![0; 200];
    Arc::new(RefBatch {
        direction: Direction::Push,
        project: Project::new("team/app").expect("legal"),
        peer: "site-b".to_owned(),
        oid_len: 20,
        attempt: 0,
        now_ms: 0,
        states: vec![1; 10],
        names: b"refs/heads/x".repeat(10),
        name_ends: (1..=10).map(|i| i * 12).collect(),
        new_oids: zeros.clone(),
        old_oids: zeros.clone(),
        local_oids: zeros.clone(),
        global_oids: zeros,
        groups: (0..10).collect(),
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Without tokio a call runs here and is ready when it was polled once.
fn look(swapper: &Swapper) -> Look {
    let (set, batch) = (swapper.current(), batch());
    let mut look = std::pin::pin!(chain::look(&set, &batch));
    match look.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(look) => look,
        Poll::Pending => unreachable!("nothing is waited for here"),
    }
}

fn place(dir: &Path, name: &str, bytes: &[u8]) {
    let temp = dir.join("new");
    fs::write(&temp, bytes).expect("a file");
    fs::set_permissions(&temp, fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::rename(&temp, dir.join(name)).expect("a rename");
}

/// The median times from a rename until the new set has decided, and of a look at a live set. The state is on this disk.
fn swaps(cache: Option<&Path>) -> (Duration, Duration) {
    let root = TempDir::new().expect("a directory");
    let plugins = root.path().join("plugins");
    fs::create_dir(&plugins).expect("a directory");
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o755)).expect("a mode");
    let embedded = EMBEDDED.iter().map(|e| EmbeddedPlugin {
        name: e.name,
        world: World::from_name(e.world).expect("a world"),
        wasm: e.wasm,
        inert_without_settings: e.inert_without_settings,
    });
    let options = SwapOptions {
        directory: Some(plugins.clone()),
        state: Some(State::open(&root.path().join("state")).expect("a state")),
        settings: Settings::new(),
        embedded: embedded.collect(),
        require: Vec::new(),
        provenance: Default::default(),
        now_ms: Arc::new(|| 0),
        prove: None,
        observer: None,
        failures: None,
        shadow_looks: 0,
        max_changed_percent: 100.0,
    };
    let (swapper, _) = Swapper::start(&runtime(cache), options).expect("a set");
    look(&swapper);
    let swap = |version| {
        let bytes = build(version);
        let before = now();
        place(&plugins, "a.wasm", &bytes);
        let events = swapper.scan();
        assert!(matches!(events[..], [Event::Live { .. }]), "{events:?}");
        assert!(look(&swapper).problems.is_empty());
        now() - before
    };
    let swap = median((0..ROUNDS).map(swap).collect());
    let live = || {
        let before = now();
        look(&swapper);
        now() - before
    };
    (swap, median((0..1001).map(|_| live()).collect()))
}

#[expect(clippy::print_stdout, reason = "the result of a benchmark")]
fn main() {
    let cache = TempDir::new().expect("a directory");
    let (cold, live) = swaps(None);
    // Fills the cache; what counts is the next process.
    swaps(Some(cache.path()));
    let (cached, _) = swaps(Some(cache.path()));
    println!("{:<36} {:>12}", "a look at 10 refs, two filters", format!("{live:?}"));
    for (what, time) in [("rename to decision, compiled", cold), ("rename to decision, cached", cached)] {
        let ratio = |to: Duration| time.as_secs_f64() / to.as_secs_f64();
        let (of_look, of_cold) = (ratio(live), ratio(cold));
        println!(
            "{what:<36} {:>12}   x{of_look:.0} of a look, x{of_cold:.2} of compiled",
            format!("{time:?}")
        );
    }
}
