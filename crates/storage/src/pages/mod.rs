//! Pages from the system: the only place where memory is asked for or given back, and each request is counted.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Size and alignment of a large page: one entry of the address cache instead of 512, and one fault.
pub(crate) const LARGE_PAGE: usize = 2 << 20;

static SYSTEM_CALLS: AtomicU64 = AtomicU64::new(0);

/// Requests to the system to map, to advise or to unmap, since the process began.
pub(crate) fn system_calls() -> u64 {
    SYSTEM_CALLS.load(Relaxed)
}

fn count(calls: u64) {
    SYSTEM_CALLS.fetch_add(calls, Relaxed);
}

/// Zeroed pages that begin at a multiple of [`LARGE_PAGE`] where the system can do so; they cost nothing until touched.
/// `bytes` is a multiple of [`LARGE_PAGE`].
pub(crate) fn map(bytes: usize) -> Option<NonNull<u8>> {
    system::map(bytes)
}

/// Gives pages back.
///
/// # Safety
/// `map` returned `start` for `bytes`, and nobody uses the pages any more.
pub(crate) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise, handed on.
    unsafe { system::unmap(start, bytes) }
}

/// Bytes that this process could still fill without being ended for it: the least of what the machine has and what its control
/// groups allow, less than that by what is mapped (`reserved`) and not filled yet. None where the system does not tell.
pub(crate) fn available(reserved: usize) -> Option<usize> {
    system::available(reserved)
}

/// Page faults of this thread that needed no disk; 0 where the system does not tell.
pub fn minor_faults_of_this_thread() -> u64 {
    system::minor_faults_of_this_thread()
}
