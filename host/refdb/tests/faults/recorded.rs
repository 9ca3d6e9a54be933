//! Case 72: histories of clients whose calls fail, with writes of which nobody knows whether they took effect.

use libtest_mimic::{Failed, Trial};
use refgate_core::Project;
use refgate_refdb::conformance::history::{Recording, Workload, record};

use super::flaky::flaky;
use crate::backends::{self, Place};
use crate::common::{block_on, within};

const SEEDS: u64 = 20;

pub fn trials() -> Vec<Trial> {
    let mut trials =
        vec![Trial::test("lies::072 a store that denies what it wrote is found", lies_are_found)];
    for backend in backends::all() {
        let name = format!("{}::072 histories with lost calls and answers are linearizable", backend.name);
        trials.push(backends::trial(&backend.missing, name, move || lossy(&(backend.start)())));
    }
    trials
}

fn run(place: &Place, seed: u64, lies: bool) -> Result<Recording, Failed> {
    let mut stores = Vec::new();
    for client in 0..6 {
        stores.push(flaky(place.connect()?, seed << 8 | client, lies));
    }
    let project = Project::new(format!("seed-{seed}"))?;
    let workload = Workload { seed, ..Workload::default() };
    Ok(block_on(record(&stores, &project, &workload, || within(10_000))))
}

fn lossy(place: &Place) -> Result<(), Failed> {
    let (mut applied, mut doubtful, mut resolved) = (0, 0, 0);
    for seed in place.seed..place.seed + SEEDS {
        let recording = run(place, seed, false)?;
        recording.check().map_err(|why| format!("REFGATE_SEED={seed}: {why}"))?;
        applied += recording.applied;
        doubtful += recording.doubtful;
        resolved += recording.resolved;
    }
    // Else the histories would show nothing.
    assert!(applied > 500 && doubtful > 100 && resolved > 30, "{applied} {doubtful} {resolved}");
    Ok(())
}

fn lies_are_found() -> Result<(), Failed> {
    let place = backends::memory();
    let mut found = 0;
    for seed in 0..SEEDS {
        found += u64::from(run(&place, seed, true)?.check().is_err());
    }
    assert!(found * 2 > SEEDS, "{found} of {SEEDS} histories of a lying store were found");
    Ok(())
}
