//! C = A B (+ C) (+ bias): the product under linear layers, matmul and attention. f32.
//!
//! B is packed in panels as wide as a tile, A is read by rows; the micro-kernel is chosen by CPU. An element's bits depend on
//! k and on the kernel only: blocks of k are a function of k alone, and each block is one chain of multiply-adds that starts
//! from zero and is added to C in order of k. They do not depend on m, n, the place in C, the transposes or the threads.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocking;
mod drive;
mod kernel;
mod portable;
#[cfg(test)]
mod tests;

use crate::simd::{self, Path};
pub(crate) use drive::Product;
pub(crate) use kernel::Operand;

/// A matrix to read: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows x cols` values, row after row.
    pub fn dense(data: &'a [f32], rows: usize, cols: usize) -> Matrix<'a> {
        Matrix { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transposed matrix.
    pub fn t(self) -> Matrix<'a> {
        Matrix { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    fn operand(&self) -> Operand {
        Operand { start: self.data.as_ptr(), row: self.row_stride, col: self.col_stride }
    }
}

/// A matrix to write: element (i, j) is `data[i * row_stride + j]`.
pub struct MatrixMut<'a> {
    pub data: &'a mut [f32],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// `rows x cols` values, row after row.
    pub fn dense(data: &'a mut [f32], rows: usize, cols: usize) -> MatrixMut<'a> {
        MatrixMut { data, rows, cols, row_stride: cols }
    }
}

/// What happens to a sum before it is stored.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added to every row.
    pub bias: Option<&'a [f32]>,
    /// Add to what C holds.
    pub accumulate: bool,
}

/// C = A B with the epilogue.
pub fn gemm(a: Matrix, b: Matrix, c: MatrixMut, epilogue: Epilogue) -> Result<(), String> {
    gemm_on(simd::path(), a, b, c, epilogue)
}

/// The same with a chosen kernel.
fn gemm_on(path: Path, a: Matrix, b: Matrix, c: MatrixMut, epilogue: Epilogue) -> Result<(), String> {
    check(&a, &b, &c, epilogue.bias)?;
    let product = Product {
        m: a.rows,
        n: b.cols,
        k: a.cols,
        a: a.operand(),
        b: b.operand(),
        c: c.data.as_mut_ptr(),
        c_row: c.row_stride,
        bias: epilogue.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        accumulate: epilogue.accumulate,
    };
    // SAFETY: every extent was checked against its slice; the borrows keep C apart and alone.
    unsafe { multiply_on(path, &product) };
    Ok(())
}

/// C = A B where the caller answers for the memory.
///
/// # Safety
/// A, B and C are valid for m x k, k x n and m x n; nobody else writes this part of C meanwhile, and it lies apart from A and
/// B; rows of C do not overlap; `bias` is null or valid for n values.
pub(crate) unsafe fn multiply(product: &Product) {
    // SAFETY: handed on.
    unsafe { multiply_on(simd::path(), product) }
}

/// # Safety
/// As [`multiply`], and the CPU has the features of `path`.
unsafe fn multiply_on(path: Path, product: &Product) {
    // SAFETY: handed on.
    unsafe {
        match path {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => drive::multiply::<avx512::Avx512>(product),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => drive::multiply::<avx2::Avx2>(product),
            _ => drive::multiply::<portable::Portable>(product),
        }
    }
}

fn check(a: &Matrix, b: &Matrix, c: &MatrixMut, bias: Option<&[f32]>) -> Result<(), String> {
    if a.cols != b.rows || c.rows != a.rows || c.cols != b.cols {
        return Err(format!(
            "gemm: [{}, {}] x [{}, {}] does not give [{}, {}]. Make the inner dims equal and C as large as the product.",
            a.rows, a.cols, b.rows, b.cols, c.rows, c.cols
        ));
    }
    for (name, length, rows, cols, row_stride, col_stride) in [
        ("A", a.data.len(), a.rows, a.cols, a.row_stride, a.col_stride),
        ("B", b.data.len(), b.rows, b.cols, b.row_stride, b.col_stride),
        ("C", c.data.len(), c.rows, c.cols, c.row_stride, 1),
    ] {
        let needed = extent(rows, cols, row_stride, col_stride);
        if needed.is_none_or(|needed| needed > length) {
            return Err(format!(
                "gemm: {name} of [{rows}, {cols}] with strides [{row_stride}, {col_stride}] does not fit into {length} values. \
                 Pass a larger buffer or smaller dims."
            ));
        }
    }
    if c.rows > 1 && c.row_stride < c.cols {
        return Err(format!("gemm: C has rows of {} values {} apart, which overlap. Use a stride of at least {0}.", c.cols, c.row_stride));
    }
    match bias {
        Some(bias) if bias.len() != b.cols => {
            Err(format!("gemm: the bias has {} values for {} columns. Pass one value a column.", bias.len(), b.cols))
        }
        _ => Ok(()),
    }
}

/// Values from the first to the last element; None when that is beyond any memory.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    (rows - 1).checked_mul(row_stride)?.checked_add((cols - 1).checked_mul(col_stride)?)?.checked_add(1)
}
