//! A layer whose calls fail as a drawn number says: before they are done, after, or without anybody knowing.

use std::sync::{Arc, Mutex};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use refgate_core::refdb::{Layer, Layered, Operation};
use refgate_core::{BoxFuture, Deadline, GlobalRefDb, RefDbError, RefDbErrorKind};

/// Fails one call in five.
pub struct Flaky {
    rng: Mutex<SmallRng>,
    /// Whether it says of a write that was done that it surely was not: what no store may do.
    lies: bool,
}

/// `db` with such a layer.
pub fn flaky(db: Arc<dyn GlobalRefDb>, seed: u64, lies: bool) -> Arc<dyn GlobalRefDb> {
    let rng = Mutex::new(SmallRng::seed_from_u64(seed));
    Arc::new(Layered::new(db, Flaky { rng, lies }))
}

fn error<T>(kind: RefDbErrorKind) -> Result<T, RefDbError> {
    Err(RefDbError::new(kind, "as drawn"))
}

impl Layer for Flaky {
    fn around<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> BoxFuture<'a, Result<T, RefDbError>> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RefDbError>> {
        let drawn = self.rng.lock().unwrap().random_range(0..15);
        Box::pin(async move {
            let lost = match operation.is_read() || self.lies {
                true => RefDbErrorKind::Unavailable,
                false => RefDbErrorKind::Indeterminate,
            };
            match drawn {
                0 => error(RefDbErrorKind::Unavailable),
                // The request was lost, or its answer.
                1 => error(lost),
                2 => call(deadline).await.and_then(|_| error(lost)),
                _ => call(deadline).await,
            }
        })
    }
}
