//! y = f(g + bias_g) (u + bias_u): x is `[rows, 2 * cols]` with rows [g | u], bias `[2 * cols]` or missing, y `[rows, cols]`.
//!
//! | code | name | f(v) |
//! | --- | --- | --- |
//! | 0 | SwiGLU | v sigmoid(v) |
//! | 1 | GeGLU | v sigmoid(2 u), u = (2/π)^(1/2) (v + 0.044715 v^3): GELU in its tanh form |
//!
//! Backward: dg = grad (u + bias_u) f'(g + bias_g), du = grad f(g + bias_g), and their column sums. x, y, grad and dx are
//! f32 or bf16. Formulas: `unary`.

mod cpu;

use crate::disjoint::{Disjoint, chunk_range};
use crate::extent::expect;
use crate::pool;
use crate::row_chunks::{Target, rows_apart, sum_chunks};
use crate::scratch::Scratch;
use crate::stored::{Value, spare};
use crate::unary::cpu::{Gelu, Silu};

/// The function of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Silu,
    Gelu,
}

impl Gate {
    /// The gate of a code of the table.
    pub fn of(code: u32) -> Result<Gate, String> {
        match code {
            0 => Ok(Gate::Silu),
            1 => Ok(Gate::Gelu),
            _ => Err(format!("biasGated: gate {code} is unknown. Use 0 for SwiGLU or 1 for GeGLU.")),
        }
    }
}

/// The bias, or zeros in its place.
fn with_bias<T>(bias: Option<&[f32]>, len: usize, f: impl FnOnce(&[f32]) -> T) -> T {
    match bias {
        Some(bias) => f(bias),
        None => {
            let mut zeros = Scratch::take(len);
            zeros.as_mut_slice().fill(0.0);
            f(zeros.as_mut_slice())
        }
    }
}

/// The gated product.
pub fn bias_gated<T: Value>(gate: Gate, x: &[T], bias: Option<&[f32]>, [rows, cols]: [usize; 2], y: &mut [T]) -> Result<(), String> {
    expect("biasGated", "x", x.len(), &[rows, 2, cols])?;
    expect("biasGated", "y", y.len(), &[rows, cols])?;
    bias.map_or(Ok(()), |bias| expect("biasGated", "bias", bias.len(), &[2, cols]))?;
    if cols == 0 {
        return Ok(());
    }
    let (chunk, y) = (rows_apart(2 * cols), Disjoint::new(y));
    with_bias(bias, 2 * cols, |bias| {
        pool::run(rows.div_ceil(chunk), &|index| {
            let rows = chunk_range(rows, chunk, index);
            let x = &x[2 * cols * rows.start..2 * cols * rows.end];
            // SAFETY: chunks of rows are disjoint.
            let y = unsafe { y.part(cols * rows.start..cols * rows.end) };
            match gate {
                Gate::Silu => cpu::forward::<T, Silu>(x, bias, y),
                Gate::Gelu => cpu::forward::<T, Gelu>(x, bias, y),
            }
        });
    });
    Ok(())
}

/// The gradient of x `[rows, 2 * cols]`, and its column sums in `d_bias` (overwritten or added to).
pub fn bias_gated_backward<T: Value>(
    gate: Gate,
    [x, grad]: [&[T]; 2],
    bias: Option<&[f32]>,
    [rows, cols]: [usize; 2],
    dx: &mut [T],
    d_bias: Option<(&mut [f32], bool)>,
) -> Result<(), String> {
    expect("biasGatedBackward", "x", x.len(), &[rows, 2, cols])?;
    expect("biasGatedBackward", "grad", grad.len(), &[rows, cols])?;
    expect("biasGatedBackward", "dx", dx.len(), &[rows, 2, cols])?;
    bias.map_or(Ok(()), |bias| expect("biasGatedBackward", "bias", bias.len(), &[2, cols]))?;
    d_bias.as_ref().map_or(Ok(()), |(sums, _)| expect("biasGatedBackward", "dBias", sums.len(), &[2, cols]))?;
    if cols == 0 {
        return Ok(());
    }
    let dx = Disjoint::new(dx);
    let target = d_bias.map(|(sums, accumulate)| Target { sums, accumulate });
    with_bias(bias, 2 * cols, |bias| {
        sum_chunks(rows, 2 * cols, [target], |rows, sums| {
            let (wide, narrow) = (2 * cols * rows.start..2 * cols * rows.end, cols * rows.start..cols * rows.end);
            // SAFETY: chunks of rows are disjoint.
            let dx = unsafe { dx.part(wide.clone()) };
            let mut spare = spare::<T>(2 * cols);
            let spare = spare.as_mut_slice();
            match gate {
                Gate::Silu => cpu::backward::<T, Silu>(&x[wide], bias, &grad[narrow], dx, spare, sums),
                Gate::Gelu => cpu::backward::<T, Gelu>(&x[wide], bias, &grad[narrow], dx, spare, sums),
            }
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests;
