//! How the engine is set up, in a form that can be handed to another process: code runs only in an engine that is set up
//! like the one that compiled it.

use serde::{Deserialize, Serialize};
use wasmtime::Config;

/// Address space that a fitted memory takes at first, in bytes, if its limit is not smaller. One that grows beyond it is
/// moved: most filters never do.
const RESERVED: u64 = 16 << 20;

/// Address space that it takes beside what it needs when it is moved, so that it is not moved again soon.
const GROWTH: u64 = 64 << 20;

/// Address space before and behind it that traps when it is touched. Accesses at a fixed offset below this from an index
/// are checked with one comparison.
const GUARD: u64 = 4 << 20;

/// What the settings of an engine depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Bytes of memory that an instance may have.
    pub(crate) memory: u64,
    /// Whether it counts what guests execute.
    pub(crate) fuel: bool,
    /// How much address space memories take.
    pub(crate) space: Space,
}

/// How much address space memories take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Space {
    /// 4 GiB for each from the beginning. No access has to be compared with the end of the memory then, which makes what a
    /// guest computes up to 1.7 times as fast.
    Ample,
    /// What it needs, and a little more.
    Fitted,
}

impl Shape {
    /// The same verdicts on every machine: no threads, one NaN, no relaxed arithmetic; and every loop can be interrupted.
    pub(crate) fn config(self) -> Config {
        let mut config = Config::new();
        if let Space::Fitted = self.space {
            config
                .memory_reservation(self.memory.min(RESERVED))
                .memory_reservation_for_growth(self.memory.min(GROWTH))
                .memory_guard_size(GUARD);
        }
        config
            .epoch_interruption(true)
            .consume_fuel(self.fuel)
            .cranelift_nan_canonicalization(true)
            .wasm_relaxed_simd(false)
            .concurrency_support(false)
            // Only debuggers and profilers of native code read it, and it costs with every load.
            .native_unwind_info(false);
        config
    }
}
