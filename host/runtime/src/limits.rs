//! What a plugin may use, and the errors that say which limit was reached.

use std::fmt;
use std::time::Duration;

/// How often running filters are interrupted to look at their deadline, and so how exact a deadline is.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Bytes of one component file.
pub(crate) const COMPONENT_BYTES: u64 = 64 << 20;

/// Bytes of a `NAME.toml`, a signature or a list of signers.
pub(crate) const SIDE_FILE_BYTES: u64 = 1 << 20;

/// Bytes of a reason: part of the contract, so no plugin can be given more.
pub(crate) const REASON_BYTES: usize = 64;

/// Bytes that are kept of an error that a plugin returns.
pub(crate) const ERROR_BYTES: usize = 8 << 10;

/// Instances of one plugin that wait for the next call.
pub(crate) const IDLE_INSTANCES: usize = 8;

/// Limits of one plugin. The defaults suit filters in interpreted languages as well.
///
/// All that is said per call holds for one look or one match. The key in brackets raises it for one plugin, under
/// `[limits]` in its `NAME.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time for one call, before the part per item (`call-ms`).
    pub call: Duration,
    /// Time that every ref or project of the call adds (`per-item-us`).
    pub per_item: Duration,
    /// Time to start an instance and configure it (`start-ms`).
    pub start: Duration,
    /// Bytes of linear memory of one instance, all its memories together (`memory-mib`).
    pub memory: usize,
    /// Tables of one instance, those of all its core modules together (`tables`).
    pub tables: usize,
    /// Elements of all tables of one instance together (`table-elements`).
    pub table_elements: usize,
    /// Core instances that a component may consist of (`instances`).
    pub instances: usize,
    /// Linear memories of one instance (`memories`).
    pub memories: usize,
    /// Calls of the guest into the host in one call (`host-calls`).
    pub host_calls: u64,
    /// Bytes that one call copies between guest and host, both directions together (`host-mib`).
    pub host_bytes: usize,
    /// Bytes of log in one call, 16 and the plugin's name for each line beside its text; the rest is dropped (`log-kib`).
    pub log: usize,
    /// Different reasons in one call (`reasons`).
    pub reasons: usize,
    /// Indices that a call may name, per ref or project of it; 1,024 more are always allowed.
    pub indices_per_item: usize,
    /// Calls that one instance serves before a fresh one takes over, so that nothing that leaks in a guest grows for
    /// ever (`calls-per-instance`).
    pub calls_per_instance: u32,
    /// Bytes by which the memory of an instance may have grown since its start for it to be kept for the next call.
    pub idle_memory: usize,
}

impl Default for Limits {
    /// 250 ms + 2 µs per item, 5 s to start, 256 MiB, a million calls into the host, 256 MiB to and from it, 64 KiB of log.
    /// A Rust filter has one or two core instances, one that embeds CPython about 40.
    fn default() -> Self {
        Limits {
            call: Duration::from_millis(250),
            per_item: Duration::from_micros(2),
            start: Duration::from_secs(5),
            memory: 256 << 20,
            tables: 64,
            table_elements: 500_000,
            instances: 64,
            memories: 64,
            host_calls: 1_000_000,
            host_bytes: 256 << 20,
            log: 64 << 10,
            reasons: 64,
            indices_per_item: 4,
            calls_per_instance: 10_000,
            idle_memory: 32 << 20,
        }
    }
}

impl Limits {
    /// Time for a call on `items` refs or projects.
    pub(crate) fn for_items(&self, items: usize) -> Duration {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        self.call.saturating_add(self.per_item.saturating_mul(items))
    }

    /// Indices that a call on `items` may name in all: naming a ref twice is fine, flooding the host is not.
    pub(crate) fn indices(&self, items: usize) -> usize {
        items.saturating_mul(self.indices_per_item).saturating_add(1024)
    }
}

/// A time limit in ticks of the engine's epoch. One more than fits: the first tick may come at once.
pub(crate) fn ticks(limit: Duration) -> u64 {
    let ticks = limit.as_nanos().div_ceil(TICK.as_nanos()) + 1;
    // The engine adds this to the current epoch.
    u64::try_from(ticks).unwrap_or(u64::MAX).min(u64::MAX / 4)
}

/// A limit that was reached: the error of a host function, and of a call in the end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Over {
    /// What the plugin did, with the value of the limit: `it made more than 10 calls into the host`.
    pub(crate) what: String,
    /// The key that raises the limit.
    pub(crate) key: &'static str,
}

impl Over {
    pub(crate) fn new(key: &'static str, what: impl Into<String>) -> Over {
        Over { what: what.into(), key }
    }

    /// The whole sentence, for the plugin `name`.
    pub(crate) fn explain(&self, name: &str) -> String {
        format!("{} ({})", self.what, raise(self.key, name))
    }
}

/// What to do when the plugin `name` honestly needs more.
pub(crate) fn raise(key: &str, name: &str) -> String {
    format!("if it needs more, raise `{key}` under `[limits]` in `{name}.toml`")
}

/// A number of bytes as people write limits.
pub(crate) struct Bytes(pub(crate) usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => write!(f, "{} MiB", n >> 20),
            n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => write!(f, "{} KiB", n >> 10),
            n => write!(f, "{n} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_become_ticks_that_are_never_too_few_and_never_overflow() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(5)), 2);
        assert_eq!(ticks(Duration::from_millis(6)), 3);
        assert!(ticks(Duration::MAX) < u64::MAX / 2);
        let endless = Limits { call: Duration::MAX, ..Limits::default() };
        assert_eq!(endless.for_items(usize::MAX), Duration::MAX);
        assert_eq!(endless.indices(usize::MAX), usize::MAX);
    }

    #[test]
    fn bytes_are_written_in_the_unit_that_fits() {
        let shown = [64 << 20, 64 << 10, 1000, 0, (1 << 20) + 1].map(|n| Bytes(n).to_string());
        assert_eq!(shown, ["64 MiB", "64 KiB", "1000 bytes", "0 bytes", "1048577 bytes"]);
    }

    #[test]
    fn an_error_names_what_happened_and_the_key() {
        let over = Over::new("host-calls", "it made more than 10 calls into the host");
        assert_eq!(
            over.explain("p"),
            "it made more than 10 calls into the host (if it needs more, raise `host-calls` under `[limits]` in `p.toml`)"
        );
    }
}
