//! What a hostile guest does to a decision: its own refs are held back, the verdicts of others stand, the host lives, and
//! the next decision is as if nothing had been.

mod common;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use common::wat::deed;
use common::{batch, hostile, runtime, setting, wait};
use refgate_core::chain::{self, Said};
use refgate_core::{Answer, BoxFuture, FilterError, FilterSet, RefBatch, RefFilter};
use refgate_runtime::{Isolation, Limits, LoadError, LoadedPlugin, Origin, PluginSource, Runtime, World};

fn limits() -> Limits {
    Limits {
        call: Duration::from_millis(500),
        start: Duration::from_secs(2),
        memory: 48 << 20,
        table_elements: 10_000,
        host_calls: 10_000,
        host_bytes: 16 << 20,
        ..Limits::default()
    }
}

fn source(name: &str, wasm: &[u8], limits: Limits) -> PluginSource {
    PluginSource {
        name: name.to_owned(),
        origin: Origin::File(format!("plugins/{name}.wasm").into()),
        bytes: Cow::Owned(wasm.to_vec()),
        settings: Default::default(),
        limits: Some(limits),
        isolation: Isolation::Reuse,
    }
}

fn written(runtime: &Runtime, name: &str, wasm: &[u8], deed: &str) -> LoadedPlugin {
    let settings = setting("deed", &[deed]);
    runtime.load(PluginSource { settings, ..source(name, wasm, limits()) }).unwrap()
}

/// A plugin in a chain.
struct Asked(LoadedPlugin);

impl RefFilter for Asked {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        Box::pin(async move { self.0.look(World::PushFilter, batch) })
    }
}

fn chain(plugins: [&LoadedPlugin; 2]) -> FilterSet {
    let filters = plugins.map(|plugin| Arc::new(Asked(plugin.clone())) as Arc<dyn RefFilter>);
    FilterSet { push: filters.to_vec(), ..FilterSet::default() }
}

fn discard(reason: &str, by: &str) -> Said {
    Said::Discard { reason: reason.into(), by: by.into() }
}

/// `calm` discards ref 0 and wants to see ref 1 again; `bad` fails at attempt 0 with `said`, and is fine at attempt 1.
fn fails_alone(calm: &LoadedPlugin, bad: &LoadedPlugin, said: &str) {
    let by = bad.name();
    let failed = || discard("filter-failed", by);
    for round in 0..2 {
        let look = wait(chain::look(&chain([calm, bad]), &batch(vec![0; 4], 0)));
        let expected = [discard("both", "calm"), failed(), failed(), failed()];
        assert_eq!(look.said, expected, "{by}, round {round}");
        assert_eq!(look.problems.len(), 1, "{:?}", look.problems);
        assert!(look.problems[0].contains(said), "{by}: `{said}` is not in {:?}", look.problems);
        let look = wait(chain::look(&chain([bad, calm]), &batch(vec![0; 4], 0)));
        assert_eq!(look.said, [failed(), failed(), failed(), failed()], "{by}, round {round}");

        let look = wait(chain::look(&chain([bad, calm]), &batch(vec![0; 4], 1)));
        let again = Said::Recheck { by: "calm".into() };
        assert_eq!(look.said, [discard("both", "calm"), again, Said::Keep, Said::Keep], "{by}");
        assert_eq!(look.problems, Vec::<String>::new(), "{by}");
    }
}

#[test]
fn deeds_in_rust_fail_their_own_refs_and_nothing_else() {
    let (runtime, _) = runtime(Limits::default());
    let wasm = hostile();
    let calm = written(&runtime, "calm", &wasm, "both");
    for (deed, said) in [
        (
            "loop",
            "it did not answer within 500 ms (if it needs longer, raise `call-ms` or `per-item-us` under `[limits]`",
        ),
        ("recurse", "it trapped: "),
        (
            "hog",
            "more than 48 MiB of memory (if it needs more, raise `memory-mib` under `[limits]` in `hog.toml`)",
        ),
        ("index-outside", "it named item "),
        ("name-outside", "it asked for the name of item "),
        ("index-flood", "it named more than "),
        (
            "many-names",
            "it moved more than 16 MiB between itself and the host (if it needs more, raise `host-mib`",
        ),
        ("long-reason", "a reason is kebab-case"),
        ("error", "it reports an error: nothing works"),
        ("panic", "it trapped: "),
        (
            "host-call-storm",
            "it made more than 10000 calls into the host (if it needs more, raise `host-calls`",
        ),
    ] {
        fails_alone(&calm, &written(&runtime, deed, &wasm, deed), said);
    }
}

#[test]
fn deeds_by_hand_fail_their_own_refs_and_nothing_else() {
    let (runtime, _) = runtime(Limits::default());
    let calm = written(&runtime, "calm", &hostile(), "both");
    for (name, said) in [
        (
            "grow-table",
            "it asked for more than 10000 table elements (if it needs more, raise `table-elements`",
        ),
        ("grow-memory", "it asked for more than 48 MiB of memory"),
        ("huge-list", "it moved more than 16 MiB between itself and the host"),
        ("list-outside", "it broke the rules of components: list pointer/length out of bounds"),
        ("huge-error", "it moved more than 16 MiB between itself and the host"),
        ("odd-result", "it broke the rules of components: "),
        ("fill-memory", "it did not answer within 500 ms"),
        ("drop-handle-twice", "it broke the rules of components: unknown handle"),
    ] {
        let bad = runtime.load(source(name, &deed(name), limits())).unwrap();
        fails_alone(&calm, &bad, said);
    }
}

fn refused(runtime: &Runtime, name: &str, wasm: &[u8], limits: Limits) -> String {
    let refused: LoadError = runtime.load(source(name, wasm, limits)).err().unwrap();
    refused.to_string()
}

#[test]
fn what_cannot_start_is_refused_and_the_next_one_is_not() {
    let (runtime, _) = runtime(Limits::default());
    let good = deed("list-outside");
    for (name, limits, said) in [
        (
            "endless-start",
            Limits { start: Duration::from_millis(200), ..limits() },
            "within 200 ms (if it needs longer, raise `start-ms`",
        ),
        (
            "large-at-start",
            Limits { memory: 4 << 20, ..limits() },
            "more than 4 MiB of memory (if it needs more, raise `memory-mib`",
        ),
        (
            "large-table",
            limits(),
            "it asked for more than 10000 table elements (if it needs more, raise `table-elements`",
        ),
        (
            "list-outside",
            Limits { instances: 0, ..limits() },
            "it has more than 0 core instances (if it needs more, raise `instances`",
        ),
        (
            "grow-table",
            Limits { tables: 0, ..limits() },
            "it has more than 0 tables (if it needs more, raise `tables`",
        ),
        (
            "list-outside",
            Limits { memories: 0, ..limits() },
            "it has more than 0 memories (if it needs more, raise `memories`",
        ),
    ] {
        let refused = refused(&runtime, name, &deed(name), limits);
        let begins = format!("plugin `plugins/{name}.wasm`: it does not start: ");
        assert!(refused.starts_with(&begins) && refused.contains(said), "{refused}");
        let next = runtime.load(source("next", &good, self::limits())).unwrap();
        assert_eq!(next.look(World::PushFilter, batch(vec![0; 4], 1)), Ok(Answer::default()));
    }
}

/// Bytes of memory that this process holds.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

#[test]
fn the_memory_of_a_failed_call_comes_back() {
    let (runtime, _) = runtime(Limits::default());
    let hog = written(&runtime, "hog", &hostile(), "hog");
    let before = resident();
    for _ in 0..40 {
        hog.look(World::PushFilter, batch(vec![0; 4], 0)).unwrap_err();
    }
    // Forty times 48 MiB, were it kept. Other tests run beside this one.
    let grown = resident().saturating_sub(before);
    assert!(grown < 600 << 20, "{} MiB more than before", grown >> 20);
}

#[test]
fn a_plugin_that_asks_for_it_gets_a_fresh_instance_per_call() {
    let (runtime, _) = runtime(Limits::default());
    let source = |isolation, calls_per_instance| PluginSource {
        settings: setting("deed", &["count"]),
        isolation,
        ..source("count", &hostile(), Limits { calls_per_instance, ..limits() })
    };
    let reasons = |plugin: &LoadedPlugin| -> Vec<(String, bool)> {
        let one = |_| {
            let (answer, usage) = plugin.look_measured(World::PushFilter, batch(vec![0], 0));
            (answer.unwrap().discards.remove(0).1, usage.fresh)
        };
        (0..3).map(one).collect()
    };
    let said = |said: [(&str, bool); 3]| said.map(|(reason, fresh)| (reason.to_owned(), fresh));
    let fresh = runtime.load(source(Isolation::Fresh, 10_000)).unwrap();
    assert_eq!(reasons(&fresh), said([("call-1", true), ("call-1", true), ("call-1", true)]));
    let two = runtime.load(source(Isolation::Reuse, 2)).unwrap();
    assert_eq!(reasons(&two), said([("call-1", false), ("call-2", false), ("call-1", true)]));
}

#[test]
fn a_call_says_what_it_used() {
    let (runtime, _) = runtime(Limits::default());
    let plugin = written(&runtime, "both", &hostile(), "both");
    let (answer, usage) = plugin.look_measured(World::PushFilter, batch(vec![0; 2], 0));
    answer.unwrap();
    // len, attempt, recheck of two indices, discard of one for `both`.
    assert_eq!((usage.host_calls, usage.to_host, usage.to_guest, usage.fuel), (4, 8 + 4 + 4, 0, None));
    assert!(usage.memory >= 64 << 10 && !usage.fresh, "{usage:?}");
}
