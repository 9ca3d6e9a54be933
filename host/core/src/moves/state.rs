//! What becomes of one row.

use std::sync::Arc;

use super::Move;
use crate::Reason;

/// What has become of a ref update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State<R = Refusal> {
    /// It goes, and has not gone so far; in a dry run it stays so.
    #[default]
    Open,
    /// It does not go. Many rows share one text.
    Held(Arc<Held>),
    /// The destination did not take it.
    Refused(R),
    /// Nobody saw whether the destination took it.
    Unknown(R),
    /// The destination was read back at the new value.
    Done,
}

/// Why a ref update does not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The reason.
    pub reason: Reason,
    /// The filter that said so first, or `host`.
    pub by: Arc<str>,
    /// What an operator can do about it.
    pub hint: Option<String>,
}

/// Why a ref update that went was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The words of the destination, or of what failed on the way.
    pub why: String,
    /// What an operator can do about it.
    pub hint: Option<String>,
}

impl Held {
    /// The host itself holds it back.
    pub fn by_host(reason: Reason) -> Held {
        Held { reason, by: crate::decision::HOST.into(), hint: None }
    }
}

impl<R> State<R> {
    /// Held back by the host.
    pub fn held(reason: Reason) -> State<R> {
        State::Held(Arc::new(Held::by_host(reason)))
    }

    /// It may still go.
    pub fn is_open(&self) -> bool {
        matches!(self, State::Open)
    }

    /// Nothing holds it back, whatever became of it then.
    pub fn is_kept(&self) -> bool {
        !matches!(self, State::Held(_))
    }

    /// It went, and is not known to have arrived.
    pub fn has_failed(&self) -> bool {
        matches!(self, State::Refused(_) | State::Unknown(_))
    }
}

impl State<Refusal> {
    /// Not taken for that reason.
    pub fn refused(why: impl Into<String>) -> State {
        State::Refused(Refusal { why: why.into(), hint: None })
    }

    /// Nobody saw what became of it.
    pub fn unknown(why: impl Into<String>) -> State {
        State::Unknown(Refusal { why: why.into(), hint: None })
    }
}

/// `replicated`, `held-back`, `rejected: WHY` or `not-sent`: the words of reports.
impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            State::Done => f.write_str("replicated"),
            State::Held(_) => f.write_str("held-back"),
            State::Refused(refusal) | State::Unknown(refusal) => write!(f, "rejected: {}", refusal.why),
            State::Open => f.write_str("not-sent"),
        }
    }
}

impl<'m, R> Move<'m, R> {
    /// Nothing holds it back, whatever became of it then.
    pub fn is_kept(self) -> bool {
        self.state().is_kept()
    }

    /// Why it is held back.
    pub fn held(self) -> Option<&'m Held> {
        match self.state() {
            State::Held(held) => Some(held),
            _ => None,
        }
    }

    /// The reason for which it is held back.
    pub fn reason(self) -> Option<&'m Reason> {
        self.held().map(|held| &held.reason)
    }
}

impl<'m> Move<'m> {
    /// What an operator can do about a ref that was held back or refused.
    pub fn hint(self) -> Option<&'m str> {
        match self.state() {
            State::Held(held) => held.hint.as_deref(),
            State::Refused(refusal) | State::Unknown(refusal) => refusal.hint.as_deref(),
            State::Open | State::Done => None,
        }
    }
}
