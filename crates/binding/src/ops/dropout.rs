//! The raw operation of a dropout of activations.

use crate::dispatch::for_values;
use crate::hot_op::hot_ops;
use crate::tensors::{build, insert, optional, same_dtype, slice, span};
use device::{common, ops};
use kernels::dropout::{self, Extents, Inputs};
use kernels::random::Dropout;
use storage::{DType, Span};

/// Where the elements stand, and what they are drawn from.
struct Settings {
    extents: Extents,
    dropout: Dropout,
}

impl Settings {
    fn read(settings: &[u32], p: f64) -> Result<Settings, String> {
        let [seq, batch, cols, key0, key1, first_sample, first_token] = *settings else {
            return Err(format!(
                "settings has {} numbers, not 7. Pass [seq, batch, cols, key0, key1, firstSample, firstToken].",
                settings.len()
            ));
        };
        let extents = Extents { seq: seq as usize, batch: batch as usize, cols: cols as usize, first_token };
        Ok(Settings { extents, dropout: Dropout::new(p, [key0, key1], [first_sample, 0])? })
    }
}

hot_ops! {
    /// residual + dropout(x + bias): x and residual [seq, batch, cols] of f32 or bf16, bias [cols] of either; 0 for no bias or no
    /// residual. settings [seq, batch, cols, key0, key1, firstSample, firstToken]. With the gradient as x and nothing to add, the
    /// gradient of x.
    dropout(x: u32, bias: u32, residual: u32, settings: &[u32], p: f64) -> u32 {
        let op = "dropout";
        let (x, bias, residual) = (span(op, x)?, optional(op, bias)?, optional(op, residual)?);
        let Settings { extents, dropout } = Settings::read(settings, p)?;
        let (dtype, vector) = (same_dtype(&[&x, residual.as_ref().unwrap_or(&x)])?, bias.as_ref().map_or(DType::F32, Span::dtype));
        if let Some(on) = common([&x].into_iter().chain(&bias).chain(&residual))?.cloned() {
            return insert(ops::dropout::dropout(&on, (&x, bias, &residual), extents, &dropout)?);
        }
        for_values!(dtype, T => for_values!(vector, B => {
            let inputs = Inputs::<T, B> { x: x.slice()?, bias: slice(&bias)?, residual: slice(&residual)? };
            // SAFETY: the target is new: nobody else reads or writes it.
            build(dtype, x.len(), |y| dropout::dropout(inputs, extents, &dropout, unsafe { y.slice_mut()? }))
        }))
    }
}
