//! Rules of the product that a test can take away, to show what each is for.
//!
//! Only with the feature `ablation`, which no release has; without it every rule holds, and the compiler knows it. A rule is
//! taken away on one thread, so that tests beside it see the product as it is.

/// A rule that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// What the host's table refuses does not go, whatever the filters say.
    Floor,
    /// A change goes whole or not at all.
    WholeChange,
    /// A `/meta` that moved while it was decided waits for the next decision.
    ReloadedMeta,
}

/// Whether the rule holds.
#[cfg(not(any(test, feature = "ablation")))]
#[inline]
pub const fn holds(_: Rule) -> bool {
    true
}

#[cfg(any(test, feature = "ablation"))]
mod taken {
    use std::cell::RefCell;

    use super::Rule;

    thread_local! {
        static AWAY: RefCell<Vec<Rule>> = const { RefCell::new(Vec::new()) };
    }

    /// Whether the rule holds on this thread.
    pub fn holds(rule: Rule) -> bool {
        AWAY.with_borrow(|away| !away.contains(&rule))
    }

    /// Runs `work` without these rules.
    pub fn without<T>(rules: &[Rule], work: impl FnOnce() -> T) -> T {
        struct Back(Vec<Rule>);
        impl Drop for Back {
            fn drop(&mut self) {
                AWAY.set(std::mem::take(&mut self.0));
            }
        }
        let _back = Back(AWAY.replace(rules.to_vec()));
        work()
    }
}

#[cfg(any(test, feature = "ablation"))]
pub use taken::{holds, without};
