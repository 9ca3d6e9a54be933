//! Local refs as they will be: a dry run decides on what its catch-up would have moved, so that it says what a run would do.

use std::collections::HashMap;
use std::sync::Arc;

use refgate_core::{AncestryQuery, BoxFuture, LocalError, LocalRefs, LocalValue, Oid, Project, RefName};

use super::CaughtUp;
use super::offers::{Listing, Value};
use crate::Site;

/// Local refs, some of them at values that they are to get.
struct Planned {
    refs: Arc<dyn LocalRefs>,
    values: HashMap<RefName, Option<Oid>>,
}

impl LocalRefs for Planned {
    fn values<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
    ) -> BoxFuture<'a, Result<Vec<LocalValue>, LocalError>> {
        Box::pin(async move {
            let read = self.refs.values(project, refs).await?;
            let planned =
                |(name, read): (&RefName, LocalValue)| self.values.get(name).map_or(read, |v| Ok(*v));
            Ok(refs.iter().zip(read).map(planned).collect())
        })
    }

    fn ancestry<'a>(
        &'a self,
        project: &'a Project,
        queries: &'a [AncestryQuery],
    ) -> BoxFuture<'a, Result<Vec<bool>, LocalError>> {
        self.refs.ancestry(project, queries)
    }
}

/// The site whose refs are as catch-up would leave them, and the listing of them.
pub(super) fn after(site: &Site, caught_up: &CaughtUp, mut ours: Listing) -> (Site, Listing) {
    let values: HashMap<RefName, Option<Oid>> =
        caught_up.moved.iter().map(|moved| (moved.name.clone(), moved.new)).collect();
    for (name, value) in &values {
        match value {
            Some(oid) => drop(ours.insert(name.clone(), Value::At(*oid))),
            None => drop(ours.remove(name)),
        }
    }
    let gate = site.gate.with_local(|refs| Arc::new(Planned { refs, values }));
    (Site { gate, ..site.clone() }, ours)
}
