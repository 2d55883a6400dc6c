//! Points in streams.

use super::calls::NOT_READY;
use super::device::Device;
use super::stream::Stream;
use crate::error::Error;
use cudarc::driver::sys::CUevent;
use std::ptr;

/// Events here order work; they measure no time, which makes them cheap.
const DISABLE_TIMING: u32 = 2;

/// A point that a stream reaches.
pub struct Event {
    device: Device,
    raw: RawEvent,
}

/// The same, for who keeps the device alive otherwise and ends the event by [`Device::end_event`].
pub(crate) struct RawEvent(pub CUevent);

// SAFETY: the driver's handles may be used on any thread.
unsafe impl Send for RawEvent {}
// SAFETY: as above.
unsafe impl Sync for RawEvent {}

impl Event {
    /// Whether the stream has come so far.
    pub fn is_done(&self) -> Result<bool, Error> {
        self.device.refuse_in_capture("nobody can ask whether something is done")?;
        self.device.has_passed(&self.raw)
    }

    /// Waits until the stream has come so far.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.device.await_event(&self.raw)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.device.end_event(&self.raw);
    }
}

impl Device {
    /// Marks the point that a stream has been asked to reach.
    pub fn record(&self, stream: Stream) -> Result<Event, Error> {
        Ok(Event { device: self.clone(), raw: self.record_raw(stream)? })
    }

    /// Lets what is asked of a stream from now on begin only after `event`; this thread does not wait.
    pub fn wait(&self, stream: Stream, event: &Event) -> Result<(), Error> {
        // SAFETY: both live; the driver keeps what it needs of the event.
        self.run("cuStreamWaitEvent", |calls| unsafe { (calls.cuStreamWaitEvent)(self.raw(stream), event.raw.0, 0) })
    }

    pub(crate) fn record_raw(&self, stream: Stream) -> Result<RawEvent, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: one handle is written.
        self.run("cuEventCreate", |calls| unsafe { (calls.cuEventCreate)(&mut raw, DISABLE_TIMING) })?;
        let event = RawEvent(raw);
        // SAFETY: both live.
        let recorded = self.run("cuEventRecord", |calls| unsafe { (calls.cuEventRecord)(raw, self.raw(stream)) });
        match recorded {
            Ok(()) => Ok(event),
            Err(error) => {
                self.end_event(&event);
                Err(error)
            }
        }
    }

    pub(crate) fn has_passed(&self, event: &RawEvent) -> Result<bool, Error> {
        // SAFETY: the event lives.
        match self.status(|calls| unsafe { (calls.cuEventQuery)(event.0) })? {
            0 => Ok(true),
            NOT_READY => Ok(false),
            status => Err(self.error("cuEventQuery", status)),
        }
    }

    pub(crate) fn await_event(&self, event: &RawEvent) -> Result<(), Error> {
        self.about_to_wait()?;
        // SAFETY: the event lives.
        self.run("cuEventSynchronize", |calls| unsafe { (calls.cuEventSynchronize)(event.0) })
    }

    /// Ends an event. What fails here has been told already: only a lost device cannot do it.
    pub(crate) fn end_event(&self, event: &RawEvent) {
        // SAFETY: the event lives, and nobody uses it any more.
        _ = self.run("cuEventDestroy", |calls| unsafe { (calls.cuEventDestroy_v2)(event.0) });
    }
}
