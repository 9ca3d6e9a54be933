//! What a live set is asked, kept for proofs and for a set that watches.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use refgate_core::chain::Said;
use refgate_core::{FilterSet, Observer, RefBatch};

use super::Wake;

/// Looks that are kept.
const LOOKS: usize = 64;

/// Refs in all of them; a look with more refs than this is not kept.
const REFS: usize = 200_000;

/// Looks that wait for a set that watches; more are not passed on.
const QUEUED: usize = 64;

/// A look and what came of it.
#[derive(Clone)]
pub(super) struct Asked {
    pub batch: Arc<RefBatch>,
    pub said: Vec<Said>,
}

/// The observer of every live set.
pub(super) struct Watching {
    recent: Mutex<VecDeque<Asked>>,
    wake: Mutex<Sender<Wake>>,
    /// A set watches: looks are passed on.
    pub shadowing: AtomicBool,
    /// Looks that were passed on and not taken up yet.
    pub queued: AtomicUsize,
    also: Vec<Arc<dyn Observer>>,
}

impl Watching {
    pub fn new(wake: Sender<Wake>, also: Vec<Arc<dyn Observer>>) -> Watching {
        let (shadowing, queued) = (AtomicBool::new(false), AtomicUsize::new(0));
        Watching { recent: Mutex::default(), wake: Mutex::new(wake), shadowing, queued, also }
    }

    /// The last looks, the oldest first.
    pub fn recent(&self) -> Vec<Asked> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Observer for Watching {
    fn looked(&self, set: &FilterSet, batch: &Arc<RefBatch>, said: &[Said]) {
        for also in &self.also {
            also.looked(set, batch, said);
        }
        if batch.is_empty() || batch.len() > REFS {
            return;
        }
        let asked = Asked { batch: batch.clone(), said: said.to_vec() };
        if self.shadowing.load(Ordering::Relaxed) && self.queued.fetch_add(1, Ordering::Relaxed) < QUEUED {
            let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = wake.send(Wake::Looked(Box::new(asked.clone())));
        }
        // A sample is enough: a decision does not wait for another one here.
        if let Ok(mut recent) = self.recent.try_lock() {
            recent.push_back(asked);
            let mut refs: usize = recent.iter().map(|a| a.batch.len()).sum();
            while recent.len() > LOOKS || refs > REFS {
                refs -= recent.pop_front().map_or(0, |a| a.batch.len());
            }
        }
    }
}
