//! What a collective or a product reads or writes: elements within a block.

use super::block::Block;
use crate::error::{Code, Error};
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use storage::DType;

/// `len` elements of `dtype` within a block, which it keeps.
#[derive(Clone)]
pub struct Part {
    block: Arc<Block>,
    /// Bytes.
    offset: usize,
    len: usize,
    dtype: DType,
}

impl Part {
    /// All of a block.
    pub fn whole(block: &Arc<Block>, dtype: DType) -> Part {
        Part { block: Arc::clone(block), offset: 0, len: block.len() / dtype.size(), dtype }
    }

    /// The `len` elements from element `offset` on.
    pub fn of(block: &Arc<Block>, dtype: DType, offset: usize, len: usize) -> Result<Part, Error> {
        Part::whole(block, dtype).alias(offset, len)
    }

    /// The `len` elements of this from element `offset` on.
    pub fn alias(&self, offset: usize, len: usize) -> Result<Part, Error> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            let message = format!("elements {offset}..{offset}+{len} are outside a part of {}. Stay within it.", self.len);
            return Err(Error::new(Code::Refused, message));
        }
        Ok(Part { block: Arc::clone(&self.block), offset: self.offset + offset * self.dtype.size(), len, dtype: self.dtype })
    }

    /// The `len` elements of `dtype` from byte `offset` on.
    pub fn at(block: &Arc<Block>, dtype: DType, offset: usize, len: usize) -> Result<Part, Error> {
        let end = len.checked_mul(dtype.size()).and_then(|bytes| bytes.checked_add(offset));
        if end.is_none_or(|end| end > block.len()) {
            let message = format!("{len} elements of {} from byte {offset} on are outside a block of {}.", dtype.name(), block.len());
            return Err(Error::new(Code::Refused, format!("{message} Stay within it.")));
        }
        Ok(Part { block: Arc::clone(block), offset, len, dtype })
    }

    /// Its block.
    pub fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Its elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its size in bytes.
    pub fn byte_len(&self) -> usize {
        self.len * self.dtype.size()
    }

    /// Its first byte within the block.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Where it begins on the device.
    pub fn address(&self) -> u64 {
        self.block.address() + self.offset as u64
    }

    pub(crate) fn raw(&self) -> *mut c_void {
        ptr::without_provenance_mut(self.address() as usize)
    }
}
