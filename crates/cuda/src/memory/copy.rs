//! Bytes to a device, from it, and on it.

use super::block::Block;
use super::part::Part;
use crate::driver::Stream;
use crate::error::{Code, Error};

impl Block {
    pub(super) fn check(&self, what: &str, offset: usize, bytes: usize) -> Result<u64, Error> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.len()) {
            let message = format!("{what}: {bytes} bytes from byte {offset} on are outside a block of {}. Stay within it.", self.len());
            return Err(Error::new(Code::Refused, message));
        }
        Ok(self.address() + offset as u64)
    }

    /// Asks a stream to copy `values` to byte `offset` on; they may be changed once this returns.
    pub fn write(&self, stream: Stream, offset: usize, values: &[u8]) -> Result<(), Error> {
        let to = self.check("copy to the device", offset, values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        let on = self.device().raw(stream);
        // SAFETY: both places hold as many bytes; the driver has taken the host's, which are not pinned, before it returns.
        self.device()
            .run("cuMemcpyHtoDAsync", |calls| unsafe { (calls.cuMemcpyHtoDAsync_v2)(to, values.as_ptr().cast(), values.len(), on) })
    }

    /// Copies the bytes from `offset` on, after all that was asked of the stream before, and waits for them.
    pub fn read(&self, stream: Stream, offset: usize, values: &mut [u8]) -> Result<(), Error> {
        let from = self.check("copy to the host", offset, values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        let on = self.device().raw(stream);
        let (place, bytes) = (values.as_mut_ptr().cast(), values.len());
        // SAFETY: both places hold as many bytes, and the wait below outlasts the copy.
        self.device().run("cuMemcpyDtoHAsync", |calls| unsafe { (calls.cuMemcpyDtoHAsync_v2)(place, from, bytes, on) })?;
        self.device().synchronize(stream)
    }

    /// Asks a stream to copy all of `from`, which has the same length and device.
    pub fn copy_from(&self, stream: Stream, from: &Block) -> Result<(), Error> {
        if self.len() != from.len() {
            let message = format!("copy on the device: the blocks have {} and {} bytes. Use equal ones.", self.len(), from.len());
            return Err(Error::new(Code::Refused, message));
        }
        if self.is_empty() {
            return Ok(());
        }
        let (to, source, on) = (self.address(), from.address(), self.device().raw(stream));
        // SAFETY: both blocks live and have as many bytes.
        self.device().run("cuMemcpyDtoDAsync", |calls| unsafe { (calls.cuMemcpyDtoDAsync_v2)(to, source, self.len(), on) })
    }

    /// Asks a stream to set every byte.
    pub fn fill(&self, stream: Stream, value: u8) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let on = self.device().raw(stream);
        // SAFETY: the block lives.
        self.device().run("cuMemsetD8Async", |calls| unsafe { (calls.cuMemsetD8Async)(self.address(), value, self.len(), on) })
    }
}

impl Part {
    /// Asks a stream to copy all of `from`, which has as many bytes and the same device. The two share no memory, or are
    /// the same.
    pub fn copy_from(&self, stream: Stream, from: &Part) -> Result<(), Error> {
        let (bytes, others) = (self.byte_len(), from.byte_len());
        if bytes != others || !self.block().device().is(from.block().device()) {
            let message =
                format!("copy on the device: {bytes} bytes take {others} of {}. Use equal ones of one device.", from.dtype().name());
            return Err(Error::new(Code::Refused, message));
        }
        if bytes == 0 || self.address() == from.address() {
            return Ok(());
        }
        let (device, to, source) = (self.block().device(), self.address(), from.address());
        let on = device.raw(stream);
        // SAFETY: both blocks live, and the parts lie within them.
        device.run("cuMemcpyDtoDAsync", |calls| unsafe { (calls.cuMemcpyDtoDAsync_v2)(to, source, bytes, on) })
    }

    /// Asks a stream to set every byte.
    pub fn fill(&self, stream: Stream, value: u8) -> Result<(), Error> {
        let (device, bytes) = (self.block().device(), self.byte_len());
        if bytes == 0 {
            return Ok(());
        }
        let on = device.raw(stream);
        // SAFETY: the block lives, and the part lies within it.
        device.run("cuMemsetD8Async", |calls| unsafe { (calls.cuMemsetD8Async)(self.address(), value, bytes, on) })
    }

    /// Asks a stream to write these words of 32 bits. They travel with the call: nothing of the host is read later, which a graph may
    /// hold too.
    pub fn write_words(&self, stream: Stream, words: &[u32]) -> Result<(), Error> {
        let device = self.block().device();
        if size_of_val(words) > self.byte_len() {
            let message = format!("words for the device: {} of them in {} bytes. Pass fewer.", words.len(), self.byte_len());
            return Err(Error::new(Code::Refused, message));
        }
        let on = device.raw(stream);
        for (number, &word) in words.iter().enumerate() {
            let to = self.address() + (number * size_of::<u32>()) as u64;
            // SAFETY: the block lives, and the word lies within the part.
            device.run("cuMemsetD32Async", |calls| unsafe { (calls.cuMemsetD32Async)(to, word, 1, on) })?;
        }
        Ok(())
    }

    /// Asks a stream to set the first `len` elements to zero.
    pub(crate) fn fill_zero(&self, stream: Stream, len: usize) -> Result<(), Error> {
        self.alias(0, len)?.fill(stream, 0)
    }
}
