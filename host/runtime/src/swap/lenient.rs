//! The set for writes of a site's own clients: no file in the plugin directory can stop them.

use super::{Event, Swapper};
use crate::directory::Listing;
use crate::set::{Loaded, Plan, first};
use crate::{Fault, LoadError, Provenance, Runtime, Settings, SwapOptions};

impl Swapper {
    /// What [`start_strict`](Self::start_strict) starts, when it does. Else the set that was live last, with today's settings
    /// or those that it had. Else what loads: a plugin that never was live takes no part then, and a matcher that takes none
    /// leaves nothing out, so that more is gated rather than less. The events say what is wrong.
    ///
    /// # Errors
    /// The machine can run no plugin; or a shipped plugin refuses the settings of the configuration, and nothing was live
    /// before that could tell what is meant.
    pub fn start_for_writes(
        runtime: &Runtime,
        options: SwapOptions,
    ) -> Result<(Swapper, Vec<Event>), LoadError> {
        let wrong = match Swapper::start_strict(runtime, options.clone()) {
            Err(e) if e.fault != Fault::Machine => e,
            started => return started,
        };
        let swapper = Swapper::empty(runtime, options);
        let mut events: Vec<Event> = swapper.read_state().map(super::state_failed).into_iter().collect();
        let generation = match swapper.resume_last() {
            Ok(generation) => Some(generation),
            Err(e) if e.fault == Fault::Machine => return Err(e),
            Err(e) => {
                if swapper.has_saved_set() {
                    events.push(Event::StateFailed { error: e.to_string() });
                }
                let loaded = swapper.what_loads()?;
                swapper.make_live(loaded, runtime.next_generation());
                None
            }
        };
        events.push(Event::KeptForWrites { reason: wrong.to_string(), generation });
        Ok((swapper, events))
    }

    /// Everything in the directory that can be used, and every shipped plugin.
    fn what_loads(&self) -> Result<Loaded, LoadError> {
        // Without it nothing is known to have been taken back, and that was told.
        let _ = self.read_state();
        let (shared, settings) = (&self.runtime.shared, self.inner().settings.clone());
        let listing = self.listing().unwrap_or_default();
        let (plan, _) = Plan::of_usable(listing, &settings, &self.options.embedded, &self.options.provenance);
        let (mut loaded, refused) = plan.load_usable(shared, &Loaded::default(), &|| false);
        if let Some(machine) = refused.into_iter().find(|r| r.error.fault == Fault::Machine) {
            return Err(machine.error);
        }
        let inner = self.inner();
        loaded.members.retain(|(member, _)| !inner.quarantine.iter().any(|q| q.is_taken_back(&member.id)));
        drop(inner);
        for shipped in &self.options.embedded {
            if loaded.members.iter().any(|(member, _)| member.id.name == shipped.name) {
                continue;
            }
            // A file of its name does not load. What the configuration says of it counts all the same.
            let own: Settings = settings
                .get_key_value(shipped.name)
                .map(|(k, v)| (k.clone(), v.clone()))
                .into_iter()
                .collect();
            let plan = Plan::new(Listing::default(), &own, &[*shipped], &Provenance::default());
            let alone =
                plan.and_then(|plan| plan.load(shared, &Loaded::default(), &|| false)).map_err(first)?;
            loaded.members.extend(alone.members);
        }
        loaded.members.sort_by(|(a, _), (b, _)| a.id.name.cmp(&b.id.name));
        Ok(loaded)
    }
}
