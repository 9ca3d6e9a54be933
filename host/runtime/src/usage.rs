//! What a call uses of the host, counted while it runs and refused beyond the limits.

use crate::limits::{Bytes, Limits, Over};

/// What one call used. Time is not measured here: the runtime has no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls of the guest into the host.
    pub host_calls: u64,
    /// Bytes that the host copied into the guest.
    pub to_guest: u64,
    /// Bytes that the guest handed to the host, with the text of its error.
    pub to_host: u64,
    /// Bytes of all memories of the instance after the call. Memories never shrink: also the most it ever had.
    pub memory: usize,
    /// Bytes of log text that were kept.
    pub log: usize,
    /// Fuel that the guest burnt: the same number for the same call of a fresh instance. Only with
    /// [`crate::RuntimeConfig::fuel`].
    pub fuel: Option<u64>,
    /// The call had to start an instance, because none was idle.
    pub fresh: bool,
}

/// What is left for a call.
#[derive(Debug)]
pub(crate) struct Budget {
    host_calls: u64,
    host_bytes: u64,
    pub(crate) used: Usage,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Budget {
        Budget { host_calls: limits.host_calls, host_bytes: limits.host_bytes as u64, used: Usage::default() }
    }

    /// Begins a call of its own.
    pub(crate) fn begin_call(&mut self) {
        self.used = Usage::default();
    }

    /// A call into the host that hands over `bytes`. They are copied already: the engine bounds each such copy.
    pub(crate) fn called(&mut self, bytes: usize) -> Result<(), Over> {
        self.used.host_calls += 1;
        if self.used.host_calls > self.host_calls {
            let what = format!("it made more than {} calls into the host", self.host_calls);
            return Err(Over::new("host-calls", what));
        }
        self.take_over(bytes)
    }

    /// More `bytes` of the same call into the host.
    pub(crate) fn take_over(&mut self, bytes: usize) -> Result<(), Over> {
        self.used.to_host = self.used.to_host.saturating_add(bytes as u64);
        self.check_bytes()
    }

    /// `bytes` that the host is about to copy for the guest.
    pub(crate) fn hand_out(&mut self, bytes: usize) -> Result<(), Over> {
        self.used.to_guest = self.used.to_guest.saturating_add(bytes as u64);
        self.check_bytes()
    }

    fn check_bytes(&self) -> Result<(), Over> {
        if self.used.to_guest.saturating_add(self.used.to_host) > self.host_bytes {
            return Err(too_many_bytes(self.host_bytes as usize));
        }
        Ok(())
    }
}

/// The guest moved more than `limit` bytes.
pub(crate) fn too_many_bytes(limit: usize) -> Over {
    Over::new("host-mib", format!("it moved more than {} between itself and the host", Bytes(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_bytes_are_counted_and_bounded() {
        let limits = Limits { host_calls: 2, host_bytes: 10, ..Limits::default() };
        let mut budget = Budget::new(&limits);
        budget.called(4).unwrap();
        budget.hand_out(6).unwrap();
        assert_eq!(budget.hand_out(1).unwrap_err().key, "host-mib");
        budget.begin_call();
        budget.called(0).unwrap();
        budget.called(10).unwrap();
        assert_eq!(budget.used, Usage { host_calls: 2, to_host: 10, ..Usage::default() });
        assert_eq!(budget.called(0).unwrap_err().key, "host-calls");
        budget.begin_call();
        assert_eq!(budget.hand_out(usize::MAX).unwrap_err().key, "host-mib");
        assert_eq!(budget.hand_out(usize::MAX).unwrap_err().key, "host-mib");
    }
}
