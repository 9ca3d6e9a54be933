//! Plugins as the decision sees them: calls that may block run on a thread of their own.

use std::sync::Arc;

use refgate_core::{Answer, BoxFuture, FilterError, Matched, Project, ProjectMatcher, RefBatch, RefFilter};

use crate::inspect::World;
use crate::plugin::Plugin;

/// A plugin in one of its worlds.
pub(crate) struct WasmFilter {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) world: World,
}

impl RefFilter for WasmFilter {
    fn name(&self) -> &str {
        &self.plugin.name
    }

    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        let (plugin, world) = (self.plugin.clone(), self.world);
        Box::pin(off_thread(move || plugin.look(world, batch)))
    }
}

impl ProjectMatcher for WasmFilter {
    fn name(&self) -> &str {
        &self.plugin.name
    }

    fn matches(&self, projects: Arc<[Project]>) -> BoxFuture<'_, Result<Matched, FilterError>> {
        let plugin = self.plugin.clone();
        Box::pin(off_thread(move || plugin.matches(projects)))
    }
}

/// Runs `call` where it does not hold up other tasks; without a tokio runtime there are none, and it runs here.
async fn off_thread<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, FilterError> + Send + 'static,
) -> Result<T, FilterError> {
    match tokio::runtime::Handle::try_current() {
        Err(_) => call(),
        Ok(tokio) => match tokio.spawn_blocking(call).await {
            Ok(result) => result,
            Err(e) => Err(FilterError(format!("the thread of a filter call ended early: {e}"))),
        },
    }
}
