//! Points in streams that know when they were reached, for who compares kernels. Ordinary events do not, which makes them cheaper.

use super::device::Device;
use super::event::RawEvent;
use super::stream::Stream;
use crate::error::Error;
use std::ptr;

const WITH_TIMING: u32 = 0;

/// When a stream reached a point.
pub(crate) struct TimedEvent {
    device: Device,
    raw: RawEvent,
}

impl Device {
    /// Marks the point that a stream has been asked to reach.
    pub(crate) fn record_timed(&self, stream: Stream) -> Result<TimedEvent, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: one handle is written.
        self.run("cuEventCreate", |calls| unsafe { (calls.cuEventCreate)(&mut raw, WITH_TIMING) })?;
        let event = TimedEvent { device: self.clone(), raw: RawEvent(raw) };
        // SAFETY: both live.
        self.run("cuEventRecord", |calls| unsafe { (calls.cuEventRecord)(raw, self.raw(stream)) })?;
        Ok(event)
    }
}

impl TimedEvent {
    /// Waits for `end`, and tells how long after this it was.
    pub fn milliseconds_to(&self, end: &TimedEvent) -> Result<f32, Error> {
        self.device.await_event(&end.raw)?;
        let mut passed = 0.0;
        // SAFETY: both live; one number is written.
        let ask = |calls: &super::Calls| unsafe { (calls.cuEventElapsedTime_v2)(&mut passed, self.raw.0, end.raw.0) };
        self.device.run("cuEventElapsedTime", ask)?;
        Ok(passed)
    }
}

impl Drop for TimedEvent {
    fn drop(&mut self) {
        self.device.end_event(&self.raw);
    }
}
