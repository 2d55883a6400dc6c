//! y[i] = x[i] in another element type. Floats round to nearest even, floats become integers by truncation (NaN is 0, what does
//! not fit saturates), integers wrap; i64 and f64 reach the 16-bit floats by way of f32, as in PyTorch.

mod cpu;
#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, for_chunks};
use storage::{DType, Element, Span};

/// Writes the elements of `source` into `target`, which has as many and does not overlap it.
pub fn cast(target: &Span, source: &Span) -> Result<(), String> {
    if target.len() != source.len() {
        return Err(format!("{} elements do not fit a tensor of {}. Pass tensors of one length.", source.len(), target.len()));
    }
    if target.dtype() == source.dtype() {
        copy(target, source);
        return Ok(());
    }
    match source.dtype() {
        DType::F32 => from::<f32, cpu::F32>(target, source),
        DType::F64 => from::<f64, cpu::F64>(target, source),
        DType::BF16 => from::<u16, cpu::Bf16>(target, source),
        DType::F16 => from::<u16, cpu::F16>(target, source),
        DType::I32 => from::<i32, cpu::I32>(target, source),
        DType::I64 => from::<i64, cpu::I64>(target, source),
        DType::U8 => from::<u8, cpu::U8>(target, source),
    }
}

/// Copies bytes on the pool.
fn copy(target: &Span, source: &Span) {
    let from = source.bytes();
    // SAFETY: the caller keeps the target to itself during the call.
    let to = Disjoint::new(unsafe { target.bytes_mut() });
    for_chunks(from.len(), 4 * CHUNK, |range| {
        // SAFETY: chunks are disjoint.
        unsafe { to.part(range.clone()) }.copy_from_slice(&from[range]);
    });
}

fn from<T: Element, S: cpu::Source<Bits = T>>(target: &Span, source: &Span) -> Result<(), String> {
    let x = source.slice::<T>()?;
    match target.dtype() {
        DType::F32 => into::<S, cpu::F32>(target, x),
        DType::F64 => into::<S, cpu::F64>(target, x),
        DType::BF16 => into::<S, cpu::Bf16>(target, x),
        DType::F16 => into::<S, cpu::F16>(target, x),
        DType::I32 => into::<S, cpu::I32>(target, x),
        DType::I64 => into::<S, cpu::I64>(target, x),
        DType::U8 => into::<S, cpu::U8>(target, x),
    }
}

fn into<S: cpu::Source, D: cpu::Target>(target: &Span, x: &[S::Bits]) -> Result<(), String> {
    // SAFETY: the caller keeps the target to itself during the call.
    let y = Disjoint::new(unsafe { target.slice_mut::<D::Bits>()? });
    for_chunks(x.len(), CHUNK, |range| {
        // SAFETY: chunks are disjoint.
        cpu::convert::<S, D>(unsafe { y.part(range.clone()) }, &x[range]);
    });
    Ok(())
}
