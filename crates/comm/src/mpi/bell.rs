//! How threads sleep beside an MPI that wakes nobody: the thread that polls it takes short naps, all others wait for the bell.

use crate::backend::Bell;
use crate::group::lock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// The first nap after something has moved, and the longest.
const NAPS: (Duration, Duration) = (Duration::from_micros(10), Duration::from_micros(500));

#[derive(Default)]
pub struct MpiBell {
    epoch: AtomicU32,
    sleepers: AtomicUsize,
    parking: Mutex<()>,
    rung: Condvar,
    /// The thread that polls MPI.
    poller: OnceLock<ThreadId>,
    /// Messages started or ended.
    moved: AtomicU64,
    /// `moved` at the last nap, and how long that was meant to be.
    last_nap: Mutex<(u64, Duration)>,
}

impl MpiBell {
    /// From now on the calling thread takes naps instead of sleeping.
    pub fn is_polled_here(&self) {
        let _ = self.poller.set(std::thread::current().id());
    }

    /// A message was started or has ended: the next nap is a short one again.
    pub fn note_traffic(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    fn nap(&self) -> Duration {
        let moved = self.moved.load(Ordering::Relaxed);
        let mut last = lock(&self.last_nap);
        let nap = if last.0 == moved { (last.1 * 2).clamp(NAPS.0, NAPS.1) } else { NAPS.0 };
        *last = (moved, nap);
        nap
    }

    fn wait(&self, ticket: u32, limit: Duration) {
        let start = Instant::now();
        let mut guard = lock(&self.parking);
        while self.epoch.load(Ordering::SeqCst) == ticket {
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            guard = self.rung.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Bell for MpiBell {
    fn announce(&self) -> u32 {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        self.epoch.load(Ordering::SeqCst)
    }

    fn sleep(&self, ticket: u32, limit: Option<Duration>) {
        if let Some(limit) = limit {
            let polls = self.poller.get() == Some(&std::thread::current().id());
            self.wait(ticket, if polls { limit.min(self.nap()) } else { limit });
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn ring(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // A sleeper that has read the epoch holds the lock until it really sleeps.
            drop(lock(&self.parking));
            self.rung.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn naps_grow_while_nothing_moves() {
        let bell = MpiBell::default();
        bell.note_traffic();
        let naps: Vec<u128> = (0..8).map(|_| bell.nap().as_micros()).collect();
        assert_eq!(naps, [10, 20, 40, 80, 160, 320, 500, 500]);
        bell.note_traffic();
        assert_eq!(bell.nap().as_micros(), 10);
    }

    #[test]
    fn a_ring_after_the_announcement_is_not_missed() {
        let bell = Arc::new(MpiBell::default());
        let ticket = bell.announce();
        bell.ring();
        bell.sleep(ticket, Some(Duration::from_secs(3600)));
        let ticket = bell.announce();
        let other = Arc::clone(&bell);
        let ringer = std::thread::spawn(move || other.ring());
        bell.sleep(ticket, Some(Duration::from_secs(3600)));
        ringer.join().unwrap();
    }
}
