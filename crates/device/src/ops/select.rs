//! a where cond, else b.

use super::expect::expect;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use crate::variants::bits;
use kernels::layout::Layout;
use std::sync::Arc;
use storage::{DType, Span};

/// a where cond (u8) is not 0, else b, with broadcasting; a and b of one type.
pub fn select(on: &Arc<Accelerator>, [cond, a, b]: [&Span; 3], layout: &Layout<3>) -> Result<Span, String> {
    expect("select", "cond", cond, DType::U8, &[cond.len()])?;
    expect("select", "b", b, a.dtype(), &[b.len()])?;
    layout.check([cond.len(), a.len(), b.len()])?;
    let y = on.empty(a.dtype(), layout.numel())?;
    let (length, walk) = (Argument::count(layout.numel()), Argument::walk(layout));
    let arguments = [length, walk, memory(cond), memory(a), memory(b), memory(&y)];
    on.launch(&Call { unit: "select", variant: bits(a.dtype()), kernel: "select", extents: &[layout.numel()], arguments: &arguments })?;
    Ok(y)
}
