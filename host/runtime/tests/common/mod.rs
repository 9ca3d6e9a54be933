//! What the tests share: a runtime with a real ticker, batches, and the hostile program.
#![allow(dead_code, reason = "every test file uses its own part")]

pub mod wat;

use std::path::Path;
use std::sync::{Arc, Mutex};

use refgate_core::{Direction, Project, RefBatch};
use refgate_filters::build::{Request, component};
use refgate_runtime::{EmbeddedPlugin, Limits, LogLevel, Runtime, RuntimeConfig, World};

pub type Lines = Arc<Mutex<Vec<(LogLevel, String)>>>;

pub fn runtime(limits: Limits) -> (Runtime, Lines) {
    let lines = Lines::default();
    let kept = lines.clone();
    let config = RuntimeConfig {
        limits,
        log: Arc::new(move |level, plugin: &str, text: &str| {
            kept.lock().unwrap().push((level, format!("{plugin}: {text}")));
        }),
        log_level: LogLevel::Trace,
        // Nobody unparks the ticker: this is a sleep.
        pause: Arc::new(std::thread::park_timeout),
        fuel: false,
        cache: None,
        compiler: Default::default(),
    };
    (Runtime::new(config).unwrap(), lines)
}

pub fn embedded() -> [EmbeddedPlugin; 3] {
    refgate_filters::EMBEDDED.map(|e| EmbeddedPlugin {
        name: e.name,
        world: World::from_name(e.world).unwrap(),
        wasm: e.wasm,
        inert_without_settings: e.inert_without_settings,
    })
}

/// The hostile program as a component. cargo does nothing when it is up to date.
pub fn hostile() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    component(&Request {
        manifest: &root.join("Cargo.toml"),
        package: "refgate-hostile",
        profile: "filter",
        target_dir: &Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile"),
        locked: true,
    })
    .unwrap()
}

/// The time of every batch.
pub const NOW_MS: u64 = 1_766_000_000_123;

/// Refs `refs/heads/0`... with the given states, all oids but the global ones set to `index % 251 + 1`.
pub fn batch(states: Vec<u32>, attempt: u32) -> Arc<RefBatch> {
    let (mut names, mut name_ends, mut oids) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..states.len() {
        names.extend_from_slice(format!("refs/heads/{i}").as_bytes());
        name_ends.push(names.len() as u32);
        oids.extend([(i % 251) as u8 + 1; 20]);
    }
    Arc::new(RefBatch {
        direction: Direction::Push,
        project: Project::new("team/app").unwrap(),
        peer: "site-b".to_owned(),
        oid_len: 20,
        attempt,
        now_ms: NOW_MS,
        groups: (0..states.len() as u32).map(|i| i / 2).collect(),
        names,
        name_ends,
        new_oids: oids.clone(),
        old_oids: oids.clone(),
        global_oids: vec![0; oids.len()],
        local_oids: oids,
        states,
    })
}

/// Waits for a call within a tokio runtime, as a host does.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Settings with one key.
pub fn setting(key: &str, values: &[&str]) -> serde_json::Map<String, serde_json::Value> {
    let value = match values {
        [one] => (*one).into(),
        many => many.to_vec().into(),
    };
    [(key.to_owned(), value)].into_iter().collect()
}
