//! Memory that messages pass through on their way.

use super::Piece;
use crate::chunks::LINE;
use crate::operation::Fault;
use std::alloc::{Layout, alloc, dealloc};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of their own, aligned for any element.
pub struct Block {
    bytes: *mut u8,
    layout: Layout,
}

// SAFETY: a block only owns its memory; whoever writes through its pointer answers for races.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    pub fn new(length: usize) -> Result<Arc<Self>, Fault> {
        let refused = || Fault::Broken(format!("no memory for {length} bytes of staging. Free some, or use smaller tensors."));
        let layout = Layout::from_size_align(length.max(LINE), LINE).map_err(|_| refused())?;
        // SAFETY: the size is not zero.
        let bytes = unsafe { alloc(layout) };
        if bytes.is_null() { Err(refused()) } else { Ok(Arc::new(Self { bytes, layout })) }
    }

    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Its byte `offset`.
    pub fn at(&self, offset: usize) -> *mut u8 {
        self.bytes.wrapping_add(offset)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.bytes, self.layout) };
    }
}

/// Bytes `range` of a block as the memory of a message.
pub fn piece_of(block: &Arc<Block>, range: Range<usize>) -> Piece {
    Piece { bytes: block.at(range.start), length: range.len(), keep: Arc::clone(block) as _ }
}

impl Piece {
    /// The memory of a message without data.
    pub fn empty() -> Self {
        Self { bytes: std::ptr::dangling_mut(), length: 0, keep: Arc::new(()) }
    }

    /// Bytes `range` of this memory.
    pub fn part(&self, range: Range<usize>) -> Self {
        Self { bytes: self.bytes.wrapping_add(range.start), length: range.len(), keep: Arc::clone(&self.keep) }
    }
}
