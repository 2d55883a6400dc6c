//! Norms of the rows of `[rows, cols]`, with the addition that feeds them: s = residual + (x + bias), where residual and bias
//! may be missing, then y = (s - mean) rstd w + b. x, residual, s, y and their gradients are f32 or bf16; what is normalised is
//! s as it is stored, so that the bits are those of an addition and a norm after each other. All else is f32.
//!
//! | kind | mean | rstd | b |
//! | --- | --- | --- | --- |
//! | Layer | of the row | 1 / sqrt(variance + eps), the variance from a second pass | yes |
//! | Rms | 0 | 1 / sqrt(mean of s^2 + eps) | no |
//!
//! Saves stats `[rows, 2]` = (mean, rstd). Backward, with h = (s - mean) rstd and d = grad w:
//! ds = rstd (d - mean(d) - h mean(d h)) + carried, without mean(d) for Rms, where carried is the gradient of s from elsewhere;
//! it is the gradient of x and of residual. dW = sum of grad h, dB = sum of grad and dBias = sum of ds over the rows.

mod cpu;

use crate::bias_add::cpu::add_row;
use crate::disjoint::{Disjoint, chunk_range};
use crate::extent::expect;
use crate::pool;
use crate::row_chunks::{Target, rows_apart, sum_chunks};
use crate::stored::{Value, spare};

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Layer,
    Rms,
}

impl Kind {
    /// The kind of a code: 0 layer norm, 1 RMS norm.
    pub fn of(code: u32) -> Result<Kind, String> {
        match code {
            0 => Ok(Kind::Layer),
            1 => Ok(Kind::Rms),
            _ => Err(format!("norm: kind {code} is unknown. Use 0 for a layer norm or 1 for an RMS norm.")),
        }
    }
}

/// What is normalised, and with what.
#[derive(Clone, Copy)]
pub struct Inputs<'a, T> {
    pub x: &'a [T],
    /// Added to each row of x.
    pub bias: Option<&'a [f32]>,
    /// Added to x.
    pub residual: Option<&'a [T]>,
    pub w: &'a [f32],
    /// Of a layer norm.
    pub b: Option<&'a [f32]>,
}

/// Where the results go.
pub struct Outputs<'a, T> {
    /// The sum; wanted where there is a bias or a residual.
    pub sum: Option<&'a mut [T]>,
    pub y: &'a mut [T],
    pub stats: &'a mut [f32],
}

fn check<T>(kind: Kind, inputs: &Inputs<T>, [rows, cols]: [usize; 2], outputs: &Outputs<T>) -> Result<(), String> {
    expect("norm", "x", inputs.x.len(), &[rows, cols])?;
    expect("norm", "w", inputs.w.len(), &[cols])?;
    expect("norm", "y", outputs.y.len(), &[rows, cols])?;
    expect("norm", "stats", outputs.stats.len(), &[rows, 2])?;
    inputs.bias.map_or(Ok(()), |bias| expect("norm", "bias", bias.len(), &[cols]))?;
    inputs.residual.map_or(Ok(()), |residual| expect("norm", "residual", residual.len(), &[rows, cols]))?;
    outputs.sum.as_ref().map_or(Ok(()), |sum| expect("norm", "sum", sum.len(), &[rows, cols]))?;
    if outputs.sum.is_some() != (inputs.bias.is_some() || inputs.residual.is_some()) {
        return Err("norm: the sum is wanted exactly where a bias or a residual is added. Pass it in that case.".to_owned());
    }
    match (kind, inputs.b) {
        (Kind::Layer, Some(b)) => expect("norm", "b", b.len(), &[cols]),
        (Kind::Rms, None) => Ok(()),
        _ => Err("norm: b belongs to a layer norm, and only to it. Pass it there and nowhere else.".to_owned()),
    }
}

/// The sum, the normalised rows and their statistics.
pub fn norm<T: Value>(kind: Kind, inputs: Inputs<T>, [rows, cols]: [usize; 2], eps: f32, outputs: Outputs<T>) -> Result<(), String> {
    check(kind, &inputs, [rows, cols], &outputs)?;
    let Outputs { sum, y, stats } = outputs;
    if cols == 0 {
        stats.fill(0.0);
        return Ok(());
    }
    let Inputs { x, bias, residual, w, b } = inputs;
    let (bias, b) = (bias.unwrap_or(&[]), b.unwrap_or(&[]));
    let (sum, y, stats) = (sum.map(Disjoint::new), Disjoint::new(y), Disjoint::new(stats));
    let chunk = rows_apart(cols);
    pool::run(rows.div_ceil(chunk), &|index| {
        for i in chunk_range(rows, chunk, index) {
            let row = i * cols..(i + 1) * cols;
            // SAFETY: rows are disjoint.
            let (y, stats) = unsafe { (y.part(row.clone()), stats.part(2 * i..2 * i + 2)) };
            let mut x = &x[row.clone()];
            if let Some(sum) = &sum {
                // SAFETY: as above.
                let sum = unsafe { sum.part(row.clone()) };
                add_row::<T>(x, bias, residual.map_or(&[], |residual| &residual[row]), sum);
                x = sum;
            }
            stats.copy_from_slice(&match kind {
                Kind::Layer => cpu::layer_row::<T>(x, w, b, eps, y),
                Kind::Rms => cpu::rms_row::<T>(x, w, eps, y),
            });
        }
    });
    Ok(())
}

/// What a backward reads.
#[derive(Clone, Copy)]
pub struct Saved<'a, T> {
    pub grad: &'a [T],
    /// The sum that was normalised.
    pub x: &'a [T],
    pub w: &'a [f32],
    pub stats: &'a [f32],
    /// The gradient that reaches the sum by other ways.
    pub carried: Option<&'a [T]>,
}

/// A vector of sums over the rows: overwritten, or added to.
pub struct Sums<'a> {
    pub sums: &'a mut [f32],
    pub accumulate: bool,
}

/// Where the sums over the rows go, each wanted or not.
#[derive(Default)]
pub struct Gradients<'a> {
    pub d_w: Option<Sums<'a>>,
    pub d_b: Option<Sums<'a>>,
    pub d_bias: Option<Sums<'a>>,
}

/// The gradient of the sum, and those of the vectors.
pub fn norm_backward<T: Value>(
    kind: Kind,
    saved: Saved<T>,
    [rows, cols]: [usize; 2],
    dx: &mut [T],
    gradients: Gradients,
) -> Result<(), String> {
    let Saved { grad, x, w, stats, carried } = saved;
    let Gradients { d_w, d_b, d_bias } = gradients;
    expect("normBackward", "grad", grad.len(), &[rows, cols])?;
    expect("normBackward", "x", x.len(), &[rows, cols])?;
    expect("normBackward", "w", w.len(), &[cols])?;
    expect("normBackward", "stats", stats.len(), &[rows, 2])?;
    expect("normBackward", "dx", dx.len(), &[rows, cols])?;
    carried.map_or(Ok(()), |carried| expect("normBackward", "carried", carried.len(), &[rows, cols]))?;
    for (name, target) in [("dW", &d_w), ("dB", &d_b), ("dBias", &d_bias)] {
        target.as_ref().map_or(Ok(()), |target| expect("normBackward", name, target.sums.len(), &[cols]))?;
    }
    if cols == 0 {
        return Ok(());
    }
    let wants_bias = d_bias.is_some();
    let targets = [d_w, d_b, d_bias].map(|target| target.map(|Sums { sums, accumulate }| Target { sums, accumulate }));
    let dx = Disjoint::new(dx);
    sum_chunks(rows, cols, targets, |rows, sums| {
        let range = rows.start * cols..rows.end * cols;
        let (d_w, rest) = sums.split_at_mut(cols);
        let (d_b, d_bias) = rest.split_at_mut(cols);
        let d_bias = if wants_bias { d_bias } else { &mut [] };
        let stats = &stats[2 * rows.start..2 * rows.end];
        let carried = carried.map_or(&[][..], |carried| &carried[range.clone()]);
        let rows = cpu::Rows { grad: &grad[range.clone()], x: &x[range.clone()], w, stats, carried };
        // SAFETY: chunks of rows are disjoint.
        let dx = unsafe { dx.part(range) };
        let mut spare = spare::<T>(cols);
        let sums = cpu::Sums { d_w, d_b, d_bias, spare: spare.as_mut_slice() };
        match kind {
            Kind::Layer => cpu::layer_backward::<T>(&rows, dx, sums),
            Kind::Rms => cpu::rms_backward::<T>(&rows, dx, sums),
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
