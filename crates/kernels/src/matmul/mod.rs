//! C[i] = A[i] B[i] for every i of a batch; either operand may be transposed, and shared by the batch (stride 0).

use crate::disjoint::Disjoint;
use crate::gemm::{Gemm, Matrix, MatrixMut, Precision, Values, ValuesMut};
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

/// The products in f32, stored in `c` or added to it.
pub fn matmul(a: &[f32], b: &[f32], layout: &Layout, c: &mut [f32], accumulate: bool) -> Result<(), String> {
    matmul_with([Values::F32(a), Values::F32(b)], layout, ValuesMut::F32(c), accumulate, Precision::F32)
}

/// The products of any element types, stored in `c` or added to it.
pub fn matmul_with([a, b]: [Values; 2], layout: &Layout, c: ValuesMut, accumulate: bool, precision: Precision) -> Result<(), String> {
    let Layout { batch, m, n, k, .. } = *layout;
    expect("matmul", "the result", c.len(), &[batch, m, n])?;
    fits("a", a.len(), batch, layout.a_batch_stride, [m, k])?;
    fits("b", b.len(), batch, layout.b_batch_stride, [k, n])?;
    let c = match c {
        ValuesMut::F32(c) => Batch::F32(Disjoint::new(c)),
        ValuesMut::Bf16(c) => Batch::Bf16(Disjoint::new(c)),
    };
    let product = |index: usize| {
        let a = part(a, index * layout.a_batch_stride, [m, k], layout.trans_a);
        let b = part(b, index * layout.b_batch_stride, [k, n], layout.trans_b);
        let range = index * m * n..(index + 1) * m * n;
        // SAFETY: every product has its own part of C.
        let c = unsafe {
            match &c {
                Batch::F32(c) => ValuesMut::F32(c.part(range)),
                Batch::Bf16(c) => ValuesMut::Bf16(c.part(range)),
            }
        };
        Gemm { accumulate, precision, ..Gemm::new(a, b, MatrixMut::new(c, m, n)) }.run()
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

/// The results of a batch, one part a product.
enum Batch<'a> {
    F32(Disjoint<'a, f32>),
    Bf16(Disjoint<'a, u16>),
}

fn part(data: Values<'_>, offset: usize, [rows, cols]: [usize; 2], transposed: bool) -> Matrix<'_> {
    let range = offset..offset + rows * cols;
    let data = match data {
        Values::F32(data) => Values::F32(&data[range]),
        Values::Bf16(data) => Values::Bf16(&data[range]),
    };
    if transposed { Matrix::new(data, cols, rows).t() } else { Matrix::new(data, rows, cols) }
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
