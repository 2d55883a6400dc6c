//! Whether a graph is being captured, for those who must behave otherwise meanwhile.

use super::device::Device;
use super::stream::Stream;
use crate::error::{Code, Error};
use crate::graph::Captured;
use cudarc::driver::sys::CUstreamCaptureStatus;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The capture under way, if there is one.
#[derive(Default)]
pub(crate) struct Capturing(Mutex<Weak<Captured>>);

impl Device {
    /// The capture that is under way.
    pub(crate) fn captured(&self) -> Option<Arc<Captured>> {
        self.capturing().0.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Begins one, or ends it; false when there is one already.
    pub(crate) fn set_capture(&self, captured: Option<&Arc<Captured>>) -> bool {
        let mut held = self.capturing().0.lock().unwrap_or_else(PoisonError::into_inner);
        if captured.is_some() && held.upgrade().is_some() {
            return false;
        }
        *held = captured.map_or_else(Weak::new, Arc::downgrade);
        true
    }

    /// Whether this thread captures.
    pub(crate) fn captures_here(&self) -> bool {
        self.captured().is_some_and(|captured| captured.is_of_this_thread())
    }

    /// Whether a stream is part of the capture.
    pub(crate) fn is_capturing(&self, stream: Stream) -> bool {
        let mut status = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE as u32;
        let (on, place) = (self.raw(stream), (&raw mut status).cast());
        // SAFETY: one number is written.
        let asked = || self.run("cuStreamIsCapturing", |calls| unsafe { (calls.cuStreamIsCapturing)(on, place) });
        self.captured().is_some() && asked().is_ok() && status != CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE as u32
    }

    /// Refuses what a capture does not survive.
    pub(crate) fn refuse_in_capture(&self, what: &str) -> Result<(), Error> {
        if !self.captures_here() {
            return Ok(());
        }
        let index = self.report().index;
        let message =
            format!("device {index}: {what} while a graph is captured, in which nothing has run yet. Do it before or afterwards.");
        Err(Error::new(Code::Refused, message))
    }
}
