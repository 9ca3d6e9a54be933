//! How long anything is waited for: the one place for the limits of waits on other programs and machines.
//!
//! Real time is meant here: a partner that says nothing is silent by the clock on the wall, whatever clock decisions
//! are made with.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::{GitError, GitErrorKind, Limits};

/// What is waited for, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// What the other side does, as in "while it was …".
    pub(crate) phase: &'static str,
    /// For how long nothing may move.
    pub(crate) silence: Duration,
    /// For how long it may go on, whatever moves.
    pub(crate) whole: Option<Duration>,
}

impl Wait {
    /// For a remote that does `phase`.
    pub(crate) fn within(limits: Limits, phase: &'static str) -> Wait {
        Wait { phase, silence: limits.silence, whole: Some(limits.session) }
    }

    /// For as long as something moves.
    pub(crate) fn silent(phase: &'static str, silence: Duration) -> Wait {
        Wait { phase, silence, whole: None }
    }
}

/// What a local git may take, in milliseconds: one limit for the process, because it is one key for the site.
static LOCAL_MS: AtomicU64 = AtomicU64::new(60 * 60 * 1000);

/// Sets how long one local git process may run (the default is an hour).
pub fn set_local_limit(limit: Duration) {
    LOCAL_MS.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
}

/// How long one local git process may run.
pub(crate) fn local() -> Duration {
    Duration::from_millis(LOCAL_MS.load(Ordering::Relaxed))
}

/// A time as people write it.
pub(crate) fn shown(time: Duration) -> String {
    match time.as_millis() {
        ms if ms % 1000 == 0 => format!("{} s", ms / 1000),
        ms => format!("{ms} ms"),
    }
}

/// What was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silence {
    pub(crate) phase: &'static str,
    pub(crate) limit: Duration,
    /// Something moved all the time, and there was no end to it.
    pub(crate) endless: bool,
}

impl Silence {
    /// The error for a remote; `who` names it.
    pub(crate) fn of(self, who: &dyn fmt::Display) -> GitError {
        if self.endless {
            return GitError::new(format!(
                "the session with `{who}` lasted longer than {}, and it was still {}; the session was ended",
                shown(self.limit),
                self.phase
            ))
            .kind(GitErrorKind::Silent)
            .hint("look at that host and the network, then run again; if it needs more time, set `sessionTimeout` of the remote higher");
        }
        GitError::new(format!(
            "`{who}` said nothing for {} while it was {}; the session was ended",
            shown(self.limit),
            self.phase
        ))
        .kind(GitErrorKind::Silent)
        .hint("look at that host and the network, then run again; if it needs more time, set `timeout` of the remote higher")
    }
}

/// Parts of the limit in which the watch looks whether something moved.
const STEPS: u32 = 4;

/// How long whoever is asked to end gets for it.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Ends a wait in which nothing moves: a thread that calls `end` between the limit and a quarter more after the last
/// [`Pulse::beat`], and once more, with `true`, when that did not help. Dropped, it never calls it again.
pub(crate) struct Watch(Pulse);

/// What those who see progress hold.
#[derive(Clone)]
pub(crate) struct Pulse(Arc<Shared>);

struct Shared {
    beats: AtomicU64,
    /// Nothing is expected of the other side.
    resting: AtomicBool,
    /// Bytes alone are no progress.
    framed: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: &'static str,
    limit: Duration,
    /// Somebody who reads has had enough.
    stopped: bool,
    over: bool,
    silence: Option<Silence>,
}

impl Watch {
    pub(crate) fn start(wait: Wait, end: impl FnMut(bool) + Send + 'static) -> Watch {
        let (phase, limit) = (wait.phase, wait.silence);
        let state = Mutex::new(State { phase, limit, stopped: false, over: false, silence: None });
        let shared = Arc::new(Shared {
            beats: AtomicU64::new(0),
            resting: AtomicBool::new(false),
            framed: AtomicBool::new(false),
            state,
            changed: Condvar::new(),
        });
        let pulse = Pulse(shared.clone());
        thread::spawn(move || shared.run(wait.whole, end));
        Watch(pulse)
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.0
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.0.lock().over = true;
        self.0.0.changed.notify_all();
    }
}

impl Pulse {
    /// Something moved.
    pub(crate) fn beat(&self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes came.
    pub(crate) fn bytes(&self) {
        if !self.0.framed.load(Ordering::Relaxed) {
            self.beat();
        }
    }

    /// From here on bytes are no progress by themselves: receive-pack sends empty frames for as long as a hook hangs. Whoever
    /// reads the frames beats.
    pub(crate) fn framed(&self) {
        self.0.framed.store(true, Ordering::Relaxed);
    }

    /// Something else is waited for from now on.
    pub(crate) fn phase(&self, phase: &'static str, limit: Duration) {
        let mut state = self.0.lock();
        (state.phase, state.limit) = (phase, limit);
        self.beat();
        self.0.resting.store(false, Ordering::Relaxed);
        drop(state);
        self.0.changed.notify_all();
    }

    /// While `resting`, nobody waits for the other side: time that this side takes is not its silence.
    pub(crate) fn rest(&self, resting: bool) {
        self.beat();
        self.0.resting.store(resting, Ordering::Relaxed);
    }

    /// Ends the other side now: what it says is too much.
    pub(crate) fn stop(&self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
    }

    /// Whether the other side was ended before its time.
    pub(crate) fn is_ended(&self) -> bool {
        let state = self.0.lock();
        state.stopped || state.silence.is_some()
    }

    /// Why the wait was ended, if it was.
    pub(crate) fn silence(&self) -> Option<Silence> {
        self.0.lock().silence
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, whole: Option<Duration>, mut end: impl FnMut(bool)) {
        let (mut seen, mut quiet) = (0, 0);
        let mut left = whole.unwrap_or(Duration::MAX);
        let mut state = self.lock();
        while !state.over {
            if state.stopped {
                end(false);
                break;
            }
            // Never too short a step: while this side takes its time, nothing is taken off what is left.
            let step = (state.limit / STEPS).min(left.max(state.limit / 64));
            let (after, waited) =
                self.changed.wait_timeout(state, step).unwrap_or_else(PoisonError::into_inner);
            state = after;
            let (beats, resting) = (self.beats.load(Ordering::Relaxed), self.resting.load(Ordering::Relaxed));
            if waited.timed_out() && !resting {
                left = left.saturating_sub(step);
            }
            if beats != seen || resting {
                (seen, quiet) = (beats, 0);
            } else if waited.timed_out() {
                quiet += 1;
            }
            let silent = quiet >= STEPS;
            if (silent || left.is_zero()) && !state.over && !state.stopped {
                let limit = if silent { state.limit } else { whole.unwrap_or_default() };
                state.silence = Some(Silence { phase: state.phase, limit, endless: !silent });
                // Under the lock: whoever stops the watch knows that nothing is ended after that.
                end(false);
                break;
            }
        }
        let mut left = GRACE;
        while !state.over && !left.is_zero() {
            let (after, waited) =
                self.changed.wait_timeout(state, left.min(GRACE / 8)).unwrap_or_else(PoisonError::into_inner);
            state = after;
            if waited.timed_out() {
                left = left.saturating_sub(GRACE / 8);
            }
        }
        if !state.over {
            end(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(40);

    #[test]
    fn silence_ends_and_beats_and_rests_do_not() {
        let (told, ended) = mpsc::channel();
        let watch =
            Watch::start(Wait::silent("connecting", SHORT), move |_| told.send(()).unwrap_or_default());
        for _ in 0..6 {
            assert!(ended.recv_timeout(SHORT / 2).is_err());
            watch.pulse().beat();
        }
        watch.pulse().rest(true);
        assert!(ended.recv_timeout(SHORT * 3).is_err());
        watch.pulse().phase("listing", SHORT);
        ended.recv_timeout(SHORT * 100).unwrap();
        assert_eq!(watch.pulse().silence(), Some(Silence { phase: "listing", limit: SHORT, endless: false }));
    }

    #[test]
    fn what_moves_for_ever_is_ended_and_time_of_this_side_does_not_count() {
        let (told, ended) = mpsc::channel();
        let wait = Wait { phase: "connecting", silence: SHORT * 1000, whole: Some(SHORT * 2) };
        let watch = Watch::start(wait, move |_| told.send(()).unwrap_or_default());
        watch.pulse().rest(true);
        assert!(ended.recv_timeout(SHORT * 4).is_err());
        watch.pulse().phase("listing", SHORT * 1000);
        while ended.recv_timeout(SHORT / 4).is_err() {
            watch.pulse().beat();
        }
        assert_eq!(
            watch.pulse().silence(),
            Some(Silence { phase: "listing", limit: SHORT * 2, endless: true })
        );
    }

    #[test]
    fn whoever_has_had_enough_ends_it_at_once() {
        let (told, ended) = mpsc::channel();
        let watch = Watch::start(Wait::silent("listing", SHORT * 1000), move |_| {
            told.send(()).unwrap_or_default();
        });
        watch.pulse().stop();
        ended.recv_timeout(SHORT * 100).unwrap();
        assert!(watch.pulse().is_ended() && watch.pulse().silence().is_none());
    }

    #[test]
    fn a_watch_that_is_dropped_ends_nothing() {
        let (told, ended) = mpsc::channel();
        let watch =
            Watch::start(Wait::silent("connecting", SHORT), move |_| told.send(()).unwrap_or_default());
        drop(watch);
        assert_eq!(ended.recv_timeout(SHORT * 100), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn times_are_shown_in_whole_units() {
        assert_eq!((shown(Duration::from_secs(300)), shown(SHORT)), ("300 s".into(), "40 ms".into()));
    }
}
