//! One round of asking all ranks what they do: however many ask at once, each rank is asked once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How long a round waits for the ranks.
const LIMIT: Duration = Duration::from_millis(200);
/// How long what a round has found counts as new.
const FRESH: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Round {
    /// Requests, by rank and number, that wait for the end of the round.
    askers: Vec<(u32, u64)>,
    /// Ranks that have not told yet.
    silent: HashSet<u32>,
    until: Option<Instant>,
    ended: Option<Instant>,
}

impl Round {
    /// Takes part in the running round, or begins one; true when `ranks` have to be asked.
    pub fn ask(&mut self, rank: u32, id: u64, ranks: impl Iterator<Item = u32>, now: Instant) -> bool {
        self.askers.push((rank, id));
        let is_fresh = self.ended.is_some_and(|ended| now.duration_since(ended) < FRESH);
        if self.until.is_some() || is_fresh {
            return false;
        }
        self.silent = ranks.collect();
        self.until = Some(now + LIMIT);
        true
    }

    pub fn reported(&mut self, rank: u32) {
        self.silent.remove(&rank);
    }

    pub fn due(&self) -> Option<Instant> {
        self.until
    }

    /// Who gets the table now: all askers when every rank has told, or the time is up.
    pub fn close(&mut self, now: Instant) -> Vec<(u32, u64)> {
        if let Some(until) = self.until {
            if !self.silent.is_empty() && now < until {
                return Vec::new();
            }
            self.silent.clear();
            (self.until, self.ended) = (None, Some(now));
        }
        std::mem::take(&mut self.askers)
    }
}
