//! a op b with broadcasting, and x op a number.

use super::cast::cast;
use super::expect::expect;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use kernels::layout::Layout;
use std::sync::Arc;
use storage::{DType, Span};

/// Codes from which on the operands may be exchanged: add, mul, maximum, minimum.
const SYMMETRIC: [u32; 4] = [0, 2, 5, 6];

fn check(code: u32, dtype: DType) -> Result<(), String> {
    match code {
        3 | 4 if !dtype.is_float() => Err("binary: integers have neither div nor pow. Cast the tensors to f32 first.".to_owned()),
        0..=6 => Ok(()),
        _ => Err(format!("binary: op code {code} is unknown. Use a code from 0 to 6.")),
    }
}

/// a op b, both of one type.
pub fn binary(on: &Arc<Accelerator>, code: u32, a: &Span, b: &Span, layout: &Layout<2>) -> Result<Span, String> {
    check(code, a.dtype())?;
    expect("binary", "b", b, a.dtype(), &[b.len()])?;
    layout.check([a.len(), b.len()])?;
    let c = on.empty(a.dtype(), layout.numel())?;
    let (length, walk) = (Argument::count(layout.numel()), Argument::walk(layout));
    let arguments = [length, Argument::U32(code), walk, memory(a), memory(b), memory(&c)];
    on.launch(&Call { unit: "binary", variant: a.dtype().name(), kernel: "binary", extents: &[layout.numel()], arguments: &arguments })?;
    Ok(c)
}

/// x op value, or value op x when `reversed`. `value` is one element on the host, in the type that x is computed in.
pub fn binary_scalar(on: &Arc<Accelerator>, code: u32, x: &Span, value: &Span, reversed: bool) -> Result<Span, String> {
    check(code, x.dtype())?;
    if reversed && !SYMMETRIC.contains(&code) {
        return reversed_scalar(on, code, x, value);
    }
    let mut wide = [0; 8];
    wide[..value.byte_len()].copy_from_slice(value.bytes());
    let y = on.empty(x.dtype(), x.len())?;
    let arguments = [Argument::count(x.len()), Argument::U32(code), Argument::Wide(wide), memory(x), memory(&y)];
    on.launch(&Call { unit: "binary", variant: x.dtype().name(), kernel: "binary_scalar", extents: &[x.len()], arguments: &arguments })?;
    Ok(y)
}

/// value op x: the value becomes a tensor of one; 16-bit elements are widened, so that it is not rounded to their type.
fn reversed_scalar(on: &Arc<Accelerator>, code: u32, x: &Span, value: &Span) -> Result<Span, String> {
    let one = on.small(value)?;
    let layout = Layout::new(&[x.len()], [&[0], &[1]], [0, 0])?;
    if value.dtype() == x.dtype() {
        return binary(on, code, &one, x, &layout);
    }
    let wide = binary(on, code, &one, &cast(on, x, value.dtype())?, &layout)?;
    cast(on, &wide, x.dtype())
}
