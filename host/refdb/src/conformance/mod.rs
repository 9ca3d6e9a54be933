//! The conformance suite: what every store behind [`RefDb`](refgate_core::RefDb) must do, as named cases.
//!
//! A case works in projects of its own below [`Bench::prefix`] and forgets them when it ends, so that the suite may run
//! on a store that is in use. What [`Capabilities`](refgate_core::Capabilities) do not promise is not tested and shows as
//! [`Verdict::NotPromised`]. Numbers are stable. Those that are missing need control of the server or of other processes
//! and are tests of this crate: 36 (round trips), 56 (several processes) and 61 to 72 (faults).

mod basics;
mod batch;
mod bench;
mod cas;
mod check;
mod entries;
pub mod history;
mod leases;
pub mod linear;
mod locks;
mod names;
mod races;
mod remove;
mod scan;
mod sites;
mod texts;
mod whole;

use std::time::Duration;

pub use bench::{Bench, Connect};
use bench::{Body, Run};
use check::Stop;
pub use check::{step, together};

/// One case of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Stable, and unique.
    pub number: u16,
    /// What must be so, in a few words.
    pub name: &'static str,
    body: Body,
}

/// How a case came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The store does it.
    Passed,
    /// The store does something else; the text says what was expected and what was seen.
    Failed(String),
    /// The store does not promise it; the text says what it lacks. Never the same as passed.
    NotPromised(String),
}

impl Verdict {
    /// `passed`, `failed` or `not promised`.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "failed",
            Verdict::NotPromised(_) => "not promised",
        }
    }

    /// What is said about it; nothing when it passed.
    pub fn why(&self) -> Option<&str> {
        match self {
            Verdict::Passed => None,
            Verdict::Failed(why) | Verdict::NotPromised(why) => Some(why),
        }
    }
}

/// A case that was run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which.
    pub case: Case,
    /// How it came out.
    pub verdict: Verdict,
    /// How long it took by the clock of the [`Bench`], cleaning up included.
    pub took: Duration,
}

/// All cases, by number.
pub fn cases() -> Vec<Case> {
    let groups = [
        basics::CASES,
        cas::CASES,
        names::CASES,
        batch::CASES,
        remove::CASES,
        locks::CASES,
        leases::CASES,
        races::CASES,
        entries::CASES,
        texts::CASES,
        scan::CASES,
        sites::CASES,
        whole::CASES,
    ];
    let mut all = groups.concat();
    all.sort_by_key(|case| case.number);
    all
}

impl Case {
    /// `13 absent is met by an absent ref`: how tables and tests call it.
    pub fn title(&self) -> String {
        format!("{} {}", self.number, self.name)
    }

    /// Runs the case and forgets what it wrote, also when it failed. Never panics for what the store does.
    ///
    /// Blocks the calling thread while clients connect: run it on a thread that has nothing else to do.
    pub async fn run(&self, bench: &Bench) -> Report {
        let start = bench.clock().now();
        let verdict = self.verdict(bench).await;
        Report { case: *self, verdict, took: bench.clock().now() - start }
    }

    async fn verdict(&self, bench: &Bench) -> Verdict {
        let run = match Run::new(bench, self.number) {
            Ok(run) => run,
            Err(e) => return Verdict::Failed(format!("no connection: {e}")),
        };
        let found = match check::caught((self.body)(&run)).await {
            Ok(Ok(())) => Verdict::Passed,
            Ok(Err(Stop::Failed(why))) => Verdict::Failed(why),
            Ok(Err(Stop::NotPromised(why))) => Verdict::NotPromised(why),
            Err(panic) => Verdict::Failed(format!("the store panicked: {panic}")),
        };
        match run.clean_up().await {
            Ok(()) => found,
            Err(left) => {
                let before = found.why().map(|why| format!("{why}; and then ")).unwrap_or_default();
                Verdict::Failed(format!("{before}{left}"))
            }
        }
    }
}

const fn case(number: u16, name: &'static str, body: Body) -> Case {
    Case { number, name, body }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        let all = cases();
        let numbers: BTreeSet<u16> = all.iter().map(|case| case.number).collect();
        let names: BTreeSet<&str> = all.iter().map(|case| case.name).collect();
        assert_eq!((numbers.len(), names.len()), (all.len(), all.len()));
        let missing: Vec<u16> = (1..=60).filter(|n| !numbers.contains(n)).collect();
        assert_eq!(missing, [36, 56], "what the module says of missing numbers");
        assert!(numbers.range(61..=80).next().is_none(), "faults and other programs are tests");
    }
}
