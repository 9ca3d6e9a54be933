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
        if self.shadowing.load(Ordering::Relaxed) {
            if self.queued.fetch_add(1, Ordering::Relaxed) < QUEUED {
                let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = wake.send(Wake::Looked(Box::new(asked.clone())));
            } else {
                self.queued.fetch_sub(1, Ordering::Relaxed);
            }
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use refgate_core::{Direction, Project};

    use super::*;

    fn batch() -> Arc<RefBatch> {
        Arc::new(RefBatch {
            direction: Direction::Push,
            project: Project::new("p").unwrap(),
            peer: String::new(),
            oid_len: 20,
            attempt: 0,
            now_ms: 0,
            states: vec![1],
            names: b"refs/heads/x".to_vec(),
            name_ends: vec![12],
            new_oids: vec![0; 20],
            old_oids: vec![0; 20],
            local_oids: vec![0; 20],
            global_oids: vec![0; 20],
            groups: vec![0],
        })
    }

    #[test]
    fn looks_that_nobody_takes_up_are_not_heaped_and_those_after_are_passed_on() {
        let (wake, woken) = channel();
        let watching = Watching::new(wake, Vec::new());
        watching.shadowing.store(true, Ordering::Relaxed);
        for round in 0..3 {
            for _ in 0..1000 {
                watching.looked(&FilterSet::default(), &batch(), &[Said::Keep]);
            }
            let taken = woken.try_iter().count();
            assert_eq!(taken, QUEUED, "round {round}");
            watching.queued.fetch_sub(taken, Ordering::Relaxed);
        }
        assert_eq!(watching.recent().len(), LOOKS);
    }
}
