//! C[i] = A[i] B[i] for every i of a batch; either operand may be transposed, and shared by the batch (stride 0).

use crate::disjoint::Disjoint;
use crate::gemm::{Epilogue, Matrix, MatrixMut, gemm};
use crate::{extent::expect, pool};

/// Shapes: A `[m, k]` (`[k, m]` when transposed), B `[k, n]` (`[n, k]`), C `[batch, m, n]` dense. Strides in elements.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a_batch_stride: usize,
    pub b_batch_stride: usize,
    pub trans_a: bool,
    pub trans_b: bool,
}

/// Multiply-adds from which one product keeps every thread busy by itself.
const LARGE: usize = 1 << 24;

/// The products, stored in `c` or added to it.
pub fn matmul(a: &[f32], b: &[f32], layout: &Layout, c: &mut [f32], accumulate: bool) -> Result<(), String> {
    let Layout { batch, m, n, k, .. } = *layout;
    expect("matmul", "the result", c.len(), &[batch, m, n])?;
    fits("a", a.len(), batch, layout.a_batch_stride, [m, k])?;
    fits("b", b.len(), batch, layout.b_batch_stride, [k, n])?;
    let c = Disjoint::new(c);
    let product = |index: usize| {
        let a = part(a, index * layout.a_batch_stride, [m, k], layout.trans_a);
        let b = part(b, index * layout.b_batch_stride, [k, n], layout.trans_b);
        // SAFETY: every product has its own part of C.
        let c = unsafe { c.part(index * m * n..(index + 1) * m * n) };
        gemm(a, b, MatrixMut::dense(c, m, n), Epilogue { bias: None, accumulate })
    };
    if m.saturating_mul(n).saturating_mul(k) >= LARGE {
        return (0..batch).try_for_each(product);
    }
    let failed = std::sync::Mutex::new(Ok(()));
    pool::run(batch, &|index| {
        if let Err(error) = product(index) {
            *failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Err(error);
        }
    });
    failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn part(data: &[f32], offset: usize, [rows, cols]: [usize; 2], transposed: bool) -> Matrix<'_> {
    let data = &data[offset..offset + rows * cols];
    if transposed { Matrix::dense(data, cols, rows).t() } else { Matrix::dense(data, rows, cols) }
}

fn fits(name: &str, len: usize, batch: usize, stride: usize, [rows, cols]: [usize; 2]) -> Result<(), String> {
    let last = batch.saturating_sub(1).checked_mul(stride);
    let needed = rows.checked_mul(cols).and_then(|size| last?.checked_add(size));
    if batch == 0 || needed.is_some_and(|needed| needed <= len) {
        return Ok(());
    }
    Err(format!(
        "matmul: {name} has {len} values, too few for {batch} matrices of [{rows}, {cols}] {stride} apart. Pass the shapes it has."
    ))
}

#[cfg(test)]
mod tests;
