//! What belongs to a graph: its memory, and the memory of others that it refers to.

use crate::driver::{Device, Stream};
use crate::error::Error;
use crate::memory::Lender;
use cudarc::driver::sys::CUgraphExec;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// A graph while it is captured and after it. Memory that is allocated meanwhile is the graph's own: freed within the capture it may be
/// used again by what is captured later; what lives on afterwards is filled by each launch, and keeps this alive.
pub(crate) struct Captured {
    device: Device,
    origin: Stream,
    thread: ThreadId,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Memory of the graph that nobody has freed in the capture, and its bytes.
    memory: BTreeMap<u64, usize>,
    /// Memory of the pool that was given up meanwhile: launches may still use it.
    kept: Vec<((u64, usize), Stream)>,
    /// A bit for each stream in which it was launched.
    launched: u8,
}

enum Phase {
    Recording,
    Ready(CUgraphExec),
    Failed,
}

// SAFETY: the driver's handles may be used on any thread.
unsafe impl Send for State {}

impl Captured {
    /// Begins with nothing.
    pub fn new(device: &Device, origin: Stream) -> Captured {
        let state = State { phase: Phase::Recording, memory: BTreeMap::new(), kept: Vec::new(), launched: 0 };
        Captured { device: device.clone(), origin, thread: thread::current().id(), state: Mutex::new(state) }
    }

    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether this thread captures it, and must not wait for anything.
    pub fn is_of_this_thread(&self) -> bool {
        self.thread == thread::current().id()
    }

    /// Memory in the order of a captured stream.
    pub fn allocate(&self, home: Stream, bytes: usize) -> Result<u64, Error> {
        if bytes == 0 {
            return Ok(0);
        }
        let (mut address, on) = (0, self.device.raw(home));
        // SAFETY: one address is written.
        self.device.run("cuMemAllocAsync", |calls| unsafe { (calls.cuMemAllocAsync)(&mut address, bytes, on) })?;
        self.held().memory.insert(address, bytes);
        Ok(address)
    }

    /// Keeps memory of the pool as long as the graph.
    pub fn keep(&self, place: (u64, usize), home: Stream) {
        self.held().kept.push((place, home));
    }

    /// Ends the capture: with a program that can be launched, or without one.
    pub fn finish(&self, program: Option<CUgraphExec>) {
        self.held().phase = program.map_or(Phase::Failed, Phase::Ready);
    }

    /// Asks a stream for all of it.
    pub fn launch(&self, stream: Stream) -> Result<(), Error> {
        let mut held = self.held();
        let Phase::Ready(program) = held.phase else { return Ok(()) };
        let on = self.device.raw(stream);
        // SAFETY: the program lives, and what it refers to is kept.
        self.device.run("cuGraphLaunch", |calls| unsafe { (calls.cuGraphLaunch)(program, on) })?;
        held.launched |= 1 << stream as u8;
        Ok(())
    }

    /// Bytes that each launch leaves.
    pub fn bytes(&self) -> usize {
        self.held().memory.values().sum()
    }

    /// Lets `stream` go on after `others`.
    fn order(&self, stream: Stream, others: &[Stream]) -> Result<(), Error> {
        for &other in others.iter().filter(|&&other| other != stream) {
            let passed = self.device.record(other)?;
            self.device.wait(stream, &passed)?;
        }
        Ok(())
    }

    fn free(&self, address: u64, stream: Stream) -> Result<(), Error> {
        let on = self.device.raw(stream);
        // SAFETY: whoever used the memory comes before this in the order of the stream.
        self.device.run("cuMemFreeAsync", |calls| unsafe { (calls.cuMemFreeAsync)(address, on) })
    }

    /// Those of `streams` that are captured.
    fn captured(&self, streams: &[Stream]) -> Vec<Stream> {
        streams.iter().copied().filter(|&stream| self.device.is_capturing(stream)).collect()
    }
}

impl Lender for Captured {
    fn take_back(&self, device: &Device, (address, _): (u64, usize), home: Stream, users: &[Stream]) {
        let is_recording = matches!(self.held().phase, Phase::Recording);
        // What fails here fails again when the capture ends, or when the graph is launched: there it is told.
        if !is_recording {
            let all: Vec<Stream> = users.iter().copied().chain([home]).collect();
            _ = self.order(self.origin, &all);
        } else if device.is_capturing(home) && self.order(home, &self.captured(users)).and_then(|()| self.free(address, home)).is_ok() {
            self.held().memory.remove(&address);
        }
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (memory, kept, launched) = (std::mem::take(&mut state.memory), std::mem::take(&mut state.kept), state.launched);
        let program = match state.phase {
            Phase::Ready(program) => Some(program),
            _ => None,
        };
        let users: Vec<Stream> = Stream::ALL.into_iter().filter(|&stream| launched & (1 << stream as u8) != 0).collect();
        if launched != 0 {
            // A launch leaves it, and the end of the graph does not free it.
            _ = self.order(self.origin, &users);
            memory.into_keys().for_each(|address| _ = self.free(address, self.origin));
        }
        if let (Ok(pool), device) = (self.device.pool(), &self.device) {
            for (place, home) in kept {
                pool.free_after(device, place, home, users.iter().copied().filter(|&user| user != home));
            }
        }
        if let Some(program) = program {
            // SAFETY: the program lives, and nobody launches it any more.
            _ = self.device.run("cuGraphExecDestroy", |calls| unsafe { (calls.cuGraphExecDestroy)(program) });
        }
    }
}
