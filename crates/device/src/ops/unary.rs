//! f(x) and its derivative.

use super::expect::expect;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use std::sync::Arc;
use storage::Span;

/// Codes of the table in `kernels::unary`.
const CODES: u32 = 13;

fn check(code: u32) -> Result<(), String> {
    if code < CODES { Ok(()) } else { Err(format!("unary: op code {code} is unknown. Use a code from 0 to {}.", CODES - 1)) }
}

/// f(x).
pub fn unary(on: &Arc<Accelerator>, code: u32, x: &Span) -> Result<Span, String> {
    check(code)?;
    let y = on.empty(x.dtype(), x.len())?;
    let arguments = [Argument::count(x.len()), Argument::U32(code), memory(x), memory(&y)];
    on.launch(&Call { unit: "unary", variant: x.dtype().name(), kernel: "unary", extents: &[x.len()], arguments: &arguments })?;
    Ok(y)
}

/// The gradient of x from what the table saves and the gradient of f(x), both of one type.
pub fn unary_backward(on: &Arc<Accelerator>, code: u32, saved: &Span, grad: &Span) -> Result<Span, String> {
    check(code)?;
    expect("unaryBackward", "the gradient", grad, saved.dtype(), &[saved.len()])?;
    let out = on.empty(saved.dtype(), saved.len())?;
    let arguments = [Argument::count(saved.len()), Argument::U32(code), memory(saved), memory(grad), memory(&out)];
    let variant = saved.dtype().name();
    on.launch(&Call { unit: "unary", variant, kernel: "unary_backward", extents: &[saved.len()], arguments: &arguments })?;
    Ok(out)
}
