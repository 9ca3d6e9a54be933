//! Runs filters as plain Rust, for tests and for hosts that link a filter in instead of loading a component.

use crate::log::{Level, backend};
use crate::{Batch, FetchFilter, ProjectMatcher, PushFilter, RefSource, Verdicts};

/// What a filter said about a batch, in the host's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Refs to hold back, with the reason; the first reason counts. Indices are as the filter gave them: check them.
    pub discards: Vec<(Vec<u32>, String)>,
    /// Refs to ask about again. A ref that is discarded too is discarded.
    pub rechecks: Vec<u32>,
    /// What the filter logged.
    pub log: Vec<(Level, String)>,
}

impl Answer {
    /// Why ref `index` is discarded; `None` when it is not.
    pub fn reason(&self, index: u32) -> Option<&str> {
        self.discards.iter().find(|(refs, _)| refs.contains(&index)).map(|(_, reason)| reason.as_str())
    }

    /// Whether ref `index` is to be looked at again.
    pub fn rechecked(&self, index: u32) -> bool {
        self.reason(index).is_none() && self.rechecks.contains(&index)
    }
}

/// Runs `call`, and every call of a filter in it, at a time of day: milliseconds since 1970 (UTC), for [`clock`](crate::clock).
/// Counts for this thread.
pub fn at<T>(now_ms: u64, call: impl FnOnce() -> T) -> T {
    crate::clock::backend::at(now_ms, call)
}

/// One call of a push filter. The error is the filter's own; a panic is not caught.
pub fn run_push<F: PushFilter>(filter: &F, source: &dyn RefSource) -> Result<Answer, String> {
    run(source, |batch, verdicts| filter.filter(batch, verdicts))
}

/// One call of a fetch filter. The error is the filter's own; a panic is not caught.
pub fn run_fetch<F: FetchFilter>(filter: &F, source: &dyn RefSource) -> Result<Answer, String> {
    run(source, |batch, verdicts| filter.filter(batch, verdicts))
}

/// One answer per project, in the same order, and what the matcher logged.
#[expect(clippy::type_complexity, reason = "taken apart where it is called")]
pub fn run_matcher<M: ProjectMatcher>(
    matcher: &M,
    projects: &[&str],
) -> Result<(Vec<bool>, Vec<(Level, String)>), String> {
    let (result, log) = backend::collect(|| {
        projects.iter().map(|project| matcher.matches(project)).collect::<Result<_, _>>()
    });
    Ok((result?, log))
}

fn run(
    source: &dyn RefSource,
    filter: impl FnOnce(&Batch, &mut Verdicts) -> Result<(), String>,
) -> Result<Answer, String> {
    let mut verdicts = Verdicts::new(source.len());
    let (result, log) = backend::collect(|| filter(&Batch::new(source), &mut verdicts));
    result?;
    let (mut discards, all, rechecks) = verdicts.into_parts();
    discards.extend(all.map(|reason| ((0..source.len()).collect(), reason)));
    Ok(Answer { discards, rechecks, log })
}
