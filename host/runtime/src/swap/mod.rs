//! Swaps the set that decides while decisions run.
//!
//! A set goes through these steps, and any failure leaves the last good set live:
//!
//! ```text
//! read -> checked -> compiled -> started and configured -> proved -> [shadow] -> live -> retired
//!            \__________________ a failure: the build is quarantined with its reason
//! ```
//!
//! A set becomes live by one store of one pointer, and a decision takes the pointer once; so no decision sees two sets.
//! Everything here runs on the caller's thread: who watches the directory, and when, is the host's matter.

mod back;
mod event;
mod lenient;
mod shadow;
mod status;
mod store;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use refgate_core::{FilterSet, FilterSource, Observer};

pub use back::{RolledBack, release, roll_back, roll_back_to, rolled_back};
pub use event::Event;
pub use shadow::{Shadow, ShadowCounts};
pub use status::{PluginStatus, Standing, Survey};

use crate::directory::{self, Listing, Refused, Stamp, Stamps};
use crate::set::{Loaded, MemberId, Plan, Unused, first};
use crate::state::Quarantined;
use crate::{EmbeddedPlugin, FailureSink, Fault, LoadError, Policy, Provenance, Runtime, Settings, State};

/// Proves a set before it becomes live. An error says what went wrong; otherwise what was tried, in words.
pub type Prove = Arc<dyn Fn(&Candidate<'_>) -> Result<String, String> + Send + Sync>;

/// A set that is about to become live.
pub struct Candidate<'a> {
    /// It is started, and nothing was asked yet.
    pub set: &'a FilterSet,
    /// The plugin files whose bytes are new in it: other settings make no other build.
    pub new: Vec<NewBuild<'a>>,
}

/// A plugin file that is new in a set.
#[derive(Clone, Copy, Debug)]
pub struct NewBuild<'a> {
    /// Its name.
    pub name: &'a str,
    /// The component.
    pub wasm: &'a [u8],
    /// What is said about it.
    pub policy: &'a Policy,
}

/// What a [`Swapper`] works on.
#[derive(Clone)]
pub struct SwapOptions {
    /// Where plugins are; without it there are the embedded ones alone.
    pub directory: Option<PathBuf>,
    /// What survives a restart; without it nothing does.
    pub state: Option<State>,
    /// Settings by plugin.
    pub settings: Settings,
    /// The plugins of the program.
    pub embedded: Vec<EmbeddedPlugin>,
    /// Plugins whose file must be there.
    pub require: Vec<String>,
    /// Who has to answer for plugin files.
    pub provenance: Provenance,
    /// The time of day in milliseconds since 1970.
    pub now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// The last test before a set becomes live.
    pub prove: Option<Prove>,
    /// Told of every look of every set that becomes live.
    pub observer: Option<Arc<dyn Observer>>,
    /// Told of every failed call of the live set.
    pub failures: Option<FailureSink>,
    /// Looks that a new set only watches before it becomes live; 0 for none.
    pub shadow_looks: u64,
    /// Most verdicts that may change while it watches, in percent of the refs; 100 is no bound.
    pub max_changed_percent: f64,
}

/// Holds the live set. Shared between whoever decides, which costs one load of a pointer, and whoever swaps.
pub struct Swapper {
    runtime: Runtime,
    options: SwapOptions,
    live: ArcSwap<FilterSet>,
    /// One at a time looks at the directory; compiling is done under this lock and no other.
    turn: Mutex<()>,
    /// How many want their turn and do not want to wait for a compiler.
    hurried: AtomicUsize,
    /// The last look was given up for something that changed meanwhile.
    unfinished: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    settings: Settings,
    loaded: Loaded,
    generation: u64,
    /// The set before the live one.
    previous: Option<Loaded>,
    quarantine: Vec<Quarantined>,
    /// What the last look at the directory refused.
    refused: Vec<Refused>,
    /// Settings for plugins that are not there, as they were told.
    unused: Vec<Unused>,
    /// The last set that could be read and still could not become live: it is not tried again until something changes.
    failed: Option<Vec<MemberId>>,
    shadow: Option<(Loaded, Arc<Shadow>)>,
}

impl FilterSource for Swapper {
    fn current(&self) -> Arc<FilterSet> {
        self.live.load_full()
    }
}

impl Swapper {
    /// For a command: the set that the directory holds now. What cannot be used refuses all of it, with one exception: a
    /// build that was rolled back is left aside, and the saved set decides; the events say so.
    pub fn start_strict(runtime: &Runtime, options: SwapOptions) -> Result<(Swapper, Vec<Event>), LoadError> {
        let swapper = Swapper::empty(runtime, options);
        let mut events = Vec::new();
        events.extend(swapper.read_state().map(state_failed));
        let plan = match swapper.plan() {
            Ok(plan) => plan,
            Err(refused) => return Err(first(refused)),
        };
        swapper.tell_unused(&plan, &mut events);
        let rolled_back = swapper.inner().quarantined(&plan.ids()).cloned();
        if let Some(quarantined) = rolled_back {
            swapper.resume_saved(None)?;
            events.push(Event::left_aside(quarantined));
        } else {
            let loaded = plan.load(&swapper.runtime.shared, &Loaded::default(), &|| false).map_err(first)?;
            swapper.publish(loaded, &mut events);
        }
        Ok((swapper, events))
    }

    /// For a host that runs on: the set that was live when it ended, then what the directory holds by now, if it can be
    /// used. Without a saved set that can be used, the directory must be usable; it is then not proved first.
    pub fn start(runtime: &Runtime, options: SwapOptions) -> Result<(Swapper, Vec<Event>), LoadError> {
        let swapper = Swapper::empty(runtime, options);
        let mut events = Vec::new();
        events.extend(swapper.read_state().map(state_failed));
        let (plan, saved) = (swapper.plan(), swapper.saved_ids());
        let unchanged = plan.as_ref().is_ok_and(|plan| Some(plan.ids()) == saved);
        if swapper.has_saved_set() && !unchanged {
            match swapper.resume_saved(None) {
                Ok(()) => {
                    events.push(Event::Resumed { generation: swapper.generation() });
                    events.extend(swapper.scan());
                    return Ok((swapper, events));
                }
                // What is saved may be damaged, or not suit today's settings and program: the directory decides then.
                Err(e) => events.push(state_failed(e)),
            }
        }
        let plan = plan.map_err(first)?;
        swapper.tell_unused(&plan, &mut events);
        if let Some(quarantined) = swapper.inner().quarantined(&plan.ids()) {
            let cause =
                format!("it was rolled back ({}), and the set before cannot be used", quarantined.reason);
            return Err(LoadError::plugin(&quarantined.name, cause));
        }
        let loaded = plan.load(&swapper.runtime.shared, &Loaded::default(), &|| false).map_err(first)?;
        swapper.publish(loaded, &mut events);
        Ok((swapper, events))
    }

    fn empty(runtime: &Runtime, options: SwapOptions) -> Swapper {
        let inner = Inner {
            settings: options.settings.clone(),
            loaded: Loaded::default(),
            generation: 0,
            previous: None,
            quarantine: Vec::new(),
            refused: Vec::new(),
            unused: Vec::new(),
            failed: None,
            shadow: None,
        };
        Swapper {
            runtime: runtime.clone(),
            options,
            live: ArcSwap::from_pointee(FilterSet::default()),
            turn: Mutex::default(),
            hurried: AtomicUsize::new(0),
            unfinished: AtomicBool::new(false),
            inner: Mutex::new(inner),
        }
    }

    /// Looks at the directory and makes what it holds the live set if that can be used. Does nothing when nothing changed.
    /// What happened is in the events; the live set is never worse than before.
    ///
    /// A component that is compiled meanwhile is given up when the directory or the saved state changes, or somebody wants
    /// to [go back](Self::rollback): see [`is_unfinished`](Self::is_unfinished).
    pub fn scan(&self) -> Vec<Event> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.unfinished.store(false, Ordering::SeqCst);
        let mut events = Vec::new();
        let seen = self.seen();
        self.follow_state(&mut events);
        match self.plan() {
            Err(refused) => self.refuse(refused, None, &mut events),
            Ok(plan) => {
                let ids = plan.ids();
                self.tell_unused(&plan, &mut events);
                let mut inner = self.inner();
                if inner.failed.as_ref() == Some(&ids) {
                    return events;
                }
                inner.failed = None;
                inner.refused.clear();
                if ids == inner.loaded.ids() {
                    inner.shadow = None;
                    inner.quarantine.retain(|q| q.rolled_back);
                } else if inner.shadow.as_ref().is_some_and(|(s, _)| s.ids() == ids) {
                    drop(inner);
                    self.end_shadow(&mut events);
                } else if inner.quarantined(&ids).is_none() {
                    drop(inner);
                    let given_up = || self.hurried.load(Ordering::SeqCst) > 0 || self.seen() != seen;
                    self.try_swap(plan, &given_up, &mut events);
                }
            }
        }
        events
    }

    /// Takes over what another process went back to, and nothing else: it never waits for a compiler of something new. A
    /// [look](Self::scan) does the same first, and then more.
    pub fn catch_up(&self) -> Vec<Event> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = Vec::new();
        self.follow_state(&mut events);
        events
    }

    /// Whether the last [look](Self::scan) was given up while something was compiled, because something else changed: look
    /// again.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.load(Ordering::SeqCst)
    }

    /// Gives up whatever is compiled for this set, now and from now on: nobody looks at the directory any more.
    pub fn close(&self) {
        self.hurried.fetch_add(1, Ordering::SeqCst);
    }

    fn follow_state(&self, events: &mut Vec<Event>) {
        if let Err(e) = self.follow(events) {
            events.push(Event::StateFailed { error: e.to_string() });
        }
    }

    /// What tells two states of the directory and of what is saved apart.
    fn seen(&self) -> (Option<Stamps>, Option<Stamp>) {
        let directory = self.options.directory.as_deref().and_then(|dir| directory::stamps(dir).ok());
        (directory, self.options.state.as_ref().and_then(State::stamp))
    }

    /// The turn of somebody for whom a compiler stops.
    fn hurried_turn(&self) -> MutexGuard<'_, ()> {
        self.hurried.fetch_add(1, Ordering::SeqCst);
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.hurried.fetch_sub(1, Ordering::SeqCst);
        turn
    }

    /// Other settings: a new set of the same plugins, or of what the directory holds by now.
    pub fn set_settings(&self, settings: Settings) -> Vec<Event> {
        let turn = self.hurried_turn();
        let mut inner = self.inner();
        inner.settings = settings;
        inner.failed = None;
        drop(inner);
        drop(turn);
        self.scan()
    }

    /// Goes back to the set before the live one, and quarantines what is new in the live one.
    ///
    /// # Errors
    /// There is none to go back to, or it does not load any more.
    pub fn rollback(&self, reason: &str) -> Result<Vec<Event>, LoadError> {
        let _turn = self.hurried_turn();
        self.go_back(reason)
    }

    /// The number of the live set.
    pub fn generation(&self) -> u64 {
        self.inner().generation
    }

    /// For how many looks a new set watches.
    pub fn shadow_looks(&self) -> u64 {
        self.options.shadow_looks
    }

    /// The set that watches, if there is one.
    pub fn shadow(&self) -> Option<Arc<Shadow>> {
        self.inner().shadow.as_ref().map(|(_, shadow)| shadow.clone())
    }

    /// Whether the set before the live one had another build of this plugin, or none: going back helps then. Other
    /// settings make no other build: they come from the configuration, and going back does not change that.
    pub fn is_new(&self, plugin: &str, digest: &str) -> bool {
        let inner = self.inner();
        let live = inner.loaded.members.iter().find(|(m, _)| m.id.name == plugin && m.id.wasm == digest);
        let before = inner.previous.as_ref().filter(|p| !p.members.is_empty());
        match (live, before) {
            (Some((live, _)), Some(before)) => {
                !before.members.iter().any(|(m, _)| m.id.is_same_build(&live.id))
            }
            _ => false,
        }
    }

    /// How every plugin stands.
    pub fn status(&self) -> Vec<PluginStatus> {
        let inner = self.inner();
        let shadow = inner.shadow.as_ref().map(|(loaded, _)| loaded);
        status::of(&inner.loaded, &inner.quarantine, &inner.refused, shadow, Standing::Shadow)
    }

    fn try_swap(&self, plan: Plan, given_up: &dyn Fn() -> bool, events: &mut Vec<Event>) {
        let before = self.inner().loaded.clone();
        let ids = plan.ids();
        let loaded = match plan.load(&self.runtime.shared, &before, given_up) {
            Ok(loaded) => loaded,
            Err(refused) if refused.iter().any(|one| one.error.fault == Fault::GivenUp) => {
                return self.unfinished.store(true, Ordering::SeqCst);
            }
            Err(refused) => return self.refuse(refused, Some(ids), events),
        };
        let new = new_in(&loaded, &before);
        if new.is_empty() && new_in(&before, &loaded).is_empty() {
            // What decides is the same; another plugin waits, or none any more.
            waiting(&loaded, &before, events);
            let mut inner = self.inner();
            (inner.loaded, inner.shadow) = (loaded, None);
            inner.quarantine.retain(|q| q.rolled_back);
            return;
        }
        let mut proof = None;
        if let Some(prove) = &self.options.prove {
            let set = loaded.set(0, None);
            match prove(&Candidate { set: &set, new: new_builds(&loaded, &before) }) {
                Ok(tried) => proof = Some(tried),
                Err(why) => return self.refuse(blamed(&loaded, &new, &why), Some(ids), events),
            }
        }
        if self.options.shadow_looks > 0 && !new.is_empty() {
            let shadow = Arc::new(Shadow::new(Arc::new(loaded.set(0, None))));
            self.inner().shadow = Some((loaded, shadow));
            events.push(Event::Shadowing { plugins: new, looks: self.options.shadow_looks });
            return;
        }
        self.publish(loaded, events);
        if let (Some(proof), Some(Event::Live { proof: said, .. })) = (proof, events.last_mut()) {
            *said = Some(proof);
        }
    }

    /// Publishes a set that has watched for long enough, or quarantines it when it changes too much.
    fn end_shadow(&self, events: &mut Vec<Event>) {
        let Some((loaded, shadow)) = self.inner().shadow.clone() else { return };
        let counts = shadow.counts();
        if counts.looks < self.options.shadow_looks {
            return;
        }
        self.inner().shadow = None;
        let percent = counts.changed as f64 * 100.0 / counts.refs.max(1) as f64;
        if percent <= self.options.max_changed_percent {
            events.push(Event::Shadowed { counts });
            return self.publish(loaded, events);
        }
        let new = new_in(&loaded, &self.inner().loaded);
        let why = format!(
            "in the shadow of the live set it changed {} of {} verdicts, and {} % is allowed",
            counts.changed, counts.refs, self.options.max_changed_percent
        );
        self.refuse(blamed(&loaded, &new, &why), Some(loaded.ids()), events);
    }

    /// What the directory holds, if all of it can be used.
    fn plan(&self) -> Result<Plan, Vec<Refused>> {
        let settings = self.inner().settings.clone();
        let plan = Plan::new(self.listing()?, &settings, &self.options.embedded, &self.options.provenance)?;
        Ok(Plan { urgent: self.urgent(), ..plan })
    }

    /// Says once what is set for nobody.
    fn tell_unused(&self, plan: &Plan, events: &mut Vec<Event>) {
        let known = std::mem::replace(&mut self.inner().unused, plan.unused.clone());
        events.extend(plan.unused.iter().filter(|one| !known.contains(one)).cloned().map(Event::Unused));
    }

    /// The directory, with what must be there and is not. An error is about the directory itself.
    fn listing(&self) -> Result<Listing, Vec<Refused>> {
        let whole = |error| vec![Refused { name: String::new(), digest: None, error }];
        let mut listing = match &self.options.directory {
            Some(dir) => directory::list(dir).map_err(whole)?,
            None => Listing::default(),
        };
        for name in &self.options.require {
            if listing.found.get(name).is_some_and(|f| f.wasm.is_some()) {
                continue;
            }
            if !listing.refused.iter().any(|r| r.name == *name) {
                let place = match &self.options.directory {
                    Some(dir) => format!("`{}` is not there", dir.join(format!("{name}.wasm")).display()),
                    None => "no plugin directory is configured".to_owned(),
                };
                let cause = format!(
                    "it is required by the configuration: {place}; put the file back, or take the name out of `plugins.require`"
                );
                let error = LoadError::plugin(name, cause);
                listing.refused.push(Refused { name: name.clone(), digest: None, error });
            }
        }
        Ok(listing)
    }

    /// Makes `loaded` the live set, and saves it.
    fn publish(&self, loaded: Loaded, events: &mut Vec<Event>) {
        let before = self.inner().loaded.clone();
        let new = new_in(&loaded, &before);
        let gone: Vec<String> = new_in(&before, &loaded).into_iter().filter(|n| !new.contains(n)).collect();
        waiting(&loaded, &before, events);
        let generation = match self.save_live(&loaded) {
            Ok(id) => id,
            Err(e) => {
                events.push(Event::StateFailed { error: e.to_string() });
                self.generation() + 1
            }
        };
        self.make_live(loaded, generation);
        events.push(Event::Live { generation, new, gone, proof: None });
    }

    fn make_live(&self, loaded: Loaded, generation: u64) {
        let mut set = loaded.set(generation, self.options.failures.as_ref());
        set.observer = self.options.observer.clone();
        let mut inner = self.inner();
        let old = std::mem::replace(&mut inner.loaded, loaded);
        inner.previous = (!old.members.is_empty()).then_some(old);
        inner.generation = generation;
        inner.shadow = None;
        // What is live now was mended.
        inner.quarantine.retain(|q| q.rolled_back);
        inner.refused.clear();
        self.live.store(Arc::new(set));
    }

    /// Notes what is not used, once per build, and keeps the live set. `failed` is the set that could be read at least.
    fn refuse(&self, refused: Vec<Refused>, failed: Option<Vec<MemberId>>, events: &mut Vec<Event>) {
        let now = (self.options.now_ms)();
        let mut inner = self.inner();
        inner.shadow = None;
        // What the machine refuses it may give at the next look, and no build is to blame.
        let is_machine = |one: &Refused| one.error.fault == Fault::Machine;
        inner.failed = failed.filter(|_| !refused.iter().any(is_machine));
        let known = std::mem::replace(&mut inner.refused, refused.clone());
        let fresh: Vec<Refused> = refused.into_iter().filter(|one| !known.contains(one)).collect();
        for one in fresh.iter().filter(|one| !is_machine(one)) {
            inner.quarantine.retain(|q| q.rolled_back || q.name != one.name);
            inner.quarantine.push(Quarantined {
                name: one.name.clone(),
                wasm: one.digest.clone().unwrap_or_default(),
                policy: None,
                reason: one.error.to_string(),
                since_ms: now,
                rolled_back: false,
            });
        }
        drop(inner);
        if fresh.is_empty() {
            return;
        }
        for one in fresh {
            events.push(Event::Refused { name: one.name, digest: one.digest, reason: one.error.to_string() });
        }
        if let Err(e) = self.save_quarantine() {
            events.push(Event::StateFailed { error: e.to_string() });
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What was taken back, the first of it, that a set of these builds would bring again.
    fn quarantined(&self, ids: &[MemberId]) -> Option<&Quarantined> {
        let again = |q: &&Quarantined| match q.is_absence() {
            true => !ids.iter().any(|id| id.name == q.name),
            false => ids.iter().any(|id| q.is_taken_back(id)),
        };
        self.quarantine.iter().find(again)
    }
}

impl Quarantined {
    /// What was taken back is that the plugin went.
    pub fn is_absence(&self) -> bool {
        self.rolled_back && self.wasm.is_empty()
    }

    /// Whether it is this build that was taken back.
    fn is_taken_back(&self, id: &MemberId) -> bool {
        self.rolled_back && (&self.name, &self.wasm, &self.policy) == (&id.name, &id.wasm, &id.policy)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what a `map` takes")]
fn state_failed(error: LoadError) -> Event {
    Event::StateFailed { error: error.to_string() }
}

/// Names of plugins that decide in `a` and that `b` lacks or has otherwise.
fn new_in(a: &Loaded, b: &Loaded) -> Vec<String> {
    let others = b.live_ids();
    a.live_ids().into_iter().filter(|id| !others.contains(id)).map(|id| id.name).collect()
}

/// The plugin files whose bytes `b` does not have under their names.
fn new_builds<'a>(a: &'a Loaded, b: &Loaded) -> Vec<NewBuild<'a>> {
    let known = b.live_ids();
    let is_new = |id: &MemberId| !known.iter().any(|k| k.name == id.name && k.wasm == id.wasm);
    let members = a.members.iter().map(|(member, _)| member).filter(|member| is_new(&member.id));
    let build = |member: &'a crate::set::Member| {
        let wasm = member.staged.as_ref()?.wasm.as_slice();
        Some(NewBuild { name: &member.id.name, wasm, policy: &member.policy })
    };
    members.filter_map(build).collect()
}

/// Tells of every plugin that waits for its settings and did not before.
fn waiting(loaded: &Loaded, before: &Loaded, events: &mut Vec<Event>) {
    let known: Vec<&MemberId> = before.waiting.iter().map(|(member, _)| &member.id).collect();
    let fresh = loaded.waiting.iter().filter(|(member, _)| !known.contains(&&member.id));
    events.extend(
        fresh.map(|(member, error)| Event::Waiting {
            name: member.id.name.clone(),
            reason: error.to_string(),
        }),
    );
}

/// The plugins that are new in a set, each with the reason why the set is not used.
fn blamed(loaded: &Loaded, new: &[String], why: &str) -> Vec<Refused> {
    let members = loaded.members.iter().filter(|(m, _)| new.contains(&m.id.name));
    let blame = |(m, _): &(crate::set::Member, crate::LoadedPlugin)| Refused {
        name: m.id.name.clone(),
        digest: Some(m.id.wasm.clone()),
        error: LoadError::plugin(&m.id.name, why),
    };
    members.map(blame).collect()
}
