//! Random numbers without a state: Philox4x32-10 keyed by two words, with the global index of an element as the counter, so that
//! an element's value depends on nothing else. Element i is lane i & 3 of the block with counter i >> 2.
//!
//! @source Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

pub(crate) mod cpu;
mod dropout;
#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint};
use crate::half::{f32_to_bf16, f32_to_f16};
use crate::layout::Layout;
use crate::pool;
use cpu::{Blocks, GROUP_VALUES};
pub use dropout::Dropout;
use storage::{DType, Element, Span};

/// The distribution to draw from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Even over [from, to).
    Uniform { from: f64, to: f64 },
    /// Normal with this mean and standard deviation, by Box-Muller on the lane pairs (0, 1) and (2, 3).
    Normal { mean: f64, std: f64 },
}

/// Fills the elements of `target` that operand 0 of `places` names; operand 1 gives their global indices. No two of the places
/// coincide.
pub fn fill_random(target: &Span, distribution: Distribution, places: &Layout<2>, key: [u32; 2]) -> Result<(), String> {
    places.check([target.len(), usize::MAX])?;
    if !places.is_injective(0) {
        return Err("fillRandom: two elements of the layout share a place. Pass strides without overlap.".to_owned());
    }
    match target.dtype() {
        DType::F32 => write(target, distribution, places, key, |x| below_f32(x, distribution)),
        DType::F64 => write(target, distribution, places, key, |x| x),
        DType::BF16 => write(target, distribution, places, key, |x| f32_to_bf16(below_f32(x, distribution))),
        DType::F16 => write(target, distribution, places, key, |x| f32_to_f16(below_f32(x, distribution))),
        dtype => Err(format!("fillRandom: {} is no float. Pass a tensor of f32, f64, bf16 or f16.", dtype.name())),
    }
}

/// The nearest f32, kept below the open end of a uniform distribution.
fn below_f32(x: f64, distribution: Distribution) -> f32 {
    let near = x as f32;
    match distribution {
        Distribution::Uniform { from, to } if f64::from(near) >= to && from < to => (to as f32).next_down(),
        _ => near,
    }
}

fn write<T: Element>(
    target: &Span,
    distribution: Distribution,
    places: &Layout<2>,
    key: [u32; 2],
    convert: impl Fn(f64) -> T + Sync,
) -> Result<(), String> {
    // SAFETY: the caller keeps the target to itself during the call.
    let out = Disjoint::new(unsafe { target.slice_mut::<T>()? });
    let [local_stride, global_stride] = places.inner_strides();
    pool::run(places.numel().div_ceil(CHUNK), &|index| {
        let mut blocks = Blocks::new(distribution, key);
        places.for_runs_of_chunk(CHUNK, index, |_, count, [local, global]| {
            // SAFETY: the places are disjoint, and each belongs to one item.
            let put = |i: usize, value: f64| *unsafe { out.at(local + i * local_stride) } = convert(value);
            if global_stride != 1 || count < GROUP_VALUES / 4 {
                return (0..count).for_each(|i| put(i, blocks.value((global + i * global_stride) as u64)));
            }
            let mut done = 0;
            while done < count {
                let values = blocks.values_from((global + done) as u64);
                let taken = values.len().min(count - done);
                values[..taken].iter().enumerate().for_each(|(i, &value)| put(done + i, value));
                done += taken;
            }
        });
    });
    Ok(())
}
