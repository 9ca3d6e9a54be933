//! Counts the memory and the tables of an instance and refuses what is beyond its limits.

use wasmtime::ResourceLimiter;

use crate::limits::{Bytes, Limits, Over};
use crate::machine;

/// What an instance holds. A refused growth is an allocation that fails for the guest, which usually ends in a trap.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Limits,
    /// Bytes of all memories. Memories never shrink, so this is the peak as well.
    pub(crate) used: usize,
    /// Elements of all tables.
    elements: usize,
    /// What the last growth that was granted added, in case the machine cannot give it.
    granted: Growth,
    /// The first growth that was refused: explains the trap that usually follows.
    pub(crate) refused: Option<Over>,
    /// The machine had no room for a growth that was granted, in words.
    pub(crate) no_room: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    bytes: usize,
    elements: usize,
}

impl Meter {
    pub(crate) fn new(limits: Limits) -> Meter {
        Meter { limits, used: 0, elements: 0, granted: Growth::default(), refused: None, no_room: None }
    }

    fn refuse(&mut self, over: Over) -> bool {
        self.granted = Growth::default();
        self.refused.get_or_insert(over);
        false
    }

    /// Takes back a growth for which the machine had no room.
    fn take_back(&mut self) {
        self.used -= self.granted.bytes;
        self.elements -= self.granted.elements;
        self.granted = Growth::default();
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = desired.saturating_sub(current);
        let used = self.used.saturating_add(bytes);
        if used > self.limits.memory {
            let what = format!("it asked for more than {} of memory", Bytes(self.limits.memory));
            return Ok(self.refuse(Over::new("memory-mib", what)));
        }
        self.used = used;
        self.granted = Growth { bytes, elements: 0 };
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        self.no_room = self.no_room.take().or_else(|| machine::refusal(&error));
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let elements = self.elements.saturating_add(more);
        if elements > self.limits.table_elements {
            let what = format!("it asked for more than {} table elements", self.limits.table_elements);
            return Ok(self.refuse(Over::new("table-elements", what)));
        }
        self.elements = elements;
        self.granted = Growth { bytes: 0, elements: more };
        Ok(true)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_add_up() {
        let limits = Limits { memory: 100, table_elements: 10, ..Limits::default() };
        let mut meter = Meter::new(limits);
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(meter.memory_growing(0, 40, None).unwrap(), "another memory");
        assert!(!meter.memory_growing(40, 41, None).unwrap());
        assert!(meter.table_growing(0, 9, None).unwrap());
        assert!(!meter.table_growing(0, 2, None).unwrap(), "another table");
        assert_eq!(meter.refused.unwrap().key, "memory-mib", "the first one counts");
        assert_eq!(meter.used, 100);
    }

    #[test]
    fn what_the_machine_could_not_give_is_not_counted() {
        let mut meter = Meter::new(Limits { memory: 100, ..Limits::default() });
        assert!(meter.memory_growing(0, 100, None).unwrap());
        meter.memory_grow_failed(wasmtime::format_err!("no room")).unwrap();
        assert_eq!(meter.used, 0);
        assert!(meter.memory_growing(0, 50, None).unwrap());
        assert!(!meter.memory_growing(50, 101, None).unwrap());
        meter.memory_grow_failed(wasmtime::format_err!("refused")).unwrap();
        assert_eq!(meter.used, 50, "what was granted before a refusal stays");
        assert_eq!(meter.no_room, None, "that was the limit, not the machine");
        assert!(meter.memory_growing(50, 60, None).unwrap());
        meter.memory_grow_failed(rustix::io::Errno::NOMEM.into()).unwrap();
        assert!(meter.no_room.is_some());
    }
}
