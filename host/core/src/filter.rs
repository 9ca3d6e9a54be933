//! Filters as the decision sees them: a set of one generation, whatever it is made of.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::chain::Said;
use crate::{BoxFuture, Direction, Project, RefBatch};

/// A push or fetch filter.
pub trait RefFilter: Send + Sync {
    /// The plugin's name: the stem of its file.
    fn name(&self) -> &str;
    /// One look at a batch. A ref nobody names is kept.
    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>>;
}

/// Decides which projects replicate.
pub trait ProjectMatcher: Send + Sync {
    /// The plugin's name: the stem of its file.
    fn name(&self) -> &str;
    /// One answer per project, in the same order.
    fn matches(&self, projects: Arc<[Project]>) -> BoxFuture<'_, Result<Matched, FilterError>>;
}

/// What a matcher said about projects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Whether it selects the project, in the order of the question.
    pub selected: Vec<bool>,
    /// What went wrong although there is an answer, for the log.
    pub problems: Vec<String>,
}

/// What a filter said about a batch. Every index is within the batch; a ref may be named twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Refs to hold back, with the reason, in the order in which the filter named them; the first reason counts.
    pub discards: Vec<(Vec<u32>, String)>,
    /// Refs to look at again after the wait. A ref that is discarded too is discarded.
    pub rechecks: Vec<u32>,
    /// What went wrong although there is an answer, for the log: a filter that failed and is configured to let pass, or to
    /// be answered for by its last good build.
    pub problems: Vec<String>,
}

/// A filter that did not answer as it must: a trap, a limit, an error or an answer outside the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError(pub String);

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FilterError {}

/// All plugins of one generation. A decision uses one set from its first look to its last.
#[derive(Clone, Default)]
pub struct FilterSet {
    /// Counts up with every swap; 1 for the first set of a process.
    pub generation: u64,
    /// Push filters in name order.
    pub push: Vec<Arc<dyn RefFilter>>,
    /// Fetch filters in name order.
    pub fetch: Vec<Arc<dyn RefFilter>>,
    /// Project matchers in name order; a project replicates when all of them select it.
    pub projects: Vec<Arc<dyn ProjectMatcher>>,
    /// Name and digest (`sha256:…`) of every plugin, in name order.
    pub plugins: Vec<PluginId>,
    /// Is told of every look, with what the whole chain said.
    pub observer: Option<Arc<dyn Observer>>,
}

/// Where decisions get their filters: a set that stays, or one that is swapped while decisions run.
pub trait FilterSource: Send + Sync {
    /// The set that decides now. A decision asks once and keeps what it got.
    fn current(&self) -> Arc<FilterSet>;
}

impl FilterSource for Arc<FilterSet> {
    fn current(&self) -> Arc<FilterSet> {
        self.clone()
    }
}

impl From<FilterSet> for Arc<dyn FilterSource> {
    fn from(set: FilterSet) -> Self {
        Arc::new(Arc::new(set))
    }
}

/// Sees what filters are asked and what they say, to record it, to compare another set with it, or to count.
///
/// Called on the way of a decision: it must not block.
pub trait Observer: Send + Sync {
    /// One look of a chain at a batch, and what came out for every ref of it.
    fn looked(&self, set: &FilterSet, batch: &Arc<RefBatch>, said: &[Said]);
}

/// Which build of a plugin took part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PluginId {
    /// The stem of its file.
    pub name: String,
    /// Which world it implements: `push-filter`, `fetch-filter` or `project-matcher`.
    pub world: &'static str,
    /// `sha256:` and 64 hex digits of the component, or `native`.
    pub digest: String,
    /// What its manifest says about reasons of its own: the reason and what it means.
    pub reasons: Arc<BTreeMap<String, String>>,
}

impl FilterSet {
    /// The chain for a direction.
    pub fn chain(&self, direction: Direction) -> &[Arc<dyn RefFilter>] {
        match direction {
            Direction::Push => &self.push,
            Direction::Fetch => &self.fetch,
        }
    }
}

impl FilterSet {
    /// The plugins that take part in a decision of a direction: its filters, and the matchers if any is asked.
    pub fn taking_part(&self, direction: Direction) -> Vec<PluginId> {
        let filters = match direction {
            Direction::Push => "push-filter",
            Direction::Fetch => "fetch-filter",
        };
        let asked =
            |p: &&PluginId| p.world == filters || (p.world == "project-matcher" && !self.projects.is_empty());
        self.plugins.iter().filter(asked).cloned().collect()
    }
}

impl fmt::Debug for FilterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterSet")
            .field("generation", &self.generation)
            .field("plugins", &self.plugins)
            .finish_non_exhaustive()
    }
}
