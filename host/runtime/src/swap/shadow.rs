//! A set that watches: it is asked what the live set is asked, and only what it would have said differently is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use refgate_core::chain::{self, Change, Said};
use refgate_core::{FilterSet, RefBatch};

/// Changes that are kept as examples.
const EXAMPLES: usize = 20;

/// A set that watches.
pub struct Shadow {
    set: Arc<FilterSet>,
    looks: AtomicU64,
    refs: AtomicU64,
    changed: AtomicU64,
    failed: AtomicU64,
    examples: Mutex<Vec<(Vec<u8>, Change)>>,
}

/// What it has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShadowCounts {
    /// Looks.
    pub looks: u64,
    /// Refs in all looks.
    pub refs: u64,
    /// Refs about which it says something else than the live set.
    pub changed: u64,
    /// Looks in which one of its filters failed.
    pub failed: u64,
}

impl Shadow {
    pub(super) fn new(set: Arc<FilterSet>) -> Shadow {
        let zero = || AtomicU64::new(0);
        let (looks, refs, changed, failed) = (zero(), zero(), zero(), zero());
        Shadow { set, looks, refs, changed, failed, examples: Mutex::default() }
    }

    /// Asks it about a batch of which the live set said `said`. Not on the way of a decision.
    pub async fn look(&self, batch: &Arc<RefBatch>, said: &[Said]) {
        let look = chain::look(&self.set, batch).await;
        let changes = chain::changes(said, &look.said);
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.refs.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.changed.fetch_add(changes.len() as u64, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(!look.problems.is_empty()), Ordering::Relaxed);
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        let room = EXAMPLES.saturating_sub(examples.len());
        // The name alone: a few examples must not keep whole batches.
        let named = |change: Change| (batch.name(change.index).to_vec(), change);
        examples.extend(changes.into_iter().take(room).map(named));
    }

    /// What it has seen so far.
    pub fn counts(&self) -> ShadowCounts {
        ShadowCounts {
            looks: self.looks.load(Ordering::Relaxed),
            refs: self.refs.load(Ordering::Relaxed),
            changed: self.changed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// The first changes, each with the name of its ref.
    pub fn examples(&self) -> Vec<(Vec<u8>, Change)> {
        self.examples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
