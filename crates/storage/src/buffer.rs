//! Memory that tensors share.

use crate::allocator::{self, Block};
use crate::category::Category;
use crate::remote::Remote;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// 64-byte aligned bytes of the host, which go back to the allocator when dropped; or memory of a device.
pub struct Buffer {
    start: *mut u8,
    bytes: usize,
    owner: Owner,
}

/// Whose memory it is.
enum Owner {
    Host { block: Block, category: AtomicU8 },
    Remote(Box<dyn Remote>),
}

// SAFETY: the bytes belong to whoever holds the buffer; blocks and remote memory may be used on any thread.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `bytes` bytes with arbitrary contents, counted under the category of this thread, or a sentence that says how many were asked.
    pub fn new(bytes: usize) -> Result<Buffer, String> {
        Buffer::of(Category::current(), bytes)
    }

    /// The same, counted under `category`.
    pub fn of(category: Category, bytes: usize) -> Result<Buffer, String> {
        let block = allocator::allocate(bytes, category)?;
        Ok(Buffer { start: block.start.as_ptr(), bytes, owner: Owner::Host { block, category: AtomicU8::new(category as u8) } })
    }

    /// Memory of a device.
    pub fn remote(memory: Box<dyn Remote>) -> Buffer {
        let start = ptr::without_provenance_mut(memory.address() as usize);
        Buffer { start, bytes: memory.byte_len(), owner: Owner::Remote(memory) }
    }

    /// The memory of a device; None where it is the host's.
    pub fn as_remote(&self) -> Option<&dyn Remote> {
        match &self.owner {
            Owner::Host { .. } => None,
            Owner::Remote(memory) => Some(&**memory),
        }
    }

    /// Counts it under `category` from now on.
    pub fn categorize(&self, category: Category) {
        match &self.owner {
            Owner::Host { category: before, .. } => {
                let before = before.swap(category as u8, Relaxed);
                allocator::recount(self.bytes, named(before), category);
            }
            Owner::Remote(memory) => memory.categorize(category),
        }
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Its first byte: on a device no more than an address.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }
}

/// The category that was stored as this code.
fn named(code: u8) -> Category {
    Category::ALL.get(usize::from(code)).copied().unwrap_or_default()
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Owner::Host { block, category } = &mut self.owner {
            allocator::release(block, self.bytes, named(*category.get_mut()));
        }
    }
}
