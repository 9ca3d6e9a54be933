//! The live set of a host that runs on: a thread watches the plugin directory and swaps sets while decisions run.
//!
//! ```no_run
//! # async fn example(system: refgate_host::System) -> Result<(), refgate_host::Error> {
//! use refgate_host::live::{Live, LiveOptions};
//! use refgate_host::{Config, Site};
//!
//! let config = Config::load("refgate.config".as_ref())?;
//! let live = Live::start(&config, &system, LiveOptions::default())?;
//! let site = Site::open_with(config, &system, live.source()).await?;
//! // Decisions of `site` use the set that is live when they begin. Dropping `live` ends the watching.
//! # drop(site);
//! # Ok(())
//! # }
//! ```

mod health;
mod observe;
mod prove;
mod watch;

pub use prove::Checked;

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use refgate_core::{FilterSource, Observer};
use refgate_runtime::{Event, PluginStatus, Shadow, Swapper};

use crate::config::Config;
use crate::filters::Loader;
use crate::queue::Place;
use crate::{Error, System};
use observe::Watching;

/// Told of what happens to the live set.
pub type EventSink = Arc<dyn Fn(&Event) + Send + Sync>;

/// How a live set is kept.
#[derive(Clone)]
pub struct LiveOptions {
    /// Told of everything that happens, beside the log.
    pub events: Option<EventSink>,
    /// Told of every look, beside refgate's own use of it and the recording of `plugins.record`.
    pub observer: Option<Arc<dyn Observer>>,
    /// Quiet time after a change before the directory is read: what is copied piece by piece is read once.
    pub debounce: Duration,
    /// The directory is read after this time in any case: network file systems tell nothing.
    pub rescan: Duration,
}

impl Default for LiveOptions {
    /// 200 ms of quiet, a look every 30 s.
    fn default() -> LiveOptions {
        LiveOptions {
            events: None,
            observer: None,
            debounce: Duration::from_millis(200),
            rescan: Duration::from_secs(30),
        }
    }
}

/// The live set and the thread that keeps it. Dropping it ends the thread; sets that were taken stay usable.
pub struct Live {
    swapper: Arc<Swapper>,
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
    loader: Arc<Loader>,
}

/// What makes the thread look up.
enum Wake {
    /// Something happened in the plugin directory or in the saved state.
    Changed,
    /// A call failed: the plugin, and the digest of the build.
    Failed(String, String),
    /// The live set was asked something while another set watches.
    Looked(Arc<observe::Asked>, Place),
    /// Look now; the events go back.
    Now(Sender<Vec<Event>>),
    /// The end.
    Stop,
}

impl Live {
    /// Starts with the set that was live when the last host ended, then takes what the plugin directory holds by now, and
    /// goes on watching.
    ///
    /// # Errors
    /// Nothing can be used: neither a saved set nor the directory. A thread cannot be started.
    pub fn start(config: &Config, system: &System, options: LiveOptions) -> Result<Live, Error> {
        let loader = Arc::new(Loader::for_config(system, config)?);
        let (wake, woken) = channel();
        let recorder = crate::open::recorder(config, system)?;
        let also = [options.observer.clone(), recorder.map(|recorder| recorder as Arc<dyn Observer>)];
        let watching = Arc::new(Watching::new(wake.clone(), also.into_iter().flatten().collect()));
        let mut swap = loader.options(config)?;
        swap.shadow_looks = config.plugins.shadow_looks;
        swap.observer = Some(watching.clone());
        swap.prove = Some(prove::prover(&loader, config, watching.clone())?);
        let failed = wake.clone();
        swap.failures = Some(Arc::new(move |plugin, digest, _error| {
            // After the end nobody counts any more.
            let _ = failed.send(Wake::Failed(plugin.to_owned(), digest.to_owned()));
        }));
        let eyes = watch::Eyes::open(config, wake.clone(), &loader, options.rescan);
        let (swapper, events) = loader.swapper(config, |runtime, _| Swapper::start(runtime, swap))?;
        let swapper = Arc::new(swapper);
        let keeper = watch::Keeper::new(config, swapper.clone(), loader.clone(), watching, options, eyes);
        keeper.tell(&events);
        let spawned =
            std::thread::Builder::new().name("refgate-plugins".to_owned()).spawn(move || keeper.run(&woken));
        let thread = spawned
            .map_err(|e| Error::failed(format!("cannot start the thread that watches plugins: {e}")))?;
        Ok(Live { swapper, wake, thread: Some(thread), loader })
    }

    /// What a [`Gate`](crate::Gate) takes its filters from.
    pub fn source(&self) -> Arc<dyn FilterSource> {
        self.swapper.clone()
    }

    /// How every plugin stands.
    pub fn status(&self) -> Vec<PluginStatus> {
        self.swapper.status()
    }

    /// The number of the live set.
    pub fn generation(&self) -> u64 {
        self.swapper.generation()
    }

    /// The set that watches, if there is one.
    pub fn shadow(&self) -> Option<Arc<Shadow>> {
        self.swapper.shadow()
    }

    /// Looks at the directory now, after everything that was told before. What happened.
    pub fn scan(&self) -> Vec<Event> {
        let (reply, answer) = channel();
        let sent = self.wake.send(Wake::Now(reply));
        // Without its thread nothing happens any more.
        if sent.is_ok() { answer.recv().unwrap_or_default() } else { Vec::new() }
    }

    /// Goes back to the set before the live one; what is new in the live one stays out until other bytes come.
    ///
    /// # Errors
    /// There is none to go back to.
    pub fn rollback(&self, reason: &str) -> Result<Vec<Event>, Error> {
        let events = self.swapper.rollback(reason).map_err(crate::filters::refused)?;
        events.iter().for_each(|event| self.loader.report(event));
        Ok(events)
    }

    /// Takes over the plugin settings and project patterns of another configuration, as a new generation.
    pub fn configure(&self, config: &Config) -> Vec<Event> {
        let events = self.swapper.set_settings(crate::filters::settings(config));
        events.iter().for_each(|event| self.loader.report(event));
        events
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.wake.send(Wake::Stop);
        self.swapper.close();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed by it.
            let _ = thread.join();
        }
    }
}
