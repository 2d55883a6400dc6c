//! What the ranks of one world within this process share.

use super::bell::SimBell;
use super::mailbox::Mailbox;
use super::registry;
use crate::backend::{Bell, Presence, Wait};
use crate::descriptor::Descriptor;
use crate::failure::{Code, Error, Failure, ranks_text};
use crate::group::lock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The longest sleep while ranks are missing.
const NAP: Duration = Duration::from_millis(20);
/// Up to so many bytes are copied when they are sent; longer messages are copied once, when both ends are there.
const EAGER: usize = 32 << 10;

/// What is known of one rank.
pub struct Seat {
    presence: Mutex<Presence>,
    pub entered: Mutex<Option<Descriptor>>,
    pub waits: Mutex<Option<Wait>>,
    pub bell: SimBell,
}

pub struct Hub {
    job: String,
    /// Whoever came first.
    pub founder: u32,
    seats: Vec<Seat>,
    joined: Mutex<usize>,
    news: Condvar,
    failure: OnceLock<Failure>,
    is_reported: AtomicBool,
    tags: Mutex<HashMap<String, u32>>,
    /// From each rank to each.
    mailboxes: Vec<Mailbox>,
    pub eager: usize,
}

impl Hub {
    pub fn new(job: &str, founder: u32, size: u32, chunk: Option<usize>) -> Self {
        let seat = |_| Seat {
            presence: Mutex::new(Presence::Absent),
            entered: Mutex::default(),
            waits: Mutex::default(),
            bell: SimBell::default(),
        };
        let size = size as usize;
        Self {
            job: job.to_owned(),
            founder,
            seats: (0..size).map(seat).collect(),
            joined: Mutex::new(0),
            news: Condvar::new(),
            failure: OnceLock::new(),
            is_reported: AtomicBool::new(false),
            tags: Mutex::default(),
            mailboxes: (0..size * size).map(|_| Mailbox::default()).collect(),
            eager: chunk.map_or(EAGER, |chunk| chunk.min(EAGER)),
        }
    }

    pub fn size(&self) -> usize {
        self.seats.len()
    }

    pub fn seat(&self, rank: u32) -> &Seat {
        &self.seats[rank as usize]
    }

    pub fn mailbox(&self, from: u32, to: u32) -> &Mailbox {
        &self.mailboxes[from as usize * self.size() + to as usize]
    }

    pub fn presence(&self, rank: u32) -> Presence {
        lock(&self.seat(rank).presence).clone()
    }

    /// Whether this world's time is over: it failed, or `rank` has been here and has gone.
    pub fn is_over_for(&self, rank: u32) -> bool {
        self.failure.get().is_some() || matches!(self.presence(rank), Presence::Left | Presence::Lost)
    }

    /// Takes the seat of `rank`; false when it is taken.
    pub fn sit_down(&self, rank: u32) -> bool {
        let mut presence = lock(&self.seat(rank).presence);
        let is_free = *presence == Presence::Absent;
        if is_free {
            *presence = Presence::Alive;
            drop(presence);
            *lock(&self.joined) += 1;
            self.news.notify_all();
        }
        is_free
    }

    /// Waits until all ranks have joined; names those that did not.
    pub fn meet(&self, rank: u32, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        let mut joined = lock(&self.joined);
        // What has gone wrong since all were here is for the first operation to tell.
        while *joined < self.size() {
            if let Some(failure) = self.failure() {
                return Err(failure.into());
            }
            if Instant::now() >= deadline {
                let count = *joined;
                drop(joined);
                return Err(self.fail(self.absence(count, limit)).into());
            }
            if let Some(lost) = (0..self.size() as u32).find(|&other| other != rank && self.presence(other) == Presence::Lost) {
                drop(joined);
                let (pid, job) = (std::process::id(), &self.job);
                let message =
                    format!("join: rank {lost} (pid {pid}) exited while the world of job {job} met. Look at the log of rank {lost}.");
                return Err(self.fail(Failure { code: Code::PeerLost, culprits: vec![lost], message }).into());
            }
            joined = self.news.wait_timeout(joined, NAP).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn absence(&self, joined: usize, limit: Duration) -> Failure {
        let missing: Vec<u32> = (0..self.size() as u32).filter(|&rank| self.presence(rank) == Presence::Absent).collect();
        let message = format!(
            "join: {joined} of {} ranks joined job {} within {} ms; missing: {}. Check that they were started.",
            self.size(),
            self.job,
            limit.as_millis(),
            ranks_text(&missing)
        );
        Failure { code: Code::Timeout, culprits: missing, message }
    }

    pub fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned()
    }

    pub fn fail(&self, failure: Failure) -> Failure {
        let stands = self.failure.get_or_init(|| failure).clone();
        self.ring_all();
        stands
    }

    /// `rank` goes: on purpose, or by dropping everything. Its first way of going stands. Whoever goes once the world has failed is not
    /// the reason.
    pub fn depart(&self, rank: u32, on_purpose: bool) {
        if self.failure.get().is_some() {
            return;
        }
        let mut presence = lock(&self.seat(rank).presence);
        if *presence == Presence::Alive {
            *presence = if on_purpose { Presence::Left } else { Presence::Lost };
            drop(presence);
            self.ring_all();
        }
    }

    fn ring_all(&self) {
        self.seats.iter().for_each(|seat| seat.bell.ring());
        self.news.notify_all();
    }

    /// The number of a purpose: the same for all who ask.
    pub fn tag(&self, purpose: &str) -> u32 {
        let mut tags = lock(&self.tags);
        let next = tags.len() as u32 + 1;
        *tags.entry(purpose.to_owned()).or_insert(next)
    }

    /// True for the first who asks.
    pub fn claim_report(&self) -> bool {
        !self.is_reported.swap(true, Ordering::SeqCst)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        registry::forget(&self.job);
    }
}
