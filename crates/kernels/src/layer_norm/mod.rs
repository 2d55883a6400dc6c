//! y = (x - mean) rstd w + b over each row of x `[rows, cols]`; rstd = 1 / sqrt(variance + eps), the variance from a second
//! pass. Saves stats `[rows, 2]` = (mean, rstd).
//!
//! Backward, with xhat = (x - mean) rstd and d = grad w: dx = rstd (d - mean(d) - xhat mean(d xhat)), dW = sum of grad xhat and
//! dB = sum of grad over the rows.

mod cpu;

use crate::disjoint::{Disjoint, chunk_range};
use crate::extent::expect;
use crate::pool;
use crate::row_chunks::{Target, rows_apart, sum_chunks};

/// The normalised rows in `y` and their statistics in `stats`.
pub fn layer_norm([x, w, b]: [&[f32]; 3], [rows, cols]: [usize; 2], eps: f32, y: &mut [f32], stats: &mut [f32]) -> Result<(), String> {
    expect("layerNorm", "x", x.len(), &[rows, cols])?;
    expect("layerNorm", "w", w.len(), &[cols])?;
    expect("layerNorm", "b", b.len(), &[cols])?;
    expect("layerNorm", "y", y.len(), &[rows, cols])?;
    expect("layerNorm", "stats", stats.len(), &[rows, 2])?;
    if cols == 0 {
        stats.fill(0.0);
        return Ok(());
    }
    let (y, stats) = (Disjoint::new(y), Disjoint::new(stats));
    let chunk = rows_apart(cols);
    pool::run(rows.div_ceil(chunk), &|index| {
        let rows = chunk_range(rows, chunk, index);
        let range = rows.start * cols..rows.end * cols;
        // SAFETY: chunks of rows are disjoint.
        let (y, stats) = unsafe { (y.part(range.clone()), stats.part(2 * rows.start..2 * rows.end)) };
        cpu::forward(&x[range], w, b, eps, y, stats);
    });
    Ok(())
}

/// Where the sums over the rows go: dW and dB, each wanted or not, overwritten or added to.
#[derive(Default)]
pub struct Gradients<'a> {
    pub d_w: Option<&'a mut [f32]>,
    pub d_b: Option<&'a mut [f32]>,
    pub accumulate_w: bool,
    pub accumulate_b: bool,
}

/// dx, and the gradients of weight and bias.
pub fn layer_norm_backward(
    [grad, x, w, stats]: [&[f32]; 4],
    [rows, cols]: [usize; 2],
    dx: &mut [f32],
    gradients: Gradients,
) -> Result<(), String> {
    expect("layerNormBackward", "grad", grad.len(), &[rows, cols])?;
    expect("layerNormBackward", "x", x.len(), &[rows, cols])?;
    expect("layerNormBackward", "w", w.len(), &[cols])?;
    expect("layerNormBackward", "stats", stats.len(), &[rows, 2])?;
    expect("layerNormBackward", "dx", dx.len(), &[rows, cols])?;
    for (name, sums) in [("dW", &gradients.d_w), ("dB", &gradients.d_b)] {
        if let Some(sums) = sums {
            expect("layerNormBackward", name, sums.len(), &[cols])?;
        }
    }
    if cols == 0 {
        return Ok(());
    }
    let Gradients { d_w, d_b, accumulate_w, accumulate_b } = gradients;
    let d_w = d_w.map(|sums| Target { sums, accumulate: accumulate_w });
    let d_b = d_b.map(|sums| Target { sums, accumulate: accumulate_b });
    let dx = Disjoint::new(dx);
    sum_chunks(rows, cols, [d_w, d_b], |rows, sums| {
        let range = rows.start * cols..rows.end * cols;
        let (d_w, d_b) = sums.split_at_mut(cols);
        // SAFETY: chunks of rows are disjoint.
        let dx = unsafe { dx.part(range.clone()) };
        cpu::backward(&grad[range.clone()], &x[range], w, &stats[2 * rows.start..2 * rows.end], dx, d_w, d_b);
    });
    Ok(())
}

#[cfg(test)]
mod tests;
