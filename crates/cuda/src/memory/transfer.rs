//! Copies between host and device for which nobody waits: in streams of their own, by way of pinned memory.

use super::block::Block;
use super::pinned::{Buffer, PinnedStats};
use crate::driver::{Device, Stream};
use crate::error::Error;
use crate::work::Work;
use std::sync::Arc;

impl Block {
    /// Copies `values` to byte `offset` on, after all that was asked of the block's own stream; they may be changed once this returns.
    pub fn upload(self: &Arc<Block>, offset: usize, values: &[u8]) -> Result<Work, Error> {
        let (device, stream) = (self.device(), Stream::HostToDevice);
        let to = self.check("upload", offset, values.len())?;
        device.refuse_in_capture("a copy from the host")?;
        order(device, self.home(), stream)?;
        if !values.is_empty() {
            let buffer = device.pinned().take(device, values.len())?;
            // SAFETY: the buffer has room for as many bytes, and nobody else has it.
            unsafe { buffer.as_ptr().copy_from_nonoverlapping(values.as_ptr(), values.len()) };
            let (from, bytes, on) = (buffer.as_ptr(), values.len(), device.raw(stream));
            // SAFETY: both places hold as many bytes, and live until the copy is done.
            device.run("cuMemcpyHtoDAsync", |calls| unsafe { (calls.cuMemcpyHtoDAsync_v2)(to, from.cast(), bytes, on) })?;
            device.pinned().put_after(buffer, device.record_raw(stream)?);
        }
        Work::begun(device, stream, "upload", vec![Arc::clone(self)])
    }

    /// Copies `bytes` bytes from byte `offset` on, after all that was asked of `after`.
    pub fn download(self: &Arc<Block>, after: Stream, offset: usize, bytes: usize) -> Result<Download, Error> {
        let (device, stream) = (self.device(), Stream::DeviceToHost);
        let from = self.check("download", offset, bytes)?;
        device.refuse_in_capture("a copy to the host")?;
        order(device, after, stream)?;
        let buffer = if bytes == 0 { None } else { Some(device.pinned().take(device, bytes)?) };
        if let Some(buffer) = &buffer {
            let (to, on) = (buffer.as_ptr(), device.raw(stream));
            // SAFETY: both places hold as many bytes, and live until the copy is done.
            device.run("cuMemcpyDtoHAsync", |calls| unsafe { (calls.cuMemcpyDtoHAsync_v2)(to.cast(), from, bytes, on) })?;
        }
        let work = Work::begun(device, stream, "download", vec![Arc::clone(self)])?;
        Ok(Download { device: device.clone(), work, buffer, bytes })
    }
}

/// Lets `next` go on after what was asked of `before`.
fn order(device: &Device, before: Stream, next: Stream) -> Result<(), Error> {
    if before == next {
        return Ok(());
    }
    let event = device.record(before)?;
    device.wait(next, &event)
}

/// Bytes on their way to the host. They are read when they are wanted, best a step later: then they are there already.
pub struct Download {
    device: Device,
    work: Work,
    buffer: Option<Buffer>,
    bytes: usize,
}

impl Download {
    /// Whether they have arrived.
    pub fn is_done(&self) -> Result<bool, Error> {
        self.work.is_done()
    }

    /// Lets what is asked of `stream` from now on, such as writing to the block, begin after the copy.
    pub fn wait(&self, stream: Stream) -> Result<(), Error> {
        self.work.wait(stream)
    }

    /// The bytes; waits for them where they are not there yet.
    pub fn read(mut self) -> Result<Vec<u8>, Error> {
        self.work.synchronize()?;
        let mut values = vec![0; self.bytes];
        if let Some(buffer) = self.buffer.take() {
            // SAFETY: the copy is done, and has filled as many bytes.
            unsafe { values.as_mut_ptr().copy_from_nonoverlapping(buffer.as_ptr(), self.bytes) };
            self.device.pinned().put(buffer);
        }
        Ok(values)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // On a device that is lost nobody knows when the copy ends: the buffer stays away.
        if let Some(buffer) = self.buffer.take()
            && let Ok(event) = self.device.record_raw(Stream::DeviceToHost)
        {
            self.device.pinned().put_after(buffer, event);
        }
    }
}

impl Device {
    /// What is pinned for its copies.
    pub fn pinned_stats(&self) -> PinnedStats {
        self.pinned().stats()
    }
}
