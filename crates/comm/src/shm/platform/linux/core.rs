//! Cores, by the kernel's numbers.

/// The core on which the calling thread runs; None when the kernel does not tell.
pub fn core() -> Option<u32> {
    // SAFETY: the call touches no memory of ours.
    u32::try_from(unsafe { libc::sched_getcpu() }).ok()
}
