//! Elements in another type.

use crate::accelerator::{Accelerator, STREAM, told};
use crate::launch::{Argument, Call};
use crate::memory::{memory, part};
use kernels::extent::expect;
use std::sync::Arc;
use storage::{DType, Span};

/// Copies the elements of `source` into `target`, which has as many, with a cast where the types differ.
pub fn copy_into(on: &Accelerator, target: &Span, source: &Span) -> Result<(), String> {
    expect("cast", "the target", target.len(), &[source.len()])?;
    if target.dtype() == source.dtype() {
        return part(target)?.copy_from(STREAM, &part(source)?).map_err(told);
    }
    let (length, code) = (Argument::count(source.len()), Argument::U32(target.dtype() as u32));
    let arguments = [length, code, memory(source), memory(target)];
    on.launch(&Call { unit: "cast", variant: source.dtype().name(), kernel: "cast", extents: &[source.len()], arguments: &arguments })
}

/// A new tensor of `dtype` with the elements of `source`.
pub fn cast(on: &Arc<Accelerator>, source: &Span, dtype: DType) -> Result<Span, String> {
    let target = on.empty(dtype, source.len())?;
    copy_into(on, &target, source)?;
    Ok(target)
}
