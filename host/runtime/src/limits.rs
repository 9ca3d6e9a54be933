//! What a plugin may use, and how that is enforced.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// How often running filters are interrupted to look at their deadline, and so how exact a deadline is.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Bytes of one component file.
pub(crate) const COMPONENT_BYTES: u64 = 64 << 20;

/// Bytes that one call from a guest into the host may carry: the indices of 16 million refs.
pub(crate) const HOST_CALL_BYTES: usize = 64 << 20;

/// Core instances of one plugin. A Rust filter has one or two, one that embeds CPython about 40.
pub(crate) const INSTANCES: usize = 64;

/// Linear memories and, separately, tables of one plugin.
pub(crate) const MEMORIES: usize = 64;

/// Elements of one table.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;

/// Bytes of a reason.
pub(crate) const REASON_BYTES: usize = 64;

/// Different reasons in one call.
pub(crate) const REASONS: usize = 64;

/// Bytes that are kept of an error that a plugin returns.
pub(crate) const ERROR_BYTES: usize = 8 << 10;

/// Calls that one instance serves before a fresh one takes over, so that nothing that leaks in a guest grows for ever.
pub(crate) const CALLS_PER_INSTANCE: u32 = 10_000;

/// Bytes of memory with which an instance is kept for the next call; a larger one is dropped.
pub(crate) const IDLE_MEMORY: usize = 32 << 20;

/// Instances of one plugin that wait for the next call.
pub(crate) const IDLE_INSTANCES: usize = 8;

/// Limits that a host may choose; the defaults suit filters in interpreted languages as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time for one look or one match, before the part per item.
    pub call: Duration,
    /// Time that every ref or project of the call adds.
    pub per_item: Duration,
    /// Time to start an instance and configure it.
    pub start: Duration,
    /// Bytes of linear memory of one instance, all its memories together.
    pub memory: usize,
    /// Bytes of log text in one call.
    pub log: usize,
}

impl Default for Limits {
    /// 250 ms + 2 µs per item, 5 s to start, 256 MiB, 64 KiB of log.
    fn default() -> Self {
        Limits {
            call: Duration::from_millis(250),
            per_item: Duration::from_micros(2),
            start: Duration::from_secs(5),
            memory: 256 << 20,
            log: 64 << 10,
        }
    }
}

impl Limits {
    /// Time for a call on `items` refs or projects.
    pub(crate) fn for_items(&self, items: usize) -> Duration {
        self.call + self.per_item.saturating_mul(u32::try_from(items).unwrap_or(u32::MAX))
    }
}

/// A time limit in ticks of the engine's epoch. One more than fits: the first tick may come at once.
pub(crate) fn ticks(limit: Duration) -> u64 {
    let ticks = limit.as_nanos().div_ceil(TICK.as_nanos()) + 1;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Refuses memory and tables beyond the limits. The guest sees an allocation that fails.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: usize,
    /// Bytes of all memories.
    pub(crate) used: usize,
    /// Whether the guest ever asked for more than it may have: explains the trap that usually follows.
    pub(crate) refused: bool,
}

impl Meter {
    pub(crate) fn new(limit: usize) -> Meter {
        Meter { limit, used: 0, refused: false }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let granted = used <= self.limit;
        if granted {
            self.used = used;
        } else {
            self.refused = true;
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        MEMORIES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}
