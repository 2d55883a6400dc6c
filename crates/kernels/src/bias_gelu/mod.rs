//! y = gelu(x + bias) in the tanh form: gelu(v) = v / 2 (1 + tanh u) = v sigmoid(2 u), u = sqrt(2 / pi) (v + 0.044715 v^3).
//! x, y, grad and dx are `[rows, cols]`, f32 or bf16, bias and dBias `[cols]`.

mod cpu;

use crate::disjoint::{Disjoint, chunk_range};
use crate::extent::expect;
use crate::pool;
use crate::row_chunks::{Target, rows_apart, sum_chunks};
use crate::stored::Value;

/// gelu(x + bias).
pub fn bias_gelu<T: Value>(x: &[T], bias: &[f32], rows: usize, cols: usize, y: &mut [T]) -> Result<(), String> {
    expect("biasGelu", "x", x.len(), &[rows, cols])?;
    expect("biasGelu", "bias", bias.len(), &[cols])?;
    expect("biasGelu", "y", y.len(), &[rows, cols])?;
    if cols == 0 {
        return Ok(());
    }
    let (chunk, y) = (rows_apart(cols), Disjoint::new(y));
    pool::run(rows.div_ceil(chunk), &|index| {
        let rows = chunk_range(rows, chunk, index);
        let range = rows.start * cols..rows.end * cols;
        // SAFETY: chunks are disjoint.
        cpu::forward::<T>(&x[range.clone()], bias, unsafe { y.part(range) });
    });
    Ok(())
}

/// dx = grad gelu'(x + bias), and its column sums in `d_bias` (overwritten or added to).
pub fn bias_gelu_backward<T: Value>(
    [x, grad]: [&[T]; 2],
    bias: &[f32],
    [rows, cols]: [usize; 2],
    dx: &mut [T],
    d_bias: Option<&mut [f32]>,
    accumulate: bool,
) -> Result<(), String> {
    expect("biasGeluBackward", "x", x.len(), &[rows, cols])?;
    expect("biasGeluBackward", "bias", bias.len(), &[cols])?;
    expect("biasGeluBackward", "grad", grad.len(), &[rows, cols])?;
    expect("biasGeluBackward", "dx", dx.len(), &[rows, cols])?;
    if let Some(d_bias) = &d_bias {
        expect("biasGeluBackward", "dBias", d_bias.len(), &[cols])?;
    }
    if cols == 0 {
        return Ok(());
    }
    let dx = Disjoint::new(dx);
    let target = d_bias.map(|sums| Target { sums, accumulate });
    sum_chunks(rows, cols, [target], |rows, sums| {
        let range = rows.start * cols..rows.end * cols;
        // SAFETY: chunks are disjoint.
        cpu::backward::<T>(&x[range.clone()], bias, &grad[range.clone()], unsafe { dx.part(range) }, sums);
    });
    Ok(())
}

#[cfg(test)]
mod tests;
