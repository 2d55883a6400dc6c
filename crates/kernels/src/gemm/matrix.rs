//! Matrices as callers describe them: borrowed values, extents and strides in elements.

use super::operand::{Operand, Source, Start, Target};

/// Values to read: f32, or the bits of bf16.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [u16]),
}

impl Values<'_> {
    pub fn len(&self) -> usize {
        match self {
            Values::F32(x) => x.len(),
            Values::Bf16(x) => x.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a [f32]> for Values<'a> {
    fn from(values: &'a [f32]) -> Values<'a> {
        Values::F32(values)
    }
}

impl<'a> From<&'a [u16]> for Values<'a> {
    fn from(values: &'a [u16]) -> Values<'a> {
        Values::Bf16(values)
    }
}

/// Values to write: f32, or the bits of bf16.
#[derive(Debug)]
pub enum ValuesMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [u16]),
}

impl ValuesMut<'_> {
    pub fn len(&self) -> usize {
        match self {
            ValuesMut::F32(x) => x.len(),
            ValuesMut::Bf16(x) => x.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a mut [f32]> for ValuesMut<'a> {
    fn from(values: &'a mut [f32]) -> ValuesMut<'a> {
        ValuesMut::F32(values)
    }
}

impl<'a> From<&'a mut [u16]> for ValuesMut<'a> {
    fn from(values: &'a mut [u16]) -> ValuesMut<'a> {
        ValuesMut::Bf16(values)
    }
}

/// A matrix to read: element (i, j) is `data[i * row_stride + j * col_stride]`. A stride of 0 repeats a row or a column.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    pub data: Values<'a>,
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows x cols` values, row after row.
    pub fn new(data: impl Into<Values<'a>>, rows: usize, cols: usize) -> Matrix<'a> {
        Matrix { data: data.into(), rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// `rows x cols` f32, row after row.
    pub fn dense(data: &'a [f32], rows: usize, cols: usize) -> Matrix<'a> {
        Matrix::new(data, rows, cols)
    }

    /// The transposed matrix.
    pub fn t(self) -> Matrix<'a> {
        Matrix { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    pub(super) fn source(&self) -> Source {
        let (row, col) = (self.row_stride, self.col_stride);
        match self.data {
            Values::F32(data) => Source::F32(Operand { start: data.as_ptr(), row, col }),
            Values::Bf16(data) => Source::Bf16(Operand { start: data.as_ptr(), row, col }),
        }
    }

    /// An error when the extents and strides leave the values.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        fits(name, self.data.len(), [self.rows, self.cols], [self.row_stride, self.col_stride])
    }
}

/// A matrix to write: element (i, j) is `data[i * row_stride + j * col_stride]`, no two in one place.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    pub data: ValuesMut<'a>,
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// `rows x cols` values, row after row.
    pub fn new(data: impl Into<ValuesMut<'a>>, rows: usize, cols: usize) -> MatrixMut<'a> {
        MatrixMut { data: data.into(), rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// `rows x cols` f32, row after row.
    pub fn dense(data: &'a mut [f32], rows: usize, cols: usize) -> MatrixMut<'a> {
        MatrixMut::new(data, rows, cols)
    }

    pub(super) fn target(self) -> Target {
        let start = match self.data {
            ValuesMut::F32(data) => Start::F32(data.as_mut_ptr()),
            ValuesMut::Bf16(data) => Start::Bf16(data.as_mut_ptr()),
        };
        Target { start, row: self.row_stride, col: self.col_stride }
    }

    /// An error when the extents and strides leave the values, or elements may overlap.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        let (rows, cols, row, col) = (self.rows, self.cols, self.row_stride, self.col_stride);
        fits(name, self.data.len(), [rows, cols], [row, col])?;
        let apart = |count: usize, stride: usize, inner: usize, inner_stride: usize| {
            count <= 1 || stride > inner.saturating_sub(1).saturating_mul(inner_stride)
        };
        let row_major = apart(rows, row, cols, col) && apart(cols, col, 1, 0);
        let col_major = apart(cols, col, rows, row) && apart(rows, row, 1, 0);
        if row_major || col_major || rows == 0 || cols == 0 {
            return Ok(());
        }
        Err(format!(
            "gemm: {name} of [{rows}, {cols}] has strides [{row}, {col}], with which elements overlap. \
             Use a stride that is beyond the other dim's last element."
        ))
    }
}

fn fits(name: &str, length: usize, [rows, cols]: [usize; 2], [row, col]: [usize; 2]) -> Result<(), String> {
    if rows.max(cols) <= LONGEST && extent(rows, cols, row, col).is_some_and(|needed| needed <= length) {
        return Ok(());
    }
    Err(format!(
        "gemm: {name} of [{rows}, {cols}] with strides [{row}, {col}] does not fit into {length} values. \
         Pass a larger buffer or smaller dims."
    ))
}

/// The longest dim: with strides of 0 a matrix may have more elements than memory, but not so many that offsets overflow.
const LONGEST: usize = 1 << 40;

/// Values from the first to the last element; None when that is beyond any memory.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    (rows - 1).checked_mul(row_stride)?.checked_add((cols - 1).checked_mul(col_stride)?)?.checked_add(1)
}
