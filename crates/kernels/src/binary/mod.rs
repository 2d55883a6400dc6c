//! c[i] = a[i] op b[i] with broadcasting: 0 add, 1 sub, 2 mul, 3 div, 4 pow, 5 maximum, 6 minimum. Integers wrap and have neither
//! div nor pow; maximum and minimum give NaN when either side is NaN. A bf16 is computed in f32 and rounded
//! once; the other side and the result may be of any type that is computed in the same one.

pub(crate) mod cpu;
#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, chunk_range};
use crate::extent::expect;
use crate::layout::Layout;
use crate::pool;
use crate::stored::{Float, Stored};

/// `c = a op b` for floats.
pub fn binary<A: Float, B: Stored<Wide = A::Wide>, C: Stored<Wide = A::Wide>>(
    code: u32,
    a: &[A],
    b: &[B],
    layout: &Layout<2>,
    c: &mut [C],
) -> Result<(), String> {
    match code {
        3 => apply::<A, B, C, cpu::Div>(a, b, layout, c),
        4 => apply::<A, B, C, cpu::Pow>(a, b, layout, c),
        _ => binary_number(code, a, b, layout, c),
    }
}

/// `c = a op b` for any numbers.
pub fn binary_number<A: Stored, B: Stored<Wide = A::Wide>, C: Stored<Wide = A::Wide>>(
    code: u32,
    a: &[A],
    b: &[B],
    layout: &Layout<2>,
    c: &mut [C],
) -> Result<(), String> {
    match code {
        0 => apply::<A, B, C, cpu::Add>(a, b, layout, c),
        1 => apply::<A, B, C, cpu::Sub>(a, b, layout, c),
        2 => apply::<A, B, C, cpu::Mul>(a, b, layout, c),
        3 | 4 => Err("binary: integers have neither div nor pow. Cast the tensors to f32 first.".to_owned()),
        5 => apply::<A, B, C, cpu::Maximum>(a, b, layout, c),
        6 => apply::<A, B, C, cpu::Minimum>(a, b, layout, c),
        _ => Err(format!("binary: op code {code} is unknown. Use a code from 0 to 6.")),
    }
}

/// Runs one expression over the layout, in chunks of the result.
pub(crate) fn apply<A: Stored, B: Stored<Wide = A::Wide>, R: Stored, O: cpu::Binary<A::Wide, R::Wide>>(
    a: &[A],
    b: &[B],
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
            cpu::run::<A, B, R, O>(run, &a[a_place..], a_stride, &b[b_place..], b_stride);
        });
    });
    Ok(())
}
