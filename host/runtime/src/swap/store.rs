//! The swapper and what is saved of it: resuming after a restart, going back, and following what other processes did.

use super::{Event, Swapper};
use crate::directory::{Found, Listing, Staged};
use crate::set::{Loaded, MemberId, Plan, first};
use crate::state::{Generation, Quarantined, Saved, SavedMember};
use crate::{Fault, LoadError, Policy, State};

impl Swapper {
    /// Takes over the quarantine of earlier processes.
    pub(super) fn read_state(&self) -> Result<(), LoadError> {
        if let Some(state) = &self.options.state {
            self.inner().quarantine = state.read()?.quarantine;
        }
        Ok(())
    }

    /// The number that the next new set gets.
    pub(super) fn next_id(&self) -> Result<u64, LoadError> {
        let last =
            self.options.state.as_ref().map(|state| state.read().map(|saved| saved.last)).transpose()?;
        Ok(last.unwrap_or_default() + 1)
    }

    /// Whether an earlier process saved a live set.
    pub(super) fn has_saved_set(&self) -> Result<bool, LoadError> {
        let Some(state) = &self.options.state else { return Ok(false) };
        Ok(state.read()?.live.is_some())
    }

    /// What the saved live set would be made of, with today's settings and embedded plugins.
    pub(super) fn saved_ids(&self) -> Result<Option<Vec<MemberId>>, LoadError> {
        let Some(state) = &self.options.state else { return Ok(None) };
        let Some(live) = state.read()?.live else { return Ok(None) };
        Ok(self.plan_of(state, &live).ok().map(|plan| plan.ids()))
    }

    /// Makes the saved live set the live one, under the number that it has. It was good before, so there is none to go back
    /// to from it by itself: only a set that becomes live after it can be taken back.
    pub(super) fn resume_saved(&self, held: Option<&Saved>) -> Result<(), LoadError> {
        let Some(state) = &self.options.state else { return Ok(()) };
        let saved = match held {
            Some(saved) => saved.clone(),
            None => state.read()?,
        };
        let Some(live) = &saved.live else {
            return Err(LoadError {
                subject: format!("plugin state `{}`", state.dir().display()),
                cause: "it names no live set".to_owned(),
                fault: Fault::Plugin,
            });
        };
        let before = self.inner().loaded.clone();
        let plan = self.plan_of(state, live)?;
        let loaded = plan.load(&self.runtime.shared, &before).map_err(first)?;
        self.make_live(loaded, live.id);
        let mut inner = self.inner();
        inner.previous = None;
        inner.quarantine = saved.quarantine.clone();
        Ok(())
    }

    /// Another process may have rolled back what is live here.
    pub(super) fn follow(&self, events: &mut Vec<Event>) -> Result<(), LoadError> {
        let Some(state) = &self.options.state else { return Ok(()) };
        let saved = state.read()?;
        let mut inner = self.inner();
        let known: Vec<Quarantined> = inner.quarantine.iter().filter(|q| !q.rolled_back).cloned().collect();
        let theirs = saved.quarantine.iter().filter(|q| q.rolled_back).cloned();
        inner.quarantine = theirs.chain(known).collect();
        let ids = inner.loaded.ids();
        let taken_back = inner.quarantined(&ids).cloned();
        drop(inner);
        if let (Some(quarantined), Some(live)) = (taken_back, &saved.live) {
            let from = self.generation();
            self.resume_saved(Some(&saved))?;
            events.push(Event::RolledBack {
                from,
                to: live.id,
                plugins: vec![quarantined.name],
                reason: quarantined.reason,
            });
        }
        Ok(())
    }

    /// Writes down that `loaded` is live; the number that it gets.
    pub(super) fn save_live(&self, loaded: &Loaded) -> Result<u64, LoadError> {
        let Some(state) = &self.options.state else { return Ok(self.runtime.next_generation()) };
        let members = saved_members(loaded);
        let saved = state.read()?;
        if let Some(live) = saved.live.filter(|live| live.members == members) {
            // A process that starts with what is live already is no new generation.
            return Ok(live.id);
        }
        let lock = state.lock()?;
        let mut saved = state.read()?;
        if let Some(live) = saved.live.as_ref().filter(|live| live.members == members) {
            // Another process was faster.
            return Ok(live.id);
        }
        for (member, _) in &loaded.members {
            let side = [
                member.staged.as_ref().map(|s| s.wasm.as_slice()),
                member.policy_text.as_ref().map(String::as_bytes),
                member.staged.as_ref().and_then(|s| s.signature.as_deref()),
            ];
            for bytes in side.into_iter().flatten() {
                state.put(bytes)?;
            }
        }
        // Sets that could not be saved had numbers too.
        saved.last = saved.last.max(self.generation()) + 1;
        let id = saved.last;
        let live = Generation { id, since_ms: (self.options.now_ms)(), members };
        if let Some(old) = saved.live.replace(live) {
            saved.previous.insert(0, old);
        }
        saved.quarantine.retain(|q| q.rolled_back);
        state.write(&saved, &lock)?;
        Ok(id)
    }

    pub(super) fn save_quarantine(&self) -> Result<(), LoadError> {
        let Some(state) = &self.options.state else { return Ok(()) };
        let ours: Vec<Quarantined> =
            self.inner().quarantine.iter().filter(|q| !q.rolled_back).cloned().collect();
        let lock = state.lock()?;
        let mut saved = state.read()?;
        saved.quarantine.retain(|q| q.rolled_back);
        saved.quarantine.extend(ours);
        state.write(&saved, &lock)
    }

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

    /// A saved set, as if a directory held it.
    fn plan_of(&self, state: &State, generation: &Generation) -> Result<Plan, LoadError> {
        let mut listing = Listing::default();
        for member in &generation.members {
            let policy = match &member.policy {
                None => None,
                Some(digest) => {
                    let text = String::from_utf8_lossy(&state.get(digest)?).into_owned();
                    let policy =
                        Policy::parse(&text).map_err(|cause| LoadError::plugin(&member.name, cause))?;
                    Some((text, policy))
                }
            };
            let wasm = match member.embedded {
                true => None,
                false => Some(Staged {
                    path: format!("{}.wasm", member.name).into(),
                    wasm: state.get(&member.wasm)?,
                    digest: member.wasm.clone(),
                    signature: member.signature.as_ref().map(|digest| state.get(digest)).transpose()?,
                }),
            };
            listing.found.insert(member.name.clone(), Found { wasm, policy });
        }
        let mut settings = self.inner().settings.clone();
        // Settings of a plugin that this set did not have yet are not a mistake.
        let embedded = &self.options.embedded;
        settings
            .retain(|name, _| listing.found.contains_key(name) || embedded.iter().any(|e| e.name == name));
        Plan::new(listing, &settings, embedded, &self.options.provenance).map_err(first)
    }
}

/// Goes back to the saved set before the live one, without starting either: a running host follows when it next looks.
/// What is saved then, and the plugins that were taken back.
///
/// # Errors
/// There is no set to go back to, or the state cannot be read or written.
pub fn roll_back(state: &State, now_ms: u64, reason: &str) -> Result<(Saved, Vec<String>), LoadError> {
    let lock = state.lock()?;
    let mut saved = state.read()?;
    let Some(live) = saved.live.take() else { return Err(nothing_before()) };
    // Settings come from the configuration file: a set that differs in nothing else is not one to go back to.
    let differs =
        |g: &Generation| g.members.len() != live.members.len() || !live.members.iter().all(|m| holds(g, m));
    let Some(at) = saved.previous.iter().position(differs) else { return Err(nothing_before()) };
    let before = saved.previous.drain(..=at).next_back().unwrap_or_else(|| live.clone());
    let (taken, plugins) = taken_back(&live.members, &before.members, now_ms, reason);
    saved.quarantine.retain(|q| !taken.iter().any(|t| t.name == q.name && t.wasm == q.wasm));
    saved.quarantine.extend(taken);
    saved.last += 1;
    saved.live = Some(Generation { id: saved.last, since_ms: now_ms, members: before.members });
    state.write(&saved, &lock)?;
    Ok((saved, plugins))
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
    LoadError {
        subject: "rollback".to_owned(),
        cause: "there is no set before the live one to go back to".to_owned(),
        fault: Fault::Plugin,
    }
}

/// The builds of `live` that are not in `before`, as quarantined, and their names.
fn taken_back(
    live: &[SavedMember],
    before: &[SavedMember],
    now_ms: u64,
    reason: &str,
) -> (Vec<Quarantined>, Vec<String>) {
    let same =
        |a: &SavedMember, b: &SavedMember| a.name == b.name && a.wasm == b.wasm && a.policy == b.policy;
    let new: Vec<&SavedMember> = live.iter().filter(|m| !before.iter().any(|b| same(b, m))).collect();
    let mut plugins: Vec<String> = new.iter().map(|m| m.name.clone()).collect();
    plugins.extend(before.iter().filter(|b| !live.iter().any(|m| m.name == b.name)).map(|b| b.name.clone()));
    let quarantined = new.into_iter().map(|m| Quarantined {
        name: m.name.clone(),
        wasm: m.wasm.clone(),
        policy: m.policy.clone(),
        reason: reason.to_owned(),
        since_ms: now_ms,
        rolled_back: true,
    });
    (quarantined.collect(), plugins)
}

fn saved_members(loaded: &Loaded) -> Vec<SavedMember> {
    let saved = |(member, _): &(crate::set::Member, crate::LoadedPlugin)| SavedMember {
        name: member.id.name.clone(),
        embedded: member.staged.is_none(),
        wasm: member.id.wasm.clone(),
        policy: member.id.policy.clone(),
        signature: member.staged.as_ref().and_then(|s| s.signature.as_deref()).map(crate::digest),
        settings: member.id.settings.clone(),
    };
    loaded.members.iter().map(saved).collect()
}
