//! The streams of a device.

use super::device::Device;
use crate::error::Error;
use cudarc::driver::sys::CUstream;

/// One of the four streams, all made when the device is opened: making one later would wait for all that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    Compute = 0,
    /// Of the greatest priority: what other ranks wait for goes first.
    Communication = 1,
    HostToDevice = 2,
    DeviceToHost = 3,
}

impl Stream {
    /// All of them.
    pub const ALL: [Stream; 4] = [Stream::Compute, Stream::Communication, Stream::HostToDevice, Stream::DeviceToHost];
}

/// Work that waits for nothing but its own stream.
const NON_BLOCKING: u32 = 1;

/// Makes one stream of a device that is being opened.
pub(super) fn create(device: &Device, stream: Stream) -> Result<CUstream, Error> {
    let (mut least, mut greatest) = (0, 0);
    let mut created = std::ptr::null_mut();
    device.run("cuCtxGetStreamPriorityRange", |calls| {
        // SAFETY: two numbers are written.
        unsafe { (calls.cuCtxGetStreamPriorityRange)(&mut least, &mut greatest) }
    })?;
    let priority = if stream == Stream::Communication { greatest } else { least };
    device.run("cuStreamCreateWithPriority", |calls| {
        // SAFETY: one handle is written.
        unsafe { (calls.cuStreamCreateWithPriority)(&mut created, NON_BLOCKING, priority) }
    })?;
    Ok(created)
}

impl Device {
    /// Waits until all that was asked of a stream is done.
    pub fn synchronize(&self, stream: Stream) -> Result<(), Error> {
        self.about_to_wait()?;
        // SAFETY: the stream lives as long as the device.
        self.run("cuStreamSynchronize", |calls| unsafe { (calls.cuStreamSynchronize)(self.raw(stream)) })
    }
}
