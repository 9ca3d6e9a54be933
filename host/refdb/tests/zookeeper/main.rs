//! The ZooKeeper backend against a real server. Every test starts one of its own; where none is installed, or no
//! Curator for those that need it, the tests show as ignored.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod batches;
mod curator;
mod faults;
mod layout;
mod locks;
mod opening;
mod proxy;
mod races;
mod support;

use libtest_mimic::{Arguments, Trial};
use refgate_servers::{KEYTOOL, ZOOKEEPER, missing};

/// A name, what must be installed besides the server, and the test.
type Test = (&'static str, Needs, fn());

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Server,
    Tls,
    Curator,
}

fn main() {
    let server = missing("zookeeper", ZOOKEEPER);
    let tls = if cfg!(feature = "zookeeper-tls") {
        missing("keytool", KEYTOOL)
    } else {
        Some("built without the feature `zookeeper-tls`".to_owned())
    };
    let curator = missing("curator", curator::NEEDED);
    let modules = [
        ("access", access::TESTS),
        ("batches", batches::TESTS),
        ("curator", curator::TESTS),
        ("faults", faults::TESTS),
        ("layout", layout::TESTS),
        ("locks", locks::TESTS),
        ("opening", opening::TESTS),
        ("races", races::TESTS),
    ];
    let trials = modules.iter().flat_map(|(module, tests)| tests.iter().map(move |test| (module, test)));
    let trials = trials.map(|(module, (name, needs, test))| {
        let lacks = match needs {
            Needs::Server => server.as_ref(),
            Needs::Tls => server.as_ref().or(tls.as_ref()),
            Needs::Curator => server.as_ref().or(curator.as_ref()),
        };
        let test = *test;
        let trial = Trial::test(format!("{module}::{name}"), move || {
            test();
            Ok(())
        });
        trial.with_ignored_flag(lacks.is_some())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}
