//! The rule of who decides what a late write becomes.
//!
//! A call and its caller share a [`Ticket`]. Either the caller gives up first, then no write is sent any more; or the
//! write is sent first, then giving up hands out its session, so that it can be closed before anything else is written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where a call stands.
#[derive(Default)]
pub(super) struct Ticket {
    state: Mutex<State>,
    /// Whether a write of this call was applied.
    wrote: AtomicBool,
}

#[derive(Default)]
enum State {
    /// Nothing is under way.
    #[default]
    Open,
    /// A write was sent in this session and is not answered.
    Sent(i64),
    /// The caller is gone.
    GivenUp,
}

impl Ticket {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a write may be sent: not when the caller gave up first.
    pub(super) fn send(&self, session: i64) -> bool {
        let mut state = self.state();
        let open = matches!(*state, State::Open);
        if open {
            *state = State::Sent(session);
        }
        open
    }

    /// The write was answered, or is known to have failed.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        if matches!(*state, State::Sent(_)) {
            *state = State::Open;
        }
    }

    /// The write was applied; the call may go on.
    pub(super) fn applied(&self) {
        self.wrote.store(true, Ordering::Release);
    }

    /// Whether a part of the call was written.
    pub(super) fn wrote(&self) -> bool {
        self.wrote.load(Ordering::Acquire)
    }

    /// Nothing is sent from now on. The session of the write that is under way, if there is one.
    pub(super) fn give_up(&self) -> Option<i64> {
        match std::mem::replace(&mut *self.state(), State::GivenUp) {
            State::Sent(session) => Some(session),
            State::Open | State::GivenUp => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_the_caller_gives_up_or_the_write_is_sent() {
        let ticket = Ticket::default();
        assert_eq!(ticket.give_up(), None);
        assert!(!ticket.send(7));
        let ticket = Ticket::default();
        assert!(ticket.send(7));
        assert_eq!(ticket.give_up(), Some(7));
        ticket.answered();
        assert!(!ticket.send(8), "an answer that comes too late opens nothing");
        let ticket = Ticket::default();
        assert!(ticket.send(7));
        ticket.answered();
        assert!(ticket.send(8), "a call may write several times");
        ticket.answered();
        assert_eq!(ticket.give_up(), None);
    }
}
