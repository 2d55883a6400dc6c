//! How many elements are NaN or infinite.

use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use std::sync::Arc;
use storage::{DType, Span};

/// The count; the host waits for it.
pub fn non_finite(on: &Arc<Accelerator>, x: &Span) -> Result<u64, String> {
    let count = on.scratch(DType::I64, 1)?;
    on.clear(&count)?;
    let arguments = [Argument::count(x.len()), memory(x), memory(&count)];
    on.launch(&Call { unit: "non_finite", variant: x.dtype().name(), kernel: "non_finite", extents: &[x.len()], arguments: &arguments })?;
    let mut bytes = [0; 8];
    on.read(&count, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
