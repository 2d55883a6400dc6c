//! Memory of the host from and to which the device copies by itself, while the program goes on. It is costly to get: hence it is kept.

use crate::driver::{Calls, Device, RawEvent};
use crate::error::{Code, Error};
use std::collections::BTreeMap;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The smallest buffer.
const LEAST: usize = 4096;

/// A piece of it.
pub(crate) struct Buffer {
    place: *mut u8,
    /// A power of two.
    bytes: usize,
}

// SAFETY: the memory belongs to whoever holds the buffer.
unsafe impl Send for Buffer {}

impl Buffer {
    pub fn as_ptr(&self) -> *mut u8 {
        self.place
    }
}

/// What is pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PinnedStats {
    /// Bytes that are pinned.
    pub bytes: usize,
    /// Of these, bytes that nobody uses.
    pub free_bytes: usize,
    /// Buffers that were taken from the driver.
    pub allocations: u64,
}

/// All of a device.
#[derive(Default)]
pub(crate) struct Pinned(Mutex<State>);

#[derive(Default)]
struct State {
    free: BTreeMap<usize, Vec<Buffer>>,
    /// What a copy under way uses, and the point at which it is done.
    busy: Vec<(Buffer, RawEvent)>,
    stats: PinnedStats,
}

impl Pinned {
    fn held(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of at least `bytes`.
    pub fn take(&self, device: &Device, bytes: usize) -> Result<Buffer, Error> {
        let bytes = bytes.next_power_of_two().max(LEAST);
        let passed = |(_, event): &mut (Buffer, RawEvent)| device.has_passed(event).unwrap_or(false);
        let done: Vec<_> = self.held().busy.extract_if(.., passed).collect();
        for (buffer, event) in done {
            device.end_event(&event);
            self.put(buffer);
        }
        let mut held = self.held();
        if let Some(buffer) = held.free.get_mut(&bytes).and_then(Vec::pop) {
            held.stats.free_bytes -= bytes;
            return Ok(buffer);
        }
        drop(held);
        let mut place = ptr::null_mut();
        // SAFETY: one address is written.
        let status = device.status(|calls| unsafe { (calls.cuMemHostAlloc)(&mut place, bytes, 0) })?;
        if status != 0 {
            let (index, result) = (device.report().index, device.toolkit().calls.result_name(status));
            let pinned = self.held().stats.bytes;
            let message = format!(
                "device {index}: {bytes} bytes of the host cannot be pinned ({result}) beside {pinned} that are. \
                 Copy smaller pieces, or raise the limit of locked memory (ulimit -l)."
            );
            return Err(Error::new(Code::OutOfMemory, message));
        }
        let stats = &mut self.held().stats;
        stats.bytes += bytes;
        stats.allocations += 1;
        Ok(Buffer { place: place.cast(), bytes })
    }

    /// Gives back what nobody uses.
    pub fn put(&self, buffer: Buffer) {
        let mut held = self.held();
        held.stats.free_bytes += buffer.bytes;
        held.free.entry(buffer.bytes).or_default().push(buffer);
    }

    /// Gives back what is used until `event`.
    pub fn put_after(&self, buffer: Buffer, event: RawEvent) {
        self.held().busy.push((buffer, event));
    }

    pub fn stats(&self) -> PinnedStats {
        self.held().stats
    }

    /// Unpins everything when the device is closed.
    pub fn end(&mut self, calls: &Calls) {
        let State { free, busy, .. } = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Buffer> = std::mem::take(free).into_values().flatten().collect();
        for (buffer, event) in busy.drain(..) {
            // SAFETY: the event lives, and nobody uses it after this.
            unsafe {
                (calls.cuEventSynchronize)(event.0);
                (calls.cuEventDestroy_v2)(event.0);
            }
            all.push(buffer);
        }
        for buffer in all {
            // SAFETY: it came from cuMemHostAlloc, and what used it has passed.
            unsafe { (calls.cuMemFreeHost)(buffer.place.cast()) };
        }
    }
}
