//! Plays every scenario of this directory: on files, over git daemon, on reftable, and some on SHA-256.

use std::path::Path;

use libtest_mimic::{Arguments, Trial};
use refgate_core::ObjectFormat;
use refgate_tests::scenario::Scenario;
use refgate_tests::{Setup, reftable_is_known, run};

fn main() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut trials = Vec::new();
    let files = Setup::default();
    let reftable = reftable_is_known();
    for entry in std::fs::read_dir(&dir).expect("the scenarios are beside this file") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|e| e != "txt") {
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a plain name").to_owned();
        let scenario = Scenario::parse(&stem, &std::fs::read_to_string(&path).expect("readable"));
        trials.push(trial(&scenario, "files", files));
        trials.push(trial(&scenario, "daemon", Setup { daemon: true, ..files }));
        // Shown as ignored where git is older than 2.45.
        let on_reftable = trial(&scenario, "reftable", Setup { reftable: true, ..files });
        trials.push(on_reftable.with_ignored_flag(!reftable));
        if scenario.sha256 {
            trials.push(trial(&scenario, "sha256", Setup { format: ObjectFormat::Sha256, ..files }));
        }
    }
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial(scenario: &Scenario, kind: &str, setup: Setup) -> Trial {
    let (name, scenario) = (format!("{}::{kind}", scenario.name), scenario.clone());
    Trial::test(name, move || {
        run(scenario.play(setup));
        Ok(())
    })
}
