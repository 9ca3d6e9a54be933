//! The time of day, for policies like "nothing on weekends".
//!
//! The host stops the clock for the length of a pass, so a verdict is a function of the batch, the settings and this
//! time. The second pass of a decision has a time of its own. A component that calls [`now_ms`] imports
//! `refgate:filter/clock`; one that does not imports nothing.
//!
//! There is no time zone beside UTC, and none is needed to count: a fixed offset is a setting.
//!
//! ```
//! use refgate_guest::{Batch, Verdicts, clock};
//!
//! /// Nothing goes on a Sunday (UTC). 1970 began on a Thursday.
//! fn filter(_batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
//!     if (clock::now_ms() / 86_400_000 + 4) % 7 == 0 {
//!         verdicts.discard_all("sunday");
//!     }
//!     Ok(())
//! }
//! ```

/// The time of day when the pass began, in milliseconds since 1970 (UTC). People set clocks: it can go back.
///
/// # Panics
/// Outside of a pass: a project matcher and `new` have no time. A component traps there. In plain Rust the time is what
/// `native::at` says, and without it this panics.
pub fn now_ms() -> u64 {
    backend::now_ms()
}

#[cfg(target_arch = "wasm32")]
mod backend {
    pub use crate::bindings::clock::now_ms;
}

/// Outside of wasm the time is what the caller says.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod backend {
    use std::cell::Cell;

    std::thread_local! {
        static NOW: Cell<Option<u64>> = const { Cell::new(None) };
    }

    pub fn now_ms() -> u64 {
        NOW.get().expect("no time is set: run the filter within `refgate_guest::native::at`")
    }

    /// Runs `call` at a time; afterwards, even by a panic, it is what it was before.
    pub fn at<T>(now_ms: u64, call: impl FnOnce() -> T) -> T {
        struct Before(Option<u64>);
        impl Drop for Before {
            fn drop(&mut self) {
                NOW.set(self.0);
            }
        }
        let _before = Before(NOW.replace(Some(now_ms)));
        call()
    }
}

#[cfg(test)]
mod tests {
    use super::now_ms;
    use crate::testing::at;

    #[test]
    fn the_time_is_what_the_caller_says_and_only_there() {
        let inner = || (now_ms(), at(7, now_ms), now_ms());
        assert_eq!(at(5, inner), (5, 7, 5));
        assert!(std::panic::catch_unwind(now_ms).is_err());
        assert!(std::panic::catch_unwind(|| at(5, || panic!("within"))).is_err());
        assert!(std::panic::catch_unwind(now_ms).is_err());
    }
}
