//! f(g + bias_g) (u + bias_u) for rows [g | u], and its backward.

use super::expect::expect;
use super::sum_rows::{Partials, Sums, chunks_of, sum_partials};
use super::vectors::vectors;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::{memory, optional};
use kernels::bias_gated::Gate;
use std::sync::Arc;
use storage::{DType, Span};

fn code_of(gate: Gate) -> Argument {
    Argument::U32(match gate {
        Gate::Silu => 0,
        Gate::Gelu => 1,
    })
}

/// The variant, and the bias in its type.
fn with_bias(on: &Arc<Accelerator>, dtype: DType, bias: Option<Span>, cols: usize) -> Result<(String, Option<Span>), String> {
    if let Some(bias) = &bias {
        expect("biasGated", "the bias", bias, bias.dtype(), &[2, cols])?;
    }
    let (variant, [bias]) = vectors(on, dtype, [bias])?;
    Ok((variant, bias))
}

/// x [rows, 2 cols], bias [2 cols] or none; the result [rows, cols].
pub fn bias_gated(on: &Arc<Accelerator>, gate: Gate, x: &Span, bias: Option<Span>, [rows, cols]: [usize; 2]) -> Result<Span, String> {
    expect("biasGated", "x", x, x.dtype(), &[rows, 2, cols])?;
    let (variant, bias) = with_bias(on, x.dtype(), bias, cols)?;
    let y = on.empty(x.dtype(), rows * cols)?;
    let arguments = [Argument::count(cols), code_of(gate), memory(x), optional(&bias), memory(&y)];
    on.launch(&Call { unit: "bias_gated", variant: &variant, kernel: "bias_gated", extents: &[rows, cols], arguments: &arguments })?;
    Ok(y)
}

/// The gradient of x; that of bias [2 cols] goes to `sums`.
pub fn bias_gated_backward(
    on: &Arc<Accelerator>,
    gate: Gate,
    ([x, grad], bias): ([&Span; 2], Option<Span>),
    [rows, cols]: [usize; 2],
    sums: Option<Sums>,
) -> Result<Span, String> {
    expect("biasGatedBackward", "x", x, x.dtype(), &[rows, 2, cols])?;
    expect("biasGatedBackward", "the gradient", grad, x.dtype(), &[rows, cols])?;
    let (variant, bias) = with_bias(on, x.dtype(), bias, cols)?;
    let dx = on.empty(x.dtype(), x.len())?;
    let (each, chunks) = chunks_of(rows);
    let partials = sums.map(|_| on.scratch(DType::F32, 2 * chunks * cols)).transpose()?;
    let counts = [Argument::count(rows), Argument::count(cols), Argument::count(each), code_of(gate)];
    let places = [memory(x), optional(&bias), memory(grad), memory(&dx), optional(&partials)];
    let arguments: Vec<Argument> = counts.into_iter().chain(places).collect();
    on.launch(&Call {
        unit: "bias_gated",
        variant: &variant,
        kernel: "bias_gated_backward",
        extents: &[rows, cols],
        arguments: &arguments,
    })?;
    if let (Some(partials), Some(sums)) = (&partials, sums) {
        sum_partials(on, Partials { memory: partials, first: 0, chunks, stride: 2 * cols }, 2 * cols, sums)?;
    }
    Ok(dx)
}
