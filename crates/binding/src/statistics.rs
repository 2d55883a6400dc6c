//! Looks at whole tensors and random fills: not on the hot path.

use crate::accelerator::thrown;
use crate::ops::on_host;
use crate::tensors::{span, whole};
use device::{accelerator_of, ops};
use kernels::layout::Layout;
use kernels::random::{self, Distribution};
use napi::Error;
use napi_derive::napi;

/// A summary of a tensor.
#[napi(object)]
pub struct Moments {
    /// Least finite element; NaN when there is none.
    pub min: f64,
    /// Greatest finite element; NaN when there is none.
    pub max: f64,
    /// Mean of the finite elements; NaN when there is none.
    pub mean: f64,
    /// How many are NaN.
    pub nan: f64,
    /// How many are infinite.
    pub inf: f64,
}

/// The summary of a tensor of any type.
#[napi(catch_unwind)]
pub fn moments(h: u32) -> Result<Moments, Error<String>> {
    let found = span("moments", h).and_then(on_host).and_then(|span| kernels::moments::moments(&span)).map_err(thrown)?;
    Ok(Moments { min: found.min, max: found.max, mean: found.mean, nan: found.nan as f64, inf: found.inf as f64 })
}

/// Fills places of a tensor with Philox4x32-10 numbers under the key (key0, key1): an element's value depends on the key and its
/// global index only. `kind` 0: uniform over [a, b); 1: normal with mean a and standard deviation b. `layout`: rank, extents,
/// local strides, local offset, global strides, global offset.
#[napi(catch_unwind)]
pub fn fill_random(h: u32, kind: u32, a: f64, b: f64, layout: &[f64], key0: u32, key1: u32) -> Result<(), Error<String>> {
    let fill = || {
        let distribution = match kind {
            0 => Distribution::Uniform { from: a, to: b },
            1 => Distribution::Normal { mean: a, std: b },
            _ => return Err(format!("fillRandom: kind {kind} is unknown. Use 0 for uniform, 1 for normal.")),
        };
        let target = span("fillRandom", h)?;
        match accelerator_of(&target) {
            Some(on) => ops::random::fill_random(on, &target, distribution, &places(layout)?, [key0, key1]),
            None => random::fill_random(&target, distribution, &places(layout)?, [key0, key1]),
        }
    };
    fill().map_err(thrown)
}

/// The places to fill and their global indices.
fn places(layout: &[f64]) -> Result<Layout<2>, String> {
    let words: Vec<usize> = layout.iter().map(|&word| whole("fillRandom: a number of the layout", word)).collect::<Result<_, _>>()?;
    let rank = words.first().copied().unwrap_or(usize::MAX);
    if rank.checked_mul(3).and_then(|count| count.checked_add(3)) != Some(words.len()) {
        return Err(format!(
            "fillRandom: the layout has {} numbers. \
             Pass [rank, extents.., local strides.., local offset, global strides.., global offset].",
            words.len()
        ));
    }
    let (local, global) = (1 + rank, 2 + 2 * rank);
    let strides = [&words[local..local + rank], &words[global..global + rank]];
    Layout::new(&words[1..local], strides, [words[local + rank], words[global + rank]])
}
