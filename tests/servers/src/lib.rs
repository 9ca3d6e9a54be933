//! Real servers for tests: started on free ports of 127.0.0.1, killed with the test that started them.
//!
//! A server whose program is not installed is [`missing`], and the tests that need it show as ignored. A name in
//! `REFGATE_REQUIRE` (`zookeeper etcd`, as `.ci/run` sets it) must not be missing.
#![allow(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "servers take real time, and tests show what is printed"
)]

mod certificates;
mod etcd;
mod process;
mod proxy;
mod zookeeper;

pub use certificates::Certificates;
pub use etcd::{Etcd, EtcdSetup};
pub use process::{Process, free_port};
pub use proxy::{Counts, Mode, Protocol, Proxy};
pub use zookeeper::{KEYTOOL, ZOOKEEPER, ZooKeeper};

/// Why the server `name` cannot be started here; `None` when all of `files` exist.
///
/// # Panics
/// When `REFGATE_REQUIRE` names it and a file is missing: a required test must not be passed over.
pub fn missing(name: &str, files: &[&str]) -> Option<String> {
    let absent: Vec<&str> = files.iter().copied().filter(|f| !std::path::Path::new(f).exists()).collect();
    if absent.is_empty() {
        return None;
    }
    let why = format!("{name} is not installed ({} not found)", absent.join(", "));
    let required = std::env::var("REFGATE_REQUIRE").unwrap_or_default();
    assert!(!required.split_whitespace().any(|r| r == name), "required by REFGATE_REQUIRE: {why}");
    Some(why)
}
