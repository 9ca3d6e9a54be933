//! Counts calls, failures and how long they took.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Operation, RefDbError, RefDbErrorKind};
use crate::Clock;

/// How many buckets a latency falls into: bucket `i` holds those of at most 2^i microseconds that the one before does not
/// hold, and the last one the rest, from 67 s.
pub const BUCKETS: usize = 28;

/// The counters of one [`RefDb`](super::RefDb), per operation.
///
/// [`text`](Metrics::text) gives everything in the text format of Prometheus. The names begin like Gerrit's
/// (`global_refdb/…_latency`, `global_refdb/operation_failures`):
///
/// | name | labels | what it counts |
/// |---|---|---|
/// | `global_refdb_operations_total` | `operation` | calls that were begun |
/// | `global_refdb_operation_failures_total` | `operation`, `kind` | calls that ended with an error of this kind |
/// | `global_refdb_operations_dropped_total` | `operation` | calls whose caller went away before the answer |
/// | `global_refdb_operation_latency_seconds` | `operation`, `le` | histogram of how long answers took, errors included |
///
/// A lost race is an answer, not a failure.
pub struct Metrics {
    clock: Arc<dyn Clock>,
    operations: [Counters; Operation::ALL.len()],
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    dropped: AtomicU64,
    failures: [AtomicU64; RefDbErrorKind::ALL.len()],
    latency: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// All counters at about one moment: calls that run meanwhile may be in some of them and not in others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// One per operation, in the order of [`Operation::ALL`].
    pub operations: Vec<OperationMetrics>,
}

/// The counters of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationMetrics {
    /// Which one.
    pub operation: Operation,
    /// Calls that were begun.
    pub calls: u64,
    /// Calls whose caller went away before the answer.
    pub dropped: u64,
    /// Calls that ended with an error, by kind; kinds that never occurred are left out.
    pub failures: Vec<(RefDbErrorKind, u64)>,
    /// Answers by how long they took, see [`BUCKETS`].
    pub latency: [u64; BUCKETS],
    /// How long all answers took together, in whole microseconds each.
    pub total: Duration,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.snapshot().operations.fmt(f)
    }
}

impl Metrics {
    /// Nothing counted yet; time by `clock`.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Metrics {
        Metrics { clock, operations: Default::default() }
    }

    /// What was counted.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of = |(operation, counters): (Operation, &Counters)| OperationMetrics {
            operation,
            calls: get(&counters.calls),
            dropped: get(&counters.dropped),
            failures: RefDbErrorKind::ALL
                .into_iter()
                .zip(counters.failures.iter().map(get))
                .filter(|(_, count)| *count > 0)
                .collect(),
            latency: std::array::from_fn(|i| get(&counters.latency[i])),
            total: Duration::from_micros(get(&counters.micros)),
        };
        MetricsSnapshot { operations: Operation::ALL.into_iter().zip(&self.operations).map(of).collect() }
    }

    /// What was counted, in the text format of Prometheus; operations that were never called are left out.
    pub fn text(&self) -> String {
        self.snapshot().to_string()
    }

    /// Counts one call.
    pub(super) async fn count<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, RefDbError>>,
    ) -> Result<T, RefDbError> {
        let counters = self.counters(operation);
        counters.calls.fetch_add(1, Ordering::Relaxed);
        let mut running = Running { counters, is_answered: false };
        let start: Instant = self.clock.now();
        let answer = call.await;
        running.is_answered = true;
        let took = self.clock.now().saturating_duration_since(start);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counters.latency[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        counters.micros.fetch_add(micros, Ordering::Relaxed);
        if let Err(e) = &answer {
            counters.failures[e.kind as usize].fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn counters(&self, operation: Operation) -> &Counters {
        // In the order of their declaration, as `ALL` is.
        &self.operations[operation as usize]
    }
}

/// The text format of Prometheus.
impl std::fmt::Display for MetricsSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let called: Vec<&OperationMetrics> = self.operations.iter().filter(|o| o.calls > 0).collect();
        head(f, "operations_total", "counter", "Calls of the global ref-db that were begun.")?;
        for o in &called {
            writeln!(f, "{PREFIX}operations_total{{operation=\"{}\"}} {}", o.operation.name(), o.calls)?;
        }
        head(f, "operation_failures_total", "counter", "Calls that ended with an error.")?;
        for o in &called {
            for (kind, count) in &o.failures {
                let (operation, kind) = (o.operation.name(), kind.name());
                writeln!(
                    f,
                    "{PREFIX}operation_failures_total{{operation=\"{operation}\",kind=\"{kind}\"}} {count}"
                )?;
            }
        }
        head(f, "operations_dropped_total", "counter", "Calls whose caller went away before the answer.")?;
        for o in called.iter().filter(|o| o.dropped > 0) {
            let operation = o.operation.name();
            writeln!(f, "{PREFIX}operations_dropped_total{{operation=\"{operation}\"}} {}", o.dropped)?;
        }
        head(f, "operation_latency_seconds", "histogram", "How long answers took, errors included.")?;
        for o in &called {
            o.histogram(f)?;
        }
        Ok(())
    }
}

const PREFIX: &str = "global_refdb_";

fn head(f: &mut impl Write, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(f, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}")
}

impl OperationMetrics {
    fn histogram(&self, f: &mut impl Write) -> std::fmt::Result {
        let operation = self.operation.name();
        let name = format!("{PREFIX}operation_latency_seconds");
        let mut answers = 0;
        for (i, count) in self.latency.iter().enumerate() {
            answers += count;
            let bound = match i + 1 {
                BUCKETS => "+Inf".to_owned(),
                _ => (Duration::from_micros(1 << i).as_secs_f64()).to_string(),
            };
            writeln!(f, "{name}_bucket{{operation=\"{operation}\",le=\"{bound}\"}} {answers}")?;
        }
        writeln!(f, "{name}_sum{{operation=\"{operation}\"}} {}", self.total.as_secs_f64())?;
        writeln!(f, "{name}_count{{operation=\"{operation}\"}} {answers}")
    }
}

/// The bucket of a latency.
fn bucket(micros: u64) -> usize {
    // The exponent of the smallest power of two that is not below it.
    let exponent = u64::BITS - micros.saturating_sub(1).leading_zeros();
    (exponent as usize).min(BUCKETS - 1)
}

/// Notices a call that is dropped.
struct Running<'a> {
    counters: &'a Counters,
    is_answered: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn buckets_are_powers_of_two_with_their_bound_inside() {
        for (micros, index) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 3),
            (1 << 26, 26),
            ((1 << 26) + 1, 27),
            (u64::MAX, 27),
        ] {
            assert_eq!(bucket(micros), index, "{micros}");
        }
    }

    #[test]
    fn positions_are_those_of_the_lists() {
        assert!(Operation::ALL.iter().enumerate().all(|(i, o)| *o as usize == i));
        assert!(RefDbErrorKind::ALL.iter().enumerate().all(|(i, k)| *k as usize == i));
    }

    #[test]
    fn calls_failures_and_latencies_are_counted_per_operation() {
        run(async {
            let wait = Duration::from_millis(4);
            let store = Scripted::new([
                Step::ok().after(wait),
                Step::err(RefDbErrorKind::Auth),
                Step::ok(),
                Step::err(RefDbErrorKind::LockTimeout),
                Step::never(),
            ]);
            let (db, metrics) = store.db.clone().counted(clock());
            assert_eq!(metrics.snapshot().operations.len(), Operation::ALL.len());
            sites(&db, SECOND).await.unwrap();
            assert_eq!(sites(&db, SECOND).await, Err(RefDbErrorKind::Auth));
            sites(&db, SECOND).await.unwrap();
            create(&db, 1).await.unwrap_err();
            assert!(tokio::time::timeout(SECOND, sites(&db, SECOND)).await.is_err());

            let snapshot = metrics.snapshot();
            let of = |operation| snapshot.operations.iter().find(|o| o.operation == operation).unwrap();
            let found = of(Operation::Sites);
            assert_eq!((found.calls, found.dropped, found.total), (4, 1, wait));
            assert_eq!(found.failures, [(RefDbErrorKind::Auth, 1)]);
            assert_eq!((found.latency[0], found.latency[12]), (2, 1));
            assert_eq!(found.latency.iter().sum::<u64>(), 3);
            assert_eq!(of(Operation::CompareAndPut).failures, [(RefDbErrorKind::LockTimeout, 1)]);
            assert_eq!(of(Operation::Scan).calls, 0);

            let text = metrics.text();
            for line in [
                "# TYPE global_refdb_operations_total counter",
                "global_refdb_operations_total{operation=\"sites\"} 4",
                "global_refdb_operation_failures_total{operation=\"sites\",kind=\"auth\"} 1",
                "global_refdb_operations_dropped_total{operation=\"sites\"} 1",
                "global_refdb_operation_failures_total{operation=\"compare_and_put\",kind=\"lock-timeout\"} 1",
                "# TYPE global_refdb_operation_latency_seconds histogram",
                "global_refdb_operation_latency_seconds_bucket{operation=\"sites\",le=\"0.000001\"} 2",
                "global_refdb_operation_latency_seconds_bucket{operation=\"sites\",le=\"0.002048\"} 2",
                "global_refdb_operation_latency_seconds_bucket{operation=\"sites\",le=\"0.004096\"} 3",
                "global_refdb_operation_latency_seconds_bucket{operation=\"sites\",le=\"+Inf\"} 3",
                "global_refdb_operation_latency_seconds_sum{operation=\"sites\"} 0.004",
                "global_refdb_operation_latency_seconds_count{operation=\"sites\"} 3",
            ] {
                assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
            }
            assert!(!text.contains("scan") && text.ends_with('\n'), "{text}");
        });
    }

    #[test]
    fn every_operation_is_counted_as_itself() {
        run(async {
            let (db, metrics) = db().counted(clock());
            each_operation(&db, SECOND).await;
            assert!(metrics.snapshot().operations.iter().all(|o| o.calls == 1 && o.dropped == 0));
        });
    }
}
