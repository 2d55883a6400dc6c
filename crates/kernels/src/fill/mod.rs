//! y[i] = value, in any element type.

#[cfg(test)]
mod tests;

use crate::cast;
use crate::disjoint::{CHUNK, Disjoint, for_chunks};
use crate::simd::multiversion;
use storage::{DType, Element, Span};

/// Sets every element to `value`, converted as by a cast from f64.
pub fn fill(target: &Span, value: f64) -> Result<(), String> {
    let one = Span::new(target.dtype(), 1)?;
    cast::cast(&one, &Span::from_slice(DType::F64, &[value])?)?;
    match target.dtype() {
        DType::F32 => repeat::<f32>(target, &one),
        DType::F64 => repeat::<f64>(target, &one),
        DType::BF16 | DType::F16 => repeat::<u16>(target, &one),
        DType::I32 => repeat::<i32>(target, &one),
        DType::I64 => repeat::<i64>(target, &one),
        DType::U8 => repeat::<u8>(target, &one),
    }
}

fn repeat<T: Element>(target: &Span, one: &Span) -> Result<(), String> {
    let value = one.slice::<T>()?[0];
    // SAFETY: the caller keeps the target to itself during the call.
    let out = Disjoint::new(unsafe { target.slice_mut::<T>()? });
    for_chunks(target.len(), CHUNK, |range| {
        // SAFETY: chunks are disjoint.
        set(unsafe { out.part(range) }, value);
    });
    Ok(())
}

multiversion! {
    /// As `<[T]>::fill`, with stores as wide as the CPU has.
    fn set<T: Element>(target: &mut [T], value: T) {
        for target in target {
            *target = value;
        }
    }
}
