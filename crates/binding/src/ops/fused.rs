//! Raw operations of layers. Activations (x, residual, y, logits and their gradients) are f32 or bf16, one type in a call, which
//! the results have as well; vectors that go with every row are f32 or bf16, statistics and sums over rows f32.

use super::results::{all_apart, apart_all, made, made_all, put_all, written_apart};
use crate::dispatch::{for_values, refused};
use crate::hot_op::hot_ops;
use crate::tensors::{apart, insert, optional, same_dtype, slice, span, vector};
use device::{common, ops};
use kernels::bias_gated::{self, Gate};
use kernels::embedding::{self, Table};
use kernels::norm::{self, Gradients, Inputs, Kind, Outputs, Saved, Sums};
use kernels::{adamw, bias_add, bias_gelu};
use storage::{DType, Span};

/// A vector that need not be there, in f32.
fn optional_vector(op: &str, handle: u32) -> Result<Option<Span>, String> {
    optional(op, handle)?.map(vector).transpose()
}

/// Five handles.
fn five(operands: &[u32]) -> Result<[u32; 5], String> {
    operands.try_into().map_err(|_| format!("operands has {} handles, not 5. Pass 0 for those that are not there.", operands.len()))
}

/// A vector of sums that is written; the caller sees to it that nothing else in the call shares its memory.
fn sums_of(target: &Option<Span>, accumulate: bool) -> Result<Option<Sums<'_>>, String> {
    // SAFETY: what is read and written lies apart, and nothing else runs on this thread.
    target.as_ref().map(|sums| Ok(Sums { sums: unsafe { sums.f32s_mut()? }, accumulate })).transpose()
}

/// The same for a device.
fn sums_there(target: &Option<Span>, accumulate: bool) -> Option<ops::sum_rows::Sums<'_>> {
    target.as_ref().map(|target| ops::sum_rows::Sums { target, accumulate })
}

hot_ops! {
    /// gelu(x + bias), tanh form; x [rows, cols], bias [cols].
    biasGelu(x: u32, bias: u32, rows: u32, cols: u32) -> u32 {
        let (x, bias) = (span("biasGelu", x)?, vector(span("biasGelu", bias)?)?);
        if let Some(on) = common([&x, &bias])?.cloned() {
            return insert(ops::bias_gelu::bias_gelu(&on, &x, bias, [rows as usize, cols as usize])?);
        }
        made(x.dtype(), &[rows, cols], |y| for_values!(x.dtype(), T => {
            // SAFETY: the target is new: nobody else reads or writes it.
            bias_gelu::bias_gelu::<T>(x.slice()?, bias.f32s()?, rows as usize, cols as usize, unsafe { y.slice_mut()? })
        }))
    }

    /// The gradient of x; that of bias goes to dBias [cols], or 0 for none.
    biasGeluBackward(x: u32, bias: u32, grad: u32, rows: u32, cols: u32, d_bias: u32, accumulate: bool) -> u32 {
        let op = "biasGeluBackward";
        let mut read = [span(op, x)?, span(op, bias)?, span(op, grad)?];
        let d_bias = optional(op, d_bias)?;
        let on = common(read.iter().chain(&d_bias))?.cloned();
        if let Some(d_bias) = &d_bias {
            read = apart_all(d_bias, read)?;
        }
        let [x, bias, grad] = &read;
        if let Some(on) = on {
            let (sizes, sums) = ([rows as usize, cols as usize], sums_there(&d_bias, accumulate));
            same_dtype(&[x, grad])?;
            return insert(ops::bias_gelu::bias_gelu_backward(&on, [x, grad], bias.clone(), sizes, sums)?);
        }
        let (dtype, bias, sizes) = (same_dtype(&[x, grad])?, vector(bias.clone())?, [rows as usize, cols as usize]);
        // SAFETY: what is read shares no memory with the sums.
        let sums = d_bias.as_ref().map(|sums| unsafe { sums.f32s_mut() }).transpose()?;
        made(dtype, &[rows, cols], |dx| for_values!(dtype, T => {
            // SAFETY: the target is new: nobody else reads or writes it.
            let dx = unsafe { dx.slice_mut()? };
            bias_gelu::bias_gelu_backward::<T>([x.slice()?, grad.slice()?], bias.f32s()?, sizes, dx, sums, accumulate)
        }))
    }

    /// Norm of the rows of residual + (x + bias) [rows, cols], times w, plus b. kind: 0 layer norm, 1 RMS norm (about zero, no b);
    /// operands [x, bias, residual, w, b], 0 for those that are not there; outs: y, stats [rows, 2] = (mean, 1 / deviation) and,
    /// where there is a bias or a residual, the sum.
    norm(kind: u32, operands: &[u32], rows: u32, cols: u32, eps: f64, outs: &mut [u32]) -> () {
        let op = "norm";
        let [x, bias, residual, w, b] = five(operands)?;
        let (x, w, b) = (span(op, x)?, vector(span(op, w)?)?, optional_vector(op, b)?);
        let (bias, residual) = (optional_vector(op, bias)?, optional(op, residual)?);
        let dtype = same_dtype(&[&x, residual.as_ref().unwrap_or(&x)])?;
        let (kind, sizes) = (Kind::of(kind)?, [rows as usize, cols as usize]);
        if let Some(on) = common([&x, &w].into_iter().chain(&b).chain(&bias).chain(&residual))?.cloned() {
            let made = ops::norm::norm(&on, kind, ops::norm::Inputs { x, bias, residual, w, b }, sizes, eps as f32)?;
            return put_all(outs, [Some(made.y), Some(made.stats), made.sum].into_iter().flatten().collect());
        }
        let run = |outs: &[Span]| {
            for_values!(dtype, T => {
                let (residual, vectors) = (slice(&residual)?, [slice(&bias)?, slice(&b)?]);
                let inputs = Inputs::<T> { x: x.slice()?, bias: vectors[0], residual, w: w.f32s()?, b: vectors[1] };
                // SAFETY: the targets are new: nobody else reads or writes them.
                let (y, stats, sum) = unsafe { (outs[0].slice_mut()?, outs[1].f32s_mut()?, outs.get(2).map(|sum| sum.slice_mut())) };
                norm::norm(kind, inputs, sizes, eps as f32, Outputs { sum: sum.transpose()?, y, stats })
            })
        };
        let (whole, stats): ((_, &[u32]), (_, &[u32])) = ((dtype, &[rows, cols]), (DType::F32, &[rows, 2]));
        if bias.is_none() && residual.is_none() { made_all(outs, [whole, stats], run) } else { made_all(outs, [whole, stats, whole], run) }
    }

    /// The gradient of the sum that was normalised, plus `carried` (0 for none). operands [grad, sum, w, stats, carried]; targets
    /// [dW, dB, dBias] get the sums over the rows, 0 for those that are not wanted; bit i of accumulate adds to target i.
    normBackward(kind: u32, operands: &[u32], rows: u32, cols: u32, targets: &[u32], accumulate: u32) -> u32 {
        let op = "normBackward";
        let [grad, x, w, stats, carried] = five(operands)?;
        let carried = optional(op, carried)?;
        let mut read: Vec<Span> = [grad, x, w, stats].into_iter().map(|handle| span(op, handle)).collect::<Result<_, _>>()?;
        read.extend(carried.clone());
        let [d_w, d_b, d_bias] = *targets else {
            return Err(format!("targets has {} handles, not 3. Pass [dW, dB, dBias].", targets.len()));
        };
        let written = [optional(op, d_w)?, optional(op, d_b)?, optional(op, d_bias)?];
        let on = common(read.iter().chain(written.iter().flatten()))?.cloned();
        all_apart(&written.iter().flatten().collect::<Vec<_>>())?;
        for target in written.iter().flatten() {
            read = read.into_iter().map(|source| apart(target, source)).collect::<Result<_, _>>()?;
        }
        if let Some(on) = on {
            same_dtype(&[&read[0], &read[1], read.get(4).unwrap_or(&read[0])])?;
            let sums = [0, 1, 2].map(|i| sums_there(&written[i], accumulate >> i & 1 == 1));
            let saved =
                ops::norm::Saved { grad: &read[0], x: &read[1], w: read[2].clone(), stats: &read[3], carried: read.get(4).cloned() };
            return insert(ops::norm::norm_backward(&on, Kind::of(kind)?, saved, [rows as usize, cols as usize], sums)?);
        }
        let [d_w, d_b, d_bias] = [0, 1, 2].map(|i| sums_of(&written[i], accumulate >> i & 1 == 1));
        let gradients = Gradients { d_w: d_w?, d_b: d_b?, d_bias: d_bias? };
        let (dtype, w) = (same_dtype(&[&read[0], &read[1], read.get(4).unwrap_or(&read[0])])?, vector(read[2].clone())?);
        let (kind, sizes) = (Kind::of(kind)?, [rows as usize, cols as usize]);
        made(dtype, &[rows, cols], |dx| for_values!(dtype, T => {
            let carried = read.get(4).map(Span::slice).transpose()?;
            let saved = Saved::<T> { grad: read[0].slice()?, x: read[1].slice()?, w: w.f32s()?, stats: read[3].f32s()?, carried };
            // SAFETY: the target is new: nobody else reads or writes it.
            norm::norm_backward(kind, saved, sizes, unsafe { dx.slice_mut()? }, gradients)
        }))
    }

    /// residual + (x + bias): x and residual [rows, cols], bias [cols]; 0 for a bias or a residual that is not there.
    biasAdd(x: u32, bias: u32, residual: u32, rows: u32, cols: u32) -> u32 {
        let op = "biasAdd";
        let (x, bias, residual) = (span(op, x)?, optional_vector(op, bias)?, optional(op, residual)?);
        let (dtype, sizes) = (same_dtype(&[&x, residual.as_ref().unwrap_or(&x)])?, [rows as usize, cols as usize]);
        if let Some(on) = common([&x].into_iter().chain(&bias).chain(&residual))?.cloned() {
            return insert(ops::bias_add::bias_add(&on, &x, bias, &residual, sizes)?);
        }
        made(dtype, &[rows, cols], |y| for_values!(dtype, T => {
            // SAFETY: the target is new: nobody else reads or writes it.
            bias_add::bias_add::<T>(x.slice()?, slice(&bias)?, slice(&residual)?, sizes, unsafe { y.slice_mut()? })
        }))
    }

    /// The rows of weight [rows, cols] that index (i32) names, counted from token `start` on; tokens outside give zeros when
    /// partial, else they are refused.
    embedding(weight: u32, index: u32, start: u32, rows: u32, cols: u32, partial: bool) -> u32 {
        let (weight, index) = (span("embedding", weight)?, span("embedding", index)?);
        let table = Table { start: start as usize, rows: rows as usize, cols: cols as usize, partial };
        if let Some(on) = common([&weight, &index])? {
            return insert(ops::embedding::embedding(on, &weight, &index, table)?);
        }
        let index = index.slice::<i32>()?;
        let tokens = u32::try_from(index.len()).map_err(|_| format!("{} tokens are beyond any memory. Pass fewer.", index.len()))?;
        made(weight.dtype(), &[tokens, cols], |y| for_values!(weight.dtype(), T => {
            // SAFETY: the target is new: nobody else reads or writes it.
            embedding::embedding::<T>(weight.slice()?, index, table, unsafe { y.slice_mut()? })
        }))
    }

    /// Adds the rows of grad to the rows of dst [rows, cols], of f32, that index names, in order. A dst of grad's own type bf16 is
    /// overwritten, with sums rounded once.
    embeddingBackward(index: u32, grad: u32, dst: u32, start: u32, rows: u32, cols: u32, partial: bool, accumulate: bool) -> () {
        let op = "embeddingBackward";
        let (dst, index, grad) = (span(op, dst)?, span(op, index)?, span(op, grad)?);
        let on = common([&dst, &index, &grad])?.cloned();
        let [index, grad] = apart_all(&dst, [index, grad])?;
        let table = Table { start: start as usize, rows: rows as usize, cols: cols as usize, partial };
        if let Some(on) = on {
            return ops::embedding::embedding_backward(&on, [&index, &grad], &dst, table, accumulate);
        }
        if (grad.dtype(), dst.dtype(), accumulate) == (DType::BF16, DType::BF16, false) {
            // SAFETY: index and grad share no memory with dst.
            return embedding::embedding_gradient::<u16>(index.slice()?, grad.slice()?, table, unsafe { dst.slice_mut()? });
        }
        // SAFETY: as above.
        let sums = unsafe { dst.f32s_mut()? };
        for_values!(grad.dtype(), T => embedding::embedding_backward::<T>(index.slice()?, grad.slice()?, table, sums, accumulate))
    }

    /// One step of AdamW on any number of flat runs, in one pass. handles: p, g, m, v of each run; hypers: one tensor for each run,
    /// [lr, beta1, beta2, eps, weightDecay, biasCorrection1, biasCorrection2, gradScale, decoupled]; models: for each run a bf16
    /// tensor that gets the new p rounded, or 0.
    adamW(handles: &[u32], hypers: &[u32], models: Option<&[u32]>) -> () {
        let op = "adamW";
        let (runs, rest) = handles.as_chunks::<4>();
        if !rest.is_empty() || runs.len() != hypers.len() {
            return Err(format!("{op}: {} handles and {} hypers do not fit. Pass four handles for each hyper.", handles.len(), hypers.len()));
        }
        if let Some(models) = models.filter(|models| models.len() != runs.len()) {
            let (models, runs) = (models.len(), runs.len());
            return Err(format!("{op}: {models} models and {runs} runs do not fit. Pass one for each run, 0 for none."));
        }
        let spans: Vec<Span> = handles.iter().map(|&handle| span(op, handle)).collect::<Result<_, _>>()?;
        let model = |run: usize| models.map_or(Ok(None), |models| optional(op, models[run]));
        let models: Vec<Option<Span>> = (0..runs.len()).map(model).collect::<Result<_, _>>()?;
        let written = spans.iter().enumerate().map(|(number, span)| (span, number % 4 != 1));
        written_apart(written.chain(models.iter().flatten().map(|model| (model, true))))?;
        if let Some(on) = common(spans.iter().chain(models.iter().flatten()))? {
            for (([p, g, m, v], &hyper), model) in spans.as_chunks::<4>().0.iter().zip(hypers).zip(&models) {
                let hyper = span(op, hyper)?;
                common([p, &hyper])?;
                ops::adamw::adamw(on, ops::adamw::Run { p, g, m, v, hyper, model })?;
            }
            return Ok(());
        }
        let mut parts = Vec::with_capacity(runs.len());
        for (([p, g, m, v], &hyper), model) in spans.as_chunks::<4>().0.iter().zip(hypers).zip(&models) {
            let hyper = adamw::Hyper::read(span(op, hyper)?.f32s()?)?;
            if let Some(model) = model.as_ref().filter(|model| model.dtype() != DType::BF16) {
                return Err(refused(model.dtype(), "bf16"));
            }
            // SAFETY: what is written shares no memory with anything else in the call.
            let [p, m, v] = unsafe { [p.f32s_mut()?, m.f32s_mut()?, v.f32s_mut()?] };
            // SAFETY: as above.
            let model = model.as_ref().map(|model| unsafe { model.slice_mut() }).transpose()?;
            parts.push(adamw::Run { p, g: g.f32s()?, m, v, model, hyper });
        }
        adamw::adamw(parts)
    }

    /// On a device, the numbers of a step of AdamW for all groups, as `adamW` takes them, into hyper (f32 [groups, 9]). limbs: the sum of
    /// squares of all gradients; choices (f32): the bits of a u32, the number of updates for which the first set is, then sets
    /// [groups, 9]; outcome (f64 [3]), kept from step to step: the norm, 1 where the step is left out, and how many updates were made.
    adamWNumbers(limbs: u32, max_norm: f64, choices: u32, outcome: u32, hyper: u32) -> () {
        let op = "adamWNumbers";
        let [limbs, choices, outcome, hyper] = [span(op, limbs)?, span(op, choices)?, span(op, outcome)?, span(op, hyper)?];
        let on = common([&limbs, &choices, &outcome, &hyper])?.ok_or("its numbers are read on the host. Pass them to adamW.")?;
        let choice = ops::adamw::Choice { max_norm, limbs: &limbs, choices: &choices, outcome: &outcome, hyper: &hyper };
        ops::adamw::adamw_numbers(on, &choice)
    }

    /// silu(g) u (gate 0, SwiGLU) or gelu(g) u (gate 1, GeGLU, tanh form) of x + bias: x [rows, 2 * cols] with rows [g | u], bias
    /// [2 * cols] or 0 for none.
    biasGated(gate: u32, x: u32, bias: u32, rows: u32, cols: u32) -> u32 {
        let op = "biasGated";
        let (x, bias) = (span(op, x)?, optional_vector(op, bias)?);
        let (gate, sizes) = (Gate::of(gate)?, [rows as usize, cols as usize]);
        if let Some(on) = common([&x].into_iter().chain(&bias))?.cloned() {
            return insert(ops::bias_gated::bias_gated(&on, gate, &x, bias, sizes)?);
        }
        made(x.dtype(), &[rows, cols], |y| for_values!(x.dtype(), T => {
            // SAFETY: the target is new: nobody else reads or writes it.
            bias_gated::bias_gated::<T>(gate, x.slice()?, slice(&bias)?, sizes, unsafe { y.slice_mut()? })
        }))
    }

    /// The gradient of x; that of bias goes to dBias [2 * cols], or 0 for none.
    biasGatedBackward(gate: u32, x: u32, bias: u32, grad: u32, rows: u32, cols: u32, d_bias: u32, accumulate: bool) -> u32 {
        let op = "biasGatedBackward";
        let (x, bias, grad, d_bias) = (span(op, x)?, optional(op, bias)?, span(op, grad)?, optional(op, d_bias)?);
        let read = [&x, &grad].into_iter().chain(&bias).map(|span| (span, false));
        written_apart(read.chain(d_bias.iter().map(|span| (span, true))))?;
        if let Some(on) = common([&x, &grad].into_iter().chain(&bias).chain(&d_bias))?.cloned() {
            let (gate, sizes, sums) = (Gate::of(gate)?, [rows as usize, cols as usize], sums_there(&d_bias, accumulate));
            same_dtype(&[&x, &grad])?;
            return insert(ops::bias_gated::bias_gated_backward(&on, gate, ([&x, &grad], bias), sizes, sums)?);
        }
        // SAFETY: the sums share no memory with what is read.
        let sums = d_bias.as_ref().map(|sums| unsafe { sums.f32s_mut() }).transpose()?.map(|sums| (sums, accumulate));
        let (gate, bias, sizes) = (Gate::of(gate)?, bias.map(vector).transpose()?, [rows as usize, cols as usize]);
        let dtype = same_dtype(&[&x, &grad])?;
        made(dtype, &[rows, 2, cols], |dx| for_values!(dtype, T => {
            // SAFETY: the target is new: nobody else reads or writes it.
            let dx = unsafe { dx.slice_mut()? };
            bias_gated::bias_gated_backward::<T>(gate, [x.slice()?, grad.slice()?], slice(&bias)?, sizes, dx, sums)
        }))
    }
}
