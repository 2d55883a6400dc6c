//! A piece of a device's memory.

use crate::driver::{Device, Stream};
use crate::error::Error;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use storage::Category;

/// Bytes on a device; they go back to the pool when dropped, in the order of the stream that they were taken for.
pub struct Block {
    device: Device,
    address: u64,
    bytes: usize,
    home: Stream,
    category: AtomicU8,
    /// A bit for each other stream that uses it.
    users: AtomicU8,
}

impl Block {
    /// `bytes` bytes for use in `home`, with arbitrary contents, counted under the category of this thread.
    pub fn new(device: &Device, home: Stream, bytes: usize) -> Result<Block, Error> {
        let category = Category::current();
        let address = device.pool()?.allocate(device, home, bytes, category)?;
        Ok(Block { device: device.clone(), address, bytes, home, category: AtomicU8::new(category as u8), users: AtomicU8::new(0) })
    }

    /// Tells that another stream uses it too: after the last handle is gone it stays until that stream has come to that point.
    /// Whoever uses it in another stream lets that stream wait for an event first.
    pub fn record_stream(&self, stream: Stream) {
        if stream != self.home {
            self.users.fetch_or(1 << stream as u8, Relaxed);
        }
    }

    /// Counts it under `category` from now on.
    pub fn categorize(&self, category: Category) {
        let before = named(self.category.swap(category as u8, Relaxed));
        if let Ok(pool) = self.device.pool() {
            pool.recount(self.bytes, before, category);
        }
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The stream that it was taken for.
    pub fn home(&self) -> Stream {
        self.home
    }

    /// Where it begins; 0 when it has no bytes.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// The category that was stored as this code.
fn named(code: u8) -> Category {
    Category::ALL.get(usize::from(code)).copied().unwrap_or_default()
}

impl Drop for Block {
    fn drop(&mut self) {
        let users = *self.users.get_mut();
        let users = Stream::ALL.into_iter().filter(|&stream| users & (1 << stream as u8) != 0);
        if let Ok(pool) = self.device.pool() {
            pool.release(&self.device, (self.address, self.bytes), self.home, users, named(*self.category.get_mut()));
        }
    }
}
