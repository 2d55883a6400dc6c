//! residual + dropout(x + bias) of activations.

use super::expect::{expect, expect_optional};
use super::vectors::vectors;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::{memory, optional};
use kernels::dropout::Extents;
use kernels::random::Dropout;
use std::sync::Arc;
use storage::Span;

/// x and residual [seq, batch, cols] of one type, bias [cols].
pub fn dropout(
    on: &Arc<Accelerator>,
    (x, bias, residual): (&Span, Option<Span>, &Option<Span>),
    extents: Extents,
    dropout: &Dropout,
) -> Result<Span, String> {
    let Extents { seq, batch, cols, first_token } = extents;
    let dtype = x.dtype();
    expect("dropout", "x", x, dtype, &[seq, batch, cols])?;
    expect_optional("dropout", "the residual", residual, dtype, &[seq, batch, cols])?;
    let (variant, [bias]) = vectors(on, dtype, [bias])?;
    if let Some(bias) = &bias {
        expect("dropout", "the bias", bias, bias.dtype(), &[cols])?;
    }
    let draw = on.draw(dropout)?;
    let y = on.empty(dtype, x.len())?;
    let numbers = [Argument::U32(first_token), Argument::U32(dropout.threshold()), Argument::F32(dropout.factor()), memory(&draw)];
    let places = [memory(x), optional(&bias), optional(residual), memory(&y)];
    let arguments: Vec<Argument> = [batch, cols].map(Argument::count).into_iter().chain(numbers).chain(places).collect();
    on.launch(&Call { unit: "dropout", variant: &variant, kernel: "dropout", extents: &[seq * batch, cols], arguments: &arguments })?;
    Ok(y)
}
