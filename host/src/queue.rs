//! How much may wait for somebody who works behind decisions: bounded by refs and bytes, so that a few large looks do not
//! fill the memory. A decision that finds no room goes on at once, and nothing was copied for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use refgate_core::RefBatch;
use refgate_core::chain::Said;

/// Bytes that a look costs beside its columns and verdicts.
const OVERHEAD: usize = 512;

/// How large a look is, or how much of them may wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub refs: usize,
    pub bytes: usize,
}

impl Size {
    /// What it takes to keep a batch and what was said of it.
    pub fn of(batch: &RefBatch, said: &[Said]) -> Size {
        let columns = [&batch.names, &batch.new_oids, &batch.old_oids, &batch.local_oids, &batch.global_oids];
        let numbers = [&batch.states, &batch.name_ends, &batch.groups];
        let bytes: usize = columns.iter().map(|column| column.len()).sum();
        let words: usize = numbers.iter().map(|column| column.len()).sum();
        Size { refs: batch.len(), bytes: bytes + words * size_of::<u32>() + size_of_val(said) + OVERHEAD }
    }

    /// Whether this is more than `most` allows.
    pub fn exceeds(self, most: Size) -> bool {
        self.refs > most.refs || self.bytes > most.bytes
    }
}

/// Room for looks that wait.
#[derive(Debug)]
pub(crate) struct Room {
    most: Size,
    refs: AtomicUsize,
    bytes: AtomicUsize,
}

/// The place of one look; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    size: Size,
}

impl Room {
    pub fn new(most: Size) -> Arc<Room> {
        Arc::new(Room { most, refs: AtomicUsize::new(0), bytes: AtomicUsize::new(0) })
    }

    /// A place for a look of `size`, if there is room. A look that is larger than all the room gets it when nothing else
    /// waits.
    pub fn take(self: &Arc<Room>, size: Size) -> Option<Place> {
        // Two that come at the same time may both find it full; then both are left out, and nobody waited.
        let before = Size {
            refs: self.refs.fetch_add(size.refs, Ordering::Relaxed),
            bytes: self.bytes.fetch_add(size.bytes, Ordering::Relaxed),
        };
        let place = Place { room: self.clone(), size };
        let after = Size { refs: before.refs + size.refs, bytes: before.bytes + size.bytes };
        (before.bytes == 0 || !after.exceeds(self.most)).then_some(place)
    }

    #[cfg(test)]
    pub fn used(&self) -> Size {
        Size { refs: self.refs.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.refs.fetch_sub(self.size.refs, Ordering::Relaxed);
        self.room.bytes.fetch_sub(self.size.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_by_refs_or_bytes_and_one_large_look_passes() {
        let size = |refs, bytes| Size { refs, bytes };
        let room = Room::new(size(10, 100));
        let first = room.take(size(6, 10)).unwrap();
        assert!(room.take(size(5, 10)).is_none(), "too many refs");
        assert!(room.take(size(1, 91)).is_none(), "too many bytes");
        let second = room.take(size(4, 90)).unwrap();
        assert_eq!(room.used(), size(10, 100), "what was refused is not counted");
        drop((first, second));
        assert_eq!(room.used(), Size::default());
        let large = room.take(size(1000, 1000)).unwrap();
        assert!(room.take(size(0, 1)).is_none());
        drop(large);
        assert!(room.take(size(0, 1)).is_some());
    }
}
