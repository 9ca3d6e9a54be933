//! What the benchmarks share: a real clock, medians, and a table of ratios.
#![allow(dead_code, reason = "every benchmark uses its own part")]

use std::time::{Duration, Instant};

use refgate_core::{BoxFuture, Clock};

/// Real time to measure with.
pub struct BenchClock;

impl Clock for BenchClock {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "deadlines of the ref-db rest on it")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

/// The median time of `rounds` runs, after one that is not counted.
pub fn median(rounds: usize, mut work: impl FnMut()) -> Duration {
    work();
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = BenchClock.now();
            work();
            BenchClock.now() - start
        })
        .collect();
    times.sort_unstable();
    times[rounds / 2]
}

/// One line: what, how long, and how many times the base of the same run.
#[expect(clippy::print_stdout, reason = "the result of a benchmark")]
pub fn line(what: &str, time: Duration, base: Duration) {
    println!(
        "{what:<58} {:>12.1} µs   x {:.2}",
        time.as_secs_f64() * 1e6,
        time.as_secs_f64() / base.as_secs_f64()
    );
}

/// A heading.
#[expect(clippy::print_stdout, reason = "the result of a benchmark")]
pub fn title(text: &str) {
    println!("\n{text}");
}
