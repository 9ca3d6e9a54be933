//! What a live set is asked, kept for proofs and for a set that watches.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use refgate_core::chain::Said;
use refgate_core::{FilterSet, Observer, RefBatch};

use super::Wake;
use crate::queue::{Room, Size};

/// Looks that are kept.
const LOOKS: usize = 64;

/// How much of them; a look that is larger is not kept. The same may wait for a set that watches.
const MOST: Size = Size { refs: 200_000, bytes: 64 << 20 };

/// A look and what came of it.
pub(super) struct Asked {
    pub batch: Arc<RefBatch>,
    pub said: Vec<Said>,
}

/// The observer of every live set.
pub(super) struct Watching {
    recent: Mutex<VecDeque<(Arc<Asked>, Size)>>,
    wake: Sender<Wake>,
    /// A set watches: looks are passed on.
    pub shadowing: AtomicBool,
    /// Room for looks that were passed on and not taken up yet.
    room: Arc<Room>,
    also: Vec<Arc<dyn Observer>>,
}

impl Watching {
    pub fn new(wake: Sender<Wake>, also: Vec<Arc<dyn Observer>>) -> Watching {
        let shadowing = AtomicBool::new(false);
        Watching { recent: Mutex::default(), wake, shadowing, room: Room::new(MOST), also }
    }

    /// The last looks, the oldest first.
    pub fn recent(&self) -> Vec<Arc<Asked>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().map(|(asked, _)| asked.clone()).collect()
    }
}

impl Observer for Watching {
    fn looked(&self, set: &FilterSet, batch: &Arc<RefBatch>, said: &[Said]) {
        for also in &self.also {
            also.looked(set, batch, said);
        }
        let size = Size::of(batch, said);
        if batch.is_empty() || size.exceeds(MOST) {
            return;
        }
        // Copied once, for whoever keeps it, and for nobody else.
        let mut kept = None;
        let mut keep = || -> Arc<Asked> {
            let copy = || Arc::new(Asked { batch: batch.clone(), said: said.to_vec() });
            kept.get_or_insert_with(copy).clone()
        };
        if self.shadowing.load(Ordering::Relaxed)
            && let Some(place) = self.room.take(size)
        {
            // After the end nobody compares any more.
            let _ = self.wake.send(Wake::Looked(keep(), place));
        }
        // A sample is enough: a decision does not wait for another one here.
        if let Ok(mut recent) = self.recent.try_lock() {
            recent.push_back((keep(), size));
            let add = |sum: Size, (_, one): &(_, Size)| Size {
                refs: sum.refs + one.refs,
                bytes: sum.bytes + one.bytes,
            };
            let mut all = recent.iter().fold(Size::default(), add);
            while recent.len() > LOOKS || all.exceeds(MOST) {
                let gone = recent.pop_front().map(|(_, size)| size).unwrap_or_default();
                all = Size { refs: all.refs - gone.refs, bytes: all.bytes - gone.bytes };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use refgate_core::{Direction, Project};

    use super::*;

    fn batch(refs: usize) -> Arc<RefBatch> {
        Arc::new(RefBatch {
            direction: Direction::Push,
            project: Project::new("p").unwrap(),
            peer: String::new(),
            oid_len: 20,
            attempt: 0,
            now_ms: 0,
            states: vec![1; refs],
            names: b"refs/heads/x".repeat(refs),
            name_ends: (1..=refs as u32).map(|i| i * 12).collect(),
            new_oids: vec![0; refs * 20],
            old_oids: vec![0; refs * 20],
            local_oids: vec![0; refs * 20],
            global_oids: vec![0; refs * 20],
            groups: vec![0; refs],
        })
    }

    #[test]
    fn looks_that_nobody_takes_up_are_not_heaped_and_those_after_are_passed_on() {
        let (wake, woken) = channel();
        let watching = Watching::new(wake, Vec::new());
        watching.shadowing.store(true, Ordering::Relaxed);
        let by: Arc<str> = "a filter".into();
        let (large, said) = (batch(50_000), vec![Said::Recheck { by: by.clone() }; 50_000]);
        for round in 0..3 {
            for _ in 0..100 {
                watching.looked(&FilterSet::default(), &large, &said);
            }
            let taken: Vec<Wake> = woken.try_iter().collect();
            assert_eq!(taken.len(), 4, "round {round}: 200,000 refs");
            assert_eq!(watching.room.used().refs, 200_000);
        }
        assert_eq!(watching.recent().len(), 4);
        let (small, said) = (batch(1), [Said::Keep]);
        (0..1000).for_each(|_| watching.looked(&FilterSet::default(), &small, &said));
        assert_eq!(woken.try_iter().count(), 1000, "small ones are not counted by looks");
        assert_eq!(watching.recent().len(), LOOKS);
    }

    #[test]
    fn nothing_is_copied_of_a_look_that_nobody_keeps() {
        let (wake, _woken) = channel();
        let watching = Watching::new(wake, Vec::new());
        watching.shadowing.store(true, Ordering::Relaxed);
        let by: Arc<str> = "a filter".into();
        let (one, said) = (batch(1), [Said::Recheck { by: by.clone() }]);
        let busy = watching.recent.lock().unwrap();
        let full = watching.room.take(MOST).unwrap();
        watching.looked(&FilterSet::default(), &one, &said);
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&by)), (1, 2));
        drop(full);
        watching.looked(&FilterSet::default(), &one, &said);
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&by)), (2, 3), "the queue has room");
        drop(busy);
    }
}
