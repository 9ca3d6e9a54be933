//! Gated writes from outside: real pushes by real git into real repositories with the hook, and kills at every step.
//!
//! Beside the other tests of the program and not with the end-to-end tests of the host, because cargo hands the path of
//! the program, and builds it, only here.

#[path = "../cli/common.rs"]
#[allow(dead_code)]
mod common;

mod anew;
mod changes;
mod closed;
mod crash;
mod install;
mod known;
mod lab;
mod left_over;
mod local_policy;
mod looked_at;
mod marked;
mod names;
mod onward;
mod owners;
mod parallel;
mod plugins;
mod refusals;
mod told;
mod two_sites;
mod watch;
