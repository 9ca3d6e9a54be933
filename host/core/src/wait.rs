//! The pause before local values are reloaded: a minimum plus a uniform random part.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Milliseconds to wait before the one reload of a decision.
///
/// Gerrit's arithmetic: `min + uniform[0, max)`, and `max = 0` means no wait at all, whatever `min` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadWait {
    /// `minWaitBeforeReloadLocalVersionMs`, in milliseconds.
    pub min_ms: u32,
    /// `maxRandomWaitBeforeReloadLocalVersionMs`, in milliseconds, exclusive.
    pub max_random_ms: u32,
}

impl Default for ReloadWait {
    /// Gerrit's defaults: 1000 to 1999 ms.
    fn default() -> Self {
        ReloadWait { min_ms: 1000, max_random_ms: 1000 }
    }
}

impl ReloadWait {
    /// One draw, or `None` when waiting is switched off.
    pub fn draw(&self, rng: &mut dyn Rng) -> Option<Duration> {
        if self.max_random_ms == 0 {
            return None;
        }
        let random = rng.random_range(0..self.max_random_ms);
        Some(Duration::from_millis(u64::from(self.min_ms) + u64::from(random)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn draws(min_ms: u32, max_random_ms: u32) -> Vec<Option<u128>> {
        let wait = ReloadWait { min_ms, max_random_ms };
        let mut rng = SmallRng::seed_from_u64(7);
        (0..20_000).map(|_| wait.draw(&mut rng).map(|d| d.as_millis())).collect()
    }

    #[test]
    fn the_random_part_is_uniform_and_its_bound_exclusive() {
        let all = draws(200, 300);
        assert_eq!(all.iter().min(), Some(&Some(200)));
        assert_eq!(all.iter().max(), Some(&Some(499)));
        let mean = all.iter().map(|d| d.unwrap()).sum::<u128>() as f64 / all.len() as f64;
        assert!((mean - 349.5).abs() < 3.0, "{mean}");
    }

    #[test]
    fn zero_switches_the_minimum_off_too() {
        assert!(draws(5000, 0).iter().all(Option::is_none));
        assert!(draws(0, 1).iter().all(|d| *d == Some(0)));
    }
}
