//! What a warm instance saves, and what the pool without a lock costs beside one with a lock.
//!
//! `cargo bench -p refgate-runtime --bench pool`

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use std::borrow::Cow;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use refgate_core::{Direction, Project, RefBatch};
use refgate_runtime::{
    Isolation, Limits, LoadedPlugin, LogLevel, Origin, PluginSource, Runtime, RuntimeConfig, World,
};

/// Ten refs, none of them stale: the smallest usual push.
fn batch() -> Arc<RefBatch> {
    let names = (0..10).map(|i| format!("refs/heads/{i}")).collect::<Vec<_>>();
    let ends = names.iter().scan(0, |end, name| {
        *end += name.len() as u32;
        Some(*end)
    });
    Arc::new(RefBatch {
        direction: Direction::Push,
        project: Project::new("team/app").unwrap(),
        peer: "site-b".to_owned(),
        oid_len: 20,
        attempt: 0,
        now_ms: 0,
        name_ends: ends.collect(),
        names: names.concat().into_bytes(),
        groups: (0..10).collect(),
        new_oids: vec![1; 200],
        old_oids: vec![2; 200],
        global_oids: vec![1; 200],
        local_oids: vec![1; 200],
        states: vec![0; 10],
    })
}

/// Nanoseconds per round of `threads` threads that do `rounds` rounds each.
fn nanoseconds(threads: usize, rounds: u32, round: impl Fn() + Sync) -> f64 {
    let barrier = Barrier::new(threads + 1);
    let time: Duration = std::thread::scope(|scope| {
        let run = || {
            barrier.wait();
            (0..rounds).for_each(|_| round());
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        barrier.wait();
        let begin = Instant::now();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        begin.elapsed()
    });
    time.as_nanos() as f64 / f64::from(rounds)
}

/// The best of five: what other programs on the machine do is no part of it.
fn best(threads: usize, rounds: u32, round: impl Fn() + Sync) -> f64 {
    (0..5).map(|_| nanoseconds(threads, rounds, &round)).fold(f64::INFINITY, f64::min)
}

fn main() {
    let runtime = Runtime::new(RuntimeConfig {
        limits: Limits::default(),
        log: Arc::new(|_, _: &str, _: &str| {}),
        log_level: LogLevel::Info,
        pause: Arc::new(std::thread::sleep),
        fuel: false,
        cache: None,
        compiler: Default::default(),
    })
    .unwrap();
    let push = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap();
    let load = |isolation| -> LoadedPlugin {
        let source = PluginSource {
            name: push.name.to_owned(),
            origin: Origin::Embedded,
            bytes: Cow::Borrowed(push.wasm),
            settings: Default::default(),
            limits: None,
            isolation,
        };
        runtime.load(source).unwrap()
    };
    let (reuse, fresh, batch) = (load(Isolation::Reuse), load(Isolation::Fresh), batch());
    let look = |plugin: &LoadedPlugin| drop(plugin.look(World::PushFilter, batch.clone()).unwrap());
    println!("a look at ten refs, ns per look and thread; the pool alone, ns per take and put back");
    println!("threads     warm    fresh  fresh/warm    queue    mutex  mutex/queue");
    for threads in [1, 2] {
        let warm = best(threads, 20_000, || look(&reuse));
        let cold = best(threads, 2_000, || look(&fresh));
        let queue = ArrayQueue::new(8);
        let mutex = Mutex::new(Vec::new());
        for i in 0..threads {
            queue.push(Box::new(i)).unwrap();
            mutex.lock().unwrap().push(Box::new(i));
        }
        let without = best(threads, 1_000_000, || {
            let taken = queue.pop().unwrap_or_default();
            let _full = queue.push(std::hint::black_box(taken));
        });
        let with = best(threads, 1_000_000, || {
            let taken = mutex.lock().unwrap().pop().unwrap_or_default();
            mutex.lock().unwrap().push(std::hint::black_box(taken));
        });
        println!(
            "{threads:7} {warm:8.0} {cold:8.0} {:11.1} {without:8.1} {with:8.1} {:12.2}",
            cold / warm,
            with / without
        );
    }
}
