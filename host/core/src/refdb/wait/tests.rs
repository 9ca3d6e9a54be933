//! Time limits, repetitions and patience, each on its own.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::testing::*;
use super::super::{Operation, RefDb};
use super::*;

/// No time limit that any of these meets.
const FAR: Duration = Duration::from_secs(3600);

fn retrying(store: &Scripted, policy: RetryPolicy) -> RefDb {
    store.db.clone().waiting(Waiting::new(clock(), FAR).with_retries(policy, rng()))
}

fn rng() -> Arc<Mutex<SmallRng>> {
    Arc::new(Mutex::new(SmallRng::seed_from_u64(1)))
}

const BOUND: Duration = Duration::from_secs(60);

#[test]
fn a_store_that_never_answers_is_answered_for() {
    run(async {
        let store = Scripted::new([Step::never(); 3 * Operation::ALL.len()]);
        let db = store.db.clone().waiting(Waiting::new(clock(), BOUND));
        for (wait, takes) in [(SECOND, SECOND), (Duration::ZERO, Duration::ZERO), (10 * BOUND, BOUND)] {
            for (operation, kind) in each_operation(&db, wait).await {
                let expected = match operation.is_write() {
                    true => RefDbErrorKind::Indeterminate,
                    false => RefDbErrorKind::Unavailable,
                };
                assert_eq!(kind.0, Some(expected), "{operation:?}");
                assert_eq!(kind.1, takes + GRACE, "{operation:?}");
            }
        }
    });
}

#[test]
fn an_answer_in_time_goes_through_and_one_at_the_deadline_is_the_stores_own() {
    run(async {
        let late = RefDbErrorKind::LockTimeout;
        let store = Scripted::new([Step::ok(), Step::err(late).after(SECOND)]);
        let db = store.db.clone().waiting(Waiting::new(clock(), BOUND));
        assert_eq!(sites(&db, SECOND).await, Ok(()));
        assert_eq!(sites(&db, SECOND).await, Err(late));
        assert_eq!(store.calls(), 2);
    });
}

#[test]
fn the_store_is_told_the_bound_and_never_a_later_deadline() {
    run(async {
        let store = Scripted::new([Step::ok(), Step::ok()]);
        let db = store.db.clone().waiting(Waiting::new(clock(), BOUND));
        sites(&db, SECOND).await.unwrap();
        sites(&db, 10 * BOUND).await.unwrap();
        assert_eq!(store.time_left(), [SECOND, BOUND]);
        assert_eq!(db.capabilities().name, "memory");
    });
}

const POLICY: RetryPolicy = RetryPolicy {
    attempts: 4,
    first_pause: Duration::from_millis(100),
    longest_pause: Duration::from_millis(250),
};

#[test]
fn unavailable_is_repeated_with_growing_pauses() {
    run(async {
        let store =
            Scripted::new([Step::err(RefDbErrorKind::Unavailable); 3].into_iter().chain([Step::ok()]));
        let db = retrying(&store, POLICY);
        assert_eq!(sites(&db, 10 * SECOND).await, Ok(()));
        let pauses: Vec<u128> =
            store.times().windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        assert_eq!(pauses.len(), 3);
        for (pause, longest) in pauses.iter().zip([100, 200, 250]) {
            // The timer of the runtime counts whole milliseconds.
            assert!((longest / 2..=longest + 1).contains(pause), "{pauses:?}");
        }
    });
}

#[test]
fn attempts_and_time_are_limited_and_the_last_error_is_told() {
    run(async {
        let failing = || Scripted::new([Step::err(RefDbErrorKind::Unavailable); 9]);
        let store = failing();
        let db = retrying(&store, POLICY);
        assert_eq!(sites(&db, 10 * SECOND).await, Err(RefDbErrorKind::Unavailable));
        assert_eq!(store.calls(), 4);

        let store = failing();
        let db = retrying(&store, POLICY);
        let start = clock().now();
        let wait = Duration::from_millis(160);
        assert_eq!(sites(&db, wait).await, Err(RefDbErrorKind::Unavailable));
        assert_eq!(store.calls(), 2, "the second pause would be too long");
        assert!(clock().now() - start < wait);

        for attempts in [0, 1] {
            let store = failing();
            let db = retrying(&store, RetryPolicy { attempts, ..POLICY });
            assert_eq!(sites(&db, SECOND).await, Err(RefDbErrorKind::Unavailable));
            assert_eq!(store.calls(), 1);
        }
    });
}

#[test]
fn nothing_else_is_repeated_by_any_operation() {
    run(async {
        use RefDbErrorKind::*;
        for kind in
            [Indeterminate, Corrupt, InvalidName, TooLarge, Unsupported, Config, Auth, LockTimeout, LeaseLost]
        {
            let store = Scripted::new([Step::err(kind); Operation::ALL.len()]);
            let db = retrying(&store, POLICY);
            for (operation, (found, took)) in each_operation(&db, SECOND).await {
                assert_eq!((found, took), (Some(kind), Duration::ZERO), "{operation:?}");
            }
            assert_eq!(store.calls(), Operation::ALL.len(), "{kind:?}");
        }
    });
}

#[test]
fn the_pause_stays_within_its_bounds_however_many_there_were() {
    let (policy, rng) = (RetryPolicy { attempts: u32::MAX, ..POLICY }, rng());
    for attempt in [1, 2, 31, 32, 33, 1000, u32::MAX] {
        assert!(policy.pause(attempt, &*rng) <= POLICY.longest_pause);
        assert!(policy.pause(attempt, &*rng) >= POLICY.first_pause / 2);
    }
}

#[test]
fn a_store_that_does_not_answer_is_not_waited_for_again_and_again() {
    run(async {
        let never = [Step::err(RefDbErrorKind::Unavailable).after(SECOND); 3];
        let store = Scripted::new(never.into_iter().chain([Step::ok(), Step::ok()]));
        let db = store.db.clone().waiting(Waiting::new(clock(), FAR).with_patience());
        let start = clock().now();
        let takes = |seconds: u32| {
            let took = clock().now() - start;
            assert!((seconds * SECOND..seconds * SECOND + SECOND / 10).contains(&took), "{took:?}");
        };
        for _ in 0..100 {
            assert_eq!(sites(&db, SECOND).await, Err(RefDbErrorKind::Unavailable));
        }
        takes(2);
        assert_eq!(store.calls(), 2);
        clock().sleep(SECOND + SECOND / 50).await;
        // One tries again and waits, and the pause begins anew.
        for _ in 0..100 {
            assert_eq!(sites(&db, SECOND).await, Err(RefDbErrorKind::Unavailable));
        }
        takes(4);
        assert_eq!(store.calls(), 3);
        clock().sleep(SECOND + SECOND / 50).await;
        assert_eq!((sites(&db, SECOND).await, sites(&db, SECOND).await), (Ok(()), Ok(())));
        assert_eq!(store.calls(), 5);
    });
}

#[test]
fn answers_and_short_deadlines_end_no_patience() {
    run(async {
        let quick = [Step::err(RefDbErrorKind::Unavailable); 5];
        let short = [Step::err(RefDbErrorKind::Unavailable).after(SECOND / 2); 5];
        let other = [Step::err(RefDbErrorKind::LockTimeout).after(SECOND); 5];
        for (steps, wait) in [(quick, SECOND), (short, SECOND / 2), (other, SECOND)] {
            let store = Scripted::new(steps);
            let db = store.db.clone().waiting(Waiting::new(clock(), FAR).with_patience());
            for _ in 0..5 {
                sites(&db, wait).await.unwrap_err();
            }
            assert_eq!(store.calls(), 5);
        }
    });
}
