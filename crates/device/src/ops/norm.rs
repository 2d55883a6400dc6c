//! Norms of the rows of a sum, and their backward.

use super::expect::{expect, expect_optional};
use super::sum_rows::{Partials, Sums, sum_partials};
use super::vectors::vectors;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::{memory, optional};
use kernels::cuda::geometry;
use kernels::norm::Kind;
use std::sync::Arc;
use storage::{DType, Span};

/// What is normalised, and with what: x and residual [rows, cols], the others [cols].
pub struct Inputs {
    pub x: Span,
    pub bias: Option<Span>,
    pub residual: Option<Span>,
    pub w: Span,
    /// Of a layer norm, and only of it.
    pub b: Option<Span>,
}

/// y and stats [rows, 2], and the sum where something is added.
pub struct Outputs {
    pub y: Span,
    pub stats: Span,
    pub sum: Option<Span>,
}

fn code_of(kind: Kind) -> Argument {
    Argument::U32(match kind {
        Kind::Layer => 0,
        Kind::Rms => 1,
    })
}

/// The norm of residual + (x + bias).
pub fn norm(on: &Arc<Accelerator>, kind: Kind, inputs: Inputs, [rows, cols]: [usize; 2], eps: f32) -> Result<Outputs, String> {
    let Inputs { x, bias, residual, w, b } = inputs;
    let dtype = x.dtype();
    expect("norm", "x", &x, dtype, &[rows, cols])?;
    expect_optional("norm", "the residual", &residual, dtype, &[rows, cols])?;
    if (kind == Kind::Layer) != b.is_some() {
        return Err("norm: b belongs to a layer norm, and only to it. Pass it there and nowhere else.".to_owned());
    }
    let has_sum = bias.is_some() || residual.is_some();
    let (variant, vectors) = vectors(on, dtype, [bias, Some(w), b])?;
    for (name, vector) in ["the bias", "w", "b"].into_iter().zip(&vectors) {
        vector.as_ref().map_or(Ok(()), |vector| expect("norm", name, vector, vector.dtype(), &[cols]))?;
    }
    let [bias, w, b] = vectors;
    let (y, stats) = (on.empty(dtype, x.len())?, on.empty(DType::F32, 2 * rows)?);
    let sum = if has_sum { Some(on.empty(dtype, x.len())?) } else { None };
    if cols == 0 {
        on.clear(&stats)?;
    }
    let counts = [Argument::count(cols), code_of(kind), Argument::F32(eps)];
    let read = [memory(&x), optional(&bias), optional(&residual), optional(&w), optional(&b)];
    let written = [optional(&sum), memory(&y), memory(&stats)];
    let arguments: Vec<Argument> = counts.into_iter().chain(read).chain(written).collect();
    on.launch(&Call { unit: "norm", variant: &variant, kernel: "norm_forward", extents: &[rows, cols], arguments: &arguments })?;
    Ok(Outputs { y, stats, sum })
}

/// What a backward reads.
pub struct Saved<'a> {
    pub grad: &'a Span,
    /// The sum that was normalised.
    pub x: &'a Span,
    pub w: Span,
    pub stats: &'a Span,
    /// The gradient of the sum from elsewhere.
    pub carried: Option<Span>,
}

/// The gradient of the sum; `sums` are those of grad h, of grad and of the result over the rows: dW, dB and dBias.
pub fn norm_backward(
    on: &Arc<Accelerator>,
    kind: Kind,
    saved: Saved,
    [rows, cols]: [usize; 2],
    sums: [Option<Sums>; 3],
) -> Result<Span, String> {
    let Saved { grad, x, w, stats, carried } = saved;
    let dtype = x.dtype();
    expect("normBackward", "x", x, dtype, &[rows, cols])?;
    expect("normBackward", "the gradient", grad, dtype, &[rows, cols])?;
    expect("normBackward", "w", &w, w.dtype(), &[cols])?;
    expect("normBackward", "stats", stats, DType::F32, &[rows, 2])?;
    expect_optional("normBackward", "what is carried", &carried, dtype, &[rows, cols])?;
    if kind == Kind::Rms && sums[1].is_some() {
        return Err("normBackward: an RMS norm has no b. Pass 0 for its gradient.".to_owned());
    }
    let (variant, [w]) = vectors(on, dtype, [Some(w)])?;
    let dx = on.empty(dtype, x.len())?;
    let each = geometry::rows_per_block(rows as u64) as usize;
    let blocks = rows.div_ceil(each);
    let partials = on.scratch(DType::F32, 3 * blocks * cols)?;
    let in_shared = u32::from(geometry::shared_for_sums(cols as u64) > 0);
    let counts = [Argument::count(rows), Argument::count(cols), Argument::count(each), code_of(kind), Argument::U32(in_shared)];
    let read = [memory(grad), memory(x), optional(&w), memory(stats), optional(&carried)];
    let arguments: Vec<Argument> = counts.into_iter().chain(read).chain([memory(&dx), memory(&partials)]).collect();
    on.launch(&Call { unit: "norm", variant: &variant, kernel: "norm_backward", extents: &[rows, cols], arguments: &arguments })?;
    for (number, sums) in sums.into_iter().enumerate() {
        let of = Partials { memory: &partials, first: number * cols, chunks: blocks, stride: 3 * cols };
        sums.map_or(Ok(()), |sums| sum_partials(on, of, cols, sums))?;
    }
    Ok(dx)
}
