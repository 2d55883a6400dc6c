//! Where the operands and the result of a product lie: places, strides and element types.

use super::kernel::prefetch;
use crate::half::{bf16_to_f32, f32_to_bf16};
use crate::simd::multiversion;
use crate::stored::Value;

/// Where a matrix lies: element (i, j) is at `start + i * row + j * col`.
#[derive(Clone, Copy)]
pub(crate) struct Operand<T = f32> {
    pub start: *const T,
    pub row: usize,
    pub col: usize,
}

// SAFETY: an operand is only read through; who builds one answers for the memory behind it.
unsafe impl<T: Sync> Send for Operand<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Operand<T> {}

impl<T: Copy> Operand<T> {
    /// The same matrix from element (i, j) on.
    pub fn at(self, i: usize, j: usize) -> Operand<T> {
        Operand { start: self.start.wrapping_add(i * self.row + j * self.col), ..self }
    }

    /// The transposed matrix.
    pub fn t(self) -> Operand<T> {
        Operand { start: self.start, row: self.col, col: self.row }
    }
}

impl<T: Value> Operand<T> {
    /// The same with its element type told at run time.
    pub fn source(self) -> Source {
        let Operand { start, row, col } = self;
        if T::IS_BF16 {
            Source::Bf16(Operand { start: start.cast(), row, col })
        } else {
            Source::F32(Operand { start: start.cast(), row, col })
        }
    }

    /// The same as a result; who calls this may write there.
    pub fn target(self) -> Target {
        let Operand { start, row, col } = self;
        let start = start.cast_mut();
        Target { start: if T::IS_BF16 { Start::Bf16(start.cast()) } else { Start::F32(start.cast()) }, row, col }
    }
}

/// An operand with its element type.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    F32(Operand),
    Bf16(Operand<u16>),
}

impl Source {
    /// The same matrix from element (i, j) on.
    pub fn at(self, i: usize, j: usize) -> Source {
        match self {
            Source::F32(x) => Source::F32(x.at(i, j)),
            Source::Bf16(x) => Source::Bf16(x.at(i, j)),
        }
    }

    /// The transposed matrix.
    pub fn t(self) -> Source {
        match self {
            Source::F32(x) => Source::F32(x.t()),
            Source::Bf16(x) => Source::Bf16(x.t()),
        }
    }

    /// Whether neighbours in a row are neighbours in memory.
    pub fn rows_dense(self) -> bool {
        match self {
            Source::F32(x) => x.col == 1,
            Source::Bf16(x) => x.col == 1,
        }
    }

    /// Rows of `cols` elements that follow one another without a gap: where they begin and the words of each.
    pub fn gapless(self, cols: usize) -> Option<(*const f32, usize)> {
        match self {
            Source::F32(x) if x.col == 1 && x.row == cols => Some((x.start, cols)),
            Source::Bf16(x) if x.col == 1 && x.row == cols => Some((x.start.cast(), cols / 2)),
            _ => None,
        }
    }

    /// Puts the elements of row `i` from column `j` on into `values`.
    ///
    /// # Safety
    /// They lie in the matrix.
    pub unsafe fn read_row(self, values: &mut [f32], i: usize, j: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.at(i, j) {
                Source::F32(x) if x.col == 1 => x.start.copy_to_nonoverlapping(values.as_mut_ptr(), values.len()),
                Source::Bf16(x) if x.col == 1 => widen(values, std::slice::from_raw_parts(x.start, values.len())),
                Source::F32(x) => values.iter_mut().enumerate().for_each(|(j, value)| *value = *x.at(0, j).start),
                Source::Bf16(x) => values.iter_mut().enumerate().for_each(|(j, value)| *value = bf16_to_f32(*x.at(0, j).start)),
            }
        }
    }
}

multiversion! {
    /// Each bf16 as f32.
    fn widen(wide: &mut [f32], bits: &[u16]) {
        for (wide, bits) in wide.iter_mut().zip(bits) {
            *wide = bf16_to_f32(*bits);
        }
    }
}

multiversion! {
    /// Rows of f32 as rows of bf16, to nearest even.
    ///
    /// The caller answers for `cols` values in each of `rows` rows on both sides.
    fn narrow(bits: Operand<u16>, wide: Operand, rows: usize, cols: usize) {
        for i in 0..rows {
            // SAFETY: the caller's promise.
            let (bits, wide) = unsafe {
                let bits = std::slice::from_raw_parts_mut(bits.at(i, 0).start.cast_mut(), cols);
                (bits, std::slice::from_raw_parts(wide.at(i, 0).start, cols))
            };
            for (bits, wide) in bits.iter_mut().zip(wide) {
                *bits = f32_to_bf16(*wide);
            }
        }
    }
}

/// Where a result lies, with its element type: element (i, j) is `i * row + j * col` from the start.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub start: Start,
    pub row: usize,
    pub col: usize,
}

/// The first element of a [`Target`].
#[derive(Clone, Copy)]
pub(crate) enum Start {
    F32(*mut f32),
    Bf16(*mut u16),
}

// SAFETY: who builds a target answers for the memory behind it and for disjoint writes.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// The transposed matrix.
    pub fn t(self) -> Target {
        Target { start: self.start, row: self.col, col: self.row }
    }

    /// The matrix to read.
    pub fn source(self) -> Source {
        match self.start {
            Start::F32(start) => Source::F32(Operand { start, row: self.row, col: self.col }),
            Start::Bf16(start) => Source::Bf16(Operand { start, row: self.row, col: self.col }),
        }
    }

    /// Stores `values` as the elements of row `i` from column `j` on, rounded once to the element type.
    ///
    /// # Safety
    /// They lie in the matrix, and nobody else uses them meanwhile.
    pub unsafe fn store(self, values: &[f32], i: usize, j: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.store_rows(Operand { start: values.as_ptr(), row: 0, col: 1 }, [1, values.len()], i, j) };
    }

    /// Stores `rows x cols` values, their rows dense, from element (i, j) on, rounded once to the element type.
    ///
    /// # Safety
    /// As [`Target::store`].
    pub unsafe fn store_rows(self, values: Operand, [rows, cols]: [usize; 2], i: usize, j: usize) {
        let offset = i * self.row + j * self.col;
        if let (Start::Bf16(start), 1) = (self.start, self.col) {
            return narrow(Operand { start: start.wrapping_add(offset), row: self.row, col: 1 }, values, rows, cols);
        }
        for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
            let offset = offset + i * self.row + j * self.col;
            // SAFETY: the caller's promise.
            unsafe {
                let value = *values.at(i, j).start;
                match self.start {
                    Start::F32(start) => *start.add(offset) = value,
                    Start::Bf16(start) => *start.add(offset) = f32_to_bf16(value),
                }
            }
        }
    }

    /// Asks for the cache lines where `rows` rows from element (i, j) on begin.
    pub fn prefetch(self, rows: usize, i: usize, j: usize) {
        for i in i..i + rows {
            let offset = i * self.row + j * self.col;
            match self.start {
                Start::F32(start) => prefetch(start.wrapping_add(offset)),
                Start::Bf16(start) => prefetch(start.wrapping_add(offset)),
            }
        }
    }
}

/// An element as a kernel of f32 words multiplies it: rounded to bf16 where `ROUND` says so.
#[inline(always)]
pub(super) fn factor<T: Value, const ROUND: bool>(value: T) -> f32 {
    if ROUND { bf16_to_f32(f32_to_bf16(value.widen())) } else { value.widen() }
}
