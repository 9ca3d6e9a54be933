//! A live set in a running host: a real directory that the operating system watches, real components.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, path::PathBuf};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::chain::{self, Said};
use refgate_core::future::ready;
use refgate_core::{
    AncestryQuery, BoxFuture, Clock, Direction, FilterSet, FilterSource, LocalError, LocalRefs, LocalValue,
    NoopRefDb, Oid, Project, RefBatch, RefDb, RefName,
};
use refgate_host::live::{Live, LiveOptions};
use refgate_host::{Config, Gate, GateParts, Moves, RefUpdate, RemoteValue, System};
use refgate_runtime::{Event, Manifest, State};
use tempfile::TempDir;

#[path = "../runtime/tests/common/versions.rs"]
#[allow(dead_code, reason = "the runtime's tests use the rest")]
mod versions;
use versions::{discards, place, traps, traps_too};

/// Longer than any machine takes; nothing waits that long when it works.
const PATIENCE: Duration = Duration::from_secs(60);

struct RealClock;

#[expect(clippy::disallowed_methods, reason = "what is watched here is watched in real time")]
impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        ready(())
    }
    fn unix_time(&self) -> Duration {
        Duration::from_secs(1)
    }
}

struct Lab {
    root: TempDir,
    live: Option<Live>,
    events: Receiver<Event>,
}

impl Lab {
    /// A live set whose `[plugins]` section has these lines too, after `prepare` had the directory.
    fn start(lines: &str, prepare: impl FnOnce(&Path)) -> Lab {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("plugins")).unwrap();
        mode(&root.path().join("plugins"), 0o755);
        prepare(&root.path().join("plugins"));
        let file = root.path().join("refgate.config");
        fs::write(&file, format!("[plugins]\n  directory = plugins\n{lines}\n")).unwrap();
        mode(&file, 0o644);
        let (told, events) = channel();
        let told = Mutex::new(told);
        let options = LiveOptions {
            events: Some(Arc::new(move |event| drop(told.lock().unwrap().send(event.clone())))),
            debounce: Duration::from_millis(20),
            // What is not told by the system must not be found by chance.
            rescan: Duration::from_secs(3600),
            ..LiveOptions::default()
        };
        let live = Live::start(&Config::load(&file).unwrap(), &system(), options).unwrap();
        let lab = Lab { root, live: Some(live), events };
        assert!(matches!(lab.next(), Event::Live { .. }));
        lab
    }

    fn live(&self) -> &Live {
        self.live.as_ref().unwrap()
    }

    fn plugins(&self) -> PathBuf {
        self.root.path().join("plugins")
    }

    fn place(&self, name: &str, bytes: &[u8]) {
        place(&self.plugins(), name, bytes);
    }

    fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    /// Waits until a set is live; what was refused until then.
    fn next_live(&self) -> Vec<Event> {
        let mut others = Vec::new();
        loop {
            match self.next() {
                Event::Live { .. } => return others,
                other => others.push(other),
            }
        }
    }

    fn reasons(&self) -> Vec<String> {
        let look = self.look();
        let reason = |said: Said| match said {
            Said::Discard { reason, .. } => reason.to_string(),
            _ => String::new(),
        };
        look.said.into_iter().map(reason).collect()
    }

    /// One look of the live set at two refs that may go.
    fn look(&self) -> chain::Look {
        let set = self.live().source().current();
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio.block_on(chain::look(&set, &batch()))
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn system() -> System {
    System {
        clock: Arc::new(RealClock),
        rng: Arc::new(Mutex::new(SmallRng::seed_from_u64(1))),
        secret: Arc::new(|bytes| {
            bytes.fill(7);
            Ok(())
        }),
        // Nobody unparks the ticker: this is a sleep.
        pause: Arc::new(std::thread::park_timeout),
        compiler: None,
        log: Arc::new(|_, _, _| {}),
    }
}

fn batch() -> Arc<RefBatch> {
    let zeros = vec![0; 40];
    Arc::new(RefBatch {
        direction: Direction::Push,
        project: Project::new("team/app").unwrap(),
        peer: "site-b".to_owned(),
        oid_len: 20,
        attempt: 0,
        now_ms: 0,
        states: vec![1; 2],
        names: b"refs/heads/arefs/heads/b".to_vec(),
        name_ends: vec![12, 24],
        new_oids: zeros.clone(),
        old_oids: zeros.clone(),
        local_oids: zeros.clone(),
        global_oids: zeros,
        groups: vec![0, 1],
    })
}

#[test]
fn every_way_of_changing_a_directory_is_noticed() {
    let lab = Lab::start("", |_| {});
    lab.place("a.wasm", &discards(0, "renamed"));
    lab.next_live();
    assert_eq!(lab.reasons(), ["renamed", ""]);

    // In place: whatever was read of it half-written was refused, and then the whole came.
    fs::write(lab.plugins().join("a.wasm"), discards(0, "overwritten")).unwrap();
    lab.next_live();
    assert_eq!(lab.reasons(), ["overwritten", ""]);

    fs::remove_file(lab.plugins().join("a.wasm")).unwrap();
    lab.next_live();
    assert_eq!(lab.reasons(), ["", ""]);

    // As Kubernetes mounts it: the files are links through `..data`, which is pointed elsewhere.
    for version in ["one", "two"] {
        let dir = lab.plugins().join(format!("..{version}"));
        fs::create_dir(&dir).unwrap();
        mode(&dir, 0o755);
        place(&dir, "k.wasm", &discards(0, version));
    }
    symlink("..one", lab.plugins().join("..data")).unwrap();
    symlink("..data/k.wasm", lab.plugins().join("k.wasm")).unwrap();
    lab.next_live();
    assert_eq!(lab.reasons(), ["one", ""]);
    symlink("..two", lab.plugins().join("..next")).unwrap();
    fs::rename(lab.plugins().join("..next"), lab.plugins().join("..data")).unwrap();
    lab.next_live();
    assert_eq!(lab.reasons(), ["two", ""]);

    // The directory goes and another one comes.
    fs::rename(lab.plugins(), lab.root.path().join("old")).unwrap();
    assert!(lab.next().to_string().contains("cannot be read"));
    assert_eq!(lab.reasons(), ["two", ""]);
    fs::create_dir(lab.root.path().join("new")).unwrap();
    mode(&lab.root.path().join("new"), 0o755);
    place(&lab.root.path().join("new"), "n.wasm", &discards(0, "new"));
    fs::rename(lab.root.path().join("new"), lab.plugins()).unwrap();
    lab.next_live();
    assert_eq!(lab.reasons(), ["new", ""]);
    lab.place("n.wasm", &discards(0, "newer"));
    lab.next_live();
    assert_eq!(lab.reasons(), ["newer", ""], "the new directory is watched as well");
}

#[test]
fn a_plugin_that_keeps_failing_is_taken_back() {
    let lab = Lab::start("  rollbackFailures = 3", |dir| place(dir, "a.wasm", &discards(0, "good")));
    lab.place("a.wasm", &traps());
    lab.next_live();
    for _ in 0..3 {
        assert_eq!(lab.reasons(), ["filter-failed", "filter-failed"]);
    }
    let Event::RolledBack { plugins, reason, .. } = lab.next() else { panic!("no rollback") };
    assert_eq!(plugins, ["a"]);
    assert!(reason.contains("failed 3 times"), "{reason}");
    assert_eq!(lab.reasons(), ["good", ""]);
    assert_eq!(lab.live().scan(), [], "it stays out");
}

#[test]
fn a_plugin_that_was_always_there_is_not_taken_back() {
    let lab = Lab::start("  rollbackFailures = 2", |dir| place(dir, "a.wasm", &traps()));
    lab.place("b.wasm", &discards(1, "other"));
    lab.next_live();
    for _ in 0..5 {
        assert_eq!(lab.reasons(), ["filter-failed", "filter-failed"]);
    }
    assert_eq!(lab.live().scan(), [], "going back would not help");
    assert_eq!(lab.live().generation(), 2);
}

/// Looks often enough for a rollback, were there one; then the number of the live set.
fn fail_often(lab: &Lab) -> u64 {
    for _ in 0..5 {
        assert_eq!(lab.reasons(), ["filter-failed", "filter-failed"]);
    }
    assert_eq!(lab.live().scan(), [], "nothing is taken back");
    lab.live().generation()
}

#[test]
fn a_set_that_was_good_before_is_not_taken_back_after_a_rollback() {
    let lab = Lab::start("  rollbackFailures = 2\n  state = state", |dir| {
        place(dir, "a.wasm", &discards(0, "first"));
        mode(dir.parent().unwrap(), 0o755);
    });
    // Nobody asked it anything, and so it was never seen to fail.
    lab.place("a.wasm", &traps());
    lab.next_live();
    lab.place("a.wasm", &traps_too());
    lab.next_live();
    for _ in 0..2 {
        assert_eq!(lab.reasons(), ["filter-failed", "filter-failed"]);
    }
    let Event::RolledBack { plugins, to, .. } = lab.next() else { panic!("no rollback") };
    assert_eq!(plugins, ["a"]);
    assert_eq!(fail_often(&lab), to, "the set of before decides, though it fails now");
}

#[test]
fn a_set_that_another_process_went_back_to_is_not_taken_back() {
    let lab = Lab::start("  rollbackFailures = 2\n  state = state", |dir| {
        place(dir, "a.wasm", &discards(0, "first"));
        mode(dir.parent().unwrap(), 0o755);
    });
    lab.place("a.wasm", &traps());
    lab.next_live();
    lab.place("a.wasm", &traps_too());
    lab.next_live();
    let state = State::open(&lab.root.path().join("state")).unwrap();
    let (saved, plugins) = refgate_runtime::roll_back(&state, 1, "by hand").unwrap();
    assert_eq!(plugins, ["a"]);
    assert!(matches!(lab.next(), Event::RolledBack { .. }));
    assert_eq!(fail_often(&lab), saved.live.unwrap().id);
}

#[test]
fn other_settings_make_no_new_build() {
    let lab = Lab::start("  rollbackFailures = 2\n  state = state", |dir| {
        place(dir, "a.wasm", &discards(0, "first"));
        mode(dir.parent().unwrap(), 0o755);
    });
    lab.place("a.wasm", &traps());
    lab.next_live();
    let file = lab.root.path().join("refgate.config");
    let text = fs::read_to_string(&file).unwrap() + "[plugin \"a\"]\n  key = value\n";
    fs::write(&file, text).unwrap();
    let events = lab.live().configure(&Config::load(&file).unwrap());
    assert!(matches!(events[..], [Event::Live { .. }]), "{events:?}");
    let generation = lab.live().generation();
    assert_eq!(fail_often(&lab), generation);
}

/// A component that carries a case: the filter holds back the one ref on offer with `reason`.
fn with_case(wasm: &[u8], reason: &str) -> Vec<u8> {
    let oid = "a".repeat(40);
    let cases = serde_json::json!({"cases": [{
        "name": "its own", "direction": "push", "project": "p", "local": {"refs/heads/x": oid},
        "offer": [{"ref": "refs/heads/x"}],
        "expect": {"discard": [{"ref": "refs/heads/x", "reason": reason}]},
    }]});
    Manifest { cases: vec![cases], ..Manifest::default() }.embed(wasm).unwrap()
}

#[test]
fn own_cases_and_those_of_the_operator_have_to_pass() {
    let golden = serde_json::json!({"cases": [{
        "name": "nothing is held back at the second place", "direction": "push", "project": "p",
        "local": {"refs/heads/x": "a".repeat(40), "refs/heads/y": "b".repeat(40)},
        "offer": [{"ref": "refs/heads/x"}, {"ref": "refs/heads/y"}],
        "expect": {"keep": [{"ref": "refs/heads/x"}, {"ref": "refs/heads/y"}]},
    }]});
    let lab = Lab::start("  cases = golden.json", |dir| {
        fs::write(dir.with_file_name("golden.json"), golden.to_string()).unwrap();
    });
    lab.place("a.wasm", &with_case(&discards(0, "mine"), "other"));
    let said = lab.next().to_string();
    assert!(said.contains("1 of 1 times its own case fails: `its own`: discarded `refs/heads/x`"), "{said}");
    lab.place("a.wasm", &with_case(&discards(0, "mine"), "mine"));
    let said = lab.next().to_string();
    assert!(said.contains("a case of `plugins.cases` fails: `nothing is held back"), "{said}");
    assert_eq!((lab.reasons(), lab.live().generation()), (vec![String::new(); 2], 1));
}

#[test]
fn a_plugin_that_decides_already_is_set_otherwise_though_a_case_of_its_own_fails() {
    let bad = with_case(&discards(0, "mine"), "other");
    let lab = Lab::start("", |dir| place(dir, "a.wasm", &bad));
    let file = lab.root.path().join("refgate.config");
    let text = fs::read_to_string(&file).unwrap() + "[plugin \"a\"]\n  key = value\n";
    fs::write(&file, text).unwrap();
    let events = lab.live().configure(&Config::load(&file).unwrap());
    assert!(matches!(&events[..], [Event::Live { new, .. }] if new == &["a"]), "{events:?}");
    lab.place("a.toml", b"remotes = ['elsewhere']");
    lab.next_live();
    assert_eq!(lab.reasons(), ["", ""], "it is not asked here any more");
    // Another build has to pass, as ever.
    lab.place("a.wasm", &with_case(&discards(1, "mine"), "other"));
    assert!(lab.next().to_string().contains("its own case fails"));
}

#[test]
fn what_was_asked_lately_may_change_only_so_much() {
    let lab = Lab::start("  maxChanged = 40", |_| {});
    assert_eq!(lab.reasons(), ["", ""]);
    lab.place("a.wasm", &discards(0, "half"));
    let said = lab.next().to_string();
    assert!(said.contains("it changes 1 of 2 verdicts") && said.contains("allows 40 %"), "{said}");
    lab.place("a.wasm", &traps());
    let said = lab.next().to_string();
    assert!(
        said.contains("it fails on what was asked lately (2 refs)") && said.contains("trapped"),
        "{said}"
    );
    assert_eq!(lab.live().generation(), 1);
}

#[test]
fn a_new_set_watches_what_the_live_one_is_asked() {
    let lab = Lab::start("  shadowLooks = 2", |_| {});
    lab.place("a.wasm", &discards(0, "new"));
    assert!(matches!(lab.next(), Event::Shadowing { looks: 2, .. }));
    assert_eq!(lab.reasons(), ["", ""]);
    assert_eq!(lab.reasons(), ["", ""]);
    let Event::Shadowed { counts } = lab.next() else { panic!("no shadow") };
    assert_eq!((counts.looks, counts.refs, counts.changed, counts.failed), (2, 4, 2, 0));
    assert_eq!((lab.next_live(), lab.reasons()), (vec![], vec!["new".into(), String::new()]));
}

#[test]
fn the_thread_ends_with_the_live_set_and_a_taken_set_stays_usable() {
    let mut lab = Lab::start("", |dir| place(dir, "a.wasm", &discards(0, "good")));
    let source = lab.live().source();
    lab.live = None;
    assert_eq!(source.current().plugins.len(), 4);
    assert!(lab.events.recv_timeout(PATIENCE).is_err(), "nobody is left to tell anything");
}

/// Gives another generation at every question.
struct Restless(AtomicU32);

impl FilterSource for Restless {
    fn current(&self) -> Arc<FilterSet> {
        let generation = u64::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1;
        Arc::new(FilterSet { generation, push: vec![Arc::new(AskAgain)], ..FilterSet::default() })
    }
}

/// Wants to see everything again.
struct AskAgain;

impl refgate_core::RefFilter for AskAgain {
    fn name(&self) -> &str {
        "again"
    }
    fn look(
        &self,
        batch: Arc<RefBatch>,
    ) -> BoxFuture<'_, Result<refgate_core::Answer, refgate_core::FilterError>> {
        ready(Ok(refgate_core::Answer { rechecks: (0..batch.len() as u32).collect(), ..Default::default() }))
    }
}

struct NoRefs;

impl LocalRefs for NoRefs {
    fn values<'a>(
        &'a self,
        _: &'a Project,
        refs: &'a [RefName],
    ) -> BoxFuture<'a, Result<Vec<LocalValue>, LocalError>> {
        ready(Ok(vec![Ok(None); refs.len()]))
    }
    fn ancestry<'a>(
        &'a self,
        _: &'a Project,
        queries: &'a [AncestryQuery],
    ) -> BoxFuture<'a, Result<Vec<bool>, LocalError>> {
        ready(Ok(vec![false; queries.len()]))
    }
}

#[tokio::test]
async fn a_decision_asks_its_source_once_and_uses_that_set_to_the_end() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("refgate.config");
    fs::write(&file, "[remote \"b\"]\n  url = /nowhere/${name}\n").unwrap();
    mode(&file, 0o644);
    let source = Arc::new(Restless(AtomicU32::new(0)));
    let gate = Gate::new(GateParts {
        config: Config::load(&file).unwrap(),
        refdb: RefDb::new(NoopRefDb),
        local: Arc::new(NoRefs),
        filters: source.clone(),
        clock: Arc::new(RealClock),
        rng: system().rng,
    });
    let offer = || {
        let name = RefName::new("refs/heads/x").unwrap();
        let new = Oid::from_bytes(&[1; 20]).ok();
        Moves::of(Direction::Push, [RefUpdate::new(name, new, RemoteValue::Known(None))])
    };
    for generation in 1..=3 {
        let decision = gate.push(&Project::new("p").unwrap(), "b", offer()).await.unwrap();
        assert_eq!((decision.generation, decision.waits.len()), (generation, 1));
        assert!(decision.moves.get(0).is_reloaded(), "it was looked at twice");
    }
    assert_eq!(source.0.load(Ordering::Relaxed), 3);
}

#[test]
fn a_live_set_records_what_it_is_asked_in_every_generation() {
    let lab = Lab::start("  record = looks.jsonl", |_| {});
    let _ = lab.reasons();
    lab.place("a.wasm", &discards(0, "new"));
    lab.next_live();
    let _ = lab.reasons();
    let file = lab.root.path().join("looks.jsonl");
    let Lab { root, live, .. } = lab;
    drop(live);
    let recorded = fs::read_to_string(&file).unwrap();
    let looks: Vec<&str> = recorded.lines().filter(|line| line.contains("\"refs\"")).collect();
    assert_eq!(looks.len(), 2, "{recorded}");
    assert!(looks[0].contains("\"generation\":1") && looks[1].contains("\"generation\":2"), "{recorded}");
    drop(root);
}
