//! A piece of a device's memory.

use crate::driver::{Device, Stream};
use crate::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use storage::Category;

/// Where memory came from that is not the pool's.
pub(crate) trait Lender: Send + Sync {
    /// Takes it back, once `home` and `users` have done what they were asked for so far.
    fn take_back(&self, device: &Device, place: (u64, usize), home: Stream, users: &[Stream]);
}

/// Bytes on a device; they go back to the pool when dropped, in the order of the stream that they were taken for.
pub struct Block {
    device: Device,
    address: u64,
    bytes: usize,
    home: Stream,
    category: AtomicU8,
    /// A bit for each other stream that uses it.
    users: AtomicU8,
    lender: Option<Arc<dyn Lender>>,
}

impl Block {
    /// `bytes` bytes for use in `home`, with arbitrary contents, counted under the category of this thread.
    pub fn new(device: &Device, home: Stream, bytes: usize) -> Result<Block, Error> {
        let category = Category::current();
        if let Some(captured) = device.captured().filter(|_| device.is_capturing(home)) {
            let place = (captured.allocate(home, bytes)?, bytes);
            return Block::lent(device, home, place, captured);
        }
        let address = device.pool()?.allocate(device, home, bytes, category)?;
        Ok(Block::at(device, home, (address, bytes), category, None))
    }

    /// Memory of a lender, counted like that of the pool.
    pub(crate) fn lent(device: &Device, home: Stream, place: (u64, usize), lender: Arc<dyn Lender>) -> Result<Block, Error> {
        let category = Category::current();
        device.pool()?.count_block(place.1, category);
        Ok(Block::at(device, home, place, category, Some(lender)))
    }

    fn at(device: &Device, home: Stream, place: (u64, usize), category: Category, lender: Option<Arc<dyn Lender>>) -> Block {
        let (address, bytes) = place;
        let (category, users) = (AtomicU8::new(category as u8), AtomicU8::new(0));
        Block { device: device.clone(), address, bytes, home, category, users, lender }
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
        let Ok(pool) = self.device.pool() else { return };
        let category = named(*self.category.get_mut());
        if let Some(lender) = &self.lender {
            if self.bytes > 0 {
                lender.take_back(&self.device, (self.address, self.bytes), self.home, &users.collect::<Vec<_>>());
            }
            pool.discount_block(self.bytes, category);
        } else {
            pool.release(&self.device, (self.address, self.bytes), self.home, users, category);
        }
    }
}
