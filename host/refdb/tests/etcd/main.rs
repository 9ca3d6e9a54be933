//! The etcd backend against a real server: what the contract alone does not show.
//!
//! Every test starts a server of its own. Where etcd is not installed all show as ignored.

mod access;
mod bad;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod keys;
mod locks;
mod many;
mod proxy;
mod support;

use libtest_mimic::{Arguments, Trial};
use refgate_servers::Etcd;

fn main() {
    let missing = Etcd::missing();
    let modules = [
        ("access", access::TESTS),
        ("bad", bad::TESTS),
        ("cluster", cluster::TESTS),
        ("faults", faults::TESTS),
        ("keys", keys::TESTS),
        ("locks", locks::TESTS),
        ("many", many::TESTS),
    ];
    let mut trials = Vec::new();
    for (module, tests) in modules {
        for (name, test) in tests {
            let trial = Trial::test(format!("{module}::{name}"), || {
                test();
                Ok(())
            });
            trials.push(trial.with_kind("etcd").with_ignored_flag(missing.is_some()));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
