//! What one stream was asked to do, for those who go on in another.

use crate::driver::{Device, Event, Stream};
use crate::error::Error;
use crate::memory::Block;
use std::sync::{Arc, Mutex, PoisonError};

/// Work in a stream. It keeps the blocks that it uses until the stream that frees them has been told to wait for it: then the order of
/// that stream protects them. Somebody waits for every work; [`Device::end_step`] tells of those for which nobody does.
pub struct Work {
    device: Device,
    event: Event,
    stream: Stream,
    name: &'static str,
    number: u64,
    held: Mutex<Vec<Arc<Block>>>,
}

impl Work {
    /// All that was asked of `stream` so far, which uses `blocks`.
    pub fn begun(device: &Device, stream: Stream, name: &'static str, mut blocks: Vec<Arc<Block>>) -> Result<Work, Error> {
        // What the stream itself frees, it frees afterwards.
        blocks.retain(|block| block.home() != stream);
        let event = device.record(stream)?;
        let number = device.works().begin(name);
        Ok(Work { device: device.clone(), event, stream, name, number, held: Mutex::new(blocks) })
    }

    /// What was begun.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Lets what is asked of `stream` from now on begin after this; this thread does not wait.
    pub fn wait(&self, stream: Stream) -> Result<(), Error> {
        self.device.wait(stream, &self.event)?;
        self.device.works().end(self.number);
        self.release(|block| block.home() == stream);
        Ok(())
    }

    /// Whether it is done.
    pub fn is_done(&self) -> Result<bool, Error> {
        self.event.is_done()
    }

    /// Waits for it on this thread.
    pub fn synchronize(&self) -> Result<(), Error> {
        if !self.is_done()? {
            self.event.synchronize()?;
        }
        self.device.works().end(self.number);
        self.release(|_| true);
        Ok(())
    }

    /// How many blocks it keeps.
    pub fn blocks(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn release(&self, is_safe: impl Fn(&Block) -> bool) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).retain(|block| !is_safe(block));
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Blocks whose own stream was never told wait for an event of this one.
        for block in self.held.get_mut().unwrap_or_else(PoisonError::into_inner) {
            block.record_stream(self.stream);
        }
    }
}
