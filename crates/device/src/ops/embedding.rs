//! Rows of a table, and the sums of gradients over the tokens that name them.

use super::expect::expect;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use crate::refusals::Refusal;
use kernels::embedding::Table;
use std::sync::Arc;
use storage::{DType, Span};

/// The rows of weight [rows, cols] that index (i32) names. A token outside a table that is not partial gives zeros, and is refused where
/// the host next reads something.
pub fn embedding(on: &Arc<Accelerator>, weight: &Span, index: &Span, table: Table) -> Result<Span, String> {
    let Table { start, rows, cols, partial } = table;
    expect("embedding", "weight", weight, weight.dtype(), &[rows, cols])?;
    expect("embedding", "index", index, DType::I32, &[index.len()])?;
    let y = on.empty(weight.dtype(), index.len() * cols)?;
    let bad = Argument::Memory(if partial { 0 } else { on.refusals.place(Refusal::Embedding) });
    let counts = [cols, start, rows].map(Argument::count);
    let arguments: Vec<Argument> = counts.into_iter().chain([memory(weight), memory(index), memory(&y), bad]).collect();
    let (variant, extents) = (weight.dtype().name(), [index.len(), cols]);
    on.launch(&Call { unit: "embedding", variant, kernel: "embedding", extents: &extents, arguments: &arguments })?;
    Ok(y)
}

/// Adds the rows of grad to the rows of dst [rows, cols] that index names, in order. A dst of f32 is zeroed first unless it is added to;
/// one of grad's own 16-bit type is overwritten, with sums rounded once.
pub fn embedding_backward(
    on: &Arc<Accelerator>,
    [index, grad]: [&Span; 2],
    dst: &Span,
    table: Table,
    accumulate: bool,
) -> Result<(), String> {
    let Table { start, rows, cols, .. } = table;
    let is_rounded = !accumulate && dst.dtype() == grad.dtype() && dst.dtype() != DType::F32;
    expect("embeddingBackward", "index", index, DType::I32, &[index.len()])?;
    expect("embeddingBackward", "grad", grad, grad.dtype(), &[index.len(), cols])?;
    expect("embeddingBackward", "dst", dst, if is_rounded { grad.dtype() } else { DType::F32 }, &[rows, cols])?;
    if !accumulate {
        on.clear(dst)?;
    }
    let counts = [index.len(), cols, start, rows].map(Argument::count);
    let arguments: Vec<Argument> = counts.into_iter().chain([memory(index), memory(grad), memory(dst)]).collect();
    let kernel = if is_rounded { "embedding_gradient" } else { "embedding_backward" };
    on.launch(&Call { unit: "embedding", variant: grad.dtype().name(), kernel, extents: &[index.len(), cols], arguments: &arguments })
}
