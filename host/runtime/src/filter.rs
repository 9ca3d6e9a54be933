//! Plugins as the decision sees them: asked only where they apply, on a thread of their own, and replaced by what their
//! policy says when they fail.

use std::sync::Arc;

use refgate_core::{
    Answer, BoxFuture, FilterError, Matched, Project, ProjectMatcher, RefBatch, RefFilter, future::ready,
};

use crate::inspect::World;
use crate::plugin::{CallError, Plugin};
use crate::policy::{OnFailure, Policy};

/// Told of every failed call: name and digest of the plugin, and what happened.
pub type FailureSink = Arc<dyn Fn(&str, &str, &FilterError) + Send + Sync>;

/// A plugin in one of its worlds.
pub(crate) struct WasmFilter {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) world: World,
    pub(crate) policy: Arc<Policy>,
    /// The build that answered before this one.
    pub(crate) last_good: Option<Arc<Plugin>>,
    pub(crate) failures: Option<FailureSink>,
}

impl WasmFilter {
    /// What counts instead of an answer, with the words for the log; `None` when nothing does.
    async fn instead<T: Send + 'static>(
        &self,
        CallError { error, ours }: CallError,
        open: T,
        ask: impl FnOnce(&Plugin) -> Result<T, CallError> + Send + 'static,
    ) -> Result<(T, String), FilterError> {
        // What the machine refuses is no reason to take the plugin back.
        if let Some(failures) = self.failures.as_ref().filter(|_| !ours) {
            failures(&self.plugin.name, self.plugin.digest(), &error);
        }
        match (self.policy.on_failure, &self.last_good) {
            (OnFailure::Closed, _) => Err(error),
            (OnFailure::Open, _) => {
                Ok((open, format!("{error}; it is configured to hold nothing back then")))
            }
            (OnFailure::LastGood, None) => {
                Err(FilterError(format!("{error}; there is no last good build to ask instead")))
            }
            (OnFailure::LastGood, Some(last)) => {
                let digest = last.digest().to_owned();
                let last = last.clone();
                match off_thread(move || ask(&last)).await {
                    Ok(answer) => Ok((answer, format!("{error}; its last good build {digest} answered"))),
                    Err(again) => {
                        let again = again.error;
                        Err(FilterError(format!("{error}; its last good build failed too: {again}")))
                    }
                }
            }
        }
    }
}

impl RefFilter for WasmFilter {
    fn name(&self) -> &str {
        &self.plugin.name
    }

    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        if !self.policy.projects.covers(batch.project.as_str()) || !self.policy.remotes.covers(&batch.peer) {
            return ready(Ok(Answer::default()));
        }
        Box::pin(async move {
            let (plugin, world, asked) = (self.plugin.clone(), self.world, batch.clone());
            match off_thread(move || plugin.look(world, asked)).await {
                Ok(answer) => Ok(answer),
                Err(e) => {
                    let ask = move |last: &Plugin| last.look(world, batch);
                    let (mut answer, problem) = self.instead(e, Answer::default(), ask).await?;
                    answer.problems.push(problem);
                    Ok(answer)
                }
            }
        })
    }
}

impl ProjectMatcher for WasmFilter {
    fn name(&self) -> &str {
        &self.plugin.name
    }

    fn matches(&self, projects: Arc<[Project]>) -> BoxFuture<'_, Result<Matched, FilterError>> {
        let asked: Vec<usize> =
            (0..projects.len()).filter(|i| self.policy.projects.covers(projects[*i].as_str())).collect();
        // Where it does not apply it has nothing against a project.
        let mut matched = Matched { selected: vec![true; projects.len()], problems: Vec::new() };
        if asked.is_empty() {
            return ready(Ok(matched));
        }
        let some: Arc<[Project]> = match asked.len() == projects.len() {
            true => projects,
            false => asked.iter().map(|i| projects[*i].clone()).collect(),
        };
        Box::pin(async move {
            let (plugin, these) = (self.plugin.clone(), some.clone());
            let answer = match off_thread(move || plugin.matches(these)).await {
                Ok(answer) => answer,
                Err(e) => {
                    let open = Matched { selected: vec![true; some.len()], problems: Vec::new() };
                    let ask = move |last: &Plugin| last.matches(some);
                    let (mut answer, problem) = self.instead(e, open, ask).await?;
                    answer.problems.push(problem);
                    answer
                }
            };
            for (i, selected) in asked.into_iter().zip(answer.selected) {
                matched.selected[i] = selected;
            }
            matched.problems = answer.problems;
            Ok(matched)
        })
    }
}

/// Runs `call` where it does not hold up other tasks; without a tokio runtime there are none, and it runs here.
async fn off_thread<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    match tokio::runtime::Handle::try_current() {
        Err(_) => call(),
        Ok(tokio) => match tokio.spawn_blocking(call).await {
            Ok(result) => result,
            Err(e) => {
                let error = FilterError(format!("the thread of a filter call ended early: {e}"));
                Err(CallError { error, ours: false })
            }
        },
    }
}
