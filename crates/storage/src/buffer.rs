//! Memory that tensors share.

use crate::allocator::{self, Block};
use std::mem::ManuallyDrop;

/// 64-byte aligned bytes; they go back to the allocator's cache when dropped.
pub struct Buffer {
    block: ManuallyDrop<Block>,
    bytes: usize,
}

impl Buffer {
    /// `bytes` bytes with arbitrary contents, or a sentence that says how many were asked.
    pub fn new(bytes: usize) -> Result<Buffer, String> {
        Ok(Buffer { block: ManuallyDrop::new(allocator::allocate(bytes)?), bytes })
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

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the block is taken once, here.
        let block = unsafe { ManuallyDrop::take(&mut self.block) };
        allocator::release(block, self.bytes);
    }
}
