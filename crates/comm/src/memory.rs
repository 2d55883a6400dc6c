//! What the memory of a request tells of itself, be it of the host or of a device.

use cuda::Part;
use storage::{DType, Span};

/// Elements of one type that follow each other.
pub trait Memory: Clone + Send + Sync + 'static {
    /// Whether it is that of a device.
    const ON_DEVICE: bool;

    /// The type of its elements.
    fn dtype(&self) -> DType;

    /// Its elements.
    fn len(&self) -> usize;

    /// Where it begins, among memory of its kind.
    fn address(&self) -> usize;

    /// The `len` elements from element `offset` on.
    fn alias(&self, offset: usize, len: usize) -> Result<Self, String>;

    /// Whether it has no elements.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its size in bytes.
    fn byte_len(&self) -> usize {
        self.len() * self.dtype().size()
    }

    /// Whether the two have a byte in common.
    fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.address(), other.address());
        a < b + other.byte_len() && b < a + self.byte_len()
    }
}

impl Memory for Span {
    const ON_DEVICE: bool = false;

    fn dtype(&self) -> DType {
        self.dtype()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn address(&self) -> usize {
        self.as_ptr() as usize
    }

    fn alias(&self, offset: usize, len: usize) -> Result<Self, String> {
        self.alias(offset, len)
    }
}

impl Memory for Part {
    const ON_DEVICE: bool = true;

    fn dtype(&self) -> DType {
        self.dtype()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn address(&self) -> usize {
        self.address() as usize
    }

    fn alias(&self, offset: usize, len: usize) -> Result<Self, String> {
        self.alias(offset, len).map_err(|error| error.message)
    }
}
