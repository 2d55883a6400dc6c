//! Raw operations of a cross-entropy whose vocabulary may lie on several ranks. Logits are f32 or bf16, statistics and losses f32,
//! targets i32. `loss` says what all of them are about: [start, rows, cols, held, smoothing, vocabSize, z, ignored], where this rank
//! has columns start..start + held of the vocabulary in rows of cols, and `ignored` is NaN where no target is.

use super::results::{apart_all, made, made_all, put_all, written_apart};
use crate::dispatch::for_values;
use crate::hot_op::hot_ops;
use crate::tensors::{insert, span};
use device::{common, ops::cross_entropy as on_device};
use kernels::cross_entropy::{self, Rows, Shard, Terms};
use storage::{DType, Span};

/// What all operations are told.
struct Loss {
    shard: Shard,
    terms: Terms,
    /// Extents of tensors.
    rows: u32,
    cols: u32,
}

impl Loss {
    fn of(numbers: &[f64]) -> Result<Loss, String> {
        let [start, rows, cols, held, smoothing, vocab_size, z, ignored] = *numbers else {
            return Err(format!("loss has {} numbers, not 8. Pass [start, rows, cols, held, smoothing, …].", numbers.len()));
        };
        let shard = Shard { start: start as usize, rows: rows as usize, cols: cols as usize, held: held as usize };
        let terms = Terms::new(smoothing, vocab_size, z, (!ignored.is_nan()).then_some(ignored as i32))?;
        Ok(Loss { shard, terms, rows: rows as u32, cols: cols as u32 })
    }

    fn rows<'a>(&self, max: &'a Span, targets: &'a Span) -> Result<Rows<'a>, String> {
        Ok(Rows { shard: self.shard, terms: self.terms, max: max.f32s()?, targets: targets.slice()? })
    }

    /// The same for a device.
    fn there<'a>(&self, max: &'a Span, targets: &'a Span) -> on_device::Rows<'a> {
        on_device::Rows { shard: self.shard, terms: self.terms, max, targets }
    }

    /// Shape of the statistics.
    fn statistics(&self) -> [u32; 2] {
        [self.terms.statistics() as u32, self.rows]
    }
}

hot_ops! {
    /// The largest logit of each row of [rows, cols].
    ceRowMax(logits: u32, loss: &[f64]) -> u32 {
        let (logits, loss) = (span("ceRowMax", logits)?, Loss::of(loss)?);
        if let Some(on) = common([&logits])? {
            return insert(on_device::row_max(on, &logits, loss.shard)?);
        }
        made(DType::F32, &[loss.rows], |max| for_values!(logits.dtype(), T => {
            // SAFETY: the target is new: nobody else reads or writes it.
            cross_entropy::row_max::<T>(logits.slice()?, loss.shard, unsafe { max.f32s_mut()? })
        }))
    }

    /// outs: exp(logits - max) [rows, cols] in f32, and stats [2, rows]: the sums of the rows, and each target's logit less the
    /// maximum, 0 for targets that are not held here; with smoothing [3, rows], with the sums of the logits, each less the maximum.
    ceExpSum(logits: u32, max: u32, targets: u32, loss: &[f64], outs: &mut [u32]) -> () {
        let (logits, max, targets) = (span("ceExpSum", logits)?, span("ceExpSum", max)?, span("ceExpSum", targets)?);
        let loss = Loss::of(loss)?;
        if let Some(on) = common([&logits, &max, &targets])? {
            return put_all(outs, on_device::exp_sum(on, &logits, loss.there(&max, &targets))?.into());
        }
        let (of, stats) = (loss.rows(&max, &targets)?, loss.statistics());
        made_all(outs, [(DType::F32, &[loss.rows, loss.cols]), (DType::F32, &stats)], |outs| for_values!(logits.dtype(), T => {
            // SAFETY: the targets are new: nobody else reads or writes them.
            let (exp, stats) = unsafe { (outs[0].f32s_mut()?, outs[1].f32s_mut()?) };
            cross_entropy::exp_sum::<T, f32>(logits.slice()?, of, exp, stats)
        }))
    }

    /// The stats of `ceExpSum` alone.
    ceSums(logits: u32, max: u32, targets: u32, loss: &[f64]) -> u32 {
        let (logits, max, targets) = (span("ceSums", logits)?, span("ceSums", max)?, span("ceSums", targets)?);
        let loss = Loss::of(loss)?;
        if let Some(on) = common([&logits, &max, &targets])? {
            return insert(on_device::sums(on, &logits, loss.there(&max, &targets))?);
        }
        let of = loss.rows(&max, &targets)?;
        made(DType::F32, &loss.statistics(), |stats| for_values!(logits.dtype(), T => {
            // SAFETY: the target is new: nobody else reads or writes it.
            cross_entropy::sums::<T>(logits.slice()?, of, unsafe { stats.f32s_mut()? })
        }))
    }

    /// The same with the logits turned into the exponentials; the statistics go to stats.
    ceExpSumInPlace(logits: u32, max: u32, targets: u32, loss: &[f64], stats: u32) -> () {
        let op = "ceExpSumInPlace";
        let (logits, max, targets, stats) = (span(op, logits)?, span(op, max)?, span(op, targets)?, span(op, stats)?);
        written_apart([(&logits, true), (&max, false), (&targets, false), (&stats, true)].into_iter())?;
        let loss = Loss::of(loss)?;
        if let Some(on) = common([&logits, &max, &targets, &stats])? {
            return on_device::exp_sum_in_place(on, &logits, loss.there(&max, &targets), &stats);
        }
        let of = loss.rows(&max, &targets)?;
        for_values!(logits.dtype(), T => {
            // SAFETY: what is written shares no memory with anything else in the call.
            let (logits, stats) = unsafe { (logits.slice_mut()?, stats.f32s_mut()?) };
            cross_entropy::exp_sum_in_place::<T>(logits, of, stats)
        })
    }

    /// The loss of each row [rows]; max and stats are those of all ranks together.
    ceLoss(stats: u32, max: u32, targets: u32, loss: &[f64]) -> u32 {
        let (stats, max, targets) = (span("ceLoss", stats)?, span("ceLoss", max)?, span("ceLoss", targets)?);
        let loss = Loss::of(loss)?;
        if let Some(on) = common([&stats, &max, &targets])? {
            return insert(on_device::losses(on, loss.there(&max, &targets), &stats)?);
        }
        let of = loss.rows(&max, &targets)?;
        made(DType::F32, &[loss.rows], |losses| {
            // SAFETY: the target is new: nobody else reads or writes it.
            cross_entropy::losses(of, stats.f32s()?, unsafe { losses.f32s_mut()? })
        })
    }

    /// In place: exp becomes the gradient of its row's loss times grad[row]; max and stats are those of all ranks together.
    ceBackward(exp: u32, stats: u32, max: u32, targets: u32, grad: u32, loss: &[f64]) -> () {
        let op = "ceBackward";
        let (exp, read) = (span(op, exp)?, [span(op, stats)?, span(op, max)?, span(op, targets)?, span(op, grad)?]);
        let on = common([&exp].into_iter().chain(&read))?.cloned();
        let ([stats, max, targets, grad], loss) = (apart_all(&exp, read)?, Loss::of(loss)?);
        if let Some(on) = on {
            return on_device::backward(&on, &exp, loss.there(&max, &targets), [&stats, &grad]);
        }
        let of = loss.rows(&max, &targets)?;
        for_values!(exp.dtype(), T => {
            // SAFETY: nothing that is read shares memory with exp.
            let exp = unsafe { exp.slice_mut()? };
            cross_entropy::backward::<T>(exp, of, stats.f32s()?, grad.f32s()?)
        })
    }
}
