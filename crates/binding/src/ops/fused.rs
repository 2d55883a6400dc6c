//! Raw operations of layers.

use crate::hot_op::hot_ops;
use crate::tensors::{apart, build, insert, optional, remove, span};
use kernels::attention::{self, Attention, Dropout};
use kernels::bias_gated::{self, Gate};
use kernels::cross_entropy::{self, Shard};
use kernels::embedding::{self, Table};
use kernels::gemm::Precision;
use kernels::linear::{self, Sizes};
use kernels::matmul::{self, Layout};
use kernels::norm::{self, Gradients, Inputs, Kind, Outputs, Saved, Sums};
use kernels::{adamw, bias_add, bias_gelu, sum_rows};
use storage::{DType, Span};

/// Elements of a tensor of these dims.
fn numel(dims: &[u32]) -> Result<usize, String> {
    let product = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim as usize));
    product.ok_or_else(|| format!("a tensor of {dims:?} is beyond any memory. Pass smaller dims."))
}

/// A new f32 tensor of `dims` that `write` fills.
fn made(dims: &[u32], write: impl FnOnce(&mut [f32]) -> Result<(), String>) -> Result<u32, String> {
    // SAFETY: the span is new: nobody else reads or writes it.
    build(DType::F32, numel(dims)?, |target| write(unsafe { target.f32s_mut()? }))
}

/// New f32 tensors that `write` fills; their handles go to the first places of `outs`.
fn made_all<const N: usize>(
    outs: &mut [u32],
    dims: [&[u32]; N],
    write: impl FnOnce([&mut [f32]; N]) -> Result<(), String>,
) -> Result<(), String> {
    if outs.len() < N {
        return Err(format!("outs has room for {} handles, not for {N}. Pass a Uint32Array of {N}.", outs.len()));
    }
    let spans: Vec<Span> = dims.iter().map(|dims| Span::new(DType::F32, numel(dims)?)).collect::<Result<_, String>>()?;
    let mut slices = Vec::with_capacity(N);
    for span in &spans {
        // SAFETY: the spans are new: nobody else reads or writes them.
        slices.push(unsafe { span.f32s_mut()? });
    }
    write(slices.try_into().map_err(|_| "a result is missing. Please report it.")?)?;
    for (number, span) in spans.into_iter().enumerate() {
        outs[number] = insert(span).inspect_err(|_| {
            outs[..number].iter().for_each(|&handle| {
                remove(handle);
            });
        })?;
    }
    Ok(())
}

/// The values of a tensor that need not be there.
fn f32s(span: &Option<Span>) -> Result<Option<&[f32]>, String> {
    span.as_ref().map(Span::f32s).transpose()
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

/// Refuses tensors that are written in the same call and share memory.
fn all_apart(written: &[&Span]) -> Result<(), String> {
    for (index, one) in written.iter().enumerate() {
        if written[..index].iter().any(|other| other.overlaps(one)) {
            return Err("two of the tensors that are written share memory. Pass tensors of their own.".to_owned());
        }
    }
    Ok(())
}

/// The layout of a matmul as JavaScript passes it.
fn matmul_layout(layout: &[u32]) -> Result<Layout, String> {
    let [batch, m, n, k, a_batch_stride, b_batch_stride, trans_a, trans_b] = *layout else {
        return Err(format!(
            "layout has {} numbers, not 8. Pass [batch, m, n, k, aBatchStride, bBatchStride, transA, transB].",
            layout.len()
        ));
    };
    Ok(Layout {
        batch: batch as usize,
        m: m as usize,
        n: n as usize,
        k: k as usize,
        a_batch_stride: a_batch_stride as usize,
        b_batch_stride: b_batch_stride as usize,
        trans_a: trans_a != 0,
        trans_b: trans_b != 0,
    })
}

/// An attention as JavaScript passes it.
fn attention_of(settings: &[u32], dropout: f64) -> Result<Attention, String> {
    let [seq, batch, heads, head_dim, causal, window, bf16, key0, key1, first_sample, first_head] = *settings else {
        return Err(format!("settings has {} numbers, not 11. Pass [seq, batch, heads, headDim, causal, …].", settings.len()));
    };
    let dropped = (dropout != 0.0).then(|| Dropout::new(dropout, [key0, key1], [first_sample, first_head]));
    Ok(Attention {
        seq: seq as usize,
        batch: batch as usize,
        heads: heads as usize,
        head_dim: head_dim as usize,
        causal: causal != 0,
        window: (window != 0).then_some(window as usize),
        dropout: dropped.transpose()?,
        precision: if bf16 != 0 { Precision::Bf16 } else { Precision::F32 },
    })
}

/// Refuses spans of which one is written and shares memory with another.
fn written_apart<'a>(spans: impl Iterator<Item = (&'a Span, bool)>) -> Result<(), String> {
    let mut sorted: Vec<(usize, usize, bool)> =
        spans.map(|(span, written)| (span.as_ptr() as usize, span.as_ptr() as usize + span.byte_len(), written)).collect();
    sorted.sort_unstable();
    let (mut end, mut written_end) = (0, 0);
    for (start, stop, written) in sorted {
        if start < written_end || (written && start < end) {
            return Err("a tensor that is written shares memory with another. Pass tensors of their own.".to_owned());
        }
        end = end.max(stop);
        written_end = if written { written_end.max(stop) } else { written_end };
    }
    Ok(())
}

hot_ops! {
    /// `batch` products: a [m, k] or [k, m] times b [k, n] or [n, k] gives [batch, m, n];
    /// layout [batch, m, n, k, aBatchStride, bBatchStride, transA, transB].
    matmul(a: u32, b: u32, layout: &[u32]) -> u32 {
        let (a, b) = (span("matmul", a)?, span("matmul", b)?);
        let sizes = matmul_layout(layout)?;
        made(&layout[..3], |c| matmul::matmul(a.f32s()?, b.f32s()?, &sizes, c, false))
    }

    /// The same into `dst`, overwritten or added to.
    matmulInto(dst: u32, a: u32, b: u32, layout: &[u32], accumulate: bool) -> () {
        let dst = span("matmulInto", dst)?;
        let (a, b) = (apart(&dst, span("matmulInto", a)?)?, apart(&dst, span("matmulInto", b)?)?);
        // SAFETY: a and b share no memory with dst.
        matmul::matmul(a.f32s()?, b.f32s()?, &matmul_layout(layout)?, unsafe { dst.f32s_mut()? }, accumulate)
    }

    /// x [rows, in] times the transpose of w [out, in], plus bias [out] or 0 for none.
    linear(x: u32, w: u32, bias: u32, rows: u32, in_size: u32, out_size: u32) -> u32 {
        let (x, w, bias) = (span("linear", x)?, span("linear", w)?, optional("linear", bias)?);
        let bias = bias.as_ref().map(Span::f32s).transpose()?;
        let sizes = Sizes { rows: rows as usize, input: in_size as usize, output: out_size as usize };
        made(&[rows, out_size], |y| linear::linear(x.f32s()?, w.f32s()?, bias, sizes, y))
    }

    /// The column sums of x [rows, cols] into dst [cols].
    sumRows(x: u32, rows: u32, cols: u32, dst: u32, accumulate: bool) -> () {
        let dst = span("sumRows", dst)?;
        let x = apart(&dst, span("sumRows", x)?)?;
        // SAFETY: x shares no memory with dst.
        sum_rows::sum_rows(x.f32s()?, rows as usize, cols as usize, unsafe { dst.f32s_mut()? }, accumulate)
    }

    /// gelu(x + bias), tanh form; x [rows, cols], bias [cols].
    biasGelu(x: u32, bias: u32, rows: u32, cols: u32) -> u32 {
        let (x, bias) = (span("biasGelu", x)?, span("biasGelu", bias)?);
        made(&[rows, cols], |y| bias_gelu::bias_gelu(x.f32s()?, bias.f32s()?, rows as usize, cols as usize, y))
    }

    /// The gradient of x; that of bias goes to dBias [cols], or 0 for none.
    biasGeluBackward(x: u32, bias: u32, grad: u32, rows: u32, cols: u32, d_bias: u32, accumulate: bool) -> u32 {
        let op = "biasGeluBackward";
        let mut read = [span(op, x)?, span(op, bias)?, span(op, grad)?];
        let d_bias = optional(op, d_bias)?;
        if let Some(d_bias) = &d_bias {
            read = apart_all(d_bias, read)?;
        }
        let [x, bias, grad] = &read;
        // SAFETY: what is read shares no memory with the sums.
        let sums = d_bias.as_ref().map(|sums| unsafe { sums.f32s_mut() }).transpose()?;
        made(&[rows, cols], |dx| {
            bias_gelu::bias_gelu_backward([x.f32s()?, bias.f32s()?, grad.f32s()?], [rows as usize, cols as usize], dx, sums, accumulate)
        })
    }

    /// Norm of the rows of residual + (x + bias) [rows, cols], times w, plus b. kind: 0 layer norm, 1 RMS norm (about zero, no b);
    /// operands [x, bias, residual, w, b], 0 for those that are not there; outs: y, stats [rows, 2] = (mean, 1 / deviation) and,
    /// where there is a bias or a residual, the sum.
    norm(kind: u32, operands: &[u32], rows: u32, cols: u32, eps: f64, outs: &mut [u32]) -> () {
        let op = "norm";
        let [x, bias, residual, w, b] = five(operands)?;
        let (x, w, b) = (span(op, x)?, span(op, w)?, optional(op, b)?);
        let (bias, residual) = (optional(op, bias)?, optional(op, residual)?);
        let read = Inputs { x: x.f32s()?, bias: f32s(&bias)?, residual: f32s(&residual)?, w: w.f32s()?, b: f32s(&b)? };
        let (kind, sizes) = (Kind::of(kind)?, [rows as usize, cols as usize]);
        let run = |sum: Option<&mut [f32]>, y: &mut [f32], stats: &mut [f32]| {
            norm::norm(kind, read, sizes, eps as f32, Outputs { sum, y, stats })
        };
        if bias.is_none() && residual.is_none() {
            return made_all(outs, [&[rows, cols], &[rows, 2]], |[y, stats]| run(None, y, stats));
        }
        made_all(outs, [&[rows, cols], &[rows, 2], &[rows, cols]], |[y, stats, sum]| run(Some(sum), y, stats))
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
        all_apart(&written.iter().flatten().collect::<Vec<_>>())?;
        for target in written.iter().flatten() {
            read = read.into_iter().map(|source| apart(target, source)).collect::<Result<_, _>>()?;
        }
        let [d_w, d_b, d_bias] = [0, 1, 2].map(|i| sums_of(&written[i], accumulate >> i & 1 == 1));
        let gradients = Gradients { d_w: d_w?, d_b: d_b?, d_bias: d_bias? };
        let saved = Saved {
            grad: read[0].f32s()?,
            x: read[1].f32s()?,
            w: read[2].f32s()?,
            stats: read[3].f32s()?,
            carried: read.get(4).map(Span::f32s).transpose()?,
        };
        let kind = Kind::of(kind)?;
        made(&[rows, cols], |dx| norm::norm_backward(kind, saved, [rows as usize, cols as usize], dx, gradients))
    }

    /// residual + (x + bias): x and residual [rows, cols], bias [cols]; 0 for a bias or a residual that is not there.
    biasAdd(x: u32, bias: u32, residual: u32, rows: u32, cols: u32) -> u32 {
        let op = "biasAdd";
        let (x, bias, residual) = (span(op, x)?, optional(op, bias)?, optional(op, residual)?);
        let (bias, residual) = (f32s(&bias)?, f32s(&residual)?);
        made(&[rows, cols], |y| bias_add::bias_add(x.f32s()?, bias, residual, [rows as usize, cols as usize], y))
    }

    /// Attention over qkv [seq, batch, 3 * heads * headDim]; outs: out [seq, batch, heads * headDim] and lse [batch, heads, seq].
    /// settings [seq, batch, heads, headDim, causal, window (0 for none), bf16 products, key0, key1, firstSample, firstHead];
    /// `dropout` is the share of probabilities left out, drawn by the key and the place in the whole model.
    attention(qkv: u32, settings: &[u32], dropout: f64, outs: &mut [u32]) -> () {
        let (qkv, shape) = (span("attention", qkv)?, attention_of(settings, dropout)?);
        let [seq, batch, heads, head_dim] = [settings[0], settings[1], settings[2], settings[3]];
        made_all(outs, [&[seq, batch, heads, head_dim], &[batch, heads, seq]], |[out, lse]| {
            attention::attention(qkv.f32s()?, &shape, out, lse)
        })
    }

    /// The gradient of qkv.
    attentionBackward(qkv: u32, out: u32, lse: u32, grad: u32, settings: &[u32], dropout: f64) -> u32 {
        let op = "attentionBackward";
        let (qkv, out, lse, grad) = (span(op, qkv)?, span(op, out)?, span(op, lse)?, span(op, grad)?);
        let read = [qkv.f32s()?, out.f32s()?, lse.f32s()?, grad.f32s()?];
        let shape = attention_of(settings, dropout)?;
        let [seq, batch, heads, head_dim] = [settings[0], settings[1], settings[2], settings[3]];
        made(&[seq, batch, 3, heads, head_dim], |dqkv| attention::attention_backward(read, &shape, dqkv))
    }

    /// The rows of weight [rows, cols] that index (i32) names, counted from token `start` on; tokens outside give zeros when
    /// partial, else they are refused.
    embedding(weight: u32, index: u32, start: u32, rows: u32, cols: u32, partial: bool) -> u32 {
        let (weight, index) = (span("embedding", weight)?, span("embedding", index)?);
        let (index, table) = (index.slice::<i32>()?, Table { start: start as usize, rows: rows as usize, cols: cols as usize, partial });
        let len = index.len().checked_mul(cols as usize).ok_or("the result is beyond any memory. Pass fewer tokens.")?;
        // SAFETY: the span is new: nobody else reads or writes it.
        build(DType::F32, len, |y| embedding::embedding(weight.f32s()?, index, table, unsafe { y.f32s_mut()? }))
    }

    /// Adds the rows of grad to the rows of dst [rows, cols] that index names, in order.
    embeddingBackward(index: u32, grad: u32, dst: u32, start: u32, rows: u32, cols: u32, partial: bool, accumulate: bool) -> () {
        let op = "embeddingBackward";
        let dst = span(op, dst)?;
        let [index, grad] = apart_all(&dst, [span(op, index)?, span(op, grad)?])?;
        let table = Table { start: start as usize, rows: rows as usize, cols: cols as usize, partial };
        // SAFETY: index and grad share no memory with dst.
        embedding::embedding_backward(index.slice()?, grad.f32s()?, table, unsafe { dst.f32s_mut()? }, accumulate)
    }

    /// The largest logit of each row of [rows, cols].
    ceRowMax(logits: u32, rows: u32, cols: u32) -> u32 {
        let logits = span("ceRowMax", logits)?;
        let shard = Shard { start: 0, rows: rows as usize, cols: cols as usize };
        made(&[rows], |max| cross_entropy::row_max(logits.f32s()?, shard, max))
    }

    /// outs: exp(logits - max) [rows, cols], and stats [2, rows]: the sums of the rows, and each target's logit less the
    /// maximum, 0 for targets (i32) outside start..start + cols.
    ceExpSum(logits: u32, max: u32, targets: u32, start: u32, rows: u32, cols: u32, outs: &mut [u32]) -> () {
        let (logits, max, targets) = (span("ceExpSum", logits)?, span("ceExpSum", max)?, span("ceExpSum", targets)?);
        let shard = Shard { start: start as usize, rows: rows as usize, cols: cols as usize };
        made_all(outs, [&[rows, cols], &[2, rows]], |[exp, stats]| {
            cross_entropy::exp_sum([logits.f32s()?, max.f32s()?], targets.slice()?, shard, exp, stats)
        })
    }

    /// The same with the logits turned into the exponentials; the statistics go to stats [2, rows].
    ceExpSumInPlace(logits: u32, max: u32, targets: u32, start: u32, rows: u32, cols: u32, stats: u32) -> () {
        let op = "ceExpSumInPlace";
        let (logits, max, targets, stats) = (span(op, logits)?, span(op, max)?, span(op, targets)?, span(op, stats)?);
        written_apart([(&logits, true), (&max, false), (&targets, false), (&stats, true)].into_iter())?;
        let shard = Shard { start: start as usize, rows: rows as usize, cols: cols as usize };
        // SAFETY: what is written shares no memory with anything else in the call.
        let (logits, stats) = unsafe { (logits.f32s_mut()?, stats.f32s_mut()?) };
        cross_entropy::exp_sum_in_place(logits, max.f32s()?, targets.slice()?, shard, stats)
    }

    /// In place: exp becomes (softmax - onehot(target)) * grad[row]; stats are summed over the ranks already.
    ceBackward(exp: u32, stats: u32, targets: u32, start: u32, rows: u32, cols: u32, grad: u32) -> () {
        let op = "ceBackward";
        let exp = span(op, exp)?;
        let [stats, targets, grad] = apart_all(&exp, [span(op, stats)?, span(op, targets)?, span(op, grad)?])?;
        let shard = Shard { start: start as usize, rows: rows as usize, cols: cols as usize };
        // SAFETY: nothing that is read shares memory with exp.
        cross_entropy::backward(unsafe { exp.f32s_mut()? }, stats.f32s()?, targets.slice()?, shard, grad.f32s()?)
    }

    /// One step of AdamW on any number of flat runs, in one pass. handles: p, g, m, v of each run; hypers: one tensor for each run,
    /// [lr, beta1, beta2, eps, weightDecay, biasCorrection1, biasCorrection2, gradScale, decoupled].
    adamW(handles: &[u32], hypers: &[u32]) -> () {
        let op = "adamW";
        let (runs, rest) = handles.as_chunks::<4>();
        if !rest.is_empty() || runs.len() != hypers.len() {
            return Err(format!("{op}: {} handles and {} hypers do not fit. Pass four handles for each hyper.", handles.len(), hypers.len()));
        }
        let spans: Vec<Span> = handles.iter().map(|&handle| span(op, handle)).collect::<Result<_, _>>()?;
        written_apart(spans.iter().enumerate().map(|(number, span)| (span, number % 4 != 1)))?;
        let mut parts = Vec::with_capacity(runs.len());
        for ([p, g, m, v], &hyper) in spans.as_chunks::<4>().0.iter().zip(hypers) {
            let hyper = adamw::Hyper::read(span(op, hyper)?.f32s()?)?;
            // SAFETY: what is written shares no memory with anything else in the call.
            let [p, m, v] = unsafe { [p.f32s_mut()?, m.f32s_mut()?, v.f32s_mut()?] };
            parts.push(adamw::Run { p, g: g.f32s()?, m, v, hyper });
        }
        adamw::adamw(parts)
    }

    /// silu(g) u (gate 0, SwiGLU) or gelu(g) u (gate 1, GeGLU, tanh form) of x + bias: x [rows, 2 * cols] with rows [g | u], bias
    /// [2 * cols] or 0 for none.
    biasGated(gate: u32, x: u32, bias: u32, rows: u32, cols: u32) -> u32 {
        let op = "biasGated";
        let (x, bias) = (span(op, x)?, optional(op, bias)?);
        let (gate, bias) = (Gate::of(gate)?, f32s(&bias)?);
        made(&[rows, cols], |y| bias_gated::bias_gated(gate, x.f32s()?, bias, [rows as usize, cols as usize], y))
    }

    /// The gradient of x; that of bias goes to dBias [2 * cols], or 0 for none.
    biasGatedBackward(gate: u32, x: u32, bias: u32, grad: u32, rows: u32, cols: u32, d_bias: u32, accumulate: bool) -> u32 {
        let op = "biasGatedBackward";
        let (x, bias, grad, d_bias) = (span(op, x)?, optional(op, bias)?, span(op, grad)?, optional(op, d_bias)?);
        let read = [&x, &grad].into_iter().chain(&bias).map(|span| (span, false));
        written_apart(read.chain(d_bias.iter().map(|span| (span, true))))?;
        // SAFETY: the sums share no memory with what is read.
        let sums = d_bias.as_ref().map(|sums| unsafe { sums.f32s_mut() }).transpose()?.map(|sums| (sums, accumulate));
        let (gate, bias, sizes) = (Gate::of(gate)?, f32s(&bias)?, [rows as usize, cols as usize]);
        made(&[rows, 2, cols], |dx| bias_gated::bias_gated_backward(gate, [x.f32s()?, grad.f32s()?], bias, sizes, dx, sums))
    }
}

/// `sources`, copied where they share memory with `target`.
fn apart_all<const N: usize>(target: &Span, sources: [Span; N]) -> Result<[Span; N], String> {
    let mut sources = sources;
    for source in &mut sources {
        *source = apart(target, source.clone())?;
    }
    Ok(sources)
}
