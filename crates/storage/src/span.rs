//! A run of elements within a buffer: what a tensor handle names.

use crate::{Buffer, Category, DType, Element, Remote, allocator};
use std::fmt;
use std::sync::Arc;

/// `len` elements of `dtype` from element `offset` of a buffer on. Clones and aliases share the memory.
#[derive(Clone)]
pub struct Span {
    buffer: Arc<Buffer>,
    offset: usize,
    len: usize,
    dtype: DType,
    /// What the buffer says, where it costs nothing to ask.
    is_remote: bool,
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}[{}] at {:?}", self.dtype.name(), self.len, self.as_ptr())
    }
}

impl Span {
    /// A span of its own buffer, with arbitrary contents.
    pub fn new(dtype: DType, len: usize) -> Result<Span, String> {
        let bytes = len.checked_mul(dtype.size()).ok_or_else(|| allocator::too_long(len, dtype.size()))?;
        Ok(Span { buffer: Arc::new(Buffer::new(bytes)?), offset: 0, len, dtype, is_remote: false })
    }

    /// A span of all of a device's memory.
    pub fn of_remote(dtype: DType, memory: Box<dyn Remote>) -> Span {
        let len = memory.byte_len() / dtype.size();
        Span { buffer: Arc::new(Buffer::remote(memory)), offset: 0, len, dtype, is_remote: true }
    }

    /// Whether it lies on a device.
    #[inline]
    pub fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// The device's memory that it lies in, and the byte of it at which it begins; None where it lies in the host's.
    pub fn remote(&self) -> Option<(&dyn Remote, usize)> {
        Some((self.buffer.as_remote()?, self.offset * self.dtype.size()))
    }

    /// A new span that holds a copy of `values`.
    pub fn from_slice<T: Element>(dtype: DType, values: &[T]) -> Result<Span, String> {
        let span = Span::new(dtype, values.len())?;
        // SAFETY: the span is new: nobody else reads or writes it.
        unsafe { span.slice_mut::<T>()? }.copy_from_slice(values);
        Ok(span)
    }

    /// The `len` elements from `offset` on, in the same memory.
    pub fn alias(&self, offset: usize, len: usize) -> Result<Span, String> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(format!("elements {offset}..{offset}+{len} are outside a tensor of {}. Alias a part of it.", self.len));
        }
        Ok(Span { buffer: Arc::clone(&self.buffer), offset: self.offset + offset, len, dtype: self.dtype, is_remote: self.is_remote })
    }

    /// Counts the whole memory that it lies in under `category` from now on.
    pub fn categorize(&self, category: Category) {
        self.buffer.categorize(category);
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

    /// Its first byte: on a device no more than an address.
    pub fn as_ptr(&self) -> *mut u8 {
        self.buffer.as_ptr().wrapping_add(self.offset * self.dtype.size())
    }

    /// Whether the two have a byte in common.
    pub fn overlaps(&self, other: &Span) -> bool {
        let (a, b) = (self.as_ptr() as usize, other.as_ptr() as usize);
        a < b + other.byte_len() && b < a + self.byte_len()
    }

    fn check<T: Element>(&self) -> Result<(), String> {
        if self.is_remote {
            return Err(self.refused());
        }
        if T::DTYPES.contains(&self.dtype) {
            return Ok(());
        }
        let wanted: Vec<_> = T::DTYPES.iter().map(|dtype| dtype.name()).collect();
        Err(format!("a tensor of {} is needed, not of {}. Cast it first.", wanted.join(" or "), self.dtype.name()))
    }

    /// The sentence for who would read a device's memory.
    #[cold]
    fn refused(&self) -> String {
        let place = self.buffer.as_remote().map_or_else(|| "a device".to_owned(), Remote::place);
        format!("a tensor lies on {place}, where this operation does not run. Copy it to the CPU first.")
    }

    /// Refuses memory of a device.
    pub fn expect_host(&self) -> Result<(), String> {
        if self.is_remote { Err(self.refused()) } else { Ok(()) }
    }

    /// Its elements to read; an error when they have another type. Nobody may write them meanwhile.
    pub fn slice<T: Element>(&self) -> Result<&[T], String> {
        self.check::<T>()?;
        // SAFETY: the span lies within its initialised, aligned buffer, and T has the size of the dtype.
        Ok(unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len) })
    }

    /// Its elements to write.
    ///
    /// # Safety
    /// Nobody else reads or writes these elements while the slice lives.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice_mut<T: Element>(&self) -> Result<&mut [T], String> {
        self.check::<T>()?;
        // SAFETY: as above; the caller promises that no other slice of these elements is alive.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.as_ptr().cast(), self.len) })
    }

    /// `slice::<f32>()`.
    pub fn f32s(&self) -> Result<&[f32], String> {
        self.slice()
    }

    /// `slice_mut::<f32>()`.
    ///
    /// # Safety
    /// As [`Span::slice_mut`].
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn f32s_mut(&self) -> Result<&mut [f32], String> {
        // SAFETY: the caller's promise, handed on.
        unsafe { self.slice_mut() }
    }

    /// Its bytes to read. Panics on a device's memory: who may have one asks first.
    pub fn bytes(&self) -> &[u8] {
        assert!(!self.is_remote, "{}", self.refused());
        // SAFETY: the span lies within its initialised buffer.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.byte_len()) }
    }

    /// Its bytes to write; panics as [`Span::bytes`] does.
    ///
    /// # Safety
    /// As [`Span::slice_mut`].
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn bytes_mut(&self) -> &mut [u8] {
        assert!(!self.is_remote, "{}", self.refused());
        // SAFETY: as above; the caller promises that no other slice of these elements is alive.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), self.byte_len()) }
    }
}
