//! Going back: to the set before the live one, or to any that is kept.

use super::store::saved_members;
use super::{Event, Swapper};
use crate::set::Loaded;
use crate::state::{Generation, Quarantined, Saved, SavedMember};
use crate::{Fault, LoadError, State};

impl Swapper {
    /// Goes back; the caller has the turn.
    pub(super) fn go_back(&self, reason: &str) -> Result<Vec<Event>, LoadError> {
        let from = self.generation();
        let now = (self.options.now_ms)();
        if let Some(state) = &self.options.state {
            let (saved, plugins) = roll_back(state, now, reason)?;
            self.resume_saved(Some(&saved))?;
            return Ok(vec![Event::RolledBack {
                from,
                to: self.generation(),
                plugins,
                reason: reason.to_owned(),
            }]);
        }
        let mut inner = self.inner();
        let Some(previous) = inner.previous.take() else { return Err(nothing_before()) };
        let members = |loaded: &Loaded| saved_members(loaded);
        let (taken, plugins) = taken_back(&members(&inner.loaded), &members(&previous), now, reason);
        inner.quarantine.extend(taken);
        drop(inner);
        let to = self.runtime.next_generation();
        self.make_live(previous, to);
        // What was taken back is not what to go back to next time.
        self.inner().previous = None;
        Ok(vec![Event::RolledBack { from, to, plugins, reason: reason.to_owned() }])
    }
}

/// What going back comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// What is saved then.
    pub saved: Saved,
    /// The plugins in which the two sets differ.
    pub plugins: Vec<String>,
    /// The generation whose files decide again.
    pub of: u64,
}

/// What going back would come to, from what is saved: to the generation `to`, or else to the newest that has other files
/// than the live one and from which nobody went back.
///
/// # Errors
/// There is no such set.
pub fn rolled_back(
    saved: &Saved,
    to: Option<u64>,
    now_ms: u64,
    reason: &str,
) -> Result<RolledBack, LoadError> {
    let mut saved = saved.clone();
    let Some(live) = saved.live.take() else { return Err(nothing_before()) };
    // Settings come from the configuration file: a set that differs in nothing else is not one to go back to.
    let differs =
        |g: &Generation| g.members.len() != live.members.len() || !live.members.iter().all(|m| holds(g, m));
    let at = match to {
        None => saved.previous.iter().position(|g| !g.taken_back && differs(g)).ok_or_else(nothing_before)?,
        Some(id) => match saved.previous.iter().position(|g| g.id == id) {
            Some(at) if differs(&saved.previous[at]) => at,
            Some(_) => {
                return Err(cannot(format!(
                    "generation {id} has the same files as the live one, {}",
                    live.id
                )));
            }
            None if id == live.id => return Err(cannot(format!("generation {id} is the live one"))),
            None => {
                let kept = saved.previous.iter().map(|g| g.id.to_string()).collect::<Vec<_>>().join(", ");
                return Err(cannot(format!("generation {id} is not kept; kept are: {kept}")));
            }
        },
    };
    // Those in between were gone back from as well.
    saved.previous.iter_mut().take(at).for_each(|g| g.taken_back = true);
    saved.previous[at].taken_back = false;
    let target = saved.previous[at].clone();
    let (taken, plugins) = taken_back(&live.members, &target.members, now_ms, reason);
    let wanted = |q: &Quarantined| {
        target
            .members
            .iter()
            .any(|m| m.name == q.name && (q.wasm.is_empty() || (m.wasm == q.wasm && m.policy == q.policy)))
    };
    let again = |q: &Quarantined| taken.iter().any(|t| t.name == q.name && t.wasm == q.wasm);
    saved.quarantine.retain(|q| !(again(q) || q.rolled_back && wanted(q)));
    saved.quarantine.extend(taken);
    saved.last += 1;
    saved.previous.insert(0, Generation { taken_back: true, ..live });
    saved.live =
        Some(Generation { id: saved.last, since_ms: now_ms, members: target.members, taken_back: false });
    Ok(RolledBack { saved, plugins, of: target.id })
}

/// Goes back to the saved set before the live one, without starting either: a running host follows when it next looks.
/// What is saved then, and the plugins that were taken back.
///
/// # Errors
/// There is no set to go back to, or the state cannot be read or written.
pub fn roll_back(state: &State, now_ms: u64, reason: &str) -> Result<(Saved, Vec<String>), LoadError> {
    roll_back_to(state, None, now_ms, reason).map(|done| (done.saved, done.plugins))
}

/// The same to a generation of one's choice.
///
/// # Errors
/// As [`rolled_back`], or the state cannot be read or written.
pub fn roll_back_to(
    state: &State,
    to: Option<u64>,
    now_ms: u64,
    reason: &str,
) -> Result<RolledBack, LoadError> {
    let lock = state.lock()?;
    let done = rolled_back(&state.read()?, to, now_ms, reason)?;
    state.write(&done.saved, &lock)?;
    Ok(done)
}

/// Uses a build again that was rolled back. Whether there was one.
///
/// # Errors
/// The state cannot be read or written.
pub fn release(state: &State, name: &str) -> Result<bool, LoadError> {
    let lock = state.lock()?;
    let mut saved = state.read()?;
    let before = saved.quarantine.len();
    saved.quarantine.retain(|q| q.name != name);
    let released = saved.quarantine.len() < before;
    state.write(&saved, &lock)?;
    Ok(released)
}

fn same_files(a: &SavedMember, b: &SavedMember) -> bool {
    a.name == b.name && a.wasm == b.wasm && a.policy == b.policy
}

fn holds(generation: &Generation, member: &SavedMember) -> bool {
    generation.members.iter().any(|m| same_files(m, member))
}

fn nothing_before() -> LoadError {
    cannot("there is no set before the live one to go back to".to_owned())
}

fn cannot(cause: String) -> LoadError {
    LoadError { subject: "rollback".to_owned(), cause, fault: Fault::Plugin }
}

/// The builds of `live` that are not in `before`, and what is in `before` alone, as quarantined; and their names.
fn taken_back(
    live: &[SavedMember],
    before: &[SavedMember],
    now_ms: u64,
    reason: &str,
) -> (Vec<Quarantined>, Vec<String>) {
    let new = live.iter().filter(|m| !before.iter().any(|b| same_files(b, m)));
    let gone = before.iter().filter(|b| !live.iter().any(|m| m.name == b.name));
    let quarantined = |name: &str, wasm: &str, policy: Option<&String>| Quarantined {
        name: name.to_owned(),
        wasm: wasm.to_owned(),
        policy: policy.cloned(),
        reason: reason.to_owned(),
        since_ms: now_ms,
        rolled_back: true,
    };
    let mut taken: Vec<Quarantined> = new.map(|m| quarantined(&m.name, &m.wasm, m.policy.as_ref())).collect();
    taken.extend(gone.map(|m| quarantined(&m.name, "", None)));
    let plugins = taken.iter().map(|q| q.name.clone()).collect();
    (taken, plugins)
}
