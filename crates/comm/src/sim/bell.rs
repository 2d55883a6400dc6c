//! Where the threads of one rank sleep.

use crate::backend::Bell;
use crate::group::lock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub struct SimBell {
    epoch: AtomicU32,
    sleepers: AtomicU32,
    bed: Mutex<()>,
    rung: Condvar,
}

impl Bell for SimBell {
    fn announce(&self) -> u32 {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        self.epoch.load(Ordering::SeqCst)
    }

    fn sleep(&self, ticket: u32, limit: Option<Duration>) {
        if let Some(limit) = limit {
            let bed = lock(&self.bed);
            let is_quiet = |_: &mut ()| self.epoch.load(Ordering::SeqCst) == ticket;
            drop(self.rung.wait_timeout_while(bed, limit, is_quiet).unwrap_or_else(PoisonError::into_inner));
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn ring(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Whoever has looked at the epoch sleeps by the time this lock is granted.
            drop(lock(&self.bed));
            self.rung.notify_all();
        }
    }
}
