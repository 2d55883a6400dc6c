//! residual + (x + bias).

use super::expect::{expect, expect_optional};
use super::vectors::vectors;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::{memory, optional};
use std::sync::Arc;
use storage::Span;

/// x and residual [rows, cols] of one type, bias [cols].
pub fn bias_add(
    on: &Arc<Accelerator>,
    x: &Span,
    bias: Option<Span>,
    residual: &Option<Span>,
    [rows, cols]: [usize; 2],
) -> Result<Span, String> {
    let dtype = x.dtype();
    expect("biasAdd", "x", x, dtype, &[rows, cols])?;
    expect_optional("biasAdd", "the residual", residual, dtype, &[rows, cols])?;
    let (variant, [bias]) = vectors(on, dtype, [bias])?;
    if let Some(bias) = &bias {
        expect("biasAdd", "the bias", bias, bias.dtype(), &[cols])?;
    }
    let y = on.empty(dtype, x.len())?;
    let arguments = [Argument::count(cols), memory(x), optional(&bias), optional(residual), memory(&y)];
    on.launch(&Call { unit: "bias_add", variant: &variant, kernel: "bias_add", extents: &[rows, cols], arguments: &arguments })?;
    Ok(y)
}
