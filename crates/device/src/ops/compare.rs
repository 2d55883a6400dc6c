//! a op b as 0 or 1.

use super::cast::cast;
use super::expect::expect;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use kernels::layout::Layout;
use std::sync::Arc;
use storage::{DType, Span};

/// a op b with broadcasting, both of one type.
pub fn compare(on: &Arc<Accelerator>, code: u32, a: &Span, b: &Span, layout: &Layout<2>) -> Result<Span, String> {
    if code > 5 {
        return Err(format!("compare: op code {code} is unknown. Use a code from 0 to 5."));
    }
    expect("compare", "b", b, a.dtype(), &[b.len()])?;
    layout.check([a.len(), b.len()])?;
    let c = on.empty(DType::U8, layout.numel())?;
    let (length, walk) = (Argument::count(layout.numel()), Argument::walk(layout));
    let arguments = [length, Argument::U32(code), walk, memory(a), memory(b), memory(&c)];
    on.launch(&Call { unit: "compare", variant: a.dtype().name(), kernel: "compare", extents: &[layout.numel()], arguments: &arguments })?;
    Ok(c)
}

/// a op value; `value` is one element on the host. 16-bit elements are widened, so that it is not rounded to their type.
pub fn compare_scalar(on: &Arc<Accelerator>, code: u32, a: &Span, value: &Span) -> Result<Span, String> {
    let one = on.small(value)?;
    let layout = Layout::new(&[a.len()], [&[1], &[0]], [0, 0])?;
    if value.dtype() == a.dtype() {
        return compare(on, code, a, &one, &layout);
    }
    compare(on, code, &cast(on, a, value.dtype())?, &one, &layout)
}
