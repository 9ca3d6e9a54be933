//! The shipped filters as plain Rust: the same policies as the components, without wasm. And what loads the components.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::{
    Answer, BoxFuture, Clock, Direction, FilterError, FilterSet, Matched, Project, ProjectMatcher, RefBatch,
    RefFilter, future::ready,
};
use refgate_filter_fetch::Fetch;
use refgate_filter_push::Push;
use refgate_guest::native::{run_fetch, run_matcher, run_push};
use refgate_guest::{Column, OidColumn, ProjectMatcher as _, RefSource};
use refgate_host::System;
use refgate_host::filters::Loader;
use refgate_project_matcher::{Matcher, Settings};

/// Some moment; nobody waits.
pub struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; cases have a clock of their own")]
        *START.get_or_init(Instant::now)
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        ready(())
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

/// Loads the components that are embedded.
pub fn loader() -> Loader {
    let system = System {
        clock: Arc::new(NoClock),
        rng: Arc::new(Mutex::new(SmallRng::seed_from_u64(1))),
        secret: Arc::new(|_| Err("there is no randomness here".to_owned())),
        #[expect(clippy::disallowed_methods, reason = "the ticker of the engine")]
        pause: Arc::new(std::thread::sleep),
        compiler: None,
        log: Arc::new(|_, _, _| {}),
    };
    Loader::new(&system).unwrap()
}

/// The chain that a configuration with these patterns has.
pub fn filters(patterns: &[String]) -> Result<FilterSet, String> {
    let matcher = Matcher::new(Settings { pattern: patterns.to_vec() }).map_err(|e| e.to_string())?;
    let filter = |direction| -> Vec<Arc<dyn RefFilter>> { vec![Arc::new(Native(direction))] };
    Ok(FilterSet {
        push: filter(Direction::Push),
        fetch: filter(Direction::Fetch),
        projects: vec![Arc::new(NativeMatcher(matcher))],
        ..FilterSet::default()
    })
}

struct Native(Direction);

impl RefFilter for Native {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        let source = Source(&batch);
        let answer = match self.0 {
            Direction::Push => run_push(&Push, &source),
            Direction::Fetch => run_fetch(&Fetch, &source),
        };
        ready(
            answer
                .map(|a| Answer { discards: a.discards, rechecks: a.rechecks, ..Answer::default() })
                .map_err(FilterError),
        )
    }
}

struct NativeMatcher(Matcher);

impl ProjectMatcher for NativeMatcher {
    fn name(&self) -> &str {
        "project-matcher"
    }

    fn matches(&self, projects: Arc<[Project]>) -> BoxFuture<'_, Result<Matched, FilterError>> {
        let names: Vec<&str> = projects.iter().map(Project::as_str).collect();
        let matched = |(selected, _)| Matched { selected, ..Matched::default() };
        ready(run_matcher(&self.0, &names).map(matched).map_err(FilterError))
    }
}

/// The host's columns as the SDK reads them.
struct Source<'b>(&'b RefBatch);

impl Source<'_> {
    fn column<'n>(names: impl Iterator<Item = &'n [u8]>) -> Column {
        let mut column = Column::default();
        for name in names {
            column.bytes.extend_from_slice(name);
            column.ends.push(column.bytes.len() as u32);
        }
        column
    }
}

impl RefSource for Source<'_> {
    fn project(&self) -> String {
        self.0.project.to_string()
    }
    fn peer(&self) -> String {
        self.0.peer.clone()
    }
    fn len(&self) -> u32 {
        self.0.len() as u32
    }
    fn oid_len(&self) -> u32 {
        self.0.oid_len as u32
    }
    fn attempt(&self) -> u32 {
        self.0.attempt
    }
    fn select(&self, mask: u32, value: u32) -> Vec<u32> {
        self.0.select(mask, value)
    }
    fn select_prefix(&self, prefix: &[u8]) -> Vec<u32> {
        self.0.select_prefix(prefix)
    }
    fn states(&self, start: u32, end: u32) -> Vec<u32> {
        self.0.states[start as usize..end as usize].to_vec()
    }
    fn names(&self, start: u32, end: u32) -> Column {
        Source::column((start..end).map(|i| self.0.name(i as usize)))
    }
    fn names_at(&self, indices: &[u32]) -> Column {
        Source::column(indices.iter().map(|i| self.0.name(*i as usize)))
    }
    fn oids(&self, which: OidColumn, start: u32, end: u32) -> Vec<u8> {
        let column = match which {
            OidColumn::New => &self.0.new_oids,
            OidColumn::Old => &self.0.old_oids,
            OidColumn::Local => &self.0.local_oids,
            OidColumn::Global => &self.0.global_oids,
        };
        column[start as usize * self.0.oid_len..end as usize * self.0.oid_len].to_vec()
    }
    fn groups(&self, start: u32, end: u32) -> Vec<u32> {
        self.0.groups[start as usize..end as usize].to_vec()
    }
}
