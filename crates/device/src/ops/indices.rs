//! Indices that a kernel may use without looking: those outside are noted to be refused later, and brought inside meanwhile.

use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use crate::refusals::Refusal;
use std::sync::Arc;
use storage::{DType, Span};

/// Notes the first index (i32) outside 0..dim.
pub fn note_outside(on: &Accelerator, index: &Span, dim: usize, refusal: Refusal) -> Result<(), String> {
    let bad = Argument::Memory(on.refusals.place(refusal));
    let arguments = [Argument::count(index.len()), Argument::count(dim), memory(index), bad];
    on.launch(&Call { unit: "gather", variant: "4-byte", kernel: "gather_check", extents: &[index.len()], arguments: &arguments })
}

/// Indices (i32) within 0..dim: nobody waits to know whether the given ones are.
pub fn inside(on: &Arc<Accelerator>, index: &Span, dim: usize, refusal: Refusal) -> Result<Span, String> {
    let length = index.len();
    note_outside(on, index, dim, refusal)?;
    let (kept, last) = (on.scratch(DType::I32, length)?, i32::try_from(dim.saturating_sub(1)).unwrap_or(i32::MAX));
    // 5 is the maximum, 6 the minimum.
    for (code, bound, from) in [(5, 0, index), (6, last, &kept)] {
        let mut wide = [0; 8];
        wide[..4].copy_from_slice(&bound.to_ne_bytes());
        let arguments = [Argument::count(length), Argument::U32(code), Argument::Wide(wide), memory(from), memory(&kept)];
        on.launch(&Call { unit: "binary", variant: "i32", kernel: "binary_scalar", extents: &[length], arguments: &arguments })?;
    }
    Ok(kept)
}
