//! One policy in four languages, measured side by side: `cargo bench --bench languages`.
//!
//! Builds `filters/examples` first. Columns after the first are ratios to Rust in the same run.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::{median, title};
use refgate_core::{Direction, FilterSet, Project, RefBatch};
use refgate_runtime::{Limits, Runtime, RuntimeConfig};

const LANGUAGES: [&str; 4] = ["rust", "c", "python", "javascript"];

/// Refs of the large batch, in calls as the host cuts them.
const CALLS: [u32; 2] = [262_144, 237_856];

/// Memory limits to try, in MiB.
const MEMORY: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// What one language needs; sizes in bytes, `compile` in time of computing, the others by the clock.
struct Row {
    language: &'static str,
    size: usize,
    compile: Duration,
    start: Duration,
    ten: Duration,
    many: Duration,
    memory: usize,
}

fn main() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let ten = [batch(10)];
    let many = CALLS.map(batch);
    let look = |set: &FilterSet, batches: &[Arc<RefBatch>]| {
        let found: usize = batches
            .iter()
            .map(|batch| {
                let answer = tokio.block_on(set.push[0].look(batch.clone())).expect("an answer");
                answer.discards.iter().map(|(indices, _)| indices.len()).sum::<usize>()
            })
            .sum();
        assert_eq!(found, batches.iter().map(|batch| batch.len().div_ceil(1000)).sum::<usize>());
    };
    let mut rows = Vec::new();
    for language in LANGUAGES {
        let wasm = build(language);
        let bytes = std::fs::read(&wasm).expect("a component");
        let runtime = runtime(Limits::default().memory);
        let before = cpu();
        runtime.inspect("no-wip", &bytes).expect("a filter");
        let compile = cpu() - before;
        let load =
            || runtime.filter_set_of_file(&wasm, &Default::default(), &Default::default()).expect("a set");
        let start = median(9, || drop(load()));
        let set = load();
        let ten = median(2001, || look(&set, &ten));
        let many_time = median(7, || look(&set, &many));
        rows.push(Row {
            language,
            size: bytes.len(),
            compile,
            start,
            ten,
            many: many_time,
            memory: memory(&tokio, &wasm, &many),
        });
    }
    print(&rows);
}

/// The least of [`MEMORY`] with which the filter starts and takes the large batch.
fn memory(tokio: &tokio::runtime::Runtime, wasm: &Path, many: &[Arc<RefBatch>]) -> usize {
    let enough = |mib: usize| {
        let runtime = runtime(mib << 20);
        let Ok(set) = runtime.filter_set_of_file(wasm, &Default::default(), &Default::default()) else {
            return false;
        };
        many.iter().all(|batch| tokio.block_on(set.push[0].look(batch.clone())).is_ok())
    };
    MEMORY.get(MEMORY.partition_point(|mib| !enough(*mib))).copied().expect("the default limit is enough")
        << 20
}

fn runtime(memory: usize) -> Runtime {
    let config = RuntimeConfig {
        limits: Limits { memory, ..Limits::default() },
        log: Arc::new(|_, _, _| {}),
        log_level: refgate_runtime::LogLevel::Info,
        #[expect(clippy::disallowed_methods, reason = "the ticker of the engine")]
        pause: Arc::new(std::thread::sleep),
        fuel: false,
        cache: None,
        compiler: Default::default(),
    };
    Runtime::new(config).expect("an engine")
}

/// What this process has computed so far, on all cores, in steps of 10 ms. Compiling takes long enough for that, and takes
/// all cores, so that the clock on the wall would say more about the machine.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // After the name, which may hold anything: fields 14 and 15 of proc(5), in hundredths of a second.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ')).expect("the fields");
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// The component of a language; the script keeps it for the next time.
fn build(language: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let wasm = dir.join(language).join("no-wip.wasm");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../filters/examples/build");
    let status = Command::new(script)
        .arg(language)
        .arg(&wasm)
        .env("CARGO_TARGET_DIR", dir.parent().expect("a target directory"))
        .env("REFGATE", env!("CARGO_BIN_EXE_refgate"))
        .status()
        .expect("the script runs");
    assert!(status.success(), "{language} cannot be built here");
    wasm
}

/// Branches of which one in a thousand is work in progress, the first one among them.
fn batch(refs: u32) -> Arc<RefBatch> {
    let (mut names, mut name_ends, mut oids) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..refs {
        let kind = if i % 1000 == 0 { "wip" } else { "team" };
        names.extend_from_slice(format!("refs/heads/{kind}/feature-{i:06}").as_bytes());
        name_ends.push(names.len() as u32);
        oids.extend([(i % 251) as u8 + 1; 20]);
    }
    Arc::new(RefBatch {
        direction: Direction::Push,
        project: Project::new("team/app").expect("legal"),
        peer: "site-b".to_owned(),
        oid_len: 20,
        attempt: 0,
        now_ms: 0,
        states: vec![1; refs as usize],
        names,
        name_ends,
        new_oids: oids.clone(),
        old_oids: oids.clone(),
        local_oids: oids.clone(),
        global_oids: oids,
        groups: (0..refs).collect(),
    })
}

#[expect(clippy::print_stdout, reason = "the result of a benchmark")]
fn print(rows: &[Row]) {
    title("one policy in four languages; in brackets, times what it is in Rust");
    let base = &rows[0];
    let cell = |value: f64, base: f64, unit: &str| format!("{value:.1} {unit} ({:.1})", value / base);
    let time = |value: Duration, base: Duration, scale: f64, unit: &str| {
        cell(value.as_secs_f64() * scale, base.as_secs_f64() * scale, unit)
    };
    let line = |first: &str, cells: [String; 6]| {
        let cells: Vec<String> = cells.iter().map(|c| format!("{c:>22}")).collect();
        println!("{first:<11}{}", cells.concat());
    };
    line("", ["file", "compile", "start", "10 refs", "500,000 refs", "memory"].map(str::to_owned));
    for row in rows {
        line(
            row.language,
            [
                cell(row.size as f64 / 1024.0, base.size as f64 / 1024.0, "KiB"),
                time(row.compile, base.compile, 1e3, "ms"),
                time(row.start, base.start, 1e3, "ms"),
                time(row.ten, base.ten, 1e6, "µs"),
                time(row.many, base.many, 1e3, "ms"),
                format!("{} MiB", row.memory >> 20),
            ],
        );
    }
}
