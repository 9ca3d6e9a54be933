//! Whether a recorded history can be explained by one order of its calls: a checker for linearizability.
//!
//! After Wing and Gong, with Lowe's cache of visited states: depth first over the calls that may come next, where a call
//! may come next if no call that has not been placed returned before it began. A call whose outcome is not known may be
//! placed anywhere from its beginning on, or never.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

use refgate_core::{Expected, GlobalRef, Outcome};

/// What a history is compared with: an object that does one call at a time.
pub trait Model {
    /// What the object holds.
    type State: Clone + Eq + Hash + Debug;
    /// A call with its result.
    type Call: Clone + Debug;

    /// What the object holds before the first call.
    fn start(&self) -> Self::State;

    /// What it holds after `call`; `None` when the call cannot have had its result in `state`. Of a call whose result is
    /// not known: what it holds if the call took effect.
    fn after(&self, state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// One call of a history. Times come from one counter that grows with every beginning and every end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed<C> {
    /// Who called: for messages.
    pub client: usize,
    /// What was called, with its result.
    pub call: C,
    /// When it began.
    pub began: u64,
    /// When it can have taken effect at the latest; `None` when that is open.
    pub ended: Option<u64>,
    /// Whether nobody knows if it took effect at all.
    pub doubtful: bool,
}

/// Why a history is not linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impossible<C> {
    /// How many calls could be placed in some order.
    pub placed: usize,
    /// What the object holds after the longest such order.
    pub state: String,
    /// The calls of which one should have come next.
    pub stuck: Vec<Timed<C>>,
}

/// Looks for an order that explains `history`.
///
/// # Errors
/// Where the longest order that was found ends.
pub fn check<M: Model>(model: &M, history: &[Timed<M::Call>]) -> Result<(), Impossible<M::Call>> {
    let mut calls: Vec<&Timed<M::Call>> = history.iter().collect();
    calls.sort_by_key(|call| call.began);
    let search = Search { model, calls };
    let mut visited: HashSet<(Bits, M::State)> = HashSet::new();
    let mut frames = vec![search.frame(Bits::new(search.calls.len()), 0, 0, 0, model.start())];
    let mut deepest: Option<Impossible<M::Call>> = None;
    while let Some(frame) = frames.last_mut() {
        if frame.done {
            return Ok(());
        }
        if deepest.as_ref().is_none_or(|d| frame.placed > d.placed) {
            deepest = Some(search.impossible(frame));
        }
        let Some((next, state)) = frame.choices.pop() else {
            frames.pop();
            continue;
        };
        let mut bits = frame.bits.clone();
        bits.set(next);
        let latest = frame.latest.max(search.calls[next].began);
        let frame = search.frame(bits, frame.base, frame.placed + 1, latest, state);
        if visited.insert((frame.bits.clone(), frame.state.clone())) {
            frames.push(frame);
        }
    }
    deepest.map_or(Ok(()), Err)
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: Vec<&'a Timed<M::Call>>,
}

/// A point of the search.
struct Frame<S> {
    /// The calls that have their place, and doubtful ones that cannot get one any more.
    bits: Bits,
    /// All calls before this one have their bit set.
    base: usize,
    placed: usize,
    /// When the last of the placed calls began: what ended before cannot follow.
    latest: u64,
    state: S,
    /// The calls that may come next, the best one last, each with what it leads to.
    choices: Vec<(usize, S)>,
    /// Whether every call that is not doubtful has its place.
    done: bool,
}

impl<M: Model> Search<'_, M> {
    fn frame(
        &self,
        mut bits: Bits,
        mut base: usize,
        placed: usize,
        latest: u64,
        state: M::State,
    ) -> Frame<M::State> {
        let mut limit = u64::MAX;
        let mut open = Vec::new();
        let mut i = base;
        while let Some(call) = self.calls.get(i).filter(|call| call.began < limit) {
            if !bits.has(i) {
                let end = call.ended.unwrap_or(u64::MAX);
                if call.doubtful && end < latest {
                    bits.set(i);
                } else {
                    if !call.doubtful {
                        limit = limit.min(end);
                    }
                    open.push(i);
                }
            }
            i += 1;
        }
        while base < self.calls.len() && bits.has(base) {
            base += 1;
        }
        let mut choices: Vec<(usize, M::State)> = open
            .into_iter()
            .filter_map(|i| Some((i, self.model.after(&state, &self.calls[i].call)?)))
            .collect();
        // Who must end first goes first; a doubtful call only when nothing else helps.
        choices.sort_by_key(|(i, _)| {
            let call = self.calls[*i];
            std::cmp::Reverse((call.doubtful, call.ended.unwrap_or(u64::MAX)))
        });
        let done = (base..self.calls.len()).all(|i| bits.has(i) || self.calls[i].doubtful);
        Frame { bits, base, placed, latest, state, choices, done }
    }

    fn impossible(&self, frame: &Frame<M::State>) -> Impossible<M::Call> {
        let open = || (frame.base..self.calls.len()).filter(|i| !frame.bits.has(*i)).map(|i| self.calls[i]);
        let limit = open().filter(|c| !c.doubtful).filter_map(|c| c.ended).min().unwrap_or(u64::MAX);
        let stuck = open().take_while(|call| call.began < limit).cloned().collect();
        Impossible { placed: frame.placed, state: format!("{:?}", frame.state), stuck }
    }
}

/// A set of small numbers.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Bits {
        Bits(vec![0; len.div_ceil(64)])
    }

    fn has(&self, i: usize) -> bool {
        self.0[i / 64] & (1 << (i % 64)) != 0
    }

    fn set(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }
}

/// The value of one ref. Refs are checked one by one: an order for each is an order for all.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneRef;

/// What a client did with one ref, and what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefCall {
    /// It read this.
    Get(GlobalRef),
    /// It wrote; the outcome is `None` when it was not told.
    Cas {
        /// What had to be there.
        expected: Expected,
        /// What was to be written.
        new: GlobalRef,
        /// What it was told.
        outcome: Option<Outcome>,
    },
}

impl Model for OneRef {
    type State = GlobalRef;
    type Call = RefCall;

    fn start(&self) -> GlobalRef {
        GlobalRef::Untracked
    }

    fn after(&self, state: &GlobalRef, call: &RefCall) -> Option<GlobalRef> {
        match *call {
            RefCall::Get(seen) => (seen == *state).then_some(*state),
            RefCall::Cas { expected, new, outcome } => match outcome {
                Some(Outcome::Applied) | None => expected.holds(*state).then_some(new),
                Some(Outcome::Mismatch { actual }) => {
                    (actual == *state && !expected.holds(*state)).then_some(*state)
                }
                // Nobody here writes with a token.
                Some(Outcome::Fenced | Outcome::Full) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
