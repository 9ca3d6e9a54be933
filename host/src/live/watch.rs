//! The thread of a live set: when it looks at the directory, and what it does with failures and with looks to compare.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::{EventKind, RecursiveMode, Watcher, event::AccessKind, event::AccessMode};
use refgate_core::Clock;
use refgate_runtime::{Event, LogLevel, Swapper};

use super::health::Health;
use super::observe::{Asked, Watching};
use super::{LiveOptions, Wake};
use crate::config::Config;
use crate::filters::Loader;

/// Changes in a row after which the directory is read without a quiet moment.
const RESTLESS: usize = 10_000;

/// What the thread works on.
pub(super) struct Keeper {
    swapper: Arc<Swapper>,
    loader: Arc<Loader>,
    watching: Arc<Watching>,
    options: LiveOptions,
    health: Health,
    clock: Arc<dyn Clock>,
    eyes: Eyes,
}

/// What tells of changes. Where the system cannot, the look after [`LiveOptions::rescan`] has to do.
pub(super) struct Eyes {
    watcher: Option<notify::RecommendedWatcher>,
    directory: Option<PathBuf>,
    state: Option<PathBuf>,
    /// The directory that is watched, as it was then.
    identity: Option<(u64, u64)>,
    rescan: Duration,
}

impl Eyes {
    /// Watches from now on: before the first look at the directory, so that nothing falls in between.
    pub fn open(config: &Config, wake: Sender<Wake>, loader: &Loader, rescan: Duration) -> Eyes {
        let directory = config.plugins.directory.as_deref().map(absolute);
        let state = config.plugins.state.as_deref().map(absolute);
        let ours = directory.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            if event.as_ref().is_ok_and(|event| !concerns(event, ours.as_deref())) {
                return;
            }
            // An error may hide a change.
            let _ = wake.send(Wake::Changed);
        };
        let mut eyes = Eyes { watcher: None, directory, state, identity: None, rescan };
        match notify::recommended_watcher(handler) {
            Ok(watcher) => eyes.watcher = Some(watcher),
            Err(e) => eyes.cannot(&e.to_string(), loader),
        }
        eyes.rearm(loader);
        eyes
    }

    /// A directory that was replaced is another one to the operating system.
    fn rearm(&mut self, loader: &Loader) {
        let Some(dir) = self.directory.clone() else { return };
        let Some(watcher) = &mut self.watcher else { return };
        let identity = std::fs::metadata(&dir).ok().map(|m| (m.dev(), m.ino()));
        if identity.is_some() && identity == self.identity {
            return;
        }
        self.identity = identity;
        // The parent tells when a link to a directory is pointed elsewhere; the state, when somebody rolls back.
        let mut problem = None;
        for path in [Some(dir.as_path()), dir.parent(), self.state.as_deref()].into_iter().flatten() {
            let _ = watcher.unwatch(path);
            let result = watcher.watch(path, RecursiveMode::NonRecursive);
            if path == dir && identity.is_some() {
                problem = result.err().map(|e| e.to_string());
            }
        }
        if let Some(problem) = problem {
            self.cannot(&problem, loader);
        }
    }

    fn cannot(&self, why: &str, loader: &Loader) {
        let seconds = self.rescan.as_secs();
        loader.warn(&format!("the plugin directory cannot be watched ({why}): it is read every {seconds} s"));
    }
}

impl Keeper {
    pub fn new(
        config: &Config,
        swapper: Arc<Swapper>,
        loader: Arc<Loader>,
        watching: Arc<Watching>,
        options: LiveOptions,
        eyes: Eyes,
    ) -> Keeper {
        let plugins = &config.plugins;
        Keeper {
            health: Health::new(plugins.rollback_failures, plugins.rollback_within),
            clock: loader.clock().clone(),
            eyes,
            swapper,
            loader,
            watching,
            options,
        }
    }

    /// Works until the end.
    pub fn run(mut self, woken: &Receiver<Wake>) {
        let mut due = self.next();
        let mut changes = 0;
        loop {
            match woken.recv_timeout(due.saturating_duration_since(self.clock.now())) {
                Ok(Wake::Changed) => {
                    changes += 1;
                    let quiet = self.clock.now() + self.options.debounce;
                    due = if changes < RESTLESS {
                        quiet.min(self.clock.now() + self.options.rescan)
                    } else {
                        self.clock.now()
                    };
                }
                Ok(Wake::Failed(plugin, digest)) => self.failed(&plugin, &digest),
                Ok(Wake::Looked(asked, _place)) => self.compare(&asked),
                Ok(Wake::Now(reply)) => {
                    // Nobody may wait any more.
                    let _ = reply.send(self.scan());
                    (due, changes) = (self.next(), 0);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.scan();
                    (due, changes) = (self.next(), 0);
                }
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// When to look again. A look that was given up for a change is made again when all is quiet.
    fn next(&self) -> Instant {
        let unfinished = self.swapper.is_unfinished();
        self.clock.now() + if unfinished { self.options.debounce } else { self.options.rescan }
    }

    fn scan(&mut self) -> Vec<Event> {
        self.eyes.rearm(&self.loader);
        // What was gone back to is told before something else is compiled.
        let mut events = self.swapper.catch_up();
        self.tell(&events);
        let found = self.swapper.scan();
        self.tell(&found);
        events.extend(found);
        let shadowing = self.swapper.shadow().is_some();
        self.watching.shadowing.store(shadowing, Ordering::Relaxed);
        events
    }

    /// Hands events to the log and to whoever wants them.
    pub fn tell(&self, events: &[Event]) {
        self.watching.shadowing.store(self.swapper.shadow().is_some(), Ordering::Relaxed);
        for event in events {
            self.loader.report(event);
            if let Some(told) = &self.options.events {
                told(event);
            }
        }
    }

    /// Goes back when a build fails too often that the set before did not have.
    fn failed(&mut self, plugin: &str, digest: &str) {
        if !self.swapper.is_new(plugin, digest) {
            return;
        }
        let Some(count) = self.health.failed(plugin, digest, self.clock.now()) else { return };
        let reason = format!("plugin `{plugin}` ({digest}) failed {count} times in a short time");
        match self.swapper.rollback(&reason) {
            Ok(events) => self.tell(&events),
            Err(e) => self.loader.warn(&format!("{reason}, and cannot be rolled back: {e}")),
        }
    }

    fn compare(&mut self, asked: &Asked) {
        let Some(shadow) = self.swapper.shadow() else { return };
        if super::prove::finish(shadow.look(&asked.batch, &asked.said)).is_err() {
            return;
        }
        if shadow.counts().looks >= self.swapper.shadow_looks() {
            self.scan();
        }
    }
}

/// The operating system tells of changes by absolute paths.
fn absolute(path: &Path) -> PathBuf {
    // Without a current directory there is nothing to watch by a relative path.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether an event can mean another set: not what reading causes, and of the parent only the directory itself.
fn concerns(event: &notify::Event, directory: Option<&Path>) -> bool {
    let written = matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)));
    if matches!(event.kind, EventKind::Access(_)) && !written {
        return false;
    }
    let in_directory = |path: &PathBuf| {
        path.parent() == directory || Some(path.as_path()) == directory || path.ends_with("live.json")
    };
    event.paths.is_empty() || event.need_rescan() || event.paths.iter().any(in_directory)
}

impl Loader {
    fn warn(&self, text: &str) {
        self.log_line(LogLevel::Warn, text);
    }
}
