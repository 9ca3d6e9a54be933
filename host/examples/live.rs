//! A host that runs on, with filters that are swapped while it decides and a store of its own:
//! `cargo run --example live`.
use std::{error::Error, sync::Arc, time::Duration};

use refgate_core::{MemoryRefDb, RefDb, refdb::Waiting};
use refgate_git::GitRepositories;
use refgate_host::live::{Live, LiveOptions};
use refgate_host::{Config, Gate, GateParts, System};

/// The other example, whose system is used here.
#[path = "embed.rs"]
#[allow(dead_code)]
pub mod embed;

/// The gate and what keeps its filters; `Live` ends with whoever holds it.
pub fn open(config: Config, system: &System, store: RefDb) -> Result<(Gate, Live), refgate_host::Error> {
    let live = Live::start(&config, system, LiveOptions::default())?;
    // Whatever the store does, a call ends.
    let refdb = store.waiting(Waiting::new(system.clock.clone(), Duration::from_secs(10)));
    let local = Arc::new(GitRepositories::new(config.site.base_path.clone()));
    let (clock, rng) = (system.clock.clone(), system.rng.clone());
    let gate = Gate::new(GateParts { refdb, local, filters: live.source(), clock, rng, config });
    Ok((gate, live))
}

#[tokio::main]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a program sleeps and prints")]
async fn main() -> Result<(), Box<dyn Error>> {
    let system = embed::system();
    // Yours stands here.
    let store = RefDb::new(MemoryRefDb::with_clock(system.clock.clone()));
    let (gate, live) = open(Config::load("refgate.config".as_ref())?, &system, store)?;
    loop {
        // A decision takes the set that is live when it begins, and keeps it to its end.
        println!("generation {}: {} plugins", live.generation(), gate.filters().plugins.len());
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}
