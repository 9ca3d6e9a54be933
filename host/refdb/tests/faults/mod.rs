//! What the suite cannot do from outside: other processes that are killed or stopped, and answers that get lost.

mod flaky;
pub mod processes;
mod recorded;
#[cfg(any(feature = "zookeeper", feature = "etcd"))]
mod server;

use libtest_mimic::Trial;

/// All tests of this directory.
pub fn trials() -> Vec<Trial> {
    let mut trials = processes::trials();
    trials.extend(recorded::trials());
    #[cfg(any(feature = "zookeeper", feature = "etcd"))]
    trials.extend(server::trials());
    trials
}
