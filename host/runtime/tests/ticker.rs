//! No guest runs where nothing would stop it.

mod common;

use std::borrow::Cow;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::{batch, embedded};
use refgate_runtime::{
    Isolation, Limits, LoadError, LoadedPlugin, LogLevel, Origin, PluginSource, Runtime, RuntimeConfig, World,
};

fn runtime(pause: impl Fn(Duration) + Send + Sync + 'static) -> Runtime {
    let config = RuntimeConfig {
        limits: Limits::default(),
        log: Arc::new(|_, _: &str, _: &str| {}),
        log_level: LogLevel::Info,
        pause: Arc::new(pause),
        fuel: false,
        cache: None,
        compiler: Default::default(),
    };
    Runtime::new(config).unwrap()
}

fn load(runtime: &Runtime) -> Result<LoadedPlugin, LoadError> {
    runtime.load(PluginSource {
        name: "push".to_owned(),
        origin: Origin::Embedded,
        bytes: Cow::Borrowed(embedded().into_iter().find(|e| e.name == "push").unwrap().wasm),
        settings: Default::default(),
        limits: None,
        isolation: Isolation::Reuse,
    })
}

#[test]
fn a_pause_that_never_returns_refuses_every_plugin() {
    let runtime = runtime(|_| {
        loop {
            std::thread::park();
        }
    });
    for _ in 0..2 {
        let refused = load(&runtime).err().unwrap().to_string();
        assert!(
            refused.starts_with("plugins cannot run here: the ticker does not run: a loop was not stopped"),
            "{refused}"
        );
    }
}

#[test]
fn a_ticker_that_dies_later_refuses_every_call() {
    let die = Arc::new((Mutex::new(false), Condvar::new()));
    let dies = die.clone();
    let runtime = runtime(move |time| {
        let told = dies.1.wait_timeout_while(dies.0.lock().unwrap(), time, |die| !*die).unwrap();
        assert!(!*told.0, "the ticker dies here");
    });
    let plugin = load(&runtime).unwrap();
    plugin.look(World::PushFilter, batch(vec![0; 4], 0)).unwrap();
    // The panic poisons nothing that is asked below.
    *die.0.lock().unwrap() = true;
    die.1.notify_all();
    let error = (0..).find_map(|_| plugin.look(World::PushFilter, batch(vec![0; 4], 0)).err()).unwrap();
    assert!(error.to_string().contains("the ticker does not run: its thread ended"), "{error}");
    let refused = load(&runtime).err().unwrap().to_string();
    assert!(refused.starts_with("plugins cannot run here: the ticker does not run: its thread"), "{refused}");
}
