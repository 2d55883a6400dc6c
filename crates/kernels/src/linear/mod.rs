//! y = x W^T + bias and its gradients: x `[rows, in]`, W `[out, in]`, bias `[out]`, y `[rows, out]`. Each tensor is f32 or bf16.

use crate::extent::expect;
use crate::gemm::{Finish, Gemm, Matrix, MatrixMut, Precision, Values, ValuesMut};

/// The extents of a linear layer.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub rows: usize,
    pub input: usize,
    pub output: usize,
}

/// What operands are multiplied as, and what becomes of the output before it is stored.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    pub precision: Precision,
    pub finish: &'a [&'a dyn Finish],
}

/// The layer's output in f32; the bias is added while the product is stored.
pub fn linear(x: &[f32], w: &[f32], bias: Option<&[f32]>, sizes: Sizes, y: &mut [f32]) -> Result<(), String> {
    linear_with([Values::F32(x), Values::F32(w)], bias.map(Values::F32), sizes, ValuesMut::F32(y), Options::default())
}

/// The layer's output from any element types.
pub fn linear_with([x, w]: [Values; 2], bias: Option<Values>, sizes: Sizes, y: ValuesMut, options: Options) -> Result<(), String> {
    let Sizes { rows, input, output } = sizes;
    expect("linear", "x", x.len(), &[rows, input])?;
    expect("linear", "w", w.len(), &[output, input])?;
    expect("linear", "y", y.len(), &[rows, output])?;
    if let Some(bias) = bias {
        expect("linear", "bias", bias.len(), &[output])?;
    }
    let (x, w, y) = (Matrix::new(x, rows, input), Matrix::new(w, output, input).t(), MatrixMut::new(y, rows, output));
    Gemm { bias, precision: options.precision, finish: options.finish, ..Gemm::new(x, w, y) }.run()
}

/// dx = grad W.
pub fn linear_input_grad([grad, w]: [Values; 2], sizes: Sizes, dx: ValuesMut, precision: Precision) -> Result<(), String> {
    let Sizes { rows, input, output } = sizes;
    expect("linearInputGrad", "grad", grad.len(), &[rows, output])?;
    expect("linearInputGrad", "w", w.len(), &[output, input])?;
    expect("linearInputGrad", "dx", dx.len(), &[rows, input])?;
    let (grad, w, dx) = (Matrix::new(grad, rows, output), Matrix::new(w, output, input), MatrixMut::new(dx, rows, input));
    Gemm { precision, ..Gemm::new(grad, w, dx) }.run()
}

/// dW = grad^T x, or added to what `dw` holds: an f32 main gradient takes the sums of bf16 tensors unrounded.
pub fn linear_weight_grad(
    [grad, x]: [Values; 2],
    sizes: Sizes,
    dw: ValuesMut,
    accumulate: bool,
    precision: Precision,
) -> Result<(), String> {
    let Sizes { rows, input, output } = sizes;
    expect("linearWeightGrad", "grad", grad.len(), &[rows, output])?;
    expect("linearWeightGrad", "x", x.len(), &[rows, input])?;
    expect("linearWeightGrad", "dw", dw.len(), &[output, input])?;
    let (grad, x, dw) = (Matrix::new(grad, rows, output).t(), Matrix::new(x, rows, input), MatrixMut::new(dw, output, input));
    Gemm { accumulate, precision, ..Gemm::new(grad, x, dw) }.run()
}

#[cfg(test)]
mod tests;
