//! What a product is made of once everything about it was checked.

use super::epilogue::Finish;
use super::operand::{Source, Start, Target};

/// A product with raw places, as the kernels run it: any element types and strides, with its epilogue. C may be a strided part
/// of a buffer whose other parts other threads write.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Source,
    pub b: Source,
    pub c: Target,
    /// Null, or n values added to each row.
    pub bias: *const f32,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
    pub finish: &'a [&'a dyn Finish],
}

// SAFETY: who builds a product answers for the memory behind it; items write disjoint parts of C.
unsafe impl Sync for Work<'_> {}

impl Work<'_> {
    /// C^T = B^T A^T.
    pub fn t(self) -> Self {
        Work { m: self.n, n: self.m, a: self.b.t(), b: self.a.t(), c: self.c.t(), ..self }
    }

    /// Where C begins if its rows are dense bf16 that become the sums and the bias, and nothing else.
    pub fn narrow_rows(&self) -> Option<*mut u16> {
        match self.c.start {
            Start::Bf16(start) if self.c.col == 1 && !self.accumulate && self.finish.is_empty() => Some(start),
            _ => None,
        }
    }
}
