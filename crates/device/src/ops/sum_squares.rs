//! The exact sum of squares.

use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use kernels::sum_squares::LIMBS;
use std::sync::Arc;
use storage::{DType, Span};

/// The limbs of the sum over all these tensors.
pub fn sum_squares(on: &Arc<Accelerator>, tensors: &[Span]) -> Result<Span, String> {
    let limbs = on.empty(DType::I64, LIMBS)?;
    on.clear(&limbs)?;
    for x in tensors {
        let arguments = [Argument::count(x.len()), memory(x), memory(&limbs)];
        let variant = x.dtype().name();
        on.launch(&Call { unit: "sum_squares", variant, kernel: "sum_squares", extents: &[x.len()], arguments: &arguments })?;
    }
    on.launch(&Call { unit: "sum_squares", variant: "f32", kernel: "sum_squares_carry", extents: &[], arguments: &[memory(&limbs)] })?;
    Ok(limbs)
}
