//! Memory that tensors share.

use crate::allocator::{self, Block};
use crate::category::Category;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// 64-byte aligned bytes; they go back to the allocator when dropped.
pub struct Buffer {
    block: Block,
    bytes: usize,
    category: AtomicU8,
}

impl Buffer {
    /// `bytes` bytes with arbitrary contents, counted under the category of this thread, or a sentence that says how many were asked.
    pub fn new(bytes: usize) -> Result<Buffer, String> {
        Buffer::of(Category::current(), bytes)
    }

    /// The same, counted under `category`.
    pub fn of(category: Category, bytes: usize) -> Result<Buffer, String> {
        Ok(Buffer { block: allocator::allocate(bytes, category)?, bytes, category: AtomicU8::new(category as u8) })
    }

    /// Counts it under `category` from now on.
    pub fn categorize(&self, category: Category) {
        let before = self.category.swap(category as u8, Relaxed);
        allocator::recount(self.bytes, named(before), category);
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Its first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.block.start.as_ptr()
    }
}

/// The category that was stored as this code.
fn named(code: u8) -> Category {
    Category::ALL.get(usize::from(code)).copied().unwrap_or_default()
}

impl Drop for Buffer {
    fn drop(&mut self) {
        allocator::release(&self.block, self.bytes, named(*self.category.get_mut()));
    }
}
