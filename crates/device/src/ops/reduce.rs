//! Sum, mean, maximum or minimum over some dims: chunks each for itself, then the chunks in their order.

use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use kernels::cuda::geometry::{COLUMN_CHUNK, ROW_CHUNK};
use kernels::reduce::Plan;
use std::sync::Arc;
use storage::{DType, Span};

/// The reduction of x: 0 sum, 1 mean, 2 max, 3 min. Where what is reduced lies dense a block goes along it, otherwise neighbouring
/// threads have neighbouring results.
pub fn reduce(on: &Arc<Accelerator>, code: u32, x: &Span, plan: &Plan) -> Result<Span, String> {
    plan.check(x.len())?;
    let (kept, reduced) = (plan.kept(), plan.reduced());
    let (results, count) = (kept.numel(), reduced.numel());
    if code > 3 {
        return Err(format!("reduce: op code {code} is unknown. Use a code from 0 to 3."));
    }
    if code > 1 && count == 0 && results > 0 {
        return Err("reduce: there is no largest or smallest of no elements. Reduce over dims that are not 0.".to_owned());
    }
    let is_dense = reduced.inner_strides() == [1];
    let (kernel, chunk) = if is_dense { ("reduce_rows", ROW_CHUNK as usize) } else { ("reduce_columns", COLUMN_CHUNK as usize) };
    let chunks = count.div_ceil(chunk);
    let (partials, y) = (on.scratch(DType::F64, results * chunks)?, on.empty(x.dtype(), results)?);
    let mut arguments = Vec::with_capacity(9);
    if !is_dense {
        arguments.push(Argument::count(results));
    }
    arguments.extend([chunks, chunk, count].map(Argument::count));
    arguments.push(Argument::U32(code));
    arguments.extend([kept, reduced].map(Argument::walk));
    arguments.extend([memory(x), memory(&partials)]);
    let (variant, divisor) = (x.dtype().name(), if code == 1 { count as f64 } else { 1.0 });
    on.launch(&Call { unit: "reduce", variant, kernel, extents: &[results, count], arguments: &arguments })?;
    let numbers = [Argument::count(results), Argument::count(chunks), Argument::U32(code), Argument::F64(divisor)];
    let arguments: Vec<Argument> = numbers.into_iter().chain([memory(&partials), memory(&y)]).collect();
    on.launch(&Call { unit: "reduce", variant, kernel: "reduce_finish", extents: &[results], arguments: &arguments })?;
    Ok(y)
}
