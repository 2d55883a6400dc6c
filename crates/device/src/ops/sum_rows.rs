//! Sums over rows: chunks of rows each for itself, then the chunks in their order.

use super::expect::expect;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::{from_element, memory};
use kernels::cuda::geometry;
use std::sync::Arc;
use storage::{DType, Span};

/// A sum of f32 over rows: where it goes, and whether it is added to.
#[derive(Clone, Copy)]
pub struct Sums<'a> {
    pub target: &'a Span,
    pub accumulate: bool,
}

/// Partial sums as they lie: chunk c of column j at `first + c stride + j`.
#[derive(Clone, Copy)]
pub(super) struct Partials<'a> {
    pub memory: &'a Span,
    pub first: usize,
    pub chunks: usize,
    pub stride: usize,
}

/// Rows of a chunk, and chunks.
pub(super) fn chunks_of(rows: usize) -> (usize, usize) {
    let each = geometry::rows_per_chunk(rows as u64) as usize;
    (each, rows.div_ceil(each))
}

/// Adds the chunks of `cols` columns in their order.
pub(super) fn sum_partials(on: &Accelerator, partials: Partials, cols: usize, sums: Sums) -> Result<(), String> {
    expect("sumRows", "the sums", sums.target, DType::F32, &[cols])?;
    let Partials { memory: of, first, chunks, stride } = partials;
    let arguments = [
        Argument::count(cols),
        Argument::count(chunks),
        Argument::count(stride),
        Argument::U32(sums.accumulate.into()),
        from_element(of, first),
        memory(sums.target),
    ];
    on.launch(&Call { unit: "sum_rows", variant: "f32", kernel: "sum_partials", extents: &[cols], arguments: &arguments })
}

/// The column sums of x [rows, cols].
pub fn sum_rows(on: &Arc<Accelerator>, x: &Span, [rows, cols]: [usize; 2], sums: Sums) -> Result<(), String> {
    expect("sumRows", "x", x, x.dtype(), &[rows, cols])?;
    let (each, chunks) = chunks_of(rows);
    let partials = on.scratch(DType::F32, chunks * cols)?;
    let counts = [Argument::count(rows), Argument::count(cols), Argument::count(each)];
    let arguments: Vec<Argument> = counts.into_iter().chain([memory(x), memory(&partials)]).collect();
    let variant = x.dtype().name();
    on.launch(&Call { unit: "sum_rows", variant, kernel: "sum_rows", extents: &[rows, cols], arguments: &arguments })?;
    sum_partials(on, Partials { memory: &partials, first: 0, chunks, stride: cols }, cols, sums)
}
