//! The pieces of a cross-entropy whose vocabulary may be divided among ranks.

use super::cast::copy_into;
use super::expect::expect;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use kernels::cross_entropy::{Shard, Terms};
use std::sync::Arc;
use storage::{DType, Span};

/// What all pieces are told of their rows; max [rows] of f32, targets [rows] of i32.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub shard: Shard,
    pub terms: Terms,
    pub max: &'a Span,
    pub targets: &'a Span,
}

impl Rows<'_> {
    fn check(&self, op: &str) -> Result<(), String> {
        let Shard { rows, cols, held, .. } = self.shard;
        if held > cols {
            return Err(format!("{op}: {held} columns are held of {cols}. Hold no more than there are."));
        }
        expect(op, "max", self.max, DType::F32, &[rows])?;
        expect(op, "targets", self.targets, DType::I32, &[rows])
    }

    /// rows, cols, held, start, uniform.
    fn numbers(&self) -> [Argument; 5] {
        let Shard { start, rows, cols, held } = self.shard;
        let [rows, cols, held, start] = [rows, cols, held, start].map(Argument::count);
        [rows, cols, held, start, Argument::F32(self.terms.numbers()[1])]
    }

    /// hot, uniform, z, and which target counts for nothing.
    fn told(&self) -> [Argument; 5] {
        let [hot, uniform, z] = self.terms.numbers().map(Argument::F32);
        let ignored = self.terms.ignored();
        [hot, uniform, z, Argument::U32(ignored.is_some().into()), Argument::U32(ignored.unwrap_or(0) as u32)]
    }

    fn launch(&self, on: &Accelerator, kernel: &'static str, dtype: DType, arguments: Vec<Argument>) -> Result<(), String> {
        let extents = [self.shard.rows, self.shard.cols];
        let extents = if kernel == "ce_loss" { &extents[..1] } else { &extents };
        on.launch(&Call { unit: "cross_entropy", variant: dtype.name(), kernel, extents, arguments: &arguments })
    }
}

/// The largest logit of each row.
pub fn row_max(on: &Arc<Accelerator>, logits: &Span, shard: Shard) -> Result<Span, String> {
    let Shard { rows, cols, held, .. } = shard;
    expect("ceRowMax", "logits", logits, logits.dtype(), &[rows, cols])?;
    let max = on.empty(DType::F32, rows)?;
    let arguments = [Argument::count(cols), Argument::count(held.min(cols)), memory(logits), memory(&max)];
    let variant = logits.dtype().name();
    on.launch(&Call { unit: "cross_entropy", variant, kernel: "ce_row_max", extents: &[rows, cols], arguments: &arguments })?;
    Ok(max)
}

/// exp(logits - max) of f32 into `exp`, and the statistics into `stats`.
fn exp_sum_into(on: &Accelerator, op: &str, logits: &Span, of: Rows, [exp, stats]: [&Span; 2]) -> Result<(), String> {
    let Shard { rows, cols, .. } = of.shard;
    of.check(op)?;
    expect(op, "logits", logits, logits.dtype(), &[rows, cols])?;
    expect(op, "exp", exp, DType::F32, &[rows, cols])?;
    expect(op, "stats", stats, DType::F32, &[of.terms.statistics(), rows])?;
    let places = [memory(logits), memory(of.max), memory(of.targets), memory(exp), memory(stats)];
    of.launch(on, "ce_exp_sum", logits.dtype(), of.numbers().into_iter().chain(places).collect())
}

/// The exponentials in f32, and the statistics.
pub fn exp_sum(on: &Arc<Accelerator>, logits: &Span, of: Rows) -> Result<[Span; 2], String> {
    let Shard { rows, cols, .. } = of.shard;
    let (exp, stats) = (on.empty(DType::F32, rows * cols)?, on.empty(DType::F32, of.terms.statistics() * rows)?);
    exp_sum_into(on, "ceExpSum", logits, of, [&exp, &stats])?;
    Ok([exp, stats])
}

/// The statistics alone.
pub fn sums(on: &Arc<Accelerator>, logits: &Span, of: Rows) -> Result<Span, String> {
    let Shard { rows, cols, .. } = of.shard;
    of.check("ceSums")?;
    expect("ceSums", "logits", logits, logits.dtype(), &[rows, cols])?;
    let stats = on.empty(DType::F32, of.terms.statistics() * rows)?;
    let places = [memory(logits), memory(of.max), memory(of.targets), memory(&stats)];
    of.launch(on, "ce_sums", logits.dtype(), of.numbers().into_iter().chain(places).collect())?;
    Ok(stats)
}

/// The logits turned into the exponentials; those of 16 bits by way of f32.
pub fn exp_sum_in_place(on: &Arc<Accelerator>, logits: &Span, of: Rows, stats: &Span) -> Result<(), String> {
    if logits.dtype() == DType::F32 {
        return exp_sum_into(on, "ceExpSumInPlace", logits, of, [logits, stats]);
    }
    let exp = on.scratch(DType::F32, logits.len())?;
    exp_sum_into(on, "ceExpSumInPlace", logits, of, [&exp, stats])?;
    copy_into(on, logits, &exp)
}

/// The loss of each row.
pub fn losses(on: &Arc<Accelerator>, of: Rows, stats: &Span) -> Result<Span, String> {
    of.check("ceLoss")?;
    expect("ceLoss", "stats", stats, DType::F32, &[of.terms.statistics(), of.shard.rows])?;
    let losses = on.empty(DType::F32, of.shard.rows)?;
    let places = [memory(stats), memory(of.max), memory(of.targets), memory(&losses)];
    let arguments = [Argument::count(of.shard.rows)].into_iter().chain(of.told()).chain(places).collect();
    of.launch(on, "ce_loss", DType::F32, arguments)?;
    Ok(losses)
}

/// In place: exp becomes the gradient of its row's loss times grad[row].
pub fn backward(on: &Arc<Accelerator>, exp: &Span, of: Rows, [stats, grad]: [&Span; 2]) -> Result<(), String> {
    let Shard { start, rows, cols, held } = of.shard;
    of.check("ceBackward")?;
    expect("ceBackward", "exp", exp, exp.dtype(), &[rows, cols])?;
    expect("ceBackward", "stats", stats, DType::F32, &[of.terms.statistics(), rows])?;
    expect("ceBackward", "grad", grad, DType::F32, &[rows])?;
    let places = [memory(stats), memory(of.max), memory(of.targets), memory(grad), memory(exp)];
    let arguments = [cols, held, start].map(Argument::count).into_iter().chain(of.told()).chain(places).collect();
    of.launch(on, "ce_backward", exp.dtype(), arguments)
}
