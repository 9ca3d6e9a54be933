//! Dying and waiting on purpose, at named steps of a gated write: only in builds with debug assertions, for tests.
//!
//! `REFGATE_KILL_AT=STEP` ends the process as `kill -9` does. `REFGATE_HOLD_AT=STEP:FILE` makes FILE and waits until
//! somebody removes it.

use refgate_core::Clock;

/// Ends the process here, if it was told to.
#[cfg(debug_assertions)]
pub(super) fn kill_at(step: &str) {
    if std::env::var("REFGATE_KILL_AT").is_ok_and(|at| at == step) {
        // Cannot fail: it is this process. What comes behind it is not reached.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Ends or holds up the process here, if it was told to.
#[cfg(debug_assertions)]
pub(super) async fn at(step: &str, clock: &dyn Clock) {
    kill_at(step);
    let Ok(text) = std::env::var("REFGATE_HOLD_AT") else { return };
    let Some(file) = text.strip_prefix(step).and_then(|rest| rest.strip_prefix(':')) else { return };
    let file = std::path::Path::new(file);
    if std::fs::write(file, step).is_ok() {
        while file.exists() {
            clock.sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(super) fn kill_at(_: &str) {}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(super) async fn at(_: &str, _: &dyn Clock) {}
