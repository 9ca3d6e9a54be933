//! What the suite cannot do from outside: other processes that are killed or stopped, and answers that get lost.

pub mod processes;

use libtest_mimic::Trial;

/// All tests of this directory.
pub fn trials() -> Vec<Trial> {
    processes::trials()
}
