//! A replication tool that asks refgate which of its pushes may go: `cargo run --example embed`.
use std::{error::Error, sync::Arc, time::Duration, time::Instant, time::SystemTime};

use rand::{TryRng, rngs::SysRng};
use refgate_core::{BoxFuture, Clock};
use refgate_host::{Config, Direction, Gate, Moves, Project, RefName, RefUpdate, RemoteValue, System};

struct Now;

#[expect(clippy::disallowed_methods, reason = "a program has a real clock")]
impl Clock for Now {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

/// What a program gives: real time, real randomness, and its log.
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a program sleeps and prints")]
pub fn system() -> System {
    System {
        clock: Arc::new(Now),
        rng: Arc::new(std::sync::Mutex::new(rand::make_rng::<rand::rngs::SmallRng>())),
        secret: Arc::new(|bytes| SysRng.try_fill_bytes(bytes).map_err(|e| e.to_string())),
        pause: Arc::new(std::thread::sleep),
        compiler: None,
        log: Arc::new(|level, plugin, line| println!("{level:?} {plugin}: {line}")),
    }
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program prints")]
async fn main() -> Result<(), Box<dyn Error>> {
    let system = system();
    let gate = Gate::from_config(Config::load("refgate.config".as_ref())?, &system).await?;
    let name = RefName::new("refs/heads/main")?;
    let new = Some("8f0c3f1e6d1b0a4c5d2e7f9a8b6c4d3e2f1a0b9c".parse()?);
    let update = RefUpdate::new(name, new, RemoteValue::Known(None));
    let moves = Moves::of(Direction::Push, [update]);
    let decision = gate.push(&Project::new("team/app")?, "site-b", moves).await?;
    for one in decision.moves.iter() {
        println!("{}: {:?}", one.name(), one.state());
    }
    Ok(())
}
