//! Sites under the worst that machines and strangers do: processes killed and frozen at every step, disks filled to the
//! last page, and pushes that no client of git would send.
//!
//! `REFGATE_KILL_ROUNDS` or `REFGATE_KILL_SECONDS` says how long each test goes on, `REFGATE_KILL_SEED` with which choices
//! it begins; a failure names the seed that makes the same choices again.

#[path = "../cli/common.rs"]
#[allow(dead_code)]
mod common;
#[path = "../gated/lab.rs"]
#[allow(dead_code)]
mod lab;

mod aim;
mod amount;
mod dice;
mod full;
mod ledger;
mod load;
mod raw;
mod rounds;
mod settle;
mod wire;

use lab::{Kind, kinds};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut trials = Vec::new();
    for kind in kinds().into_iter().filter(|kind| *kind != Kind::Sha256) {
        let storage = format!("{kind:?}").to_lowercase();
        let trial = |family: &str, run: fn(Kind) -> Result<(), String>| {
            Trial::test(format!("{family}::{storage}"), move || run(kind).map_err(Failed::from))
        };
        trials.push(trial("kills", rounds::kills));
        // Shown as ignored where nobody may mount.
        trials.push(trial("full", full::fills).with_ignored_flag(!full::can_mount()));
        trials.push(trial("raw", raw::one_site));
        trials.push(trial("winners", raw::two_sites));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
