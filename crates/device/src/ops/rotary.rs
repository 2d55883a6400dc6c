//! Rotary position embedding of a fused buffer.

use super::expect::{expect, expect_optional};
use super::indices::inside;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::{memory, optional};
use crate::refusals::Refusal;
use kernels::rotary::Rotary;
use std::sync::Arc;
use storage::{DType, Span};

/// Turns the q and k heads of x by the rows of table [positions, rotated] that positions [seq, batch] name. One that the table does not
/// have is refused where the host next reads something.
pub fn rotary(on: &Arc<Accelerator>, x: &Span, table: &Span, positions: &Option<Span>, shape: &Rotary) -> Result<Span, String> {
    let Rotary { seq, batch, heads, key_heads, head_dim, rotated, interleaved, back } = *shape;
    let all = heads + 2 * key_heads;
    if !rotated.is_multiple_of(2) || rotated == 0 || rotated > head_dim {
        return Err(format!("rotary: {rotated} of {head_dim} channels cannot be turned. Use an even number from 2 to {head_dim}."));
    }
    let rows = table.len() / rotated;
    expect("rotary", "x", x, x.dtype(), &[seq, batch, all, head_dim])?;
    expect("rotary", "the table", table, DType::F32, &[rows, rotated])?;
    expect_optional("rotary", "positions", positions, DType::I32, &[seq, batch])?;
    if positions.is_none() && seq > rows {
        return Err(format!("rotary: {seq} positions are more than the {rows} of the table. Pass a longer table."));
    }
    let positions = positions.as_ref().map(|positions| inside(on, positions, rows, Refusal::Rotary)).transpose()?;
    let y = on.empty(x.dtype(), x.len())?;
    let pairs = seq * batch * all * head_dim.div_ceil(2);
    let counts = [batch, all, heads + key_heads, head_dim, rotated].map(|count| Argument::U32(count as u32));
    let way = [Argument::U32(interleaved.into()), Argument::F32(if back { -1.0 } else { 1.0 })];
    let places = [memory(table), optional(&positions), memory(x), memory(&y)];
    let arguments: Vec<Argument> = [Argument::count(pairs)].into_iter().chain(counts).chain(way).chain(places).collect();
    on.launch(&Call { unit: "rotary", variant: x.dtype().name(), kernel: "rotary", extents: &[pairs], arguments: &arguments })?;
    Ok(y)
}
