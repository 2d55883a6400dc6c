//! The raw operation of a dropout of activations.

use crate::hot_op::hot_ops;
use crate::tensors::{build, optional, span};
use kernels::attention::Dropout;
use kernels::dropout::{self, Extents, Inputs, Stored};
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

/// The elements of a tensor of f32 or bf16.
fn stored<T: Stored>(span: &Span) -> Result<&[T], String> {
    match span.dtype() {
        DType::F16 => Err(crate::dispatch::refused(DType::F16, "f32 or bf16")),
        _ => span.slice(),
    }
}

fn run<T: Stored>(x: &Span, bias: &Option<Span>, residual: &Option<Span>, settings: &Settings) -> Result<u32, String> {
    match bias {
        Some(bias) if bias.dtype() == DType::BF16 => added::<T, u16>(x, Some(bias), residual, settings),
        _ => added::<T, f32>(x, bias.as_ref(), residual, settings),
    }
}

fn added<T: Stored, B: Stored>(x: &Span, bias: Option<&Span>, residual: &Option<Span>, settings: &Settings) -> Result<u32, String> {
    let inputs =
        Inputs { x: stored::<T>(x)?, bias: bias.map(stored::<B>).transpose()?, residual: residual.as_ref().map(stored::<T>).transpose()? };
    // SAFETY: the target is new: nobody else reads or writes it.
    build(x.dtype(), x.len(), |y| dropout::dropout(inputs, settings.extents, &settings.dropout, unsafe { y.slice_mut()? }))
}

hot_ops! {
    /// residual + dropout(x + bias): x and residual [seq, batch, cols] of f32 or bf16, bias [cols] of either; 0 for no bias or no
    /// residual. settings [seq, batch, cols, key0, key1, firstSample, firstToken]. With the gradient as x and nothing to add, the
    /// gradient of x.
    dropout(x: u32, bias: u32, residual: u32, settings: &[u32], p: f64) -> u32 {
        let op = "dropout";
        let (x, bias, residual) = (span(op, x)?, optional(op, bias)?, optional(op, residual)?);
        let settings = Settings::read(settings, p)?;
        match x.dtype() {
            DType::F32 => run::<f32>(&x, &bias, &residual, &settings),
            DType::BF16 => run::<u16>(&x, &bias, &residual, &settings),
            dtype => Err(crate::dispatch::refused(dtype, "f32 or bf16")),
        }
    }
}
