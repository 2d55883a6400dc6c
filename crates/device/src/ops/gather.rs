//! Elements by index along a dim, and the adjoint.

use super::expect::expect;
use super::indices::inside;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use crate::refusals::Refusal;
use crate::variants::bits;
use kernels::gather::Extents;
use std::sync::Arc;
use storage::{DType, Span};

/// Checks the extents, and gives indices that can be used.
fn checked(on: &Arc<Accelerator>, op: &str, extents: Extents, [x, index, y]: [&Span; 3]) -> Result<Span, String> {
    let Extents { outer, dim_x, dim_index, inner } = extents;
    expect(op, "the tensor", x, x.dtype(), &[outer, dim_x, inner])?;
    expect(op, "the index", index, DType::I32, &[outer, dim_index, inner])?;
    expect(op, "the gathered tensor", y, x.dtype(), &[index.len()])?;
    if dim_x == 0 && !index.is_empty() {
        return Err(format!("{op}: there is nothing to index in a dim of 0. Pass a longer one."));
    }
    inside(on, index, dim_x, Refusal::Gather)
}

/// x[o, index[o, j, i], i]. An index outside is refused where the host next reads something.
pub fn gather(on: &Arc<Accelerator>, x: &Span, index: &Span, extents: Extents) -> Result<Span, String> {
    let y = on.empty(x.dtype(), index.len())?;
    let index = checked(on, "gather", extents, [x, index, &y])?;
    let counts = [index.len(), extents.dim_x, extents.dim_index, extents.inner].map(Argument::count);
    let arguments: Vec<Argument> = counts.into_iter().chain([memory(x), memory(&index), memory(&y)]).collect();
    on.launch(&Call { unit: "gather", variant: bits(x.dtype()), kernel: "gather", extents: &[index.len()], arguments: &arguments })?;
    Ok(y)
}

/// dst[o, index[o, j, i], i] += src[o, j, i], in the order of j.
pub fn gather_add(on: &Arc<Accelerator>, dst: &Span, [index, src]: [&Span; 2], extents: Extents) -> Result<(), String> {
    let index = checked(on, "gatherAdd", extents, [dst, index, src])?;
    let columns = extents.outer * extents.inner;
    let counts = [columns, extents.dim_x, extents.dim_index, extents.inner].map(Argument::count);
    let arguments: Vec<Argument> = counts.into_iter().chain([memory(&index), memory(src), memory(dst)]).collect();
    on.launch(&Call { unit: "gather_sums", variant: dst.dtype().name(), kernel: "gather_add", extents: &[columns], arguments: &arguments })
}
