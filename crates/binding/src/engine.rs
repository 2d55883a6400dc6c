//! Memory, threads and CPU of the engine.

use crate::accelerator::thrown;
use crate::{faults, tensors};
use kernels::{pool, simd};
use napi::Error;
use napi_derive::napi;

/// Native memory of this process; handles are those of this thread.
#[napi(object)]
pub struct MemoryStats {
    /// Bytes that live tensors asked for.
    pub live_bytes: f64,
    /// The most that `liveBytes` has been since the last `resetPeak`.
    pub peak_bytes: f64,
    /// Bytes that the system has given.
    pub reserved_bytes: f64,
    /// Handles of this thread that are live.
    pub live_handles: f64,
    /// Buffers given out since the process began.
    pub allocations: f64,
    /// Requests to the system for memory since the process began.
    pub system_calls: f64,
    /// Live bytes of parameters, gradients, optimizer, activations, workspace, communication.
    pub live_by_category: Vec<f64>,
    /// The most of each since the last `resetPeak`.
    pub peak_by_category: Vec<f64>,
}

/// The counters of native memory.
#[napi(catch_unwind)]
pub fn memory_stats() -> MemoryStats {
    let stats = storage::memory_stats();
    MemoryStats {
        live_bytes: stats.all.live as f64,
        peak_bytes: stats.all.peak as f64,
        reserved_bytes: stats.reserved as f64,
        live_handles: tensors::live() as f64,
        allocations: stats.allocations as f64,
        system_calls: stats.system_calls as f64,
        live_by_category: stats.by_category.iter().map(|usage| usage.live as f64).collect(),
        peak_by_category: stats.by_category.iter().map(|usage| usage.peak as f64).collect(),
    }
}

/// Begins or ends the count of page faults of the calling thread inside raw operations, which costs two system calls each.
#[napi(catch_unwind)]
pub fn count_faults(on: bool) {
    faults::count(on);
}

/// Page faults of calling threads inside raw operations while they were counted.
#[napi(catch_unwind)]
pub fn counted_faults() -> f64 {
    faults::counted() as f64
}

/// Counts the peaks anew from what is live now, on the CPU and on this thread's device.
#[napi(catch_unwind)]
pub fn reset_peak() -> Result<(), Error<String>> {
    storage::reset_peak();
    tensors::current_device().map_or(Ok(()), |on| on.reset_peak()).map_err(thrown)
}

/// Gives free memory back to the system, and that of this thread's device back to it.
#[napi(catch_unwind)]
pub fn trim_cache() -> Result<(), Error<String>> {
    storage::trim_cache();
    tensors::current_device().map_or(Ok(()), |on| on.trim_cache()).map_err(thrown)
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
