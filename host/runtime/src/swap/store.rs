//! The swapper and what is saved of it: resuming after a restart, going back, and following what other processes did.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Event, Swapper};
use crate::directory::{Found, Listing, Staged};
use crate::set::{Loaded, MemberId, Plan, first};
use crate::state::{Generation, Quarantined, Saved, SavedMember};
use crate::{Fault, LoadError, Policy, Settings, State};

impl Swapper {
    /// Names of plugins that must not wait for their settings: those that decide, or did when they were last saved, and those
    /// that have to be there. `None` where nothing is saved that could tell.
    pub(super) fn urgent(&self) -> Option<BTreeSet<String>> {
        let live = self.options.state.as_ref()?.read().ok()?.live;
        let saved = live.into_iter().flat_map(|live| live.members).map(|member| member.name);
        let loaded = self.inner().loaded.live_ids().into_iter().map(|id| id.name).collect::<Vec<_>>();
        Some(saved.chain(loaded).chain(self.options.require.iter().cloned()).collect())
    }

    /// Takes over the quarantine of earlier processes. What cannot be read is told, and counts as nothing saved: it is a
    /// memory, and the directory says what the filters are.
    pub(super) fn read_state(&self) -> Option<LoadError> {
        let state = self.options.state.as_ref()?;
        match state.read() {
            Ok(saved) => {
                self.inner().quarantine = saved.quarantine;
                None
            }
            Err(e) => Some(e),
        }
    }

    /// What is saved; nothing where it cannot be read.
    fn saved(&self) -> Saved {
        self.options.state.as_ref().and_then(|state| state.read().ok()).unwrap_or_default()
    }

    /// The number that the next new set gets.
    pub(super) fn next_id(&self) -> u64 {
        self.saved().last + 1
    }

    /// Whether an earlier process saved a live set.
    pub(super) fn has_saved_set(&self) -> bool {
        self.saved().live.is_some()
    }

    /// What the saved live set would be made of, with today's settings and embedded plugins.
    pub(super) fn saved_ids(&self) -> Option<Vec<MemberId>> {
        let state = self.options.state.as_ref()?;
        self.plan_of(state, &self.saved().live?).ok().map(|plan| plan.ids())
    }

    /// Makes the saved live set the live one, under the number that it has. It was good before, so there is none to go back
    /// to from it by itself: only a set that becomes live after it can be taken back.
    pub(super) fn resume_saved(&self, held: Option<&Saved>) -> Result<(), LoadError> {
        let Some(state) = &self.options.state else { return Ok(()) };
        let saved = match held {
            Some(saved) => saved.clone(),
            None => state.read()?,
        };
        let live = saved.live.as_ref().ok_or_else(|| damaged(state, "it names no live set"))?;
        let before = self.inner().loaded.clone();
        let plan = self.plan_of(state, live)?;
        let loaded = plan.load(&self.runtime.shared, &before, &|| false).map_err(first)?;
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
        if let Some(live) = self.saved().live.filter(|live| live.members == members) {
            // A process that starts with what is live already is no new generation.
            return Ok(live.id);
        }
        let lock = state.lock()?;
        let mut saved = state.read_or_renew(&lock)?;
        if let Some(live) = saved.live.as_ref().filter(|live| live.members == members) {
            // Another process was faster.
            return Ok(live.id);
        }
        for (member, _) in &loaded.members {
            let settings = Value::Object(member.settings.clone()).to_string();
            let side = [
                member.staged.as_ref().map(|s| s.wasm.as_slice()),
                member.policy_text.as_ref().map(String::as_bytes),
                member.staged.as_ref().and_then(|s| s.signature.as_deref()),
                Some(settings.as_bytes()),
            ];
            for bytes in side.into_iter().flatten() {
                state.put(bytes)?;
            }
        }
        // Sets that could not be saved had numbers too.
        saved.last = saved.last.max(self.generation()) + 1;
        let id = saved.last;
        let live = Generation { id, since_ms: (self.options.now_ms)(), members, taken_back: false };
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
        let mut saved = state.read_or_renew(&lock)?;
        saved.quarantine.retain(|q| q.rolled_back);
        saved.quarantine.extend(ours);
        state.write(&saved, &lock)
    }

    /// A saved set, as if a directory held it.
    fn listing_of(&self, state: &State, generation: &Generation) -> Result<Listing, LoadError> {
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
        Ok(listing)
    }

    /// A saved set with today's settings.
    fn plan_of(&self, state: &State, generation: &Generation) -> Result<Plan, LoadError> {
        let listing = self.listing_of(state, generation)?;
        let mut settings = self.inner().settings.clone();
        // Settings of a plugin that this set did not have yet are not a mistake.
        let embedded = &self.options.embedded;
        settings
            .retain(|name, _| listing.found.contains_key(name) || embedded.iter().any(|e| e.name == name));
        Plan::new(listing, &settings, embedded, &self.options.provenance).map_err(first)
    }

    /// A saved set with the settings that it had.
    fn plan_as_saved(&self, state: &State, generation: &Generation) -> Result<Plan, LoadError> {
        let mut listing = self.listing_of(state, generation)?;
        let mut settings = Settings::new();
        for member in &generation.members {
            let text = state.get(&member.settings)?;
            let own: Map<String, Value> =
                serde_json::from_slice(&text).map_err(|e| damaged(state, &format!("its settings: {e}")))?;
            settings.insert(member.name.clone(), own);
        }
        // What was saved is what came of both.
        listing.found.values_mut().for_each(|found| found.give_way(true));
        Plan::new(listing, &settings, &self.options.embedded, &self.options.provenance).map_err(first)
    }

    /// Makes the set live that was saved last: with today's settings, or else with those that it had. Its number.
    pub(super) fn resume_last(&self) -> Result<u64, LoadError> {
        let none = || LoadError {
            subject: "plugin state".to_owned(),
            cause: "there is none".to_owned(),
            fault: Fault::Plugin,
        };
        let state = self.options.state.as_ref().ok_or_else(none)?;
        let saved = state.read()?;
        let live = saved.live.as_ref().ok_or_else(|| damaged(state, "it names no live set"))?;
        let load = |plan: Plan| plan.load(&self.runtime.shared, &Loaded::default(), &|| false).map_err(first);
        let loaded = match self.plan_of(state, live).and_then(load) {
            Err(e) if e.fault != Fault::Machine => self.plan_as_saved(state, live).and_then(load)?,
            loaded => loaded?,
        };
        self.make_live(loaded, live.id);
        Ok(live.id)
    }
}

fn damaged(state: &State, cause: &str) -> LoadError {
    let subject = format!("plugin state `{}`", state.dir().display());
    LoadError { subject, cause: cause.to_owned(), fault: Fault::Plugin }
}

pub(super) fn saved_members(loaded: &Loaded) -> Vec<SavedMember> {
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
