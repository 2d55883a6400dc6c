//! Devices ring no bell. While something is under way on one, a thread rings for it, so that whoever sleeps looks again.

use crate::backend::Backend;
use crate::group::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two beats.
const BEAT: Duration = Duration::from_micros(100);

pub(super) struct Pulse {
    state: Arc<(Mutex<State>, Condvar)>,
    base: Arc<dyn Backend>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    under_way: usize,
    is_over: bool,
}

/// Something that is under way as long as this lives.
pub(super) struct Beat(Arc<(Mutex<State>, Condvar)>);

impl Pulse {
    pub fn new(base: &Arc<dyn Backend>) -> Pulse {
        Pulse { state: Arc::default(), base: Arc::clone(base), thread: Mutex::default() }
    }

    /// Rings until the result is dropped.
    pub fn begin(&self) -> Beat {
        lock(&self.state.0).under_way += 1;
        self.state.1.notify_all();
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let (state, base) = (Arc::clone(&self.state), Arc::clone(&self.base));
            let started = thread::Builder::new().name("megatron-nccl".into()).spawn(move || run(&state, &*base));
            // Without it sleepers look again when their nap is over.
            *thread = started.ok();
        }
        Beat(Arc::clone(&self.state))
    }
}

fn run(state: &(Mutex<State>, Condvar), base: &dyn Backend) {
    let mut held = lock(&state.0);
    while !held.is_over {
        if held.under_way == 0 {
            held = state.1.wait(held).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        drop(held);
        base.bell().ring();
        thread::sleep(BEAT);
        held = lock(&state.0);
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        lock(&self.0.0).under_way -= 1;
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        lock(&self.state.0).is_over = true;
        self.state.1.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            _ = thread.join();
        }
    }
}
