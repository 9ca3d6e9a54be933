//! The conformance suite against every backend of this build, one test per case; then what needs control of the
//! server or of other processes.
//!
//! What a backend does not promise is listed with it: such a test passes only when the suite finds that, too.

#[allow(dead_code)]
mod backends;
mod common;
mod faults;

use std::process::ExitCode;

use backends::{Backend, Place};
use common::{Store, at, block_on};
use libtest_mimic::{Arguments, Failed, Trial};
use refgate_core::{Expected, GlobalRef, Outcome};
use refgate_refdb::conformance::{Case, Verdict, cases};

fn main() -> ExitCode {
    if let Some(code) = faults::processes::play_role() {
        return code;
    }
    let mut trials = every_case_of_every_backend();
    trials.push(Trial::test("noop::knows nothing, refuses nothing, and passes next to no case", noop));
    for backend in backends::all() {
        let start = backend.start;
        let name = format!("{}::another store has another identity", backend.name);
        trials.push(backends::trial(&backend.missing, name, move || strangers(start)));
    }
    trials.extend(faults::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn every_case_of_every_backend() -> Vec<Trial> {
    let mut trials = Vec::new();
    for backend in backends::all() {
        for case in cases() {
            let lacks = backend.lacks.contains(&case.number);
            let suffix = if lacks { " (not promised)" } else { "" };
            let name = format!("{}::{:03} {}{suffix}", backend.name, case.number, case.name);
            let run = {
                let backend = backend.clone();
                move || expect(case, &backend, lacks)
            };
            trials.push(backends::trial(&backend.missing, name, run));
        }
    }
    trials
}

fn expect(case: Case, backend: &Backend, lacks: bool) -> Result<(), Failed> {
    let place = (backend.start)();
    match (run(case, &place), lacks) {
        (Verdict::Passed, false) | (Verdict::NotPromised(_), true) => Ok(()),
        (Verdict::Passed, true) => {
            Err(format!("{} does it now: take {} out of its list", backend.name, case.number).into())
        }
        (Verdict::NotPromised(why), false) => {
            Err(format!("not promised, which nobody has said before: {why}").into())
        }
        (Verdict::Failed(why), _) => Err(format!("seed {}: {why}", place.seed).into()),
    }
}

fn run(case: Case, place: &Place) -> Verdict {
    block_on(case.run(&place.bench())).verdict
}

fn strangers(start: fn() -> Place) -> Result<(), Failed> {
    let places = [start(), start()];
    let [a, b] = places.map(|place| {
        let identity = || place.connect().unwrap().seen().map(|mark| mark.identity).unwrap();
        assert_eq!(identity(), identity(), "of two clients of one store");
        identity()
    });
    assert_ne!(a, b);
    Ok(())
}

/// The suite would be worth little if a store that does nothing passed it.
fn noop() -> Result<(), Failed> {
    let place = backends::noop();
    let passed: Vec<u16> =
        cases().into_iter().filter(|case| run(*case, &place) == Verdict::Passed).map(|c| c.number).collect();
    // What holds for a store that never holds anything.
    assert_eq!(passed, [1, 7, 33], "what a store that remembers nothing passes");
    let noop = Store(place.connect().unwrap());
    assert_eq!(noop.cas("p", "refs/x", Expected::Exactly(at(1)), at(2)), Outcome::Applied);
    noop.put("p", "refs/x", at(1));
    assert_eq!(noop.value("p", "refs/x"), GlobalRef::Untracked);
    assert!(noop.scan("p", "", None, 9).is_empty());
    Ok(())
}
