//! dst[j] = sum over i of x[i, j]: the gradient of a bias. x is f32 or bf16, the sums f32.

use crate::extent::expect;
use crate::row_chunks::{Target, sum_chunks};
use crate::simd::multiversion;
use crate::stored::Value;

/// The column sums of x `[rows, cols]`, stored in `dst` `[cols]` or added to it.
pub fn sum_rows<T: Value>(x: &[T], rows: usize, cols: usize, dst: &mut [f32], accumulate: bool) -> Result<(), String> {
    expect("sumRows", "x", x.len(), &[rows, cols])?;
    expect("sumRows", "dst", dst.len(), &[cols])?;
    sum_chunks(rows, cols, [Some(Target { sums: dst, accumulate })], |range, sums| {
        if cols > 0 {
            add_rows::<T>(&x[range.start * cols..range.end * cols], sums);
        }
    });
    Ok(())
}

multiversion! {
    fn add_rows<T: Value>(x: &[T], sums: &mut [f32]) {
        for row in x.chunks_exact(sums.len()) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x.widen();
            }
        }
    }
}

#[cfg(test)]
mod tests;
