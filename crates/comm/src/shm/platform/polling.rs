//! Waiting without the system's help: a waiter looks again and again, less and less often.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The first nap: about what a wake-up by the system costs.
const FIRST: Duration = Duration::from_micros(20);
/// The longest: what a wake-up may come too late by, against what looking costs an idle rank.
const LONGEST: Duration = Duration::from_millis(1);

/// Naps while `word` holds `expected`, at most for `limit`.
pub fn wait(word: &AtomicU32, expected: u32, limit: Duration) {
    let start = Instant::now();
    let mut nap = FIRST;
    while word.load(Ordering::Acquire) == expected {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(nap.min(left));
        nap = (nap * 2).min(LONGEST);
    }
}

/// Nothing: who waits looks for itself.
pub fn wake(_word: &AtomicU32) {}
