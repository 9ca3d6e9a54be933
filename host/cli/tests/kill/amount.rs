//! How much is tried: little among the other tests, hours when somebody asks for it.

use std::time::{Duration, Instant, SystemTime};

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// The seed of the first world; later ones count up from it.
pub fn first_seed() -> u64 {
    number("REFGATE_KILL_SEED").unwrap_or(1)
}

/// Rounds still to go, and the number of the next one.
pub struct Rounds {
    next: u64,
    rounds: u64,
    until: Option<Instant>,
}

impl Rounds {
    /// `usual` many, unless the environment says how many, or for how long.
    #[allow(clippy::disallowed_methods)]
    pub fn new(usual: u64) -> Rounds {
        let until = number("REFGATE_KILL_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
        Rounds { next: 0, rounds: number("REFGATE_KILL_ROUNDS").unwrap_or(usual), until }
    }
}

impl Iterator for Rounds {
    type Item = u64;

    #[allow(clippy::disallowed_methods)]
    fn next(&mut self) -> Option<u64> {
        let goes_on = match self.until {
            Some(until) => Instant::now() < until,
            None => self.next < self.rounds,
        };
        self.next += 1;
        goes_on.then_some(self.next - 1)
    }
}

/// Waits in real time: other processes have to get somewhere, and nobody says when.
#[allow(clippy::disallowed_methods)]
pub fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// The time of the files that are made meanwhile.
#[allow(clippy::disallowed_methods)]
pub fn now() -> SystemTime {
    SystemTime::now()
}
