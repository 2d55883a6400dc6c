//! Elements that are all one value.

use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use crate::variants::bits;
use std::sync::Arc;
use storage::{DType, Span};

/// Sets every element to `value`, as the CPU converts it.
pub fn fill(on: &Accelerator, target: &Span, value: f64) -> Result<(), String> {
    let one = Span::new(target.dtype(), 1)?;
    kernels::fill::fill(&one, value)?;
    if one.bytes().iter().all(|&byte| byte == 0) {
        return on.clear(target);
    }
    let mut word = [0; 8];
    word[..one.byte_len()].copy_from_slice(one.bytes());
    let arguments = [Argument::count(target.len()), Argument::U64(u64::from_le_bytes(word)), memory(target)];
    on.launch(&Call { unit: "fill", variant: bits(target.dtype()), kernel: "fill", extents: &[target.len()], arguments: &arguments })
}

/// A new tensor whose elements are all `value`.
pub fn filled(on: &Arc<Accelerator>, dtype: DType, len: usize, value: f64) -> Result<Span, String> {
    let target = on.empty(dtype, len)?;
    fill(on, &target, value)?;
    Ok(target)
}
