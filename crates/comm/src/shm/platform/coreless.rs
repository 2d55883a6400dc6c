//! Systems on which a thread is not told its core.

/// The core on which the calling thread runs: unknown.
pub fn core() -> Option<u32> {
    None
}
