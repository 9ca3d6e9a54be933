//! The checker on histories that are known to be linearizable, and on the same with one thing that cannot be.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use refgate_core::{Expected, GlobalRef, Outcome};

use super::super::bench::at;
use super::{Impossible, Model, OneRef, RefCall, Timed, check};

/// Runs clients against a model, one small step at a time, and writes down what each was told.
///
/// Every written value is a new one, so that what was overwritten can never be there again.
fn generated(seed: u64, clients: usize, calls: usize, lost_percent: u32) -> Vec<Timed<RefCall>> {
    enum Stage {
        Idle,
        /// The call has begun and not yet taken effect.
        Begun(u64, RefCall),
        /// It took effect; nobody was told yet.
        Done(u64, RefCall),
    }
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut stages: Vec<Stage> = (0..clients).map(|_| Stage::Idle).collect();
    let (mut state, mut time, mut fresh) = (OneRef.start(), 0, 0u64);
    let mut history = Vec::new();
    // Writes whose answer is lost take effect when they like.
    let mut late: Vec<RefCall> = Vec::new();
    while history.len() < calls {
        time += 1;
        let client = rng.random_range(0..clients);
        stages[client] = match std::mem::replace(&mut stages[client], Stage::Idle) {
            Stage::Idle => {
                let call = if rng.random_ratio(3, 10) {
                    RefCall::Get(GlobalRef::Untracked)
                } else {
                    fresh += 1;
                    let expected = match rng.random_range(0..4) {
                        0 => Expected::AbsentOrDeleted,
                        1 => Expected::Exactly(at(fresh.saturating_sub(2))),
                        _ => Expected::Exactly(state),
                    };
                    RefCall::Cas { expected, new: at(fresh), outcome: None }
                };
                match call {
                    RefCall::Cas { .. } if rng.random_ratio(lost_percent, 100) => {
                        late.push(call);
                        history.push(Timed { client, call, began: time, ended: None, doubtful: true });
                        Stage::Idle
                    }
                    call => Stage::Begun(time, call),
                }
            }
            Stage::Begun(began, call) => {
                let told = match call {
                    RefCall::Get(_) => RefCall::Get(state),
                    RefCall::Cas { expected, new, .. } => {
                        let outcome = match expected.holds(state) {
                            true => Outcome::Applied,
                            false => Outcome::Mismatch { actual: state },
                        };
                        RefCall::Cas { expected, new, outcome: Some(outcome) }
                    }
                };
                state = OneRef.after(&state, &told).unwrap();
                Stage::Done(began, told)
            }
            Stage::Done(began, call) => {
                history.push(Timed { client, call, began, ended: Some(time), doubtful: false });
                Stage::Idle
            }
        };
        if !late.is_empty() && rng.random_ratio(1, 10) {
            let call = late.swap_remove(rng.random_range(0..late.len()));
            state = OneRef.after(&state, &call).unwrap_or(state);
        }
    }
    // What a client was not told yet may have happened.
    for (client, stage) in stages.into_iter().enumerate() {
        if let Stage::Begun(began, RefCall::Cas { expected, new, .. })
        | Stage::Done(began, RefCall::Cas { expected, new, .. }) = stage
        {
            let call = RefCall::Cas { expected, new, outcome: None };
            history.push(Timed { client, call, began, ended: None, doubtful: true });
        }
    }
    history
}

fn verdict(history: &[Timed<RefCall>]) -> Result<(), Impossible<RefCall>> {
    check(&OneRef, history)
}

#[test]
fn what_one_order_made_is_accepted() {
    for seed in 0..200 {
        let lost = [0, 3, 10][seed as usize % 3];
        let history = generated(seed, 2 + seed as usize % 7, 10 + seed as usize, lost);
        assert_eq!(verdict(&history), Ok(()), "seed {seed}: {history:#?}");
    }
}

#[test]
fn one_impossible_read_is_found() {
    for seed in 0..200 {
        let lost = [0, 3, 10][seed as usize % 3];
        let mut history = generated(seed, 2 + seed as usize % 7, 10 + seed as usize, lost);
        let mut rng = SmallRng::seed_from_u64(seed);
        let reads: Vec<usize> =
            (0..history.len()).filter(|i| matches!(history[*i].call, RefCall::Get(_))).collect();
        if reads.is_empty() {
            continue;
        }
        let read = reads[rng.random_range(0..reads.len())];
        history[read].call = RefCall::Get(at(1_000_000));
        let why = verdict(&history).expect_err(&format!("seed {seed}: {history:#?}"));
        assert!(why.stuck.contains(&history[read]), "seed {seed}: {why:#?}");
        assert!(why.placed < history.len(), "{why:#?}");
    }
}

#[test]
fn a_read_of_what_was_overwritten_before_it_began_is_found() {
    let mut found = 0;
    for seed in 0..400 {
        let mut history = generated(seed, 4, 60, 0);
        // A write that ended before another began, both applied, and a read that began after the other ended.
        let applied =
            |t: &&Timed<RefCall>| matches!(t.call, RefCall::Cas { outcome: Some(Outcome::Applied), .. });
        let writes: Vec<Timed<RefCall>> = history.iter().filter(applied).cloned().collect();
        let stale = history.iter().enumerate().find_map(|(i, read)| {
            let RefCall::Get(_) = read.call else { return None };
            let last = writes.iter().filter(|w| w.ended < Some(read.began)).max_by_key(|w| w.began)?;
            let before = writes.iter().find(|w| w.ended < Some(last.began))?;
            let RefCall::Cas { new, .. } = before.call else { return None };
            Some((i, new))
        });
        if let Some((read, old)) = stale {
            history[read].call = RefCall::Get(old);
            assert!(verdict(&history).is_err(), "seed {seed}: {history:#?}");
            found += 1;
        }
    }
    assert!(found > 200, "only {found} histories had such a read");
}

/// Every order there is, without anything clever.
fn by_brute_force(left: &[Timed<RefCall>], state: GlobalRef) -> bool {
    if left.iter().all(|call| call.doubtful) {
        return true;
    }
    (0..left.len()).any(|i| {
        let before = |other: &Timed<RefCall>| other.ended.is_some_and(|end| end < left[i].began);
        if left.iter().any(|other| !other.doubtful && before(other)) {
            return false;
        }
        let Some(state) = OneRef.after(&state, &left[i].call) else { return false };
        // What ended before this call began can only have happened before, so it never did.
        let rest: Vec<_> = left
            .iter()
            .enumerate()
            .filter(|(j, other)| *j != i && !(other.doubtful && before(other)))
            .map(|(_, other)| other.clone())
            .collect();
        by_brute_force(&rest, state)
    })
}

#[test]
fn it_says_what_trying_every_order_says() {
    let (mut yes, mut no) = (0, 0);
    for seed in 0..3_000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        // Arbitrary small histories: most of them make no sense.
        let history: Vec<Timed<RefCall>> = (0..rng.random_range(2..7))
            .map(|client| {
                let value = |rng: &mut SmallRng| match rng.random_range(0..4) {
                    0 => GlobalRef::Untracked,
                    1 => GlobalRef::Deleted,
                    n => at(n),
                };
                let began = rng.random_range(0..20) * 2;
                let end = began + 1 + rng.random_range(0..10) * 2;
                let (call, doubtful) = match rng.random_range(0..4) {
                    0 => (RefCall::Get(value(&mut rng)), false),
                    kind => {
                        let expected = Expected::Exactly(value(&mut rng));
                        let new = at(rng.random_range(2..4));
                        let outcome = match kind {
                            1 => Some(Outcome::Mismatch { actual: value(&mut rng) }),
                            2 => Some(Outcome::Applied),
                            _ => None,
                        };
                        (RefCall::Cas { expected, new, outcome }, kind == 3)
                    }
                };
                let ended = (!doubtful || rng.random_bool(0.5)).then_some(end);
                Timed { client, call, began, ended, doubtful }
            })
            .collect();
        let want = by_brute_force(&history, OneRef.start());
        assert_eq!(verdict(&history).is_ok(), want, "seed {seed}: {history:#?}");
        if want { yes += 1 } else { no += 1 }
    }
    assert!(yes > 100 && no > 100, "{yes} with an order, {no} without: one side is hardly tested");
}

/// The same object for the checker of another crate, which has no calls that may never take effect: an open one ends
/// behind all others, where nobody sees what it did.
struct Theirs;

impl todc_utils::specifications::Specification for Theirs {
    type State = GlobalRef;
    type Operation = RefCall;

    fn init() -> GlobalRef {
        OneRef.start()
    }

    fn apply(call: &RefCall, state: &GlobalRef) -> (bool, GlobalRef) {
        let doubtful = matches!(call, RefCall::Cas { outcome: None, .. });
        match OneRef.after(state, call) {
            Some(after) => (true, after),
            None => (doubtful, *state),
        }
    }
}

fn as_they_see_it(history: &[Timed<RefCall>]) -> bool {
    use todc_utils::linearizability::WGLChecker;
    use todc_utils::linearizability::history::{Action, History};
    // Each call is a process of its own, since a client goes on after a call whose end it never saw.
    let mut actions: Vec<(u64, usize, Action<RefCall>)> = Vec::new();
    for (i, timed) in history.iter().enumerate() {
        actions.push((timed.began, i, Action::Call(timed.call)));
        actions.push((timed.ended.unwrap_or(u64::MAX), i, Action::Response(timed.call)));
    }
    actions.sort_by_key(|(time, i, _)| (*time, *i));
    let actions = actions.into_iter().map(|(_, i, action)| (i, action)).collect();
    WGLChecker::<Theirs>::is_linearizable(History::from_actions(actions))
}

#[test]
fn it_says_what_the_checker_of_another_crate_says() {
    let mut no = 0;
    for seed in 0..300 {
        let mut history = generated(seed, 2 + seed as usize % 5, 40, [0, 5][seed as usize % 2]);
        // Half of them with some answers of others, which may or may not be possible.
        let mut rng = SmallRng::seed_from_u64(seed);
        if rng.random_bool(0.5) {
            for _ in 0..2 {
                let (from, to) = (rng.random_range(0..history.len()), rng.random_range(0..history.len()));
                if let (RefCall::Get(_), RefCall::Get(seen)) = (history[to].call, history[from].call) {
                    history[to].call = RefCall::Get(seen);
                }
            }
        }
        let ours = verdict(&history).is_ok();
        assert_eq!(ours, as_they_see_it(&history), "seed {seed}: {history:#?}");
        no += usize::from(!ours);
    }
    assert!(no > 10, "only {no} histories have no order");
}

#[test]
fn thousands_of_calls_are_checked_in_time() {
    let history = generated(7, 8, 4_000, 2);
    #[allow(clippy::disallowed_methods)]
    let start = std::time::Instant::now();
    assert_eq!(verdict(&history), Ok(()));
    // Not a benchmark: what goes through every order would take for ever.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
