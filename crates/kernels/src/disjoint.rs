//! A slice that the items of a pool write in disjoint parts.

use crate::pool;
use std::marker::PhantomData;
use std::ops::Range;

/// A `&mut [T]` that may be handed to several threads, each of which takes parts that no other takes.
#[derive(Clone, Copy)]
pub struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: whoever takes a part promises that nobody else takes it.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Borrows the whole slice until the last part is gone.
    pub fn new(slice: &'a mut [T]) -> Disjoint<'a, T> {
        Disjoint { start: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }

    /// The elements of `range`; panics outside the slice.
    ///
    /// # Safety
    /// No other part that is alive has one of these elements.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "part {range:?} of {} elements", self.len);
        // SAFETY: the range lies inside the borrowed slice; the caller promises that it is free.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Element `index`; panics outside the slice.
    ///
    /// # Safety
    /// As [`Disjoint::part`].
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn at(&self, index: usize) -> &'a mut T {
        assert!(index < self.len, "element {index} of {}", self.len);
        // SAFETY: the element lies inside the borrowed slice; the caller promises that it is free.
        unsafe { &mut *self.start.add(index) }
    }
}

/// Elements of a chunk in element-wise loops: small enough to balance, large enough to hide the pool's cost.
pub const CHUNK: usize = 1 << 15;

/// The limits of chunk `index` when `len` elements are cut by `chunk`.
#[inline]
pub fn chunk_range(len: usize, chunk: usize, index: usize) -> Range<usize> {
    let start = index * chunk;
    start..len.min(start + chunk)
}

/// Calls `f` on every chunk of `len` elements, on the pool.
pub fn for_chunks(len: usize, chunk: usize, f: impl Fn(Range<usize>) + Sync) {
    pool::run(len.div_ceil(chunk), &|index| f(chunk_range(len, chunk, index)));
}
