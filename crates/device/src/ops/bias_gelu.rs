//! gelu(x + bias), tanh form, and its backward.

use super::expect::expect;
use super::sum_rows::{Partials, Sums, chunks_of, sum_partials};
use super::vectors::vectors;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::{memory, optional};
use std::sync::Arc;
use storage::{DType, Span};

/// The variant, and the bias in its type.
fn with_bias(on: &Arc<Accelerator>, dtype: DType, bias: Span, cols: usize) -> Result<(String, Span), String> {
    expect("biasGelu", "the bias", &bias, bias.dtype(), &[cols])?;
    let (variant, [wide]) = vectors(on, dtype, [Some(bias.clone())])?;
    Ok((variant, wide.unwrap_or(bias)))
}

/// x [rows, cols], bias [cols].
pub fn bias_gelu(on: &Arc<Accelerator>, x: &Span, bias: Span, [rows, cols]: [usize; 2]) -> Result<Span, String> {
    expect("biasGelu", "x", x, x.dtype(), &[rows, cols])?;
    let (variant, bias) = with_bias(on, x.dtype(), bias, cols)?;
    let y = on.empty(x.dtype(), x.len())?;
    let arguments = [Argument::count(cols), memory(x), memory(&bias), memory(&y)];
    on.launch(&Call { unit: "bias_gelu", variant: &variant, kernel: "bias_gelu", extents: &[rows, cols], arguments: &arguments })?;
    Ok(y)
}

/// The gradient of x; that of bias goes to `sums`.
pub fn bias_gelu_backward(
    on: &Arc<Accelerator>,
    [x, grad]: [&Span; 2],
    bias: Span,
    [rows, cols]: [usize; 2],
    sums: Option<Sums>,
) -> Result<Span, String> {
    expect("biasGeluBackward", "x", x, x.dtype(), &[rows, cols])?;
    expect("biasGeluBackward", "the gradient", grad, x.dtype(), &[rows, cols])?;
    let (variant, bias) = with_bias(on, x.dtype(), bias, cols)?;
    let dx = on.empty(x.dtype(), x.len())?;
    let (each, chunks) = chunks_of(rows);
    let partials = sums.map(|_| on.scratch(DType::F32, chunks * cols)).transpose()?;
    let counts = [Argument::count(rows), Argument::count(cols), Argument::count(each)];
    let places = [memory(x), memory(&bias), memory(grad), memory(&dx), optional(&partials)];
    let arguments: Vec<Argument> = counts.into_iter().chain(places).collect();
    on.launch(&Call { unit: "bias_gelu", variant: &variant, kernel: "bias_gelu_backward", extents: &[rows, cols], arguments: &arguments })?;
    if let (Some(partials), Some(sums)) = (&partials, sums) {
        sum_partials(on, Partials { memory: partials, first: 0, chunks, stride: cols }, cols, sums)?;
    }
    Ok(dx)
}
