//! All that is chosen in a run comes from here, so that a seed says what was chosen and in which order.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

pub struct Dice(SmallRng);

impl Dice {
    /// For one part of a run: what is chosen there does not depend on how far another part has come.
    pub fn new(seed: u64, round: u64, part: u64) -> Dice {
        Dice(SmallRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (round << 16) ^ part))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end)
    }

    /// True that often of a hundred times.
    pub fn percent(&mut self, often: u64) -> bool {
        self.below(100) < often
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
