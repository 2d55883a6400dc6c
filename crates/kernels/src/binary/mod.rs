//! c[i] = a[i] op b[i] with broadcasting: 0 add, 1 sub, 2 mul, 3 div, 4 pow, 5 maximum, 6 minimum. Integers wrap and have neither
//! div nor pow; maximum and minimum give NaN when either side is NaN.

pub(crate) mod cpu;
#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, chunk_range};
use crate::extent::expect;
use crate::layout::Layout;
use crate::number::{Number, Real};
use crate::pool;

/// `c = a op b` for floats.
pub fn binary<T: Real>(code: u32, a: &[T], b: &[T], layout: &Layout<2>, c: &mut [T]) -> Result<(), String> {
    match code {
        3 => apply::<T, T, cpu::Div>(a, b, layout, c),
        4 => apply::<T, T, cpu::Pow>(a, b, layout, c),
        _ => binary_number(code, a, b, layout, c),
    }
}

/// `c = a op b` for any numbers.
pub fn binary_number<T: Number>(code: u32, a: &[T], b: &[T], layout: &Layout<2>, c: &mut [T]) -> Result<(), String> {
    match code {
        0 => apply::<T, T, cpu::Add>(a, b, layout, c),
        1 => apply::<T, T, cpu::Sub>(a, b, layout, c),
        2 => apply::<T, T, cpu::Mul>(a, b, layout, c),
        3 | 4 => Err("binary: integers have neither div nor pow. Cast the tensors to f32 first.".to_owned()),
        5 => apply::<T, T, cpu::Maximum>(a, b, layout, c),
        6 => apply::<T, T, cpu::Minimum>(a, b, layout, c),
        _ => Err(format!("binary: op code {code} is unknown. Use a code from 0 to 6.")),
    }
}

/// Runs one expression over the layout, in chunks of the result.
pub(crate) fn apply<T: Number, R: Copy + Send + Sync, O: cpu::Binary<T, R>>(
    a: &[T],
    b: &[T],
    layout: &Layout<2>,
    c: &mut [R],
) -> Result<(), String> {
    layout.check([a.len(), b.len()])?;
    let numel = layout.numel();
    expect("binary", "the result", c.len(), &[numel])?;
    let [a_stride, b_stride] = layout.inner_strides();
    let out = Disjoint::new(c);
    pool::run(numel.div_ceil(CHUNK), &|index| {
        let chunk = chunk_range(numel, CHUNK, index);
        // SAFETY: chunks are disjoint.
        let part = unsafe { out.part(chunk.clone()) };
        layout.for_runs(chunk.clone(), |first, count, [a_place, b_place]| {
            let run = &mut part[first - chunk.start..][..count];
            cpu::run::<T, R, O>(run, &a[a_place..], a_stride, &b[b_place..], b_stride);
        });
    });
    Ok(())
}
