//! Memory, threads and CPU of the engine.

use crate::tensors;
use kernels::{pool, simd};
use napi_derive::napi;

/// Native memory of this process; handles are those of this thread.
#[napi(object)]
pub struct MemoryStats {
    /// Bytes that live tensors asked for.
    pub live_bytes: f64,
    /// The most that `liveBytes` has been since the last `resetPeak`.
    pub peak_bytes: f64,
    /// Bytes of freed blocks kept for reuse.
    pub cached_bytes: f64,
    /// Handles of this thread that are live.
    pub live_handles: f64,
    /// Buffers given out since the process began.
    pub allocations: f64,
}

/// The counters of native memory.
#[napi(catch_unwind)]
pub fn memory_stats() -> MemoryStats {
    let stats = storage::memory_stats();
    MemoryStats {
        live_bytes: stats.live as f64,
        peak_bytes: stats.peak as f64,
        cached_bytes: stats.cached as f64,
        live_handles: tensors::live() as f64,
        allocations: stats.allocations as f64,
    }
}

/// Counts the peak anew from what is live now.
#[napi(catch_unwind)]
pub fn reset_peak() {
    storage::reset_peak();
}

/// Gives freed blocks back to the system.
#[napi(catch_unwind)]
pub fn trim_cache() {
    storage::trim_cache();
}

/// Sets how many threads share an operation, the caller included; results do not depend on it.
#[napi(catch_unwind)]
pub fn set_threads(threads: u32) {
    pool::set_threads(threads as usize);
}

/// How many threads share an operation.
#[napi(catch_unwind)]
pub fn threads() -> u32 {
    pool::threads() as u32
}

/// Tells that the threads of all ranks of this host are more than its cores.
#[napi(catch_unwind)]
pub fn set_oversubscribed(oversubscribed: bool) {
    pool::set_oversubscribed(oversubscribed);
}

/// The vector instructions in use: `baseline`, `avx2` or `avx512`.
#[napi(catch_unwind)]
pub fn cpu_features() -> String {
    simd::path().name().to_owned()
}
