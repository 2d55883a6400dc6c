//! Page faults of JavaScript's thread inside the engine: counted only when asked for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use storage::minor_faults_of_this_thread;

static COUNTING: AtomicBool = AtomicBool::new(false);
static COUNTED: AtomicU64 = AtomicU64::new(0);

/// Begins or ends the count.
pub fn count(on: bool) {
    COUNTING.store(on, Relaxed);
}

/// The faults counted so far.
pub fn counted() -> u64 {
    COUNTED.load(Relaxed)
}

/// Calls `f`; the faults of this thread meanwhile count when counting is on.
#[inline]
pub fn within<R>(f: impl FnOnce() -> R) -> R {
    if COUNTING.load(Relaxed) { counted_within(f) } else { f() }
}

#[cold]
fn counted_within<R>(f: impl FnOnce() -> R) -> R {
    let before = minor_faults_of_this_thread();
    let result = f();
    COUNTED.fetch_add(minor_faults_of_this_thread() - before, Relaxed);
    result
}
