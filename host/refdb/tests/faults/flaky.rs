//! A store whose calls fail as a drawn number says: before they are done, after, or without anybody knowing.

use std::sync::{Arc, Mutex};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use refgate_core::refdb::{Cursor, Page, Store, Write, Written};
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Deadline, Lookup, Project, RefDb, RefDbError, RefDbErrorKind, RefName,
};

/// Fails one call in five.
pub struct Flaky {
    store: Arc<dyn Store>,
    rng: Mutex<SmallRng>,
    /// Whether it says of a write that was done that it surely was not: what no store may do.
    lies: bool,
}

/// `db` with such failures.
pub fn flaky(db: RefDb, seed: u64, lies: bool) -> RefDb {
    let rng = Mutex::new(SmallRng::seed_from_u64(seed));
    RefDb::new(Flaky { store: db.store().clone(), rng, lies })
}

fn error<T>(kind: RefDbErrorKind) -> Result<T, RefDbError> {
    Err(RefDbError::new(kind, "as drawn"))
}

type Answer<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl Flaky {
    fn draw<'a, T: Send + 'a>(
        &'a self,
        is_read: bool,
        call: impl FnOnce() -> Answer<'a, T> + Send + 'a,
    ) -> Answer<'a, T> {
        let drawn = self.rng.lock().unwrap().random_range(0..15);
        Box::pin(async move {
            let lost = match is_read || self.lies {
                true => RefDbErrorKind::Unavailable,
                false => RefDbErrorKind::Indeterminate,
            };
            match drawn {
                0 => error(RefDbErrorKind::Unavailable),
                // The request was lost, or its answer.
                1 => error(lost),
                2 => call().await.and_then(|_| error(lost)),
                _ => call().await,
            }
        })
    }
}

impl Store for Flaky {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        self.draw(true, move || self.store.get_many(project, refs, deadline))
    }
    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        deadline: Deadline,
    ) -> Answer<'a, Page> {
        self.draw(true, move || self.store.scan(project, prefix, cursor, limit, deadline))
    }
    fn write<'a>(
        &'a self,
        project: &'a Project,
        writes: &'a [Write],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> Answer<'a, Vec<Written>> {
        self.draw(false, move || self.store.write(project, writes, atomicity, deadline))
    }
    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        self.draw(true, move || self.store.settle(project, refs, deadline))
    }
}
