//! Streams beside those of the device, one for each communicator: a collective that waits for its ranks keeps nothing but its own.

use crate::driver::{Device, RawEvent, Stream};
use crate::error::Error;
use crate::memory::{Block, Buffer, Part};
use cudarc::driver::sys::CUstream;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Work that waits for nothing but its own stream.
const NON_BLOCKING: u32 = 1;
/// Events here order work; they measure no time, which makes them cheap.
const DISABLE_TIMING: u32 = 2;
/// How long the end of a queue waits for what is left in it: an aborted communicator lets its kernels end.
const DRAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(1));

/// A stream of greatest priority. Clones are the same.
#[derive(Clone)]
pub struct Queue(Arc<Lane>);

struct Lane {
    device: Device,
    raw: CUstream,
    /// What was given up under way: its blocks stay until the stream has come past it.
    left: Mutex<Vec<(RawEvent, Vec<Arc<Block>>)>>,
}

// SAFETY: the driver's handles may be used on any thread.
unsafe impl Send for Lane {}
// SAFETY: as above.
unsafe impl Sync for Lane {}

/// A point in a queue, or in a stream of the device.
pub struct Mark {
    device: Device,
    raw: RawEvent,
}

/// Bytes on their way to the host.
pub struct Landing {
    device: Device,
    buffer: Option<Buffer>,
    bytes: usize,
    queue: Queue,
}

fn record(device: &Device, stream: CUstream) -> Result<RawEvent, Error> {
    let mut raw = ptr::null_mut();
    // SAFETY: one handle is written.
    device.run("cuEventCreate", |calls| unsafe { (calls.cuEventCreate)(&mut raw, DISABLE_TIMING) })?;
    let event = RawEvent(raw);
    // SAFETY: both live.
    let recorded = device.run("cuEventRecord", |calls| unsafe { (calls.cuEventRecord)(raw, stream) });
    recorded.map(|()| event).inspect_err(|_| device.end_event(&RawEvent(raw)))
}

/// Lets `next` go on after an event, of which the driver keeps what it needs.
fn order(device: &Device, event: &RawEvent, next: CUstream) -> Result<(), Error> {
    // SAFETY: both live.
    device.run("cuStreamWaitEvent", |calls| unsafe { (calls.cuStreamWaitEvent)(next, event.0, 0) })
}

impl Queue {
    /// Makes one. This may wait for the device: it is done when a group begins, not within a step.
    pub fn new(device: &Device) -> Result<Queue, Error> {
        let (mut least, mut greatest, mut raw) = (0, 0, ptr::null_mut());
        device.run("cuCtxGetStreamPriorityRange", |calls| {
            // SAFETY: two numbers are written.
            unsafe { (calls.cuCtxGetStreamPriorityRange)(&mut least, &mut greatest) }
        })?;
        // SAFETY: one handle is written.
        let create = |calls: &crate::driver::Calls| unsafe { (calls.cuStreamCreateWithPriority)(&mut raw, NON_BLOCKING, greatest) };
        device.run("cuStreamCreateWithPriority", create)?;
        Ok(Queue(Arc::new(Lane { device: device.clone(), raw, left: Mutex::default() })))
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    pub(super) fn raw(&self) -> CUstream {
        self.0.raw
    }

    /// Lets what is asked of it from now on begin after all that was asked of `stream`.
    pub fn follow(&self, stream: Stream) -> Result<(), Error> {
        self.wait(&Mark::behind(&self.0.device, stream)?)
    }

    /// Lets what is asked of it from now on begin after a mark.
    pub fn wait(&self, mark: &Mark) -> Result<(), Error> {
        order(&self.0.device, &mark.raw, self.0.raw)
    }

    /// Copies `values` to all of `to`; they may be changed once this returns.
    pub fn upload(&self, to: &Part, values: &[u8]) -> Result<(), Error> {
        let device = &self.0.device;
        device.refuse_in_capture("a copy from the host")?;
        let bytes = values.len().min(to.byte_len());
        if bytes == 0 {
            return Ok(());
        }
        let buffer = device.pinned().take(device, bytes)?;
        // SAFETY: the buffer has room for as many bytes, and nobody else has it.
        unsafe { buffer.as_ptr().copy_from_nonoverlapping(values.as_ptr(), bytes) };
        let from = buffer.as_ptr().cast();
        // SAFETY: both places hold as many bytes, and live until the copy is done.
        device.run("cuMemcpyHtoDAsync", |calls| unsafe { (calls.cuMemcpyHtoDAsync_v2)(to.address(), from, bytes, self.0.raw) })?;
        device.pinned().put_after(buffer, record(device, self.0.raw)?);
        Ok(())
    }

    /// Copies all of `from` to the host.
    pub fn download(&self, from: &Part) -> Result<Landing, Error> {
        let (device, bytes) = (&self.0.device, from.byte_len());
        device.refuse_in_capture("a copy to the host")?;
        let buffer = if bytes == 0 { None } else { Some(device.pinned().take(device, bytes)?) };
        let landing = Landing { device: device.clone(), buffer, bytes, queue: self.clone() };
        if let Some(buffer) = &landing.buffer {
            let to = buffer.as_ptr().cast();
            // SAFETY: both places hold as many bytes, and live until the copy is done.
            device.run("cuMemcpyDtoHAsync", |calls| unsafe { (calls.cuMemcpyDtoHAsync_v2)(to, from.address(), bytes, self.0.raw) })?;
        }
        Ok(landing)
    }

    /// Copies all of `from` to as much of `to`.
    pub fn copy(&self, from: &Part, to: &Part) -> Result<(), Error> {
        let bytes = from.byte_len().min(to.byte_len());
        if bytes == 0 {
            return Ok(());
        }
        let (to, from, on) = (to.address(), from.address(), self.0.raw);
        // SAFETY: both live and have as many bytes.
        self.0.device.run("cuMemcpyDtoDAsync", |calls| unsafe { (calls.cuMemcpyDtoDAsync_v2)(to, from, bytes, on) })
    }

    /// The point behind all that was asked of it.
    pub fn mark(&self) -> Result<Mark, Error> {
        Ok(Mark { device: self.0.device.clone(), raw: record(&self.0.device, self.0.raw)? })
    }

    /// Keeps parts that something uses which was given up, until the stream has come past it.
    pub fn leave(&self, parts: Vec<Part>) {
        let blocks: Vec<Arc<Block>> = parts.iter().map(|part| Arc::clone(part.block())).collect();
        // On a device that is lost nobody knows when it ends: the blocks stay away.
        match record(&self.0.device, self.0.raw) {
            Ok(event) => self.0.held().push((event, blocks)),
            Err(_) => std::mem::forget(blocks),
        }
        self.0.sweep();
    }
}

impl Lane {
    fn held(&self) -> std::sync::MutexGuard<'_, Vec<(RawEvent, Vec<Arc<Block>>)>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go what the stream has come past; whether nothing is left.
    fn sweep(&self) -> bool {
        let mut held = self.held();
        let passed: Vec<_> = held.extract_if(.., |(event, _)| self.device.has_passed(event).unwrap_or(false)).collect();
        let is_empty = held.is_empty();
        drop(held);
        passed.iter().for_each(|(event, _)| self.device.end_event(event));
        is_empty
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let begin = Instant::now();
        while !self.sweep() {
            if begin.elapsed() > DRAIN.0 || self.device.fault().is_some() {
                // What does not end keeps its memory: to give that back would be to let it be overwritten.
                std::mem::forget(std::mem::take(&mut *self.held()));
                return;
            }
            thread::sleep(DRAIN.1);
        }
        // SAFETY: the stream lives, and nothing is asked of it any more. What fails here nobody could mend.
        _ = self.device.run("cuStreamDestroy", |calls| unsafe { (calls.cuStreamDestroy_v2)(self.raw) });
    }
}

impl Mark {
    /// The point behind all that was asked of a stream of the device.
    pub fn behind(device: &Device, stream: Stream) -> Result<Mark, Error> {
        Ok(Mark { device: device.clone(), raw: record(device, device.raw(stream))? })
    }

    /// Lets what is asked of `stream` from now on begin after this; no thread waits.
    pub fn lead(&self, stream: Stream) -> Result<(), Error> {
        order(&self.device, &self.raw, self.device.raw(stream))
    }

    /// Whether the queue has come so far.
    pub fn is_done(&self) -> Result<bool, Error> {
        self.device.has_passed(&self.raw)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.device.end_event(&self.raw);
    }
}

impl Landing {
    /// Puts the bytes into `values`. They are there once a mark that was made after the copy was asked for is done.
    pub fn read(mut self, values: &mut [u8]) {
        if let Some(buffer) = self.buffer.take() {
            let bytes = self.bytes.min(values.len());
            // SAFETY: the copy is done, as the caller has seen, and has filled as many bytes.
            unsafe { values.as_mut_ptr().copy_from_nonoverlapping(buffer.as_ptr(), bytes) };
            self.device.pinned().put(buffer);
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        // On a device that is lost nobody knows when the copy ends: the buffer stays away.
        if let Some(buffer) = self.buffer.take()
            && let Ok(event) = record(&self.device, self.queue.0.raw)
        {
            self.device.pinned().put_after(buffer, event);
        }
    }
}
