//! When something was, by two clocks.

use std::time::{Duration, SystemTime};

/// A moment by the clock on the wall, which people set, and by the time since the boot, which nobody sets. Only what both
/// say has passed counts: a jump of the first alone must not make a day of two minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of day.
    pub wall: SystemTime,
    /// Names the boot; empty where the system has no such name.
    pub boot: String,
    /// Time since that boot, suspension included.
    pub since_boot: Duration,
}

impl Moment {
    /// How long it certainly takes until `after` has passed since `earlier`; zero when it has.
    ///
    /// After another boot at least the time since then has passed. `earlier` may also be of another machine, which shares
    /// the repository: there its clock on the wall counts alone when this one has been up for so long.
    pub(super) fn left(&self, earlier: &Moment, after: Duration) -> Duration {
        let by_wall = match earlier.wall.checked_add(after) {
            Some(end) => end.duration_since(self.wall).unwrap_or_default(),
            None => Duration::MAX,
        };
        let passed = match earlier.boot == self.boot {
            true => self.since_boot.saturating_sub(earlier.since_boot),
            false => self.since_boot,
        };
        by_wall.max(after.saturating_sub(passed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn moment(hour: u32, boot: &str, up: u32) -> Moment {
        Moment { wall: SystemTime::UNIX_EPOCH + hour * HOUR, boot: boot.into(), since_boot: up * HOUR }
    }

    #[test]
    fn time_has_passed_when_both_clocks_say_so() {
        let noted = moment(1000, "a", 10);
        for (now, left) in [
            (moment(1024, "a", 34), 0),
            (moment(1023, "a", 33), 1),
            // The clock on the wall jumped, forward and back.
            (moment(1025, "a", 10), 24),
            (moment(990, "a", 34), 34),
            // After another boot the time since then counts, however long the one before was.
            (moment(1024, "b", 2), 22),
            (moment(1024, "b", 24), 0),
            (moment(1001, "b", 500), 23),
        ] {
            assert_eq!(now.left(&noted, 24 * HOUR), left * HOUR, "{now:?}");
        }
        // Where boots have no names, a smaller time since the boot is of another one.
        assert_eq!(moment(1024, "", 2).left(&moment(1000, "", 10), 24 * HOUR), 24 * HOUR);
        assert_eq!(moment(1024, "", 40).left(&moment(1000, "", 10), 24 * HOUR), Duration::ZERO);
    }
}
