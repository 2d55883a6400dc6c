//! What the played machine remembers.

use crate::graph::{Capture, Graph};
use crate::nccl::Played;
use crate::queue::{self, Point, Queues};
use crate::settings::Settings;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

pub const SUCCESS: u32 = 0;
pub const INVALID_VALUE: u32 = 1;
pub const OUT_OF_MEMORY: u32 = 2;
pub const NO_DEVICE: u32 = 100;
pub const INVALID_DEVICE: u32 = 101;
pub const INVALID_CONTEXT: u32 = 201;
pub const NOT_FOUND: u32 = 500;
pub const NOT_READY: u32 = 600;
pub const ILLEGAL_ADDRESS: u32 = 700;

/// A piece of device memory.
pub struct Piece {
    /// In the order of allocation, from 1: unlike addresses it is the same in every run.
    pub number: usize,
    pub bytes: usize,
}

/// One machine.
#[derive(Default)]
pub struct State {
    pub settings: Settings,
    pub log: Vec<String>,
    pub pieces: HashMap<u64, Piece>,
    pub used: usize,
    pub cached: usize,
    pub allocations: usize,
    pub streams: HashSet<usize>,
    pub streams_made: usize,
    pub queues: Queues,
    pub held: HashSet<usize>,
    /// Where each event was recorded last.
    pub events: HashMap<usize, Arc<Point>>,
    pub handles: usize,
    pub contexts: usize,
    pub launches: usize,
    pub sticky: Option<u32>,
    /// What is being captured, graphs by their handles, and memory of the host.
    pub capture: Option<Capture>,
    pub graphs: HashMap<usize, Graph>,
    pub pinned: HashMap<usize, usize>,
    /// Descriptors of cuBLASLt or cuDNN that live.
    pub descriptors: usize,
    /// What cuDNN says of its last error, and the stream of its handle.
    pub words: String,
    pub stream_of_handle: usize,
    /// What NCCL remembers.
    pub played: Played,
}

impl State {
    pub fn new(settings: Settings) -> State {
        State { settings, ..State::default() }
    }

    pub fn next_handle(&mut self) -> usize {
        self.handles += 1;
        self.handles
    }

    pub fn note(&mut self, line: String) {
        self.log.push(line);
    }
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::new(Settings::of_process())));

pub fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Runs a function of the driver: one that was told to fail does, and after a sticky error all do.
pub fn call(name: &str, body: impl FnOnce(&mut State) -> u32) -> u32 {
    let mut state = state();
    if let Some((function, status, after)) = &mut state.settings.failing
        && function == name
    {
        if *after == 0 {
            return *status;
        }
        *after -= 1;
    }
    match state.sticky {
        Some(status) => status,
        None => {
            let status = body(&mut state);
            queue::advance(&mut state);
            status
        }
    }
}

/// Writes a result where the caller wants it.
///
/// # Safety
/// `place` is null or may be written.
pub unsafe fn give<T>(place: *mut T, value: T) -> u32 {
    if place.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: the caller's promise.
    unsafe { place.write(value) };
    SUCCESS
}
