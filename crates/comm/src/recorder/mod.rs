//! The flight recorder: what this rank has posted, in the order of its program, kept in memory until somebody wants to see it.

mod entry;
mod record;

use crate::backend::GroupSpec;
use crate::descriptor::Descriptor;
use crate::group::lock;
use crate::memory::Memory;
use crate::request::Request;
use entry::{Entry, Posted};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub use record::Reason;
pub(crate) use record::record;

/// Entries of the first block of a recorder that keeps everything; each further block is twice as large.
const FIRST_BLOCK: usize = 256;
const BLOCKS: usize = 40;

/// Where the entries lie.
enum Entries {
    /// A power of two of them, used over and over.
    Ring(Box<[Entry]>),
    /// Blocks of growing size, made when needed.
    All(Box<[OnceLock<Box<[Entry]>>; BLOCKS]>),
}

fn entries(count: usize) -> Box<[Entry]> {
    (0..count).map(|_| Entry::default()).collect()
}

impl Entries {
    fn new(limit: Option<usize>) -> Self {
        match limit {
            Some(limit) => Self::Ring(entries(limit.max(1).next_power_of_two())),
            None => Self::All(Box::new([const { OnceLock::new() }; BLOCKS])),
        }
    }

    /// The entry of the operation with this number, from 0.
    fn at(&self, number: u64) -> &Entry {
        match self {
            Self::Ring(ring) => &ring[number as usize & (ring.len() - 1)],
            Self::All(blocks) => {
                let place = number as usize + FIRST_BLOCK;
                let block = (place / FIRST_BLOCK).ilog2() as usize;
                let length = FIRST_BLOCK << block;
                &blocks[block].get_or_init(|| entries(length))[place - length]
            }
        }
    }

    /// How many operations are kept at most.
    fn limit(&self) -> u64 {
        match self {
            Self::Ring(ring) => ring.len() as u64,
            Self::All(_) => u64::MAX,
        }
    }
}

/// A group that entries speak of.
struct Known {
    id: u32,
    spec: Arc<GroupSpec>,
    /// How many operations had been posted when it was closed.
    closed: Option<u64>,
}

#[derive(Default)]
struct Groups {
    opened: u32,
    known: Vec<Known>,
}

/// The recorder of one rank. Noting takes a few nanoseconds, no lock and, for collectives, no memory.
pub(crate) struct Recorder {
    entries: Entries,
    /// How many operations were posted.
    posted: AtomicU64,
    /// The last place given out in this rank's program order.
    places: AtomicU64,
    groups: Mutex<Groups>,
    /// The moment that times count from, on both clocks.
    epoch: Instant,
    epoch_ms: f64,
}

/// Milliseconds since 1970.
fn wall_clock_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3)
}

impl Recorder {
    /// Keeps the last `limit` operations, rounded up to a power of two; all of them when None.
    pub fn new(limit: Option<usize>) -> Self {
        Self {
            entries: Entries::new(limit),
            posted: AtomicU64::new(0),
            places: AtomicU64::new(0),
            groups: Mutex::default(),
            epoch: Instant::now(),
            epoch_ms: wall_clock_ms(),
        }
    }

    /// Nanoseconds since the epoch, plus 1: 0 stands for never.
    fn clock(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.epoch).as_nanos() as u64 + 1
    }

    fn next_place(&self) -> u64 {
        self.places.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A number for a group just opened.
    pub fn open(&self, spec: &Arc<GroupSpec>) -> u32 {
        let posted = self.posted.load(Ordering::Relaxed);
        let mut groups = lock(&self.groups);
        let limit = self.entries.limit();
        groups.known.retain(|group| group.closed.is_none_or(|closed| closed.saturating_add(limit) > posted));
        let id = groups.opened;
        groups.opened += 1;
        groups.known.push(Known { id, spec: Arc::clone(spec), closed: None });
        id
    }

    /// No further operation will speak of this group.
    pub fn close(&self, id: u32) {
        let posted = self.posted.load(Ordering::Relaxed);
        if let Some(group) = lock(&self.groups).known.iter_mut().find(|group| group.id == id) {
            group.closed = Some(posted);
        }
    }

    /// Notes an operation; returns its number. Posts of one group come one after the other.
    pub fn post<M: Memory>(&self, group: u32, descriptor: &Descriptor, request: &Request<M>, time: Instant) -> u64 {
        let number = self.posted.fetch_add(1, Ordering::Relaxed);
        let posted = Posted { group, descriptor, request, place: self.next_place(), time: self.clock(time) };
        self.entries.at(number).write(number, &posted);
        number
    }

    pub fn start(&self, number: u64, time: Instant) {
        self.entries.at(number).start(number, self.clock(time));
    }

    pub fn end(&self, number: u64, completed: bool) {
        self.entries.at(number).end(number, self.clock(Instant::now()), completed);
    }

    /// Notes that the program waits for the operation, or has seen that it ended; the first time counts.
    pub fn wait(&self, number: u64) {
        self.entries.at(number).wait(number, || self.next_place());
    }
}

/// Writes the record of `rank` into `directory`, complete under its name or not at all.
pub(crate) fn write(directory: &Path, rank: u32, text: &str) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(format!("rank-{rank}.json"));
    let draft = directory.join(format!("rank-{rank}.json.{}", std::process::id()));
    std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}
