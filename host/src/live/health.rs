//! How often plugins fail, and when that is too often.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Counts failures of one plugin's build.
#[derive(Debug)]
pub(super) struct Health {
    most: usize,
    within: Duration,
    failures: VecDeque<(Instant, String, String)>,
}

impl Health {
    /// `most` failures within `within` are too many; 0 is never.
    pub fn new(most: u64, within: Duration) -> Health {
        Health { most: usize::try_from(most).unwrap_or(usize::MAX), within, failures: VecDeque::new() }
    }

    /// Notes a failure at `now`. How many there were lately when that is too many; then it begins anew.
    pub fn failed(&mut self, plugin: &str, digest: &str, now: Instant) -> Option<usize> {
        if self.most == 0 {
            return None;
        }
        self.failures.push_back((now, plugin.to_owned(), digest.to_owned()));
        while self.failures.front().is_some_and(|(at, _, _)| now.duration_since(*at) > self.within) {
            self.failures.pop_front();
        }
        let same = |(_, p, d): &&(Instant, String, String)| p == plugin && d == digest;
        let count = self.failures.iter().filter(same).count();
        (count >= self.most).then(|| {
            self.failures.clear();
            count
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin; only differences count")]
    fn many_at_once_are_too_many_and_few_at_a_time_are_not() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut health = Health::new(3, Duration::from_secs(60));
        let mut failed = |digest: &str, s| health.failed("p", digest, at(s));
        assert_eq!([failed("a", 0), failed("a", 50), failed("a", 100), failed("a", 150)], [None; 4]);
        assert_eq!([failed("b", 151), failed("b", 152), failed("b", 153)], [None, None, Some(3)]);
        assert_eq!(failed("b", 154), None, "it begins anew");
        assert_eq!(Health::new(0, Duration::MAX).failed("p", "a", start), None);
    }
}
