//! Guests that misbehave fail their own call and nothing else.

mod common;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use common::{Lines, NOW_MS, batch, hostile, runtime, setting};
use refgate_core::{Answer, FilterError};
use refgate_runtime::{Isolation, Limits, LoadError, LoadedPlugin, LogLevel, Origin, PluginSource, World};

/// Short enough to test, long enough for a busy machine.
fn limits() -> Limits {
    Limits { call: Duration::from_millis(500), memory: 64 << 20, log: 1000, ..Limits::default() }
}

fn load_with(deed: &str, limits: Limits) -> (Result<LoadedPlugin, LoadError>, Lines) {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    let (runtime, lines) = runtime(limits);
    let source = PluginSource {
        name: "hostile".to_owned(),
        origin: Origin::File("plugins/hostile.wasm".into()),
        bytes: Cow::Borrowed(WASM.get_or_init(hostile)),
        settings: setting("deed", &[deed]),
        limits: None,
        isolation: Isolation::Reuse,
    };
    (runtime.load(source), lines)
}

fn load(deed: &str) -> (LoadedPlugin, Lines) {
    let (plugin, lines) = load_with(deed, limits());
    (plugin.unwrap(), lines)
}

fn look(plugin: &LoadedPlugin, refs: usize, attempt: u32) -> Result<Answer, FilterError> {
    plugin.look(World::PushFilter, batch(vec![0; refs], attempt))
}

/// The error of a call on ten refs.
fn error(deed: &str) -> String {
    let (plugin, _) = load(deed);
    let error = look(&plugin, 10, 0).unwrap_err().to_string();
    assert!(error.starts_with("plugin `plugins/hostile.wasm`: it "), "{error}");
    error
}

#[test]
fn an_endless_loop_is_stopped() {
    assert!(error("loop").contains("did not answer within 500 ms"));
}

#[test]
fn a_loop_that_starts_is_stopped() {
    let limits = Limits { start: Duration::from_millis(200), ..limits() };
    let refused = load_with("loop-in-configure", limits).0.err().unwrap().to_string();
    assert!(refused.contains("it does not start: it did not answer within 200 ms"), "{refused}");
}

#[test]
fn memory_is_bounded() {
    let error = error("hog");
    assert!(error.contains("asked for more than 64 MiB of memory"), "{error}");
}

#[test]
fn recursion_ends_in_a_trap() {
    let error = error("recurse");
    assert!(error.contains("call stack exhausted") || error.contains("memory access"), "{error}");
}

#[test]
fn answers_outside_the_contract_fail_the_call() {
    for (deed, said) in [
        ("index-outside", "it named item 10 of a batch of 10"),
        ("name-outside", "it asked for the name of item 10 of a batch of 10"),
        ("index-flood", "it named more than 1064 items in a batch of 10"),
        ("long-reason", "a reason is kebab-case and at most 64 bytes long"),
        ("odd-reason", "it gave the reason `Not Kebab`"),
        ("error", "it reports an error: nothing works"),
    ] {
        let error = error(deed);
        assert!(error.contains(said), "{deed}: {error}");
    }
    let (plugin, _) = load("many-reasons");
    let error = look(&plugin, 1000, 0).unwrap_err().to_string();
    assert!(error.contains("more than 64 different reasons"), "{error}");
}

#[test]
fn a_panic_is_logged_and_the_next_call_works() {
    let (plugin, lines) = load("panic-on-second-look");
    for _ in 0..3 {
        assert_eq!(look(&plugin, 10, 0), Ok(Answer::default()));
        let error = look(&plugin, 10, 1).unwrap_err().to_string();
        assert!(error.contains("it trapped") && error.contains("the second look"), "{error}");
    }
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0].0, LogLevel::Error);
    assert!(lines[0].1.starts_with("hostile: panicked at "), "{}", lines[0].1);
    assert!(lines[0].1.contains("the second look"), "{}", lines[0].1);
}

#[test]
fn the_time_is_that_of_the_look_and_there_is_none_outside() {
    let (plugin, _) = load("time");
    for _ in 0..2 {
        let answer = look(&plugin, 3, 0).unwrap();
        assert_eq!(answer.discards, [(vec![0, 1, 2], format!("t-{NOW_MS}"))]);
    }
    let refused = load_with("time-in-configure", limits()).0.err().unwrap().to_string();
    assert!(refused.ends_with("it does not start: it asked for the time outside of a look"), "{refused}");
    let info = runtime(limits()).0.inspect("hostile", &hostile()).unwrap();
    let clock = info.imports.iter().find(|i| i.name == "refgate:filter/clock@0.1.1").unwrap();
    assert_eq!(clock.functions, ["now-ms"]);
}

#[test]
fn settings_that_are_refused_refuse_the_plugin() {
    let refused = |deed| load_with(deed, limits()).0.err().unwrap().to_string();
    assert_eq!(
        refused("refuse"),
        "plugin `plugins/hostile.wasm`: it refuses its settings: /deed: is refused; /deed/1: is refused too"
    );
    let unknown = refused("dance");
    assert!(unknown.contains("/deed: unknown variant `dance`"), "{unknown}");
    let panicked = refused("panic-in-configure");
    assert!(
        panicked.contains("it does not start: it trapped") && panicked.contains("no start today"),
        "{panicked}"
    );
}

#[test]
fn a_log_flood_is_cut() {
    let (plugin, lines) = load("log-flood");
    look(&plugin, 10, 0).unwrap();
    look(&plugin, 10, 0).unwrap();
    let lines = lines.lock().unwrap();
    let bytes: usize = lines.iter().map(|(_, line)| line.len()).sum();
    assert!(bytes < 10_000, "{bytes}");
    assert_eq!(lines.iter().filter(|(_, line)| line.contains("logs too much")).count(), 2);
    assert_eq!(lines[0].1, "hostile: line 0\\nforged");
}

#[test]
fn discard_and_recheck_both_arrive() {
    let (plugin, _) = load("both");
    let answer = look(&plugin, 2, 0).unwrap();
    assert_eq!(answer.discards, [(vec![0], "both".to_owned())]);
    assert_eq!(answer.rechecks, [0, 1]);
}

#[test]
fn reasons_of_the_table_are_passed_on_for_the_decision_to_check() {
    let (plugin, _) = load("final-reason");
    assert_eq!(look(&plugin, 1, 0).unwrap().discards, [(vec![0], "already-up-to-date".to_owned())]);
}

#[test]
fn every_column_arrives_over_window_borders() {
    let (plugin, _) = load("read-all");
    let refs = 40_000;
    let answer = plugin.look(World::PushFilter, batch((0..refs).collect(), 0)).unwrap();
    assert_eq!(answer, Answer::default());
    assert_eq!(look(&plugin, 0, 0), Ok(Answer::default()));
}

#[test]
fn instances_are_kept_between_calls_and_not_for_ever() {
    let (plugin, _) = load("count");
    for i in 1..=10_001 {
        let reason = look(&plugin, 1, 0).unwrap().discards.remove(0).1;
        assert_eq!(reason, format!("call-{}", (i - 1) % 10_000 + 1));
    }
}

#[test]
fn a_world_that_it_lacks_is_an_error() {
    let (plugin, _) = load("both");
    let error = plugin.look(World::FetchFilter, batch(vec![0], 0)).unwrap_err().to_string();
    assert!(error.ends_with("it is no fetch-filter"), "{error}");
    assert!(plugin.matches([].into()).is_err());
}
