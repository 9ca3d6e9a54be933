//! A store that fails on purpose, for tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use refgate_core::refdb::{Layer, Operation};
use refgate_core::{BoxFuture, Clock, Deadline, RefDbError, RefDbErrorKind};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store is not asked: [`Unavailable`](RefDbErrorKind::Unavailable).
    Before,
    /// The store does it, and the answer is lost: [`Indeterminate`](RefDbErrorKind::Indeterminate) for a write,
    /// [`Unavailable`](RefDbErrorKind::Unavailable) for a read and for a lock, which is given back. An error of the store
    /// itself goes through.
    After,
    /// The store is asked this much later, also when that is after the deadline.
    Delay(Duration),
}

/// A fault that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// In which call.
    pub operation: Operation,
    /// The how manyth call of this operation that was, from 1.
    pub nth: u64,
    /// What was done.
    pub fault: Fault,
}

/// Injects faults by chance and by script. The same seed and the same order of calls give the same faults.
///
/// Several faults may hit one call: delays add up, and [`Fault::Before`] goes before [`Fault::After`].
pub struct Faults {
    clock: Arc<dyn Clock>,
    chances: Vec<(Vec<Operation>, f64, Fault)>,
    script: Vec<Injected>,
    state: Mutex<State>,
}

struct State {
    rng: SmallRng,
    calls: HashMap<Operation, u64>,
    record: Vec<Injected>,
}

impl Faults {
    /// No faults yet. Delays by `clock`.
    pub fn new(clock: Arc<dyn Clock>, seed: u64) -> Faults {
        let state = State { rng: SmallRng::seed_from_u64(seed), calls: HashMap::new(), record: Vec::new() };
        Faults { clock, chances: Vec::new(), script: Vec::new(), state: Mutex::new(state) }
    }

    /// Lets `fault` hit each call of `operations` with `probability`, 0 to 1.
    #[must_use]
    pub fn by_chance(mut self, operations: &[Operation], probability: f64, fault: Fault) -> Faults {
        self.chances.push((operations.to_vec(), probability.clamp(0.0, 1.0), fault));
        self
    }

    /// Lets `fault` hit call number `nth` of `operation`, from 1.
    #[must_use]
    pub fn at(mut self, operation: Operation, nth: u64, fault: Fault) -> Faults {
        self.script.push(Injected { operation, nth, fault });
        self
    }

    /// What was done so far, in order.
    pub fn record(&self) -> Vec<Injected> {
        self.state().record.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What hits the next call of `operation`.
    fn draw(&self, operation: Operation) -> Vec<Injected> {
        let state = &mut *self.state();
        let nth = state.calls.entry(operation).or_insert(0);
        *nth += 1;
        let nth = *nth;
        let mut hits: Vec<Injected> =
            self.script.iter().filter(|s| (s.operation, s.nth) == (operation, nth)).copied().collect();
        for (operations, probability, fault) in &self.chances {
            if operations.contains(&operation) && state.rng.random_bool(*probability) {
                hits.push(Injected { operation, nth, fault: *fault });
            }
        }
        state.record.extend(&hits);
        hits
    }
}

impl Layer for Faults {
    fn around<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> BoxFuture<'a, Result<T, RefDbError>> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RefDbError>> {
        let hits = self.draw(operation);
        Box::pin(async move {
            for hit in &hits {
                if let Fault::Delay(time) = hit.fault {
                    self.clock.sleep(time).await;
                }
            }
            let hit = |fault| hits.iter().any(|hit| hit.fault == fault);
            if hit(Fault::Before) {
                return Err(failure(RefDbErrorKind::Unavailable, operation));
            }
            let answer = call(deadline).await?;
            if hit(Fault::After) {
                drop(answer);
                return Err(failure(
                    match operation.is_write() {
                        true => RefDbErrorKind::Indeterminate,
                        false => RefDbErrorKind::Unavailable,
                    },
                    operation,
                ));
            }
            Ok(answer)
        })
    }
}

fn failure(kind: RefDbErrorKind, operation: Operation) -> RefDbError {
    RefDbError::new(kind, format!("the ref-db failed `{}` on purpose: {}", operation.name(), kind.name()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use refgate_core::{GlobalRef, GlobalRefDb, Outcome};

    fn faulty(faults: Faults) -> (Arc<dyn GlobalRefDb>, Arc<Faults>) {
        let faults = Arc::new(faults);
        (around(memory(), faults.clone()), faults)
    }

    #[test]
    fn a_script_hits_exactly_its_call() {
        run(async {
            let put = Operation::CompareAndPut;
            let (db, faults) =
                faulty(Faults::new(clock(), 1).at(put, 1, Fault::Before).at(put, 2, Fault::After).at(
                    Operation::GetMany,
                    3,
                    Fault::Delay(SECOND),
                ));
            assert_eq!(create(&*db, 1).await, Err(RefDbErrorKind::Unavailable));
            assert_eq!(value(&*db).await, GlobalRef::Untracked, "nothing was done");
            assert_eq!(create(&*db, 1).await, Err(RefDbErrorKind::Indeterminate));
            assert_eq!(value(&*db).await, at(1), "it was done");
            assert_eq!(create(&*db, 2).await, Ok(Outcome::Mismatch { actual: at(1) }));
            let start = clock().now();
            value(&*db).await;
            assert_eq!(clock().now() - start, SECOND);
            let seen: Vec<(Operation, u64)> = faults.record().iter().map(|i| (i.operation, i.nth)).collect();
            assert_eq!(seen, [(put, 1), (put, 2), (Operation::GetMany, 3)]);
        });
    }

    #[test]
    fn the_kind_says_what_is_known_and_a_lock_is_given_back() {
        run(async {
            for (fault, of_writes) in
                [(Fault::Before, RefDbErrorKind::Unavailable), (Fault::After, RefDbErrorKind::Indeterminate)]
            {
                let (db, faults) = faulty(Faults::new(clock(), 1).by_chance(&Operation::ALL, 1.0, fault));
                for (operation, (kind, _)) in each_operation(&*db, SECOND).await {
                    let expected = if operation.is_write() { of_writes } else { RefDbErrorKind::Unavailable };
                    assert_eq!(kind, Some(expected), "{operation:?}");
                }
                assert_eq!(faults.record().len(), Operation::ALL.len());
            }
            let (db, _) = faulty(Faults::new(clock(), 1).at(Operation::Lock, 1, Fault::After));
            let soon = || Deadline::after(&*clock(), SECOND / 2);
            for works in [false, true] {
                let lock = db.lock(&project(), &name("refs/a"), 60 * SECOND, soon()).await;
                assert_eq!(lock.is_ok(), works);
            }
        });
    }

    #[test]
    fn a_seed_repeats_its_faults_and_chances_are_met_roughly() {
        run(async {
            let mut records = Vec::new();
            for seed in [7, 7, 8] {
                let (db, faults) =
                    faulty(Faults::new(clock(), seed).by_chance(&[Operation::Sites], 0.25, Fault::Before));
                for _ in 0..400 {
                    let _: Result<(), RefDbErrorKind> = sites(&*db, SECOND).await;
                    value(&*db).await;
                }
                records.push(faults.record());
            }
            assert_eq!(records[0], records[1]);
            assert_ne!(records[0], records[2]);
            assert!((60..140).contains(&records[0].len()), "{}", records[0].len());
            assert!(records[0].iter().all(|i| i.operation == Operation::Sites));
        });
    }
}
