//! y = x W^T + bias: x `[rows, in]`, W `[out, in]`, bias `[out]`, y `[rows, out]`.

use crate::extent::expect;
use crate::gemm::{Epilogue, Matrix, MatrixMut, gemm};

/// The extents of a linear layer.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub rows: usize,
    pub input: usize,
    pub output: usize,
}

/// The layer's output; the bias is added while the product is stored.
pub fn linear(x: &[f32], w: &[f32], bias: Option<&[f32]>, sizes: Sizes, y: &mut [f32]) -> Result<(), String> {
    let Sizes { rows, input, output } = sizes;
    expect("linear", "x", x.len(), &[rows, input])?;
    expect("linear", "w", w.len(), &[output, input])?;
    expect("linear", "y", y.len(), &[rows, output])?;
    if let Some(bias) = bias {
        expect("linear", "bias", bias.len(), &[output])?;
    }
    let (x, w) = (Matrix::dense(x, rows, input), Matrix::dense(w, output, input).t());
    gemm(x, w, MatrixMut::dense(y, rows, output), Epilogue { bias, accumulate: false })
}

#[cfg(test)]
mod tests;
